//! What a plan is: the steps, what needs only time, and what stands in the way.
//! `planner` makes it, `show` renders it, `apply` follows it.

use castlink_core::{Failure, catalogue};
use castlink_ec2::{DnsAttribute, Endpoint, EndpointChange, EndpointSpec, Group, State};

use crate::{
    aws,
    settings::{ROLE, is_managed},
};

/// What is to be done, and what cannot be.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Things about the VPC that stand in the way of everything.
    pub(crate) problems: Vec<Failure>,
    /// DNS attributes of the VPC to switch on.
    pub(crate) dns: Vec<DnsAttribute>,
    /// The security group that castlink keeps, when an endpoint uses it.
    pub(crate) group: Option<GroupStep>,
    /// One per wanted service.
    pub(crate) items: Vec<Item>,
    /// Worth knowing; nothing is done about them.
    pub(crate) warnings: Vec<String>,
    /// Endpoint zones after the plan is done: what is paid for.
    pub(crate) paid_zones: usize,
    /// Where: prices differ.
    pub(crate) region: String,
}

/// Our security group: make it, or let in who is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupStep {
    /// Its id, when it exists.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    /// CIDRs to let in on 443.
    pub(crate) admit: Vec<String>,
}

/// One service and what is done for it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) service: catalogue::Service,
    /// The endpoint that exists.
    pub(crate) endpoint: Option<Endpoint>,
    /// Zones the endpoint is in after the plan is done.
    pub(crate) zones: Vec<String>,
    /// Names that private DNS makes resolve to it.
    pub(crate) names: Vec<String>,
    pub(crate) verdict: Verdict,
}

/// What is done for a service.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Make an endpoint; `own_group`: with our group, added to those of the specification.
    Create {
        spec: EndpointSpec,
        own_group: bool,
        /// An endpoint of the same service that must be gone first.
        after: Option<String>,
    },
    /// Change the endpoint that is there.
    Modify {
        change: EndpointChange,
        own_group: bool,
    },
    /// As it should be.
    Present,
    /// Only needs time, or somebody else: the state says which.
    Pending(State),
    /// Cannot be done.
    Blocked(Failure),
}

impl Item {
    /// True when a call is to be made.
    pub(crate) fn is_step(&self) -> bool {
        matches!(
            self.verdict,
            Verdict::Create { .. } | Verdict::Modify { .. }
        )
    }
}

impl GroupStep {
    /// True when a call is to be made.
    pub(crate) fn is_step(&self) -> bool {
        self.id.is_none() || !self.admit.is_empty()
    }
}

impl Plan {
    /// True when nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.dns.is_empty()
            && !self.items.iter().any(Item::is_step)
            && !self.group.as_ref().is_some_and(GroupStep::is_step)
    }

    /// The items that cannot be done.
    pub(crate) fn blocked(&self) -> impl Iterator<Item = &Failure> {
        self.items.iter().filter_map(|item| match &item.verdict {
            Verdict::Blocked(failure) => Some(failure),
            _ => None,
        })
    }
}

/// The name of our security group in a VPC.
pub(crate) fn group_name(vpc: &str) -> String {
    format!("castlink-endpoints-{vpc}")
}

/// Our security group, by its tags, or by its name when it lost them.
pub(crate) fn own_group<'a>(groups: &'a [Group], vpc: &str) -> Option<&'a Group> {
    let tagged = |group: &&Group| {
        is_managed(&group.tags) && group.tags.get(ROLE.0).is_some_and(|role| role == ROLE.1)
    };
    let name = group_name(vpc);
    groups
        .iter()
        .find(tagged)
        .or_else(|| groups.iter().find(|group| group.name == name))
}

/// The endpoint of `service` to work with: the one that has the names, else the first by id.
pub(crate) fn adopted<'a>(endpoints: &'a [Endpoint], service: &str) -> Option<&'a Endpoint> {
    let gateway = aws::is_gateway(service);
    let mut live: Vec<&Endpoint> = endpoints
        .iter()
        .filter(|endpoint| endpoint.service == service && endpoint.state.is_live())
        .filter(|endpoint| endpoint.gateway == gateway)
        .collect();
    live.sort_by_key(|endpoint| (!endpoint.private_dns, &endpoint.id));
    live.first().copied()
}
