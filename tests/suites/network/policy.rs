//! `castlink-endpoints iam-policy`: what it allows is what the commands ask for, no less
//! and no more; and `catalogue`.

use std::collections::BTreeSet;

use castlink_tests::wire::Entry;
use serde_json::Value;

use crate::fixture::{World, quick, with_world};

const KVISOR: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-03281b4e5730a84b6";

/// What EC2 asks for besides the call itself: tags with the creation, and the zone that
/// private DNS is.
const IMPLIED: [&str; 2] = ["ec2:CreateTags", "route53:AssociateVPCWithHostedZone"];

async fn allowed(world: &World, verb: &str) -> BTreeSet<String> {
    let args = ["iam-policy", "--for", verb, "--cluster", &world.cluster];
    let said = world.castlink(0, &args).await.stdout;
    let policy: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    let mut actions = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        let listed = statement["Action"].as_array().unwrap();
        actions.extend(listed.iter().map(|one| one.as_str().unwrap().to_owned()));
    }
    assert!(!actions.iter().any(|one| one.contains('*')), "{actions:?}");
    actions
}

fn asked(entries: &[Entry]) -> BTreeSet<String> {
    let one = |entry: &Entry| format!("{}:{}", entry.service, entry.action);
    entries.iter().map(one).collect()
}

fn without_implied(mut actions: BTreeSet<String>) -> BTreeSet<String> {
    actions.retain(|one| !IMPLIED.contains(&one.as_str()));
    actions
}

#[test]
fn a_policy_is_what_its_verb_asks_for_and_no_more() {
    with_world(quick(), async |world| {
        let cluster = ["--cluster", world.cluster.as_str()];
        let with =
            |verb: &[&'static str]| -> Vec<&str> { verb.iter().copied().chain(cluster).collect() };
        let (_, plan) = world.watched(world.castlink(0, &with(&["plan"]))).await;
        assert_eq!(asked(&plan), allowed(world, "plan").await);

        // Everything that apply may have to do: a group, rules, endpoints, a change.
        world.stranger_of(KVISOR).await;
        let (_, apply) = world.watched(world.castlink(0, &with(&["apply"]))).await;
        let may = allowed(world, "apply").await;
        for action in IMPLIED {
            assert!(may.contains(action), "{action}");
        }
        assert_eq!(asked(&apply), without_implied(may));

        let (_, status) = world.watched(world.castlink(0, &with(&["status"]))).await;
        assert_eq!(asked(&status), allowed(world, "status").await);
        let args = with(&["destroy", "--yes"]);
        // Their endpoint uses our group: it stays, so their endpoint goes first.
        world.delete_strangers().await;
        let (_, destroy) = world.watched(world.castlink(0, &args)).await;
        assert_eq!(asked(&destroy), allowed(world, "destroy").await);
    });
}

impl World {
    /// An endpoint that somebody else made, in one zone, without private DNS.
    async fn stranger_of(&self, service: &str) {
        let fields = [
            ("VpcId", self.vpc.as_str()),
            ("GroupName", "theirs"),
            ("GroupDescription", "theirs"),
        ];
        let group = self.one("groupId", "CreateSecurityGroup", &fields).await;
        let fields = [
            ("VpcEndpointType", "Interface"),
            ("VpcId", self.vpc.as_str()),
            ("ServiceName", service),
            ("SubnetId.1", self.subnet("b")),
            ("SecurityGroupId.1", &group),
            ("PrivateDnsEnabled", "false"),
        ];
        self.ec2("CreateVpcEndpoint", &fields).await;
    }

    async fn delete_strangers(&self) {
        for endpoint in self.live().await {
            if !endpoint.managed {
                self.ec2("DeleteVpcEndpoints", &[("VpcEndpointId.1", &endpoint.id)])
                    .await;
            }
        }
    }
}

#[test]
fn a_policy_needs_a_region_and_nothing_else_of_aws() {
    with_world(quick(), async |world| {
        let (outcome, asked) = world
            .watched(async {
                world
                    .product(
                        "castlink-endpoints",
                        &["iam-policy", "--region", "cn-north-1"],
                    )
                    .without("AWS_ACCESS_KEY_ID")
                    .run()
                    .await
                    .unwrap()
            })
            .await;
        assert!(asked.is_empty());
        // No services of CAST AI are known there: it says so instead of guessing.
        assert_eq!(outcome.code, 2, "{outcome}");
        assert!(
            outcome
                .stderr
                .contains("cn-north-1 is not in the catalogue"),
            "{outcome}"
        );
    });
}

#[test]
fn the_catalogue_says_what_it_knows_and_where_from() {
    with_world(quick(), async |world| {
        let file = world.home.path().join("more.toml");
        std::fs::write(
            &file,
            "[regions.eu-west-1]\nrest-api = 'vpce-svc-0123456789abcdef0'\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let run = async |args: &[&str]| {
            let product = world.product("castlink-endpoints", args);
            product.without("AWS_REGION").run().await.unwrap()
        };
        let all = run(&["catalogue", "--catalogue", file]).await;
        assert_eq!(all.code, 0, "{all}");
        for text in [
            "us-east-2   telemetry        com.amazonaws.vpce.us-east-2.vpce-svc-0bbbaa8913160adfb ",
            "com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0",
            "25 services in 5 regions",
            "2025-10-15",
        ] {
            assert!(all.stdout.contains(text), "no {text:?} in\n{all}");
        }
        let one = run(&[
            "catalogue",
            "--region",
            "eu-west-1",
            "--catalogue",
            file,
            "-o",
            "json",
        ])
        .await;
        let records = one.records_of("service").unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["origin"], file);
        let none = run(&["catalogue", "--region", "eu-west-1"]).await;
        assert_eq!(none.code, 2, "{none}");
    });
}
