//! VPC endpoints as EC2 keeps them: what they are, what state they are in at a moment, and
//! how they are written. Time passes by itself: a state is computed, never advanced, and by
//! the knobs of the moment, so that a test ends a wait by turning one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::ec2::Call;
use super::query::Xml;
use super::services::Service;
use super::upstream::{Group, Subnet};

/// Where an endpoint stands, apart from what time adds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// The provider has to accept the connection.
    AwaitingAcceptance,
    /// Asked for at that moment; becomes available (or failed).
    Pending(Instant),
    /// Available from the first.
    Settled,
    /// The provider has turned it down.
    Rejected,
    /// Asked to go at that moment; becomes deleted, and later unknown.
    Deleting(Instant),
}

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) id: String,
    pub(super) region: String,
    pub(super) vpc: String,
    pub(super) service: Service,
    pub(super) subnets: Vec<Subnet>,
    pub(super) groups: Vec<Group>,
    pub(super) route_tables: Vec<String>,
    pub(super) private_dns: bool,
    pub(super) dual_stack: bool,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) phase: Phase,
    /// The last modification began then.
    pub(super) modifying: Option<Instant>,
    /// How many more Describe calls by id do not know it.
    pub(super) unseen: u32,
}

impl Endpoint {
    /// The state's name on the wire, or nothing when the endpoint is gone.
    pub(super) fn state(&self, call: &Call<'_>) -> Option<&'static str> {
        let knobs = call.knobs;
        let passed = |since: Instant, span: Duration| call.now >= since + span;
        match self.phase {
            Phase::Deleting(since) if !passed(since, knobs.deleting()) => Some("deleting"),
            Phase::Deleting(since) => {
                (!passed(since, knobs.deleting() + knobs.listed())).then_some("deleted")
            }
            Phase::AwaitingAcceptance => Some("pendingAcceptance"),
            Phase::Rejected => Some("rejected"),
            Phase::Pending(since) if !passed(since, knobs.pending()) => Some("pending"),
            Phase::Pending(_) | Phase::Settled if self.service.failing => Some("failed"),
            Phase::Pending(_) | Phase::Settled if self.under_modification(call) => Some("pending"),
            Phase::Pending(_) | Phase::Settled => Some("available"),
        }
    }

    pub(super) fn under_modification(&self, call: &Call<'_>) -> bool {
        self.modifying
            .is_some_and(|since| call.now < since + call.knobs.modifying())
    }

    /// Whether it still holds its subnets, security groups and private name.
    pub(super) fn holds(&self, call: &Call<'_>) -> bool {
        !matches!(
            self.state(call),
            None | Some("deleted" | "rejected" | "failed")
        )
    }

    /// Starts the deletion; nothing more when it has been started already.
    pub(super) fn delete(&mut self, call: &Call<'_>) {
        if !matches!(self.phase, Phase::Deleting(_)) {
            self.phase = Phase::Deleting(call.now);
        }
    }

    /// Writes what DescribeVpcEndpoints says about it.
    pub(super) fn write(&self, call: &Call<'_>, xml: &mut Xml) {
        let kind = if self.service.gateway {
            "Gateway"
        } else {
            "Interface"
        };
        xml.leaf("vpcEndpointId", &self.id);
        xml.leaf("vpcEndpointType", kind);
        xml.leaf("vpcId", &self.vpc);
        xml.leaf("serviceName", &self.service.name);
        xml.leaf("serviceRegion", &self.service.region);
        xml.leaf("state", self.state(call).unwrap_or("deleted"));
        xml.texts("routeTableIdSet", &self.route_tables);
        xml.texts("subnetIdSet", self.subnets.iter().map(|subnet| &subnet.id));
        xml.items("groupSet", &self.groups, |xml, group| {
            xml.leaf("groupId", &group.id);
            xml.leaf("groupName", &group.name);
        });
        let family = if self.dual_stack { "dualstack" } else { "ipv4" };
        xml.leaf("ipAddressType", family);
        xml.node("dnsOptions", |xml| xml.leaf("dnsRecordIpType", family));
        xml.leaf("privateDnsEnabled", self.private_dns);
        xml.leaf("requesterManaged", false);
        xml.texts(
            "networkInterfaceIdSet",
            self.subnets.iter().map(|subnet| self.interface(subnet)),
        );
        xml.items("dnsEntrySet", self.dns_names(), |xml, name| {
            xml.leaf("dnsName", name);
            xml.leaf("hostedZoneId", "Z7HUB22UULQXV");
        });
        xml.leaf("creationTimestamp", self.created);
        xml.items("tagSet", &self.tags, |xml, (key, value)| {
            xml.leaf("key", key);
            xml.leaf("value", value);
        });
        xml.leaf("ownerId", call.account);
        if self.state(call) == Some("failed") {
            xml.node("lastError", |xml| {
                xml.leaf("code", "InternalError");
                xml.leaf("message", "the endpoint could not be provisioned");
            });
        }
    }

    fn interface(&self, subnet: &Subnet) -> String {
        format!(
            "eni-{}",
            super::invented_id(&format!("{}/{}", self.id, subnet.id))
        )
    }

    /// The endpoint's own names (regional, then one per zone), then the private one.
    fn dns_names(&self) -> Vec<String> {
        if self.service.gateway {
            return Vec::new();
        }
        let Self {
            id,
            region,
            service,
            ..
        } = self;
        let mark = &super::invented_id(id)[..8];
        let host = format!("{}.{region}.vpce.amazonaws.com", service.id);
        let zonal = self
            .subnets
            .iter()
            .map(|subnet| format!("{id}-{mark}-{}.{host}", subnet.zone));
        let private = service.private_name.clone().filter(|_| self.private_dns);
        std::iter::once(format!("{id}-{mark}.{host}"))
            .chain(zonal)
            .chain(private)
            .collect()
    }

    /// Whether it passes a filter of DescribeVpcEndpoints (wildcards as in EC2).
    pub(super) fn passes(&self, name: &str, values: &[String], call: &Call<'_>) -> bool {
        let any = |text: &str| values.iter().any(|pattern| matches(pattern, text));
        match name {
            "vpc-id" => any(&self.vpc),
            "service-name" => any(&self.service.name),
            "vpc-endpoint-id" => any(&self.id),
            "vpc-endpoint-state" => any(self.state(call).unwrap_or_default()),
            "vpc-endpoint-type" => any(if self.service.gateway {
                "Gateway"
            } else {
                "Interface"
            }),
            "tag-key" => self.tags.keys().any(|key| any(key)),
            _ => match name.strip_prefix("tag:") {
                Some(key) => self.tags.get(key).is_some_and(|value| any(value)),
                None => false,
            },
        }
    }
}

/// EC2's filter patterns: `*` stands for any run of characters.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let ends = text
                .char_indices()
                .map(|(index, _)| index)
                .chain([text.len()]);
            ends.into_iter().any(|index| matches(rest, &text[index..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let cases = [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*", "abcd", true),
            ("*", "", true),
            ("a*d", "abc", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
    }
}
