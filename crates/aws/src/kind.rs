//! The one table from AWS error codes to what a caller can do about them.
//!
//! EC2 models none of its errors as types, so the code is the only thing all services
//! share. Nothing here looks at message texts.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use castlink_core::Exit;

use crate::SdkError;

/// What an AWS error means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The resource does not exist (or is not visible yet: EC2 is eventually consistent).
    NotFound,
    /// The resource exists already.
    AlreadyExists,
    /// The identity is known, and may not do this.
    Denied,
    /// No credentials, or credentials that AWS does not accept.
    Credentials,
    /// The credentials were good once.
    Expired,
    /// Too many requests, also after the SDK's own retries.
    Throttled,
    /// Another state or another operation is in the way.
    Conflict,
    /// A service quota is used up.
    Quota,
    /// No usable answer: network, timeout, or an error of the service itself.
    Unreachable,
    /// The request was understood and refused.
    Invalid,
    /// A code this table does not know.
    Other,
}

impl Kind {
    /// How a command ends when nothing better is known.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Denied | Self::Credentials | Self::Expired => Exit::Credentials,
            Self::Throttled | Self::Unreachable => Exit::Unreachable,
            Self::Conflict => Exit::Conflict,
            Self::NotFound | Self::AlreadyExists | Self::Quota | Self::Invalid | Self::Other => {
                Exit::Failed
            }
        }
    }
}

/// Codes that neither their ending nor their beginning classifies.
const TABLE: &[(Kind, &[&str])] = &[
    (
        Kind::NotFound,
        &[
            "InvalidServiceName",
            "NoSuchEntity",
            "NoSuchBucket",
            "NotFoundException",
        ],
    ),
    (
        Kind::AlreadyExists,
        &[
            "EntityAlreadyExists",
            "ResourceInUseException",
            "RouteAlreadyExists",
        ],
    ),
    (
        Kind::Denied,
        &[
            "UnauthorizedOperation",
            "AccessDenied",
            "AccessDeniedException",
            "NotAuthorized",
            "OptInRequired",
        ],
    ),
    (
        Kind::Credentials,
        &[
            "AuthFailure",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ],
    ),
    (
        Kind::Expired,
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "TokenRefreshRequired",
        ],
    ),
    (
        Kind::Throttled,
        &[
            "EC2ThrottledException",
            "PriorRequestNotComplete",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ],
    ),
    (
        Kind::Conflict,
        &[
            "ConcurrentTagAccess",
            "ConflictException",
            "ConflictingDomainExists",
            "DependencyViolation",
            "IdempotentParameterMismatch",
            "ImageTagAlreadyExistsException",
            "IncorrectState",
            "OperationInProgress",
        ],
    ),
    (
        Kind::Unreachable,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServerException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "Unavailable",
        ],
    ),
    (Kind::Quota, &["TagLimitExceeded", "LimitExceededException"]),
    (
        Kind::Invalid,
        &[
            "DuplicateSubnetsInSameZone",
            "ValidationError",
            "ValidationException",
        ],
    ),
];

/// What an error code means; without a code (an HTML page of a proxy, an empty answer)
/// the HTTP status decides.
#[must_use]
pub fn classify(code: Option<&str>, http_status: Option<u16>) -> Kind {
    code.and_then(by_code)
        .unwrap_or_else(|| by_status(http_status))
}

fn by_code(code: &str) -> Option<Kind> {
    let listed = TABLE.iter().find(|(_, codes)| codes.contains(&code));
    listed.map(|(kind, _)| *kind).or_else(|| by_shape(code))
}

/// Families of codes that AWS forms regularly: `InvalidSubnetID.NotFound`,
/// `RepositoryNotFoundException`, `VpcEndpointLimitExceeded`, `InvalidParameterValue`.
fn by_shape(code: &str) -> Option<Kind> {
    let stem = code.strip_suffix("Exception").unwrap_or(code);
    match stem {
        _ if stem.ends_with("NotFound") => Some(Kind::NotFound),
        _ if stem.ends_with("AlreadyExists") || stem.ends_with(".Duplicate") => {
            Some(Kind::AlreadyExists)
        }
        _ if stem.ends_with("LimitExceeded") => Some(Kind::Quota),
        _ if ["Invalid", "Malformed", "Missing", "Unknown", "Unsupported"]
            .iter()
            .any(|start| stem.starts_with(start)) =>
        {
            Some(Kind::Invalid)
        }
        _ => None,
    }
}

fn by_status(status: Option<u16>) -> Kind {
    match status {
        Some(401 | 403) => Kind::Denied,
        Some(404) => Kind::NotFound,
        Some(429) => Kind::Throttled,
        Some(500..) => Kind::Unreachable,
        _ => Kind::Other,
    }
}

/// What a failed SDK call means.
pub fn kind<E>(err: &SdkError<E>) -> Kind
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match err {
        SdkError::ServiceError(context) => {
            classify(context.err().code(), Some(context.raw().status().as_u16()))
        }
        SdkError::TimeoutError(_) => Kind::Unreachable,
        SdkError::ResponseError(context) => {
            match by_status(Some(context.raw().status().as_u16())) {
                Kind::Other => Kind::Unreachable,
                kind => kind,
            }
        }
        SdkError::ConstructionFailure(_) => credentials_kind(err).unwrap_or(Kind::Invalid),
        _ => credentials_kind(err).unwrap_or(Kind::Unreachable),
    }
}

/// The SDK reports a failure of the credentials chain as a failure to dispatch.
fn credentials_kind(err: &(dyn Error + 'static)) -> Option<Kind> {
    let found = causes(err).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    Some(match found {
        CredentialsError::ProviderTimedOut(_) => Kind::Unreachable,
        _ => Kind::Credentials,
    })
}

/// `err` and everything below it.
pub(crate) fn causes<'a>(
    err: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(err), |err| (*err).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(want: Kind, codes: &[&str]) {
        for code in codes {
            assert_eq!(classify(Some(code), Some(400)), want, "{code}");
        }
    }

    #[test]
    fn codes_of_every_kind() {
        check(
            Kind::NotFound,
            &[
                "InvalidSubnetID.NotFound",
                "InvalidSubnetId.NotFound",
                "InvalidVpcID.NotFound",
                "InvalidGroup.NotFound",
                "InvalidVpcEndpointId.NotFound",
                "InvalidVpcEndpoint.NotFound",
                "InvalidServiceName",
                "RepositoryNotFoundException",
                "ResourceNotFoundException",
            ],
        );
        check(
            Kind::AlreadyExists,
            &[
                "InvalidGroup.Duplicate",
                "InvalidPermission.Duplicate",
                "RepositoryAlreadyExistsException",
            ],
        );
        check(
            Kind::Denied,
            &[
                "UnauthorizedOperation",
                "AccessDenied",
                "AccessDeniedException",
            ],
        );
        check(
            Kind::Credentials,
            &[
                "AuthFailure",
                "InvalidClientTokenId",
                "UnrecognizedClientException",
            ],
        );
        check(
            Kind::Expired,
            &["RequestExpired", "ExpiredToken", "ExpiredTokenException"],
        );
        check(
            Kind::Throttled,
            &["RequestLimitExceeded", "Throttling", "ThrottlingException"],
        );
        check(
            Kind::Conflict,
            &[
                "DependencyViolation",
                "OperationInProgress",
                "IdempotentParameterMismatch",
            ],
        );
        check(
            Kind::Quota,
            &[
                "VpcEndpointLimitExceeded",
                "LimitExceededException",
                "SecurityGroupLimitExceeded",
            ],
        );
        check(
            Kind::Unreachable,
            &["InternalError", "Unavailable", "ServiceUnavailable"],
        );
        check(
            Kind::Invalid,
            &[
                "InvalidParameter",
                "InvalidTagKey.Malformed",
                "MissingParameter",
                "DuplicateSubnetsInSameZone",
            ],
        );
        check(Kind::Other, &["SomethingNew"]);
    }

    #[test]
    fn without_a_known_code_the_status_decides() {
        for (status, want) in [
            (503, Kind::Unreachable),
            (403, Kind::Denied),
            (429, Kind::Throttled),
            (400, Kind::Other),
        ] {
            assert_eq!(classify(None, Some(status)), want, "{status}");
            assert_eq!(classify(Some("Brand.New"), Some(status)), want, "{status}");
        }
        assert_eq!(classify(None, None), Kind::Other);
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<&str> = TABLE
            .iter()
            .flat_map(|(_, codes)| codes.iter().copied())
            .collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
