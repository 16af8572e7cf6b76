//! Decides everything: which endpoints are made or changed, which group they use, and
//! what stands in the way. Pure: no calls, no output.

use std::collections::BTreeMap;

use castlink_core::{Failure, catalogue};
use castlink_ec2::{Endpoint, EndpointChange, EndpointSpec, Group, Service, State};

use crate::{
    admit,
    choose::Zones,
    observe::World,
    plan::{GroupStep, Item, Plan, Verdict, adopted, group_name, own_group},
    settings::{Settings, is_managed},
};

/// Decides for every wanted service.
pub(crate) fn plan(settings: &Settings, world: &World) -> Plan {
    let mut wanted = settings.services.clone();
    if !settings.aws.is_check() {
        wanted.extend(settings.aws.resolve(&world.services));
    }
    Planner {
        settings,
        wanted,
        world,
        zones: Zones::of(world),
        own: own_group(&world.groups, &world.vpc.id),
        picks: BTreeMap::new(),
    }
    .plan()
}

/// What the decisions are made from.
pub(crate) struct Planner<'a> {
    pub(crate) settings: &'a Settings,
    /// CAST AI's services, and those of AWS that are to have endpoints.
    pub(crate) wanted: Vec<catalogue::Service>,
    pub(crate) world: &'a World,
    pub(crate) zones: Zones<'a>,
    own: Option<&'a Group>,
    /// The chosen subnet of each zone that needs one.
    picks: BTreeMap<&'a str, &'a str>,
}

impl<'a> Planner<'a> {
    fn plan(mut self) -> Plan {
        let mut problems = self.vpc_problems();
        problems.extend(self.closed_groups());
        problems.extend(self.pick_subnets());
        let items: Vec<Item> = self
            .wanted
            .iter()
            .map(|service| self.item(service))
            .collect();
        let mut warnings = self.warnings();
        warnings.extend(self.over_quota(&items));
        Plan {
            problems,
            dns: match self.settings.enable_vpc_dns {
                true => self.attributes_off(),
                false => Vec::new(),
            },
            group: self.group(&items),
            warnings,
            paid_zones: items.iter().map(|item| item.zones.len()).sum(),
            region: self.settings.region.clone(),
            items,
        }
    }

    fn vpc_problems(&self) -> Vec<Failure> {
        let vpc = &self.world.vpc;
        let mut problems = Vec::new();
        let off = self.attributes_off();
        for attribute in off.into_iter().filter(|_| !self.settings.enable_vpc_dns) {
            problems.push(
                Failure::failed(format!("{attribute} is off in {}: private DNS needs it", vpc.id))
                    .hint(format!(
                        "give --enable-vpc-dns, or run `aws ec2 modify-vpc-attribute --vpc-id {} {}`, or give --no-private-dns",
                        vpc.id,
                        attribute.flag()
                    )),
            );
        }
        for id in &self.settings.groups {
            if !self.world.groups.iter().any(|group| group.id == *id) {
                problems.push(
                    Failure::usage(format!("no such security group in {}: {id}", vpc.id))
                        .hint("a group belongs to one VPC; check --security-group or endpoints.security_groups"),
                );
            }
        }
        for id in &self.world.scope.named {
            if !self.world.subnets.iter().any(|subnet| subnet.id == *id) {
                problems.push(Failure::usage(format!("subnet {id} is not in {}", vpc.id)));
            }
        }
        problems
    }

    /// Chooses a subnet for every zone in which an endpoint is missing.
    fn pick_subnets(&mut self) -> Vec<Failure> {
        let mut needed: BTreeMap<&str, usize> = BTreeMap::new();
        for service in &self.wanted {
            for zone in self.missing_zones(&service.name) {
                *needed.entry(zone).or_default() += 1;
            }
        }
        let mut problems = Vec::new();
        for (zone, endpoints) in needed {
            match self.zones.pick(zone, endpoints) {
                Ok(subnet) => {
                    self.picks.insert(zone, &subnet.id);
                }
                Err(failure) => problems.push(failure),
            }
        }
        problems
    }

    pub(crate) fn service(&self, name: &str) -> Option<&'a Service> {
        self.world.services.get(name)
    }

    pub(crate) fn adopted(&self, name: &str) -> Option<&'a Endpoint> {
        adopted(&self.world.endpoints, name)
    }

    /// Wanted zones of a service in which it has no interface yet.
    fn missing_zones(&self, name: &str) -> Vec<&'a str> {
        let Some(service) = self.service(name) else {
            return Vec::new();
        };
        if service.gateway {
            return Vec::new();
        }
        let covered = self
            .adopted(name)
            .map(|endpoint| self.zones_kept(endpoint))
            .unwrap_or_default();
        let mut zones = self.zones.offering(service);
        zones.retain(|zone| !covered.contains(zone));
        zones
    }

    fn zones_of(&self, endpoint: &Endpoint) -> Vec<&'a str> {
        let subnets = self
            .world
            .subnets
            .iter()
            .filter(|subnet| endpoint.subnets.contains(&subnet.id));
        subnets.map(|subnet| subnet.zone.as_str()).collect()
    }

    fn zones_kept(&self, endpoint: &Endpoint) -> Vec<&'a str> {
        let left = self.left_subnets(endpoint);
        let subnets =
            self.world.subnets.iter().filter(|subnet| {
                endpoint.subnets.contains(&subnet.id) && !left.contains(&subnet.id)
            });
        subnets.map(|subnet| subnet.zone.as_str()).collect()
    }

    /// Subnets that an endpoint of ours leaves: another one of the same zone was named
    /// instead. One zone has room for one, so both changes are one call.
    fn left_subnets(&self, endpoint: &Endpoint) -> Vec<String> {
        let named = &self.world.scope.named;
        if !is_managed(&endpoint.tags) {
            return Vec::new();
        }
        let zones = self.zones.names();
        let subnets = self.world.subnets.iter().filter(|subnet| {
            !named.is_empty()
                && endpoint.subnets.contains(&subnet.id)
                && !named.contains(&subnet.id)
                && zones.contains(&subnet.zone.as_str())
        });
        subnets.map(|subnet| subnet.id.clone()).collect()
    }

    fn item(&self, wanted: &catalogue::Service) -> Item {
        let endpoint = self.adopted(&wanted.name);
        let missing = self.missing_zones(&wanted.name);
        let (verdict, names) = match self.service(&wanted.name) {
            None => (Verdict::Blocked(unknown(wanted)), Vec::new()),
            Some(service) => (
                self.unless_taken(
                    wanted,
                    service,
                    self.verdict(wanted, service, endpoint, &missing),
                ),
                service.private_names.clone(),
            ),
        };
        let mut zones = endpoint
            .map(|endpoint| self.zones_of(endpoint))
            .unwrap_or_default();
        zones.extend(missing);
        zones.sort_unstable();
        zones.dedup();
        Item {
            service: wanted.clone(),
            endpoint: endpoint.cloned(),
            zones: zones.into_iter().map(Into::into).collect(),
            names,
            verdict,
        }
    }

    fn verdict(
        &self,
        wanted: &catalogue::Service,
        service: &Service,
        endpoint: Option<&Endpoint>,
        missing: &[&str],
    ) -> Verdict {
        let subnets = self.picked(missing);
        match endpoint {
            _ if service.gateway => self.gateway(wanted, endpoint),
            Some(endpoint) => self.change(service, endpoint, subnets),
            None if missing.is_empty() => Verdict::Blocked(self.nowhere(wanted, service)),
            None => self.create(wanted, service, subnets),
        }
    }

    /// The chosen subnets of these zones.
    fn picked(&self, zones: &[&str]) -> Vec<String> {
        let picks = zones.iter().filter_map(|zone| self.picks.get(zone));
        picks.map(|id| (*id).to_owned()).collect()
    }

    /// The subnets in which a service gets interfaces.
    pub(crate) fn chosen(&self, name: &str) -> Vec<String> {
        self.picked(&self.missing_zones(name))
    }

    fn create(
        &self,
        wanted: &catalogue::Service,
        service: &Service,
        subnets: Vec<String>,
    ) -> Verdict {
        let leaving = |endpoint: &&Endpoint| {
            endpoint.service == service.name && endpoint.state == State::Deleting
        };
        Verdict::Create {
            spec: EndpointSpec {
                dual_stack: self.wants_both(service, &subnets),
                vpc: self.world.vpc.id.clone(),
                service: service.name.clone(),
                subnets,
                groups: self.settings.groups.clone(),
                // With acceptance, EC2 takes private DNS only afterwards, by a change.
                private_dns: self.wants_names(service) && !service.acceptance,
                tags: self.settings.tags_for(&format!("castlink-{}", wanted.role)),
                service_region: self.region_of(wanted),
                ..EndpointSpec::default()
            },
            own_group: self.settings.groups.is_empty(),
            after: self
                .world
                .endpoints
                .iter()
                .find(leaving)
                .map(|endpoint| endpoint.id.clone()),
        }
    }

    fn change(&self, service: &Service, endpoint: &Endpoint, add_subnets: Vec<String>) -> Verdict {
        if endpoint.state == State::PendingAcceptance {
            return Verdict::Pending(endpoint.state.clone());
        }
        let (add_groups, own_group) = self.missing_groups(endpoint);
        let remove_groups = self.left_groups(endpoint);
        let names = self.wants_names(service);
        let subnets = [endpoint.subnets.as_slice(), &add_subnets].concat();
        let both = self.wants_both(service, &subnets) && is_managed(&endpoint.tags);
        let change = EndpointChange {
            id: endpoint.id.clone(),
            dual_stack: (both && endpoint.dual_stack == Some(false)).then_some(true),
            add_subnets,
            remove_subnets: self.left_subnets(endpoint),
            add_groups,
            remove_groups,
            private_dns: match endpoint.private_dns {
                false if names => Some(true),
                // What somebody else switched on stays on.
                true if !self.settings.private_dns && is_managed(&endpoint.tags) => Some(false),
                _ => None,
            },
            ..EndpointChange::default()
        };
        match endpoint.state {
            _ if !change.is_empty() || own_group => Verdict::Modify { change, own_group },
            State::Available => Verdict::Present,
            _ => Verdict::Pending(endpoint.state.clone()),
        }
    }

    /// The region to say when the endpoint is made; AWS's own services are the VPC's.
    fn region_of(&self, wanted: &catalogue::Service) -> Option<String> {
        let castai = self
            .settings
            .services
            .iter()
            .any(|one| one.name == wanted.name);
        self.settings.service_region.clone().filter(|_| castai)
    }

    /// IPv6 too: wanted, offered, and possible in all of these subnets.
    pub(crate) fn wants_both(&self, service: &Service, subnets: &[String]) -> bool {
        let both = |id: &String| {
            let mut all = self.world.subnets.iter();
            all.any(|subnet| subnet.id == *id && subnet.ipv6)
        };
        self.settings.dual_stack && service.dual_stack && subnets.iter().all(both)
    }

    pub(crate) fn wants_names(&self, service: &Service) -> bool {
        self.settings.private_dns && service.names_verified && !service.private_names.is_empty()
    }

    /// Groups an existing endpoint needs besides its own: the wanted ones on what we
    /// made, and on anybody's when the nodes are not let in.
    fn missing_groups(&self, endpoint: &Endpoint) -> (Vec<String>, bool) {
        // An emulator may not tell; then there is nothing to compare.
        if endpoint.groups.is_empty() {
            return (Vec::new(), false);
        }
        let has = |id: &str| endpoint.groups.iter().any(|group| group == id);
        if self.settings.groups.is_empty() && self.own.is_some_and(|own| has(&own.id)) {
            return (Vec::new(), false);
        }
        let theirs: Vec<&Group> = self
            .world
            .groups
            .iter()
            .filter(|group| has(&group.id))
            .collect();
        let closed = !admit::missing(&theirs, &self.world.vpc.cidrs).is_empty();
        if self.settings.groups.is_empty() {
            return (Vec::new(), closed);
        }
        let mut wanted = self.settings.groups.clone();
        wanted.retain(|id| !has(id) && (closed || is_managed(&endpoint.tags)));
        (wanted, false)
    }

    /// Our group comes off an endpoint of ours when others were named instead.
    fn left_groups(&self, endpoint: &Endpoint) -> Vec<String> {
        let left = self.own.filter(|own| {
            !self.settings.groups.is_empty()
                && !self.settings.groups.contains(&own.id)
                && is_managed(&endpoint.tags)
                && endpoint.groups.contains(&own.id)
        });
        left.into_iter().map(|own| own.id.clone()).collect()
    }

    /// Our group is kept when it exists, and made when an endpoint needs it.
    fn group(&self, items: &[Item]) -> Option<GroupStep> {
        let needed = items.iter().any(|item| {
            matches!(
                &item.verdict,
                Verdict::Create {
                    own_group: true,
                    ..
                } | Verdict::Modify {
                    own_group: true,
                    ..
                }
            )
        });
        let used = self.own.filter(|own| {
            let mut groups = items
                .iter()
                .filter_map(|item| item.endpoint.as_ref())
                .flat_map(|endpoint| &endpoint.groups);
            groups.any(|group| *group == own.id)
        });
        if !needed && used.is_none() {
            return None;
        }
        let own: Vec<&Group> = self.own.into_iter().collect();
        let admit = admit::missing(&own, &self.world.vpc.cidrs);
        Some(GroupStep {
            id: self.own.map(|own| own.id.clone()),
            name: group_name(&self.world.vpc.id),
            admit: admit.into_iter().map(Into::into).collect(),
        })
    }

    fn nowhere(&self, wanted: &catalogue::Service, service: &Service) -> Failure {
        let offered = [service.zones.as_slice(), service.zone_ids.as_slice()].concat();
        let here = self.zones.names();
        let text = format!(
            "{} is offered in {}, the subnets are in {}",
            wanted.role,
            offered.join(", "),
            here.join(", ")
        );
        Failure::failed(text).hint(format!(
            "{} needs a subnet in one of the zones where the service is",
            self.world.vpc.id
        ))
    }
}

/// The one sentence for what EC2 does not tell apart.
fn unknown(wanted: &catalogue::Service) -> Failure {
    if !wanted.name.contains(".vpce-svc-") {
        return Failure::failed(format!("{} has no endpoint service here", wanted.name))
            .hint(format!("leave {} out of --aws-services", wanted.role));
    }
    Failure::failed(format!("{} ({}) is not known to EC2 here", wanted.role, wanted.name)).hint(
        "the name is wrong, it belongs to another region, or CAST AI has not allowed this AWS account yet: compare it with CAST AI's list, or ask CAST AI to allow the account",
    )
}

#[cfg(test)]
#[path = "planner_tests.rs"]
pub(crate) mod tests;
