//! What EC2 and EKS know about a network, as plain values.

use std::{collections::BTreeMap, fmt};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`
    pub id: String,
    /// The VPC it belongs to.
    pub vpc: String,
    /// Zone name, `us-east-1a`: the account's own, never to be compared between accounts.
    pub zone: String,
    /// Zone id, `use1-az6`: the same for all accounts.
    pub zone_id: String,
    /// IPv4 CIDR; empty for IPv6-only subnets.
    pub cidr: String,
    /// True when it has an IPv6 CIDR as well: what dual-stack endpoints need.
    pub ipv6: bool,
    /// Free IPv4 addresses.
    pub free: u32,
    /// The account that owns it: another than the caller's when it is shared.
    pub owner: String,
    /// Its tags, as this account sees them.
    pub tags: Tags,
}

impl Subnet {
    /// The `Name` tag, or nothing.
    #[must_use]
    pub fn name(&self) -> &str {
        self.tags.get("Name").map_or("", String::as_str)
    }
}

/// The route tables of subnets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Subnets that route to an internet gateway, with the gateway.
    pub public: BTreeMap<String, String>,
    /// The route table of each subnet: its own, or the VPC's main one.
    pub tables: BTreeMap<String, String>,
}

/// A VPC with what interface endpoints need from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vpc {
    /// `vpc-…`
    pub id: String,
    /// All associated CIDRs, IPv4 and IPv6, secondary ones too.
    pub cidrs: Vec<String>,
    /// The attribute `enableDnsSupport`.
    pub dns_support: bool,
    /// The attribute `enableDnsHostnames`; off in new VPCs.
    pub dns_hostnames: bool,
}

/// A private hosted zone that is associated with a VPC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostedZone {
    /// `Z…`
    pub id: String,
    /// The domain it answers for, without a final dot.
    pub name: String,
    /// The account that owns it; empty when a service does.
    pub account: String,
    /// The AWS service that made it, as endpoints make one for their private names.
    pub service: Option<String>,
}

/// An EKS cluster's network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The VPC; EKS answers without one while it creates the cluster.
    pub vpc: Option<String>,
    /// Where EKS may put the control plane's interfaces. Nodes may be elsewhere.
    pub subnets: Vec<String>,
    /// The group that EKS gives to the control plane and managed nodes.
    pub security_group: Option<String>,
}

/// A managed node group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeGroup {
    /// Its name.
    pub name: String,
    /// Where its nodes are.
    pub subnets: Vec<String>,
}

/// A Fargate profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FargateProfile {
    /// Its name.
    pub name: String,
    /// Where its pods run.
    pub subnets: Vec<String>,
}

/// An instance that is, or was started to be, a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// Where its first interface is.
    pub subnet: String,
    /// Its tags: they say who started it.
    pub tags: Tags,
}

/// An endpoint service as this account sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `com.amazonaws.vpce.us-east-1.vpce-svc-…`
    pub name: String,
    /// Zone names where it is offered, in this account's names; empty = not told.
    pub zones: Vec<String>,
    /// Zone ids, when EC2 answers with those instead.
    pub zone_ids: Vec<String>,
    /// Names that private DNS makes resolve to the endpoint.
    pub private_names: Vec<String>,
    /// The provider has proved that the names are theirs.
    pub names_verified: bool,
    /// The provider must accept each endpoint.
    pub acceptance: bool,
    /// A gateway: routes instead of interfaces.
    pub gateway: bool,
    /// It takes IPv6 as well as IPv4.
    pub dual_stack: bool,
    /// The region where it is, when EC2 tells.
    pub region: String,
}

impl Service {
    /// True when an endpoint in `subnet` is possible.
    #[must_use]
    pub fn offered_in(&self, subnet: &Subnet) -> bool {
        let untold = self.zones.is_empty() && self.zone_ids.is_empty();
        untold || self.zones.contains(&subnet.zone) || self.zone_ids.contains(&subnet.zone_id)
    }
}

/// An interface or gateway endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `vpce-…`
    pub id: String,
    /// The service it leads to.
    pub service: String,
    /// Where it is in its life.
    pub state: State,
    /// One per zone.
    pub subnets: Vec<String>,
    /// Security groups of its interfaces.
    pub groups: Vec<String>,
    /// The service's own names resolve to it within the VPC.
    pub private_dns: bool,
    /// Names that resolve to it, the regional one first.
    pub dns_names: Vec<String>,
    /// Why it failed.
    pub last_error: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// A gateway: routes instead of interfaces.
    pub gateway: bool,
    /// Route tables of a gateway.
    pub route_tables: Vec<String>,
    /// It has IPv6 addresses as well; nothing when EC2 does not tell.
    pub dual_stack: Option<bool>,
}

/// The life of an endpoint. The SDK's own enum never matches: its model says
/// `Available` where EC2 says `available`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// The provider has to accept it.
    PendingAcceptance,
    /// Being made or changed.
    #[default]
    Pending,
    /// In service.
    Available,
    /// On its way out.
    Deleting,
    /// Gone, still listed.
    Deleted,
    /// The provider turned it down.
    Rejected,
    /// AWS could not make it.
    Failed,
    /// The provider did not accept it in time.
    Expired,
    /// Some of it works.
    Partial,
    /// A state newer than this program.
    Other(String),
}

impl State {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::PendingAcceptance, "pendingAcceptance"),
        (Self::Pending, "pending"),
        (Self::Available, "available"),
        (Self::Deleting, "deleting"),
        (Self::Deleted, "deleted"),
        (Self::Rejected, "rejected"),
        (Self::Failed, "failed"),
        (Self::Expired, "expired"),
        (Self::Partial, "partial"),
    ];

    /// Reads EC2's word, whatever its case.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::NAMES
            .into_iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map_or_else(|| Self::Other(text.to_owned()), |(state, _)| state)
    }

    /// EC2's word for it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(text) => text,
            state => Self::NAMES
                .iter()
                .find(|(listed, _)| listed == state)
                .map_or("", |(_, name)| name),
        }
    }

    /// True when the endpoint is, or can still become, of use.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.is_leaving() && !self.is_dead()
    }

    /// True when it is being deleted, or was.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(self, Self::Deleting | Self::Deleted)
    }

    /// True when it never becomes of use, and stays until somebody deletes it.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self, Self::Rejected | Self::Failed | Self::Expired)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A security group and what it lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// `sg-…`
    pub id: String,
    /// Its name, unique within the VPC.
    pub name: String,
    /// Ingress rules.
    pub ingress: Vec<Rule>,
    /// Its tags.
    pub tags: Tags,
}

/// One ingress permission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// `tcp`, or `-1` for everything.
    pub protocol: String,
    /// First and last port; nothing means all.
    pub ports: Option<(i32, i32)>,
    /// IPv4 and IPv6 sources.
    pub cidrs: Vec<String>,
    /// Security groups and prefix lists as sources.
    pub references: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_in_any_case_and_unknown_ones_kept() {
        for (state, name) in State::NAMES {
            assert_eq!(State::parse(name), state);
            assert_eq!(State::parse(&name.to_uppercase()), state);
            assert_eq!(state.name(), name);
        }
        assert_eq!(State::parse("Molten").name(), "Molten");
    }

    #[test]
    fn a_service_is_offered_by_zone_name_id_or_everywhere_when_untold() {
        let subnet = Subnet {
            zone: "us-east-1a".into(),
            zone_id: "use1-az6".into(),
            ..Subnet::default()
        };
        for (zones, ids, want) in [
            (vec!["us-east-1a"], vec![], true),
            (vec!["us-east-1b"], vec![], false),
            (vec![], vec!["use1-az6"], true),
            (vec![], vec!["use1-az1"], false),
            (vec![], vec![], true),
        ] {
            let service = Service {
                zones: zones.into_iter().map(Into::into).collect(),
                zone_ids: ids.into_iter().map(Into::into).collect(),
                ..Service::default()
            };
            assert_eq!(service.offered_in(&subnet), want, "{service:?}");
        }
    }
}
