//! Amazon ECR's own API, for what the registry protocol has no words for. Here: how it is
//! reached, and the account's settings. batch.rs asks about content; repositories.rs and
//! templates.rs about repositories and how they come to be; settings.rs says how they are
//! to look (with the policies of document.rs) and drift.rs what differs; token.rs fetches the token of the data plane.
//!
//! Never here: the data plane itself, which lies beside this directory.

mod batch;
mod document;
mod drift;
mod repositories;
mod settings;
mod templates;
mod token;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aws_sdk_ecr::{Client, config::Builder, error::ProvideErrorMetadata};
use castlink_aws::{SdkError, Session};
use castlink_core::{Failure, Result, config, reference::EcrHost};
use tokio::sync::OnceCell;

use crate::cell::TokenCell;

pub use batch::{Held, Selector};
pub use drift::{Difference, Drift, Setting};
pub use repositories::missing;
pub use settings::{Mutability, Settings};
pub use templates::{Template, template_of};

/// The account setting that allows mounting layers between repositories.
const MOUNTING: &str = "BLOB_MOUNTING";

/// One ECR registry: an account in a region.
#[derive(Debug)]
pub struct Ecr {
    client: Client,
    session: Session,
    host: String,
    account: String,
    token: TokenCell,
    calls: AtomicU64,
    /// The creation templates, asked for once.
    templates: OnceCell<Vec<Template>>,
    /// Repositories that the API was asked about after a refused push, and knows.
    known: Mutex<BTreeSet<String>>,
}

/// Asks the API in the form that the registry's host has; the environment may say so too.
fn prefer(config: &mut Builder, parts: &EcrHost) {
    if parts.fips {
        config.set_use_fips(Some(true));
    }
    if parts.dual_stack {
        config.set_use_dual_stack(Some(true));
    }
}

impl Ecr {
    /// The registry at `host`, whose parts are `parts`. No call is made.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub async fn open(host: &str, parts: &EcrHost, aws: &config::Aws) -> Result<Self> {
        let session = Session::load(aws, Some(&parts.region)).await?;
        let mut config = Builder::from(session.sdk_config());
        // An endpoint that is set by hand is the one to ask: the SDK refuses it together
        // with these.
        if !session.has_endpoint("ECR") {
            prefer(&mut config, parts);
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            session,
            host: host.to_owned(),
            account: parts.account.clone(),
            token: TokenCell::default(),
            calls: AtomicU64::new(0),
            templates: OnceCell::new(),
            known: Mutex::default(),
        })
    }

    /// API calls made so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// True when the account allows mounting. An account that cannot be asked (the setting
    /// is newer than many policies) is taken as one that does not.
    pub async fn mounting(&self) -> bool {
        self.count();
        let answer = self
            .client
            .get_account_setting()
            .name(MOUNTING)
            .send()
            .await;
        answer.is_ok_and(|answer| answer.value() == Some("ENABLED"))
    }

    fn count(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    fn failure<E>(&self, action: &str, repository: &str, err: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let subject = match repository {
            "" => format!("registry {}", self.host),
            name => format!("repository {name} of {}", self.host),
        };
        self.session
            .failure(&format!("ecr:{action}"), &subject, err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, PoisonError};

    use aws_sdk_ecr::{
        config::{
            BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
            interceptors::BeforeTransmitInterceptorContextRef,
        },
        error::BoxError,
    };

    use super::*;

    /// Notes where a request would go, and stops it there.
    #[derive(Debug, Clone, Default)]
    struct Spy(Arc<Mutex<String>>);

    impl Intercept for Spy {
        fn name(&self) -> &'static str {
            "Spy"
        }

        fn read_before_transmit(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _: &RuntimeComponents,
            _: &mut ConfigBag,
        ) -> Result<(), BoxError> {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            context.request().uri().clone_into(&mut seen);
            Err("seen".into())
        }
    }

    #[tokio::test]
    async fn the_api_is_asked_in_the_form_of_the_host() {
        for (host, endpoint) in [
            (
                "dkr.ecr.us-east-1.amazonaws.com",
                "api.ecr.us-east-1.amazonaws.com",
            ),
            (
                "dkr.ecr-fips.us-east-1.amazonaws.com",
                "api.ecr-fips.us-east-1.amazonaws.com",
            ),
            (
                "dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "api.ecr-fips.us-gov-west-1.amazonaws.com",
            ),
            ("dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws"),
            (
                "dkr-ecr-fips.us-west-2.on.aws",
                "ecr-fips.us-west-2.api.aws",
            ),
            (
                "dkr.ecr.cn-north-1.amazonaws.com.cn",
                "api.ecr.cn-north-1.amazonaws.com.cn",
            ),
            (
                "dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
                "ecr.cn-northwest-1.api.amazonwebservices.com.cn",
            ),
            (
                "dkr.ecr.eusc-de-east-1.amazonaws.eu",
                "api.ecr.eusc-de-east-1.amazonaws.eu",
            ),
        ] {
            let parts = EcrHost::parse(&format!("123456789012.{host}")).unwrap();
            let spy = Spy::default();
            let mut config = Builder::new()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(parts.region.clone()))
                .credentials_provider(Credentials::new("a", "b", None, None, "test"))
                .interceptor(spy.clone());
            prefer(&mut config, &parts);
            let client = Client::from_conf(config.build());
            client.get_authorization_token().send().await.unwrap_err();
            let seen = spy.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            assert_eq!(seen, format!("https://{endpoint}/"), "{host}");
        }
    }
}
