//! The client: one session, one connection pool per service.

use std::error::Error;

use aws_sdk_ec2::types::Filter;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use castlink_aws::{SdkError, Session};
use castlink_core::Failure;

/// Reads and changes one account's network in one region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) eks: aws_sdk_eks::Client,
    pub(crate) route53: aws_sdk_route53::Client,
    session: Session,
}

impl Network {
    /// A client with the session's identity, region and limits.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        Self {
            ec2: aws_sdk_ec2::Client::new(session.sdk_config()),
            eks: aws_sdk_eks::Client::new(session.sdk_config()),
            route53: aws_sdk_route53::Client::new(session.sdk_config()),
            session: session.clone(),
        }
    }

    /// The region it works in.
    #[must_use]
    pub fn region(&self) -> &str {
        self.session.region()
    }

    /// The account that the credentials belong to, as STS sees it.
    ///
    /// # Errors
    /// When STS cannot be asked, as in a closed network without its endpoint.
    pub async fn account(&self) -> castlink_core::Result<String> {
        Ok(self.session.identity().await?.account)
    }

    /// What to tell the user when `action` failed for `subject`.
    pub(crate) fn failure<E>(&self, action: &str, subject: &str, err: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.session.failure(action, subject, err)
    }
}

/// Values one filter may carry.
pub(crate) const FILTER_VALUES: usize = 200;

pub(crate) fn filter<S: AsRef<str>>(name: &str, values: &[S]) -> Filter {
    let values = values
        .iter()
        .map(|value| value.as_ref().to_owned())
        .collect();
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}
