//! What EC2 has against an endpoint.
//!
//! EC2 has one code, `InvalidParameter`, for half a dozen different things. This file
//! is the only one that looks at a message to tell them apart; every other code speaks
//! for itself.

use castlink_aws::{Kind, classify};
use castlink_core::{Exit, Failure};

/// Why EC2 refused to make, change or delete something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Name wrong, another region, or this account is not allowed: EC2 does not tell which.
    ServiceUnknown,
    /// The service is not in the zone of one of the subnets.
    ZoneNotOffered,
    /// Two subnets in one zone.
    SameZone,
    /// Another endpoint or a private hosted zone has the service's DNS name in this VPC.
    NameTaken,
    /// Private DNS has to wait until the provider accepts the endpoint.
    NotAccepted,
    /// The service has no private DNS name.
    NoPrivateName,
    /// `enableDnsSupport` or `enableDnsHostnames` is off.
    DnsAttributesOff,
    /// The client token was used with other parameters.
    TokenReused,
    /// Another change of the same endpoint is under way.
    InProgress,
    /// Something still uses it.
    InUse,
    /// A subnet is full.
    NoAddresses,
    /// A resource that is needed does not exist, or is not visible yet.
    Missing,
    /// It exists already.
    Exists,
    /// Anything else; the failure says what.
    Other,
}

/// A refused change: what a program can act on, and what a person can read.
#[derive(Debug)]
pub struct Refusal {
    /// What is in the way.
    pub problem: Problem,
    /// The same for people.
    pub failure: Failure,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

impl Problem {
    /// Reads it from an answer's code, and its message where the code is `InvalidParameter`.
    #[must_use]
    pub(crate) fn read(code: Option<&str>, message: &str) -> Self {
        match code {
            Some("InvalidParameter") => Self::of_message(message),
            Some("InvalidServiceName") => Self::ServiceUnknown,
            Some("DuplicateSubnetsInSameZone") => Self::SameZone,
            Some("ConflictingDomainExists") => Self::NameTaken,
            Some("IdempotentParameterMismatch") => Self::TokenReused,
            Some("OperationInProgress" | "IncorrectState") => Self::InProgress,
            Some("DependencyViolation") => Self::InUse,
            Some("InsufficientFreeAddressesInSubnet") => Self::NoAddresses,
            code => match classify(code, None) {
                Kind::NotFound => Self::Missing,
                Kind::AlreadyExists => Self::Exists,
                _ => Self::Other,
            },
        }
    }

    /// EC2's sentences for `InvalidParameter`, by the shortest part that is its own.
    fn of_message(message: &str) -> Self {
        const SENTENCES: [(&str, Problem); 7] = [
            (
                "does not support the availability zone",
                Problem::ZoneNotOffered,
            ),
            ("supported for remote access", Problem::ZoneNotOffered),
            ("conflicting DNS domain", Problem::NameTaken),
            (
                "after the endpoint connection is accepted",
                Problem::NotAccepted,
            ),
            (
                "does not provide a private DNS name",
                Problem::NoPrivateName,
            ),
            (
                "enableDnsSupport and enableDnsHostnames",
                Problem::DnsAttributesOff,
            ),
            ("operation in progress", Problem::InProgress),
        ];
        SENTENCES
            .into_iter()
            .find(|(part, _)| message.contains(part))
            .map_or(Self::Other, |(_, problem)| problem)
    }

    /// The sentence and the fix, where they are better than what the error table says.
    pub(crate) fn refine(self, subject: &str, failure: Failure) -> Failure {
        let (exit, text, hint) = match self {
            Self::ServiceUnknown => (
                Exit::Failed,
                format!("{subject} is not known to EC2 here"),
                "the name is wrong, it belongs to another region, or CAST AI has not allowed this AWS account yet: compare it with CAST AI's list, or ask CAST AI to allow the account",
            ),
            Self::ZoneNotOffered => (
                Exit::Failed,
                format!("{subject} is not offered in the zone of one of the subnets"),
                "leave that subnet out with --subnet",
            ),
            Self::NameTaken => (
                Exit::Conflict,
                format!("the private DNS name of {subject} is taken in this VPC"),
                "another endpoint, or a Route 53 private hosted zone of that name, serves it: remove it, or set endpoints.private_dns = false",
            ),
            Self::TokenReused => (
                Exit::Conflict,
                format!("EC2 remembers another request for {subject} with the same token"),
                "wait a few minutes and run it again",
            ),
            Self::DnsAttributesOff => (
                Exit::Failed,
                format!("private DNS for {subject} needs both DNS attributes of the VPC"),
                "switch enableDnsSupport and enableDnsHostnames on: `aws ec2 modify-vpc-attribute`",
            ),
            Self::SameZone => (
                Exit::Failed,
                format!("two subnets of {subject} are in one zone"),
                "somebody else added one just now: run it again, it looks anew",
            ),
            Self::NotAccepted => (
                Exit::Unreachable,
                format!("private DNS for {subject} has to wait until CAST AI accepts the endpoint"),
                "ask CAST AI to accept it, then run it again",
            ),
            Self::NoPrivateName => (
                Exit::Failed,
                format!("{subject} provides no private DNS name"),
                "give --no-private-dns, and ask CAST AI for the name to point at the endpoint",
            ),
            Self::InProgress => (
                Exit::Unreachable,
                format!("another change of {subject} is under way"),
                "run it again when that one is through",
            ),
            Self::InUse => (
                Exit::Conflict,
                format!("{subject} is still in use"),
                "an interface or a rule of another group refers to it: `aws ec2 describe-network-interfaces --filters Name=group-id,Values=ID` lists the interfaces; then run it again",
            ),
            Self::NoAddresses => (
                Exit::Failed,
                format!("a subnet for {subject} has no free address"),
                "choose other subnets with --subnet",
            ),
            _ => return failure,
        };
        Failure::new(exit, text).because(failure).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_the_messages_of_invalid_parameter() {
        for (code, message, want) in [
            (
                "InvalidServiceName",
                "The Vpc Endpoint Service 'x' does not exist",
                Problem::ServiceUnknown,
            ),
            (
                "InvalidParameter",
                "The VPC endpoint service com.amazonaws.vpce.x does not support the availability zone of the subnet: subnet-1.",
                Problem::ZoneNotOffered,
            ),
            (
                "InvalidParameter",
                "private-dns-enabled cannot be set because there is already a conflicting DNS domain for api.cast.ai in the VPC vpc-1",
                Problem::NameTaken,
            ),
            (
                "InvalidParameter",
                "Private DNS can only be enabled after the endpoint connection is accepted by the owner of com.amazonaws.vpce.x",
                Problem::NotAccepted,
            ),
            (
                "InvalidParameter",
                "Private DNS can't be enabled because the service x does not provide a private DNS name.",
                Problem::NoPrivateName,
            ),
            (
                "InvalidParameter",
                "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for vpc-1",
                Problem::DnsAttributesOff,
            ),
            (
                "InvalidParameter",
                "Only the following availability zones are supported for remote access: use1-az1, use1-az2",
                Problem::ZoneNotOffered,
            ),
            ("InvalidParameter", "something else", Problem::Other),
            ("DuplicateSubnetsInSameZone", "", Problem::SameZone),
            ("OperationInProgress", "", Problem::InProgress),
            ("IdempotentParameterMismatch", "", Problem::TokenReused),
            ("DependencyViolation", "", Problem::InUse),
            ("InvalidVpcEndpoint.NotFound", "", Problem::Missing),
            ("InvalidGroup.Duplicate", "", Problem::Exists),
            (
                "UnauthorizedOperation",
                "conflicting DNS domain",
                Problem::Other,
            ),
        ] {
            assert_eq!(Problem::read(Some(code), message), want, "{code} {message}");
        }
    }

    #[test]
    fn an_unknown_service_names_the_three_causes() {
        let failure = Problem::ServiceUnknown
            .refine("endpoint service x", Failure::failed("InvalidServiceName"));
        let hint = failure.hint_text().unwrap();
        for cause in [
            "name is wrong",
            "another region",
            "allowed this AWS account",
        ] {
            assert!(hint.contains(cause), "{hint}");
        }
    }
}
