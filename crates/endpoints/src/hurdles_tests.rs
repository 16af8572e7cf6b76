//! Cases for what stands in the way, on the planner's network.

use castlink_core::Exit;
use castlink_ec2::{State, Tags};

use super::*;
use crate::{
    observe::World,
    planner::{
        plan,
        tests::{endpoint, group, managed, settings, settled, world},
    },
};

const NAME: &str = "84b6.cast.ai";

/// The kvisor endpoint is missing, and its subnets are in the offered zones.
fn nameless() -> World {
    let mut world = world();
    world.subnets.pop();
    world
}

fn blocked(world: &World) -> Vec<String> {
    let plan = plan(&settings(), world);
    let failures = plan.blocked().inspect(|failure| {
        assert_eq!(failure.exit(), Exit::Conflict);
        assert!(failure.hint_text().unwrap().contains("--no-private-dns"));
    });
    failures.map(ToString::to_string).collect()
}

#[test]
fn a_name_is_taken_by_an_endpoint_or_a_zone_and_it_is_said_by_which() {
    let other = Endpoint {
        id: "vpce-9".into(),
        service: "com.amazonaws.us-east-1.other".into(),
        dns_names: vec![format!("{NAME}.")],
        ..endpoint(&["subnet-a"], Tags::new())
    };
    let mut by_endpoint = nameless();
    by_endpoint.others = vec![other.clone()];
    assert_eq!(
        blocked(&by_endpoint),
        [
            "the name of kvisor, 84b6.cast.ai, is taken in vpc-1 by vpce-9 of com.amazonaws.us-east-1.other"
        ]
    );
    by_endpoint.others[0].state = State::Deleted;
    assert!(blocked(&by_endpoint).is_empty());
    let zone = |service: Option<&str>| HostedZone {
        id: "Z1".into(),
        name: NAME.to_uppercase(),
        account: "111122223333".into(),
        service: service.map(Into::into),
    };
    let mut by_zone = nameless();
    by_zone.hosted_zones = vec![zone(None)];
    assert_eq!(
        blocked(&by_zone),
        [
            "the name of kvisor, 84B6.CAST.AI, is taken in vpc-1 by the private hosted zone Z1 of account 111122223333"
        ]
    );
    by_zone.hosted_zones = vec![zone(Some("vpce.amazonaws.com"))];
    assert!(blocked(&by_zone).is_empty(), "an endpoint's own zone");
}

#[test]
fn an_endpoint_that_has_its_names_is_not_in_its_own_way() {
    let mut world = settled(endpoint(&["subnet-a", "subnet-b"], managed()));
    world.endpoints[0].dns_names = vec![NAME.into()];
    assert!(blocked(&world).is_empty());
}

#[test]
fn a_named_group_must_let_the_known_nodes_in_else_some_range() {
    let mut settings = settings();
    settings.groups = vec!["sg-1".into()];
    let mut world = nameless();
    for (sources, nodes, problem, warning) in [
        (&["10.0.0.0/8", "100.64.0.0/10"][..], &[][..], None, false),
        (&["10.0.0.0/8"], &[], None, true),
        (
            &["192.168.0.0/16"],
            &[],
            Some("10.0.0.0/16, 100.64.0.0/16"),
            false,
        ),
        (&["10.0.0.0/24"], &["subnet-a"], None, true),
        (
            &["100.64.0.0/10"],
            &["subnet-a"],
            Some("10.0.0.0/24"),
            false,
        ),
    ] {
        world.groups = vec![group("sg-1", sources)];
        world.scope.nodes = nodes.iter().map(|id| (*id).to_owned()).collect();
        let plan = plan(&settings, &world);
        let said: Vec<String> = plan.problems.iter().map(ToString::to_string).collect();
        let want = problem.map(|ranges| {
            format!(
                "sg-1 does not let {ranges} in on 443: nodes there would not reach the endpoints"
            )
        });
        assert_eq!(
            said,
            want.into_iter().collect::<Vec<_>>(),
            "{sources:?} {nodes:?}"
        );
        let warned = plan
            .warnings
            .iter()
            .any(|line| line.contains("pods with addresses"));
        assert_eq!(warned, warning, "{sources:?} {nodes:?}");
    }
}

#[test]
fn more_endpoints_than_the_quota_are_a_warning() {
    let mut world = nameless();
    world.others = vec![endpoint(&["subnet-a"], Tags::new()); 49];
    let warned = |world: &World| {
        let plan = plan(&settings(), world);
        plan.warnings.iter().any(|line| line.contains("L-29B6F2EB"))
    };
    assert!(warned(&world));
    world.others.pop();
    assert!(!warned(&world), "fifty fit");
}

#[test]
fn dns_attributes_are_a_problem_or_a_step() {
    let mut world = nameless();
    world.vpc.dns_hostnames = false;
    let mut settings = settings();
    assert_eq!(plan(&settings, &world).problems.len(), 1);
    settings.enable_vpc_dns = true;
    let plan = plan(&settings, &world);
    assert!(plan.problems.is_empty());
    assert_eq!(plan.dns, [DnsAttribute::Hostnames]);
}

#[test]
fn what_is_named_instead_replaces_on_our_endpoints_alone() {
    let mut settings = settings();
    settings.groups = vec!["sg-1".into()];
    for (tags, want) in [(managed(), true), (Tags::new(), false)] {
        let mut world = settled(endpoint(&["subnet-a", "subnet-b"], tags));
        world.subnets.push(castlink_ec2::Subnet {
            id: "subnet-a2".into(),
            ..world.subnets[0].clone()
        });
        world
            .groups
            .push(group("sg-1", &["10.0.0.0/8", "100.64.0.0/10"]));
        world.scope.named = vec!["subnet-a2".into(), "subnet-b".into()];
        let plan = plan(&settings, &world);
        let change = match &plan.items[0].verdict {
            Verdict::Modify { change, .. } => Some(change),
            _ => None,
        };
        assert_eq!(change.is_some(), want);
        if let Some(change) = change {
            assert_eq!(change.add_subnets, ["subnet-a2"]);
            assert_eq!(change.remove_subnets, ["subnet-a"]);
            assert_eq!(change.add_groups, ["sg-1"]);
            assert_eq!(change.remove_groups, ["sg-own"]);
            assert_eq!(plan.items[0].zones, ["us-east-1a", "us-east-1b"]);
        }
    }
}
