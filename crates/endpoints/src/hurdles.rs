//! What would make EC2 refuse, or leave endpoints that nobody reaches: found before the
//! first change. Pure.

use castlink_core::{Failure, catalogue};
use castlink_ec2::{DnsAttribute, Endpoint, Group, HostedZone, Service};

use crate::{
    admit,
    plan::{Item, Verdict},
    planner::Planner,
};

/// Interface endpoints that a VPC may have unless AWS raised it.
const QUOTA: usize = 50;

impl Planner<'_> {
    /// The VPC's DNS attributes that private DNS needs and that are off.
    pub(crate) fn attributes_off(&self) -> Vec<DnsAttribute> {
        let vpc = &self.world.vpc;
        let attributes = [
            (vpc.dns_support, DnsAttribute::Support),
            (vpc.dns_hostnames, DnsAttribute::Hostnames),
        ];
        attributes
            .into_iter()
            .filter(|(on, _)| self.settings.private_dns && !on)
            .map(|(_, attribute)| attribute)
            .collect()
    }

    /// `verdict`, unless something else in the VPC answers for a name that the endpoint
    /// is to have, now or when the provider has accepted it.
    pub(crate) fn unless_taken(
        &self,
        wanted: &catalogue::Service,
        service: &Service,
        verdict: Verdict,
    ) -> Verdict {
        let own = self.adopted(&wanted.name);
        let has_names = own.is_some_and(|endpoint| endpoint.private_dns);
        if has_names || !self.wants_names(service) {
            return verdict;
        }
        let names = service.private_names.iter();
        let taken = names
            .filter_map(|name| self.holder(name, own))
            .map(|holder| holder.failure(&wanted.role, &self.world.vpc.id));
        taken.into_iter().next().map_or(verdict, Verdict::Blocked)
    }

    fn holder<'b>(&'b self, name: &'b str, own: Option<&Endpoint>) -> Option<Holder<'b>> {
        let world = self.world;
        let serves = |endpoint: &&Endpoint| {
            endpoint.private_dns
                && endpoint.state.is_live()
                && own.is_none_or(|own| own.id != endpoint.id)
                && endpoint.dns_names.iter().any(|one| same(one, name))
        };
        let endpoint = world.others.iter().chain(&world.endpoints).find(serves);
        // A zone that a service made belongs to an endpoint, and goes with it.
        let zone = world
            .hosted_zones
            .iter()
            .find(|zone| zone.service.is_none() && same(&zone.name, name));
        endpoint
            .map(|endpoint| Holder::Endpoint(name, endpoint))
            .or_else(|| zone.map(Holder::Zone))
    }

    /// Groups that somebody named and that shut the nodes out. Where nodes are is not
    /// always known: then it must let in at least some range of the VPC.
    pub(crate) fn closed_groups(&self) -> Option<Failure> {
        let named = self.named_groups();
        if named.is_empty() {
            return None;
        }
        let nodes = self.node_cidrs();
        let ranges = &self.world.vpc.cidrs;
        let shut = if nodes.is_empty() {
            let missing = admit::missing(&named, ranges);
            missing.into_iter().filter(|_| self.shuts_all()).collect()
        } else {
            admit::missing(&named, &nodes)
        };
        let (first, cidr) = (named.first()?, shut.first()?);
        let ids: Vec<&str> = named.iter().map(|group| group.id.as_str()).collect();
        Some(
            Failure::failed(format!(
                "{} does not let {} in on 443: nodes there would not reach the endpoints",
                ids.join(", "),
                shut.join(", ")
            ))
            .hint(format!(
                "run `aws ec2 authorize-security-group-ingress --group-id {} --protocol tcp --port 443 --cidr {cidr}`, or leave --security-group out: castlink makes one",
                first.id
            )),
        )
    }

    /// Ranges of the VPC that the named groups do not let in, although some are.
    pub(crate) fn partly_closed(&self) -> Option<String> {
        let named = self.named_groups();
        let missing = admit::missing(&named, &self.world.vpc.cidrs);
        let partly = !named.is_empty() && !missing.is_empty() && self.closed_groups().is_none();
        partly.then(|| {
            format!(
                "{} does not let {} in on 443: pods with addresses there do not reach the endpoints",
                self.settings.groups.join(", "),
                missing.join(", ")
            )
        })
    }

    fn named_groups(&self) -> Vec<&Group> {
        let groups = self.world.groups.iter();
        groups
            .filter(|group| self.settings.groups.contains(&group.id))
            .collect()
    }

    fn shuts_all(&self) -> bool {
        let ranges = &self.world.vpc.cidrs;
        admit::missing(&self.named_groups(), ranges).len() == ranges.len()
    }

    /// Where nodes are known to be: the cluster's subnets, and those tagged for CAST AI.
    fn node_cidrs(&self) -> Vec<String> {
        let world = self.world;
        let subnets = world.subnets.iter().filter(|subnet| {
            world.scope.nodes.contains(&subnet.id) || crate::choose::is_routable(subnet)
        });
        let cidrs = subnets.map(|subnet| subnet.cidr.clone());
        cidrs.filter(|cidr| !cidr.is_empty()).collect()
    }

    /// Only a warning: whether AWS raised the quota, EC2 does not tell.
    pub(crate) fn over_quota(&self, items: &[Item]) -> Option<String> {
        let world = self.world;
        // Gateway endpoints have no subnets, and a quota of their own.
        let counts =
            |endpoint: &&Endpoint| endpoint.state.is_live() && !endpoint.subnets.is_empty();
        let there = world.endpoints.iter().chain(&world.others).filter(counts);
        let there = there.count();
        let more = items
            .iter()
            .filter(|item| {
                matches!(&item.verdict, Verdict::Create { spec, .. } if !spec.subnets.is_empty())
            })
            .count();
        (more > 0 && there + more > QUOTA).then(|| {
            format!(
                "{} has {there} interface endpoints, {more} more are {}: above the quota of {QUOTA}, unless AWS raised it for this account (`aws service-quotas get-service-quota --service-code vpc --quota-code L-29B6F2EB`)",
                world.vpc.id,
                there + more
            )
        })
    }
}

/// What answers for a name.
enum Holder<'a> {
    Endpoint(&'a str, &'a Endpoint),
    Zone(&'a HostedZone),
}

impl Holder<'_> {
    fn failure(&self, role: &str, vpc: &str) -> Failure {
        match self {
            Self::Endpoint(name, endpoint) => Failure::conflict(format!(
                "the name of {role}, {name}, is taken in {vpc} by {} of {}",
                endpoint.id, endpoint.service
            ))
            .hint(format!(
                "switch its private DNS off (`aws ec2 modify-vpc-endpoint --vpc-endpoint-id {} --no-private-dns-enabled`), or give --no-private-dns",
                endpoint.id
            )),
            Self::Zone(zone) => Failure::conflict(format!(
                "the name of {role}, {}, is taken in {vpc} by the private hosted zone {} of account {}",
                zone.name, zone.id, zone.account
            ))
            .hint(format!(
                "take the zone off the VPC (`aws route53 disassociate-vpc-from-hosted-zone --hosted-zone-id {}`), or give --no-private-dns",
                zone.id
            )),
        }
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('.').eq_ignore_ascii_case(other)
}

#[cfg(test)]
#[path = "hurdles_tests.rs"]
mod tests;
