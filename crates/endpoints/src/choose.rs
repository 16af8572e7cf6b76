//! Which zones get endpoints, and which subnet of each zone. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use castlink_core::Failure;
use castlink_ec2::{Service, Subnet};

use crate::observe::World;

/// Subnets with this tag are those where CAST AI places nodes.
const ROUTABLE: (&str, &str) = ("cast.ai/routable", "true");

/// The wanted zones, each with its subnets, best first.
#[derive(Debug)]
pub(crate) struct Zones<'a>(BTreeMap<&'a str, Vec<&'a Subnet>>);

impl<'a> Zones<'a> {
    /// Zones where nodes may be, and the subnets that can be used there.
    pub(crate) fn of(world: &'a World) -> Self {
        let usable: Vec<&Subnet> = world
            .subnets
            .iter()
            .filter(|subnet| is_usable(world, subnet))
            .collect();
        let wanted = wanted(world, &usable);
        let used: BTreeSet<&str> = world
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.state.is_live())
            .flat_map(|endpoint| endpoint.subnets.iter().map(String::as_str))
            .collect();
        let mut zones: BTreeMap<&str, Vec<&Subnet>> = BTreeMap::new();
        for subnet in usable {
            if wanted.contains(subnet.zone.as_str()) {
                zones.entry(&subnet.zone).or_default().push(subnet);
            }
        }
        for subnets in zones.values_mut() {
            // Subnets that have endpoints already come before those with more free
            // addresses, so that a run that was cut off continues where it was.
            subnets.sort_by_key(|subnet| {
                let public = world.public.contains_key(&subnet.id);
                let used = used.contains(subnet.id.as_str());
                (
                    !is_routable(subnet),
                    public,
                    !used,
                    Reverse(subnet.free),
                    subnet.id.as_str(),
                )
            });
        }
        Self(zones)
    }

    /// Names of all wanted zones.
    pub(crate) fn names(&self) -> Vec<&'a str> {
        self.0.keys().copied().collect()
    }

    /// The wanted zones where `service` is offered.
    pub(crate) fn offering(&self, service: &Service) -> Vec<&'a str> {
        let offered = self
            .0
            .iter()
            .filter(|(_, subnets)| subnets.iter().any(|subnet| service.offered_in(subnet)));
        offered.map(|(zone, _)| *zone).collect()
    }

    /// The best subnet of `zone` with an address for each of `endpoints` endpoints.
    ///
    /// # Errors
    /// When none has that many.
    pub(crate) fn pick(&self, zone: &str, endpoints: usize) -> Result<&'a Subnet, Failure> {
        let subnets = self.0.get(zone).map(Vec::as_slice).unwrap_or_default();
        let fits =
            |subnet: &&&Subnet| usize::try_from(subnet.free).is_ok_and(|free| free >= endpoints);
        subnets
            .iter()
            .find(fits)
            .copied()
            .ok_or_else(|| too_full(zone, endpoints, subnets))
    }
}

fn is_usable(world: &World, subnet: &Subnet) -> bool {
    let named = &world.scope.named;
    // An endpoint's interface has an IPv4 address.
    (named.is_empty() || named.contains(&subnet.id)) && !subnet.cidr.is_empty()
}

/// Tagged as one where CAST AI places nodes.
pub(crate) fn is_routable(subnet: &Subnet) -> bool {
    subnet
        .tags
        .get(ROUTABLE.0)
        .is_some_and(|value| value == ROUTABLE.1)
}

/// The zones of the first of these that there is: named subnets, tagged subnets, the
/// cluster's subnets, private subnets, any subnets.
fn wanted<'a>(world: &World, usable: &[&'a Subnet]) -> BTreeSet<&'a str> {
    let of = |test: &dyn Fn(&Subnet) -> bool| -> BTreeSet<&'a str> {
        usable
            .iter()
            .filter(|subnet| test(subnet))
            .map(|subnet| subnet.zone.as_str())
            .collect()
    };
    let all = |_: &Subnet| true;
    if !world.scope.named.is_empty() {
        return of(&all);
    }
    let node = |subnet: &Subnet| world.scope.nodes.contains(&subnet.id);
    let private = |subnet: &Subnet| !world.public.contains_key(&subnet.id);
    let rules: [&dyn Fn(&Subnet) -> bool; 4] = [&is_routable, &node, &private, &all];
    rules
        .into_iter()
        .map(of)
        .find(|zones| !zones.is_empty())
        .unwrap_or_default()
}

fn too_full(zone: &str, endpoints: usize, subnets: &[&Subnet]) -> Failure {
    let free: Vec<String> = subnets
        .iter()
        .map(|subnet| format!("{} has {}", subnet.id, subnet.free))
        .collect();
    Failure::failed(format!(
        "{endpoints} free addresses are needed in {zone}: {}",
        free.join(", ")
    ))
    .hint("free some, or name subnets that have them with --subnet")
}

#[cfg(test)]
mod tests {
    use castlink_ec2::{Endpoint, State, Tags};

    use super::*;

    fn subnet(id: &str, zone: &str, free: u32) -> Subnet {
        Subnet {
            id: id.into(),
            zone: zone.into(),
            cidr: "10.0.0.0/24".into(),
            free,
            ..Subnet::default()
        }
    }

    fn routable(mut subnet: Subnet) -> Subnet {
        subnet.tags = Tags::from([(ROUTABLE.0.into(), ROUTABLE.1.into())]);
        subnet
    }

    fn world(subnets: Vec<Subnet>, public: &[&str]) -> World {
        World {
            subnets,
            public: public
                .iter()
                .map(|id| ((*id).to_owned(), "igw-1".to_owned()))
                .collect(),
            ..World::default()
        }
    }

    fn picks(world: &World, need: usize) -> Vec<(String, String)> {
        let zones = Zones::of(world);
        let pick = |zone: &str| {
            zones
                .pick(zone, need)
                .map_or_else(|err| err.to_string(), |subnet| subnet.id.clone())
        };
        zones
            .names()
            .into_iter()
            .map(|zone| (zone.to_owned(), pick(zone)))
            .collect()
    }

    fn check(world: &World, want: &[(&str, &str)]) {
        let want: Vec<(String, String)> = want
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        assert_eq!(picks(world, 6), want);
    }

    #[test]
    fn one_subnet_per_zone_the_emptiest_or_the_lowest_id() {
        let subnets = vec![
            subnet("b", "z1", 100),
            subnet("a", "z1", 100),
            subnet("c", "z1", 50),
            subnet("d", "z2", 9),
        ];
        check(&world(subnets, &[]), &[("z1", "a"), ("z2", "d")]);
    }

    #[test]
    fn tagged_subnets_decide_the_zones() {
        let subnets = vec![
            routable(subnet("a", "z1", 10)),
            subnet("b", "z1", 99),
            subnet("c", "z2", 99),
        ];
        check(&world(subnets, &[]), &[("z1", "a")]);
    }

    #[test]
    fn public_subnets_come_last() {
        let subnets = vec![
            subnet("a", "z1", 99),
            subnet("b", "z1", 10),
            subnet("c", "z2", 99),
        ];
        check(&world(subnets, &["a", "c"]), &[("z1", "b")]);
        check(&world(vec![subnet("a", "z1", 99)], &["a"]), &[("z1", "a")]);
    }

    #[test]
    fn a_clusters_zones_and_named_subnets() {
        let subnets = vec![
            subnet("a", "z1", 99),
            subnet("b", "z2", 99),
            subnet("c", "z2", 10),
        ];
        let mut of_cluster = world(subnets.clone(), &[]);
        of_cluster.scope.nodes = vec!["c".into()];
        check(&of_cluster, &[("z2", "b")]);
        let mut named = world(subnets, &[]);
        named.scope.named = vec!["c".into(), "a".into()];
        check(&named, &[("z1", "a"), ("z2", "c")]);
    }

    #[test]
    fn a_subnet_in_use_stays_the_choice_although_another_is_emptier() {
        let mut world = world(vec![subnet("a", "z1", 98), subnet("b", "z1", 100)], &[]);
        world.endpoints = vec![Endpoint {
            subnets: vec!["a".into()],
            state: State::Pending,
            ..Endpoint::default()
        }];
        check(&world, &[("z1", "a")]);
    }

    #[test]
    fn a_full_subnet_is_passed_over_and_a_full_zone_is_an_error() {
        let full = world(
            vec![routable(subnet("a", "z1", 5)), subnet("b", "z1", 6)],
            &[],
        );
        check(&full, &[("z1", "b")]);
        let text = picks(&world(vec![subnet("a", "z1", 5)], &[]), 6)[0]
            .1
            .clone();
        assert_eq!(text, "6 free addresses are needed in z1: a has 5");
    }
}
