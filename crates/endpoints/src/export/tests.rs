//! One plan with something of every kind, in all three formats, compared with files.
//! `BLESS=1 cargo test` writes them anew; read the difference.

use castlink_core::config::Config;
use castlink_ec2::{Endpoint, Rule, Service, State, Subnet, Tags, Vpc};

use super::*;
use crate::{observe::World, planner, settings::is_managed};

const KVISOR: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-03281b4e5730a84b6";
const REST: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-0f648001d494b9a46";

fn settings() -> Settings {
    let mut config = Config::default();
    config.endpoints.services = ["kvisor", "rest-api", "telemetry"].map(Into::into).into();
    config.endpoints.aws_services = ["s3", "sts"].map(Into::into).into();
    config.endpoints.tags = Tags::from([("owner".into(), r#"it's "${HOME}" %{x}"#.into())]);
    Settings::resolve(&config, "us-east-1").unwrap()
}

/// Kvisor has somebody's endpoint in one zone, telemetry is not for this account, our
/// group lacks a range, and the provider of the REST API accepts by hand.
fn world() -> World {
    let subnet = |letter: &str| Subnet {
        id: format!("subnet-{letter}"),
        zone: format!("us-east-1{letter}"),
        cidr: "10.0.0.0/24".into(),
        free: 99,
        ..Subnet::default()
    };
    let service = |name: &str, gateway| Service {
        name: name.into(),
        private_names: vec![format!("{name}.example")],
        names_verified: true,
        acceptance: name == REST,
        gateway,
        ..Service::default()
    };
    let services = [
        service(KVISOR, false),
        service(REST, false),
        service("com.amazonaws.us-east-1.s3", true),
        service("com.amazonaws.us-east-1.sts", false),
    ];
    World {
        vpc: Vpc {
            id: "vpc-1".into(),
            cidrs: vec!["10.0.0.0/16".into(), "2600:1f18::/56".into()],
            dns_support: true,
            dns_hostnames: true,
        },
        subnets: vec![subnet("a"), subnet("b")],
        tables: ["a", "b"]
            .map(|letter| (format!("subnet-{letter}"), "rtb-1".to_owned()))
            .into(),
        services: services
            .map(|service| (service.name.clone(), service))
            .into(),
        endpoints: vec![Endpoint {
            id: "vpce-kvisor".into(),
            service: KVISOR.into(),
            state: State::Available,
            subnets: vec!["subnet-a".into()],
            groups: vec!["sg-own".into()],
            tags: Tags::from([
                ("aws:cloudformation:stack-name".into(), "theirs".into()),
                ("Name".into(), "theirs".into()),
            ]),
            ..Endpoint::default()
        }],
        groups: vec![castlink_ec2::Group {
            id: "sg-own".into(),
            name: "castlink-endpoints-vpc-1".into(),
            ingress: vec![Rule {
                protocol: "tcp".into(),
                ports: Some((443, 443)),
                cidrs: vec!["10.0.0.0/16".into()],
                references: Vec::new(),
            }],
            tags: settings().tags_for("castlink-endpoints-vpc-1"),
        }],
        ..World::default()
    }
}

/// Nothing there yet.
fn bare() -> World {
    World {
        endpoints: Vec::new(),
        groups: Vec::new(),
        ..world()
    }
}

fn design(world: &World) -> Design {
    let settings = settings();
    Design::of(&settings, world, &planner::plan(&settings, world))
}

fn check(world: &World, format: Format, file: &str) {
    let got = render(&design(world), format);
    let path = format!("{}/src/export/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap();
    assert!(got == want, "{file} differs; got:\n{got}");
}

#[test]
fn the_exports_are_those_of_the_files() {
    for (world, name) in [(world(), "some"), (bare(), "bare")] {
        check(&world, Format::Terraform, &format!("{name}.tf"));
        check(&world, Format::AwsCli, &format!("{name}.sh"));
        check(&world, Format::Cloudformation, &format!("{name}.json"));
    }
}

#[test]
fn a_design_is_what_is_there_afterwards() {
    let design = design(&world());
    let find = |role: &str| {
        design
            .endpoints
            .iter()
            .find(|one| one.role == role)
            .unwrap()
    };
    let kvisor = find("kvisor");
    assert_eq!(kvisor.subnets, ["subnet-a", "subnet-b"]);
    assert_eq!(kvisor.groups, [design::GroupRef::Own]);
    assert!(kvisor.private_dns && kvisor.change.is_some() && !is_managed(&kvisor.tags));
    assert!(!kvisor.tags.keys().any(|key| key.starts_with("aws:")));
    let rest = find("rest-api");
    assert!(rest.after_acceptance && !rest.private_dns && rest.id.is_none());
    let s3 = find("s3");
    assert!(s3.gateway && s3.groups.is_empty() && s3.subnets.is_empty());
    assert_eq!(s3.route_tables, ["rtb-1"]);
    assert_eq!(design.left_out[0].0, "telemetry");
}

#[test]
fn labels_never_meet() {
    let mut config = Config::default();
    config.endpoints.services = vec!["kvisor".into()];
    let mut settings = Settings::resolve(&config, "us-east-1").unwrap();
    let mut other = settings.services[0].clone();
    for role in ["kvi-sor", "KVISOR", "1st"] {
        other.role = role.into();
        settings.services.push(other.clone());
    }
    let world = bare();
    let design = Design::of(&settings, &world, &planner::plan(&settings, &world));
    let labels: Vec<&str> = design
        .endpoints
        .iter()
        .map(|one| one.label.as_str())
        .collect();
    assert_eq!(labels, ["kvisor", "kvi_sor_2", "KVISOR_3", "_1st"]);
}

#[test]
fn the_script_switches_on_what_private_dns_needs_of_the_vpc() {
    let mut settings = settings();
    let mut world = bare();
    world.vpc.dns_hostnames = false;
    let call = "ec2 modify-vpc-attribute --vpc-id \"$vpc\" --enable-dns-hostnames\n";
    for (enable, want) in [(true, true), (false, false)] {
        settings.enable_vpc_dns = enable;
        let design = Design::of(&settings, &world, &planner::plan(&settings, &world));
        assert_eq!(cli::render(&design).contains(call), want);
    }
}
