//! From a failed SDK call to a [`Failure`]: exit code, one sentence that names the
//! resource and the IAM action, and what to do about it.

use std::{error::Error, fmt};

use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use castlink_core::Failure;

use crate::kind::{Kind, causes, kind};

/// The error of an SDK call.
pub type SdkError<E> = aws_sdk_sts::error::SdkError<E>;

/// The AWS error code of a failed call, when the service answered with one.
pub fn code<E: ProvideErrorMetadata>(err: &SdkError<E>) -> Option<&str> {
    err.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The service's own message, empty when there is none. For people; to decide
/// something from it is a last resort that needs a reason beside it.
pub fn message<E: ProvideErrorMetadata>(err: &SdkError<E>) -> &str {
    err.as_service_error()
        .and_then(ProvideErrorMetadata::message)
        .unwrap_or_default()
}

/// What to tell the user about a failed call.
///
/// `action` is the IAM action (`ec2:CreateTags`), `subject` the resource it was for.
pub fn failure<E>(action: &str, subject: &str, err: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    explain(None, action, subject, err)
}

/// As [`failure`], with the profile in use for the hint.
pub(crate) fn explain<E>(
    profile: Option<&str>,
    action: &str,
    subject: &str,
    err: &SdkError<E>,
) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let kind = kind(err);
    let failure =
        Failure::new(kind.exit(), sentence(kind, action, subject)).because(Cause(cause(err)));
    match hint(kind, profile, action) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn sentence(kind: Kind, action: &str, subject: &str) -> String {
    match kind {
        Kind::NotFound => format!("{subject} does not exist"),
        Kind::AlreadyExists => format!("{subject} exists already"),
        Kind::Denied => format!("{action} is denied for {subject}"),
        Kind::Credentials => format!("no usable AWS credentials for {action}"),
        Kind::Expired => format!("the AWS credentials have expired, at {action} for {subject}"),
        Kind::Throttled => format!("AWS throttles {action} for {subject}"),
        Kind::Unreachable => format!("no usable answer to {action} for {subject}"),
        Kind::Conflict | Kind::Quota | Kind::Invalid | Kind::Other => {
            format!("{action} failed for {subject}")
        }
    }
}

fn hint(kind: Kind, profile: Option<&str>, action: &str) -> Option<String> {
    Some(match kind {
        Kind::Denied => format!(
            "allow {action} for the identity in use (`aws sts get-caller-identity` shows it), or choose another with --profile or --role-arn"
        ),
        Kind::Credentials => match profile {
            Some(profile) => {
                format!("check profile {profile} (`aws configure list --profile {profile}`), or run `{}`", login(Some(profile)))
            }
            None => "set AWS_PROFILE or --profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into(),
        },
        Kind::Expired => format!("run `{}` or renew the credentials, then run this again", login(profile)),
        Kind::Throttled => "wait a minute and run it again: it does only what is missing".into(),
        Kind::Unreachable => {
            "check the network, HTTPS_PROXY, --endpoint-url, and in a closed network the VPC endpoint of the service".into()
        }
        Kind::Quota => "ask AWS to raise the quota in the Service Quotas console".into(),
        _ => return None,
    })
}

fn login(profile: Option<&str>) -> String {
    match profile {
        Some(profile) => format!("aws sso login --profile {profile}"),
        None => "aws sso login".into(),
    }
}

#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Cause {}

/// `Code: message` of an answer; otherwise the causes from the outside in, each once.
fn cause<E>(err: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(code) = code(err) {
        return match readable(message(err)) {
            "" => code.to_owned(),
            message => format!("{code}: {message}"),
        };
    }
    let mut parts: Vec<String> = Vec::new();
    for text in causes(err).map(ToString::to_string) {
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// EC2 appends to a denial kilobytes that only `sts:DecodeAuthorizationMessage` can read.
fn readable(message: &str) -> &str {
    let end = message
        .find("Encoded authorization failure message")
        .unwrap_or(message.len());
    message[..end].trim().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use aws_sdk_sts::{
        config::http::HttpResponse, operation::get_caller_identity::GetCallerIdentityError,
    };
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};
    use castlink_core::Exit;

    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> SdkError<GetCallerIdentityError> {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        let status = status.try_into().unwrap();
        SdkError::service_error(
            GetCallerIdentityError::generic(meta),
            HttpResponse::new(status, SdkBody::empty()),
        )
    }

    #[test]
    fn a_denial_names_the_action_and_hides_the_blob() {
        let text = "You are not authorized to perform this operation. Encoded authorization failure message: AAAABBBB";
        let failure = failure(
            "ec2:CreateTags",
            "subnet-1",
            &answer(403, "UnauthorizedOperation", text),
        );
        assert_eq!(failure.exit(), Exit::Credentials);
        assert_eq!(
            failure.chain(),
            [
                "ec2:CreateTags is denied for subnet-1",
                "UnauthorizedOperation: You are not authorized to perform this operation"
            ]
        );
        assert!(
            failure
                .hint_text()
                .unwrap()
                .contains("allow ec2:CreateTags")
        );
    }

    #[test]
    fn expired_credentials_name_the_login_of_the_profile() {
        let err = answer(400, "RequestExpired", "Request has expired.");
        let failure = explain(Some("prod"), "ec2:DescribeSubnets", "vpc-1", &err);
        assert_eq!(failure.exit(), Exit::Credentials);
        assert!(
            failure
                .hint_text()
                .unwrap()
                .contains("aws sso login --profile prod")
        );
    }

    #[test]
    fn throttling_and_outages_say_try_later() {
        for (status, code) in [
            (503, "RequestLimitExceeded"),
            (503, "Unavailable"),
            (500, "InternalError"),
        ] {
            let failure = failure("ec2:DescribeSubnets", "vpc-1", &answer(status, code, ""));
            assert_eq!(failure.exit(), Exit::Unreachable, "{code}");
            assert!(failure.hint_text().is_some(), "{code}");
        }
    }

    #[test]
    fn a_timeout_walks_its_causes_once() {
        let err: SdkError<GetCallerIdentityError> =
            SdkError::timeout_error(std::io::Error::other("attempt took too long"));
        let failure = failure("sts:GetCallerIdentity", "the caller", &err);
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert!(
            failure.one_line().contains("attempt took too long"),
            "{}",
            failure.one_line()
        );
    }
}
