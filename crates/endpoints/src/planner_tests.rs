//! Cases for the planner: a network as data in, a plan as text out.

use castlink_core::{Exit, config::Config};
use castlink_ec2::{Rule, Subnet, Tags, Vpc};

use super::*;

const VPC: &str = "vpc-1";
const KVISOR: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-03281b4e5730a84b6";
const OWN: &str = "castlink-endpoints-vpc-1";

/// Two services in two of three zones, nothing made yet.
pub(crate) fn world() -> World {
    let settings = settings();
    World {
        vpc: Vpc {
            id: VPC.into(),
            cidrs: vec!["10.0.0.0/16".into(), "100.64.0.0/16".into()],
            dns_support: true,
            dns_hostnames: true,
        },
        subnets: ["a", "b", "c"].map(subnet).into(),
        services: settings
            .services
            .iter()
            .map(|service| (service.name.clone(), offer(&service.name)))
            .collect(),
        ..World::default()
    }
}

pub(crate) fn settings() -> Settings {
    let mut config = Config::default();
    config.endpoints.services = vec!["kvisor".into(), "telemetry".into()];
    Settings::resolve(&config, "us-east-1").unwrap()
}

pub(crate) fn subnet(letter: &str) -> Subnet {
    Subnet {
        id: format!("subnet-{letter}"),
        vpc: VPC.into(),
        zone: format!("us-east-1{letter}"),
        cidr: "10.0.0.0/24".into(),
        free: 100,
        ..Subnet::default()
    }
}

pub(crate) fn offer(name: &str) -> Service {
    Service {
        name: name.into(),
        zones: vec!["us-east-1a".into(), "us-east-1b".into()],
        private_names: vec![format!("{}.cast.ai", &name[name.len() - 4..])],
        names_verified: true,
        ..Service::default()
    }
}

pub(crate) fn managed() -> Tags {
    settings().tags_for("x")
}

pub(crate) fn endpoint(subnets: &[&str], tags: Tags) -> Endpoint {
    Endpoint {
        id: "vpce-1".into(),
        service: KVISOR.into(),
        state: State::Available,
        subnets: subnets.iter().map(|id| (*id).to_owned()).collect(),
        groups: vec!["sg-own".into()],
        private_dns: true,
        tags,
        ..Endpoint::default()
    }
}

pub(crate) fn group(id: &str, cidrs: &[&str]) -> Group {
    Group {
        id: id.into(),
        name: if id == "sg-own" {
            OWN.into()
        } else {
            id.into()
        },
        ingress: vec![Rule {
            protocol: "tcp".into(),
            ports: Some((443, 443)),
            cidrs: cidrs.iter().map(|cidr| (*cidr).to_owned()).collect(),
            references: Vec::new(),
        }],
        tags: if id == "sg-own" {
            managed()
        } else {
            Tags::new()
        },
    }
}

/// One line per thing in the plan.
pub(crate) fn text(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .problems
        .iter()
        .map(|problem| format!("problem: {problem}"))
        .collect();
    lines.extend(plan.group.as_ref().map(|group| {
        format!(
            "group {} admits [{}]",
            group.id.as_deref().unwrap_or("new"),
            group.admit.join(" ")
        )
    }));
    lines.extend(
        plan.items
            .iter()
            .map(|item| format!("{}: {}", item.service.role, verdict(item))),
    );
    lines.extend(
        plan.warnings
            .iter()
            .map(|warning| format!("warning: {warning}")),
    );
    lines
}

fn verdict(item: &Item) -> String {
    match &item.verdict {
        Verdict::Create {
            spec,
            own_group,
            after,
        } => format!(
            "create in {} groups {:?} own {own_group} dns {} after {}",
            spec.subnets.join(" "),
            spec.groups,
            spec.private_dns,
            after.as_deref().unwrap_or("-"),
        ),
        Verdict::Modify { change, own_group } => format!(
            "modify {} +{:?} +{:?} own {own_group} dns {:?}",
            change.id, change.add_subnets, change.add_groups, change.private_dns
        ),
        Verdict::Present => "present".into(),
        Verdict::Pending(state) => format!("pending {state}"),
        Verdict::Blocked(failure) => format!("blocked: {failure}"),
    }
}

pub(crate) fn check(settings: &Settings, world: &World, want: &[&str]) {
    assert_eq!(text(&plan(settings, world)), want);
}

const CREATE: &str = "create in subnet-a subnet-b groups [] own true dns true after -";
const NOT_IN_C: &str =
    "warning: not offered in us-east-1c: kvisor, telemetry; nodes there go through another zone";

/// `world()` in two zones, with our group and a finished telemetry endpoint.
pub(crate) fn settled(kvisor: Endpoint) -> World {
    let mut world = world();
    world.subnets.pop();
    world.groups = vec![group("sg-own", &["10.0.0.0/16", "100.64.0.0/16"])];
    let telemetry = Endpoint {
        id: "vpce-2".into(),
        service: settings().services[1].name.clone(),
        ..endpoint(&["subnet-a", "subnet-b"], managed())
    };
    world.endpoints = vec![kvisor, telemetry];
    world
}

#[test]
fn nothing_there_makes_a_group_and_one_endpoint_per_service_where_offered() {
    let kvisor = format!("kvisor: {CREATE}");
    let telemetry = format!("telemetry: {CREATE}");
    let want = [
        "group new admits [10.0.0.0/16 100.64.0.0/16]",
        &kvisor,
        &telemetry,
        NOT_IN_C,
    ];
    let plan = plan(&settings(), &world());
    assert_eq!(text(&plan), want);
    assert_eq!(plan.paid_zones, 4);
    assert!(!plan.is_empty());
}

#[test]
fn everything_there_is_an_empty_plan() {
    let world = settled(endpoint(&["subnet-a", "subnet-b"], managed()));
    check(
        &settings(),
        &world,
        &[
            "group sg-own admits []",
            "kvisor: present",
            "telemetry: present",
        ],
    );
    assert!(plan(&settings(), &world).is_empty());
}

#[test]
fn a_missing_zone_and_missing_names_are_one_change() {
    let mut world = settled(endpoint(&["subnet-a"], managed()));
    world.endpoints[0].private_dns = false;
    let want = r#"kvisor: modify vpce-1 +["subnet-b"] +[] own false dns Some(true)"#;
    check(
        &settings(),
        &world,
        &["group sg-own admits []", want, "telemetry: present"],
    );
}

#[test]
fn an_endpoint_of_somebody_else_is_adopted_and_gets_our_group_only_when_it_shuts_nodes_out() {
    for (theirs, want) in [
        (
            group("sg-theirs", &["10.0.0.0/8", "100.64.0.0/10"]),
            "kvisor: present",
        ),
        (
            group("sg-theirs", &["10.0.0.0/16"]),
            "kvisor: modify vpce-1 +[] +[] own true dns None",
        ),
    ] {
        let mut adopted = endpoint(&["subnet-a", "subnet-b"], Tags::new());
        adopted.groups = vec!["sg-theirs".into()];
        let mut world = settled(adopted);
        world.groups.push(theirs);
        check(
            &settings(),
            &world,
            &["group sg-own admits []", want, "telemetry: present"],
        );
    }
}

#[test]
fn a_cidr_that_was_added_to_the_vpc_is_let_in() {
    let mut world = settled(endpoint(&["subnet-a", "subnet-b"], managed()));
    world.vpc.cidrs.push("2600:1f18::/56".into());
    check(
        &settings(),
        &world,
        &[
            "group sg-own admits [2600:1f18::/56]",
            "kvisor: present",
            "telemetry: present",
        ],
    );
    assert!(!plan(&settings(), &world).is_empty());
}

#[test]
fn named_groups_replace_ours_and_must_exist() {
    let mut settings = settings();
    settings.groups = vec!["sg-1".into()];
    let mut world = world();
    world.subnets.pop();
    let create = r#"create in subnet-a subnet-b groups ["sg-1"] own false dns true after -"#;
    let (kvisor, telemetry) = (format!("kvisor: {create}"), format!("telemetry: {create}"));
    check(
        &settings,
        &world,
        &[
            "problem: no such security group in vpc-1: sg-1",
            &kvisor,
            &telemetry,
        ],
    );
    world.groups = vec![group("sg-1", &["10.0.0.0/8", "100.64.0.0/10"])];
    check(&settings, &world, &[&kvisor, &telemetry]);
}

#[test]
fn states_that_need_time_or_somebody_else() {
    for (state, want) in [
        (State::Pending, "kvisor: pending pending"),
        (
            State::PendingAcceptance,
            "kvisor: pending pendingAcceptance",
        ),
        (State::Partial, "kvisor: pending partial"),
    ] {
        let mut world = settled(endpoint(&["subnet-a", "subnet-b"], managed()));
        world.endpoints[0].state = state;
        check(
            &settings(),
            &world,
            &["group sg-own admits []", want, "telemetry: present"],
        );
        assert!(plan(&settings(), &world).is_empty());
    }
}

#[test]
fn dead_endpoints_are_replaced_and_leaving_ones_waited_out() {
    for (state, after, warning) in [
        (
            State::Failed,
            "-",
            Some("warning: vpce-1 (kvisor) is failed and left alone: Boom"),
        ),
        (
            State::Rejected,
            "-",
            Some("warning: vpce-1 (kvisor) is rejected and left alone: Boom"),
        ),
        (State::Deleting, "vpce-1", None),
        (State::Deleted, "-", None),
    ] {
        let mut world = settled(endpoint(&["subnet-a", "subnet-b"], managed()));
        world.endpoints[0].state = state;
        world.endpoints[0].last_error = Some("Boom".into());
        let create = format!(
            "kvisor: create in subnet-a subnet-b groups [] own true dns true after {after}"
        );
        let mut want = vec!["group sg-own admits []", &create, "telemetry: present"];
        want.extend(warning);
        check(&settings(), &world, &want);
    }
}

#[test]
fn acceptance_puts_private_dns_off_until_later() {
    let mut world = world();
    world.subnets.pop();
    for service in world.services.values_mut() {
        service.acceptance = true;
    }
    let plan = plan(&settings(), &world);
    for item in &plan.items {
        assert!(
            matches!(&item.verdict, Verdict::Create { spec, .. } if !spec.private_dns),
            "{item:?}"
        );
    }
}

#[test]
fn a_service_without_verified_names_goes_without_private_dns() {
    for (names, verified, why) in [
        (vec![], true, "has no private DNS name"),
        (
            vec!["x.cast.ai".to_owned()],
            false,
            "has a private DNS name that is not verified",
        ),
    ] {
        let mut world = world();
        let service = world.services.get_mut(KVISOR).unwrap();
        (service.private_names, service.names_verified) = (names, verified);
        let plan = plan(&settings(), &world);
        assert!(
            matches!(&plan.items[0].verdict, Verdict::Create { spec, .. } if !spec.private_dns)
        );
        let want = format!("kvisor {why}: its endpoint is made without private DNS");
        assert!(plan.warnings.contains(&want), "{:?}", plan.warnings);
    }
}

#[test]
fn what_stands_in_the_way_of_all_is_found_before_anything_is_changed() {
    let mut world = world();
    world.vpc.dns_hostnames = false;
    world.subnets[0].free = 1;
    world.scope.named = vec!["subnet-a".into(), "subnet-z".into()];
    let plan = plan(&settings(), &world);
    let said: Vec<String> = plan.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "enableDnsHostnames is off in vpc-1: private DNS needs it",
            "subnet subnet-z is not in vpc-1",
            "2 free addresses are needed in us-east-1a: subnet-a has 1",
        ]
    );
    assert!(
        plan.problems[0]
            .hint_text()
            .unwrap()
            .contains("--enable-dns-hostnames")
    );
    let mut settings = settings();
    settings.private_dns = false;
    assert_eq!(super::plan(&settings, &world).problems.len(), 2);
}

#[test]
fn one_service_that_cannot_be_made_does_not_stop_the_other() {
    let mut world = world();
    world.subnets.pop();
    world.services.remove(KVISOR);
    let first = plan(&settings(), &world);
    assert_eq!(first.blocked().count(), 1);
    assert!(first.items[1].is_step());
    let failure = first.blocked().next().unwrap();
    assert_eq!(failure.exit(), Exit::Failed);
    for cause in [
        "name is wrong",
        "another region",
        "not allowed this AWS account",
    ] {
        assert!(failure.hint_text().unwrap().contains(cause), "{failure:?}");
    }
    let mut elsewhere = offer(KVISOR);
    elsewhere.zones = vec!["us-east-1f".into()];
    world.services.insert(KVISOR.into(), elsewhere);
    let second = plan(&settings(), &world);
    let text = second.blocked().next().unwrap().to_string();
    assert_eq!(
        text,
        "kvisor is offered in us-east-1f, the subnets are in us-east-1a, us-east-1b"
    );
}
