//! `castlink-endpoints plan`, `apply` and `status`.

use std::collections::BTreeSet;

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;
use castlink_tests::wire::Entry;

use crate::fixture::{World, count, list, quick, with_world, writes};

/// Calls a run may make when there is nothing to do, paging aside.
const READS: usize = 8;
const KVISOR: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-03281b4e5730a84b6";

fn creations(entries: &[Entry]) -> Vec<&Entry> {
    entries
        .iter()
        .filter(|entry| entry.action == "CreateVpcEndpoint")
        .collect()
}

#[test]
fn six_endpoints_are_made_together_and_a_second_run_changes_nothing() {
    with_world(quick(), async |world| {
        let (plan, asked) = world
            .watched(world.castlink(3, &["plan", "--exit-code"]))
            .await;
        assert_eq!(writes(&asked), [""; 0]);
        assert_eq!(asked.len(), READS + 1, "and whether names are taken");
        for text in [
            "6 endpoints to create",
            "1 security group to create",
            "18 endpoint zones: about $131 a month",
            "api.cast.ai",
        ] {
            assert!(plan.stdout.contains(text), "no {text:?} in\n{plan}");
        }
        assert!(
            plan.stderr
                .contains("not offered in us-east-1d: api-grpc, artifacts"),
            "{plan}"
        );

        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        let creations = creations(&asked);
        assert_eq!(creations.len(), 6);
        let looks = asked.iter().position(|entry| {
            entry.action == "DescribeVpcEndpoints" && entry.seq > creations[0].seq
        });
        assert!(
            asked[looks.unwrap()].seq > creations[5].seq,
            "all are made before the first is waited for"
        );
        let tokens: BTreeSet<_> = creations
            .iter()
            .map(|entry| &entry.params["ClientToken"])
            .collect();
        assert_eq!(tokens.len(), 6);
        for entry in creations {
            let said = |name: &str| entry.params.get(name).map(String::as_str);
            assert_eq!(said("VpcEndpointType"), Some("Interface"));
            assert_eq!(said("PrivateDnsEnabled"), Some("true"));
            assert_eq!(list(entry, "SecurityGroupId").len(), 1);
            let subnets = world.names(list(entry, "SubnetId"));
            assert!(
                subnets == ["a", "b", "c"] || subnets == ["a2", "b", "c"],
                "one private one per zone: {subnets:?}"
            );
        }
        for endpoint in world.live().await {
            assert_eq!(endpoint.state, "available");
            assert!(endpoint.private_dns && endpoint.managed, "{endpoint:?}");
        }

        let (again, asked) = world.watched(world.castlink(0, &["apply"])).await;
        assert_eq!(writes(&asked), [""; 0]);
        assert!(asked.len() <= READS, "{} calls", asked.len());
        assert!(
            again.stdout.contains("no changes: 6 endpoints as wanted"),
            "{again}"
        );
        world.castlink(0, &["plan", "--exit-code"]).await;
    });
}

#[test]
fn creations_do_not_wait_for_each_other() {
    with_world(quick(), async |world| {
        // The first service of the list: one after the other, it would be answered first.
        let first = "00d55140e30124b2f";
        world.fault(
            Fault::on("ec2", "CreateVpcEndpoint", Harm::Slow { millis: 1_500 }).containing(first),
        );
        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        let creations = creations(&asked);
        assert_eq!(creations.len(), 6);
        assert!(
            creations[5].params["ServiceName"].ends_with(first),
            "answered last"
        );
    });
}

#[test]
fn the_group_lets_in_every_range_of_the_vpc_and_nobody_else() {
    with_world(quick(), async |world| {
        world.castlink(0, &["apply", "--service", "kvisor"]).await;
        let group = world.live().await[0].groups[0].clone();
        let xml = world
            .ec2("DescribeSecurityGroups", &[("GroupId.1", &group)])
            .await;
        let ingress =
            &xml[xml.find("<ipPermissions>").unwrap()..xml.find("</ipPermissions>").unwrap()];
        let mut ranges = crate::fixture::texts(ingress, "cidrIp");
        ranges.sort();
        assert_eq!(ranges, ["10.0.0.0/16", "100.64.0.0/16"]);
        assert_eq!(crate::fixture::texts(ingress, "fromPort"), ["443"]);
        assert!(xml.contains(&format!("castlink-endpoints-{}", world.vpc)));
    });
}

#[test]
fn status_says_what_is_missing_and_what_is_there() {
    with_world(quick(), async |world| {
        let before = world.castlink(3, &["status", "-o", "json"]).await;
        let checks = before.records_of("check").unwrap();
        assert_eq!(checks.len(), 6);
        assert!(
            checks
                .iter()
                .all(|check| check["status"] == "fail" && check["detail"] == "no endpoint"),
            "{before}"
        );
        world.castlink(0, &["apply"]).await;
        let after = world.castlink(0, &["status"]).await;
        assert!(
            after.stdout.contains("6 of 6 endpoints available"),
            "{after}"
        );
        assert!(
            after.stdout.contains("us-east-1a us-east-1b us-east-1c"),
            "{after}"
        );
    });
}

impl World {
    /// An endpoint that somebody else made: one zone, a group that lets nobody in.
    async fn stranger(&self, private_dns: &str) -> String {
        let fields = [
            ("VpcId", self.vpc.as_str()),
            ("GroupName", "theirs"),
            ("GroupDescription", "theirs"),
        ];
        let group = self.one("groupId", "CreateSecurityGroup", &fields).await;
        let fields = [
            ("VpcEndpointType", "Interface"),
            ("VpcId", self.vpc.as_str()),
            ("ServiceName", KVISOR),
            ("SubnetId.1", self.subnet("b")),
            ("SecurityGroupId.1", &group),
            ("PrivateDnsEnabled", private_dns),
        ];
        self.one("vpcEndpointId", "CreateVpcEndpoint", &fields)
            .await
    }
}

#[test]
fn an_endpoint_that_exists_is_adopted_and_completed_in_one_change() {
    with_world(quick(), async |world| {
        let id = world.stranger("false").await;
        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        assert_eq!(creations(&asked).len(), 5, "kvisor has one");
        let changes: Vec<&Entry> = asked
            .iter()
            .filter(|e| e.action == "ModifyVpcEndpoint" && e.status == 200)
            .collect();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].params["VpcEndpointId"], id);
        let live = world.live().await;
        let adopted = live.iter().find(|endpoint| endpoint.id == id).unwrap();
        assert_eq!(adopted.subnets.len(), 3);
        assert_eq!(adopted.groups.len(), 2, "theirs stays, ours is added");
        assert!(adopted.private_dns && !adopted.managed, "{adopted:?}");
        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        assert_eq!(writes(&asked), [""; 0]);
    });
}

#[test]
fn a_lost_answer_does_not_make_a_second_endpoint() {
    with_world(quick(), async |world| {
        world.fault(
            Fault::on("ec2", "CreateVpcEndpoint", Harm::Lost)
                .containing(KVISOR)
                .times(1),
        );
        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        let sent: Vec<&Entry> = creations(&asked)
            .into_iter()
            .filter(|e| e.params["ServiceName"] == KVISOR)
            .collect();
        assert_eq!(sent.len(), 2, "sent again");
        assert_eq!(sent[0].params["ClientToken"], sent[1].params["ClientToken"]);
        assert_eq!(world.live().await.len(), 6);
    });
}

#[test]
fn two_runs_at_once_make_one_set() {
    with_world(quick(), async |world| {
        let (both, asked) = world
            .watched(async {
                tokio::join!(world.castlink(0, &["apply"]), world.castlink(0, &["apply"]))
            })
            .await;
        let live = world.live().await;
        assert_eq!(live.len(), 6, "{}\n{}", both.0, both.1);
        let groups: BTreeSet<_> = live.iter().flat_map(|endpoint| &endpoint.groups).collect();
        assert_eq!(groups.len(), 1, "{} requests", asked.len());
    });
}

#[test]
fn a_name_that_something_else_serves_is_a_conflict() {
    with_world(quick(), async |world| {
        let message = "private-dns-enabled cannot be set because there is already a conflicting DNS domain for \
                       kvisor.prod-master.cast.ai in the VPC";
        let taken = Harm::Error {
            status: 400,
            code: "InvalidParameter".into(),
            message: message.into(),
        };
        world.fault(
            Fault::on("ec2", "CreateVpcEndpoint", taken)
                .containing(KVISOR)
                .times(1),
        );
        let conflict = world.castlink(6, &["apply", "--service", "kvisor"]).await;
        assert!(
            conflict.stderr.contains("private hosted zone"),
            "{conflict}"
        );
        world.castlink(0, &["apply", "--service", "kvisor"]).await;
    });
}

#[test]
fn private_dns_follows_in_a_second_step_when_the_provider_accepts() {
    let knobs = Knobs {
        acceptance_required: ["03281b4e5730a84b6".to_owned()].into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        let waiting = world.castlink(8, &["apply", "-o", "json"]).await;
        assert!(
            waiting.stderr.contains("wait for CAST AI to accept"),
            "{waiting}"
        );
        let checks = waiting.records_of("check").unwrap();
        assert_eq!(checks.len(), 1, "{waiting}");
        let live = world.live().await;
        let theirs = live
            .iter()
            .find(|endpoint| endpoint.service == KVISOR)
            .unwrap();
        assert_eq!(
            (theirs.state.as_str(), theirs.private_dns),
            ("pendingAcceptance", false)
        );
        let (_, asked) = world.watched(world.castlink(8, &["apply"])).await;
        assert_eq!(writes(&asked), [""; 0], "waiting is no reason to try again");
        assert!(world.gate.decide(&theirs.id, true));
        world.castlink(0, &["apply"]).await;
        assert!(
            world
                .live()
                .await
                .iter()
                .all(|endpoint| endpoint.private_dns && endpoint.state == "available")
        );
    });
}

#[test]
fn changes_of_one_endpoint_wait_for_each_other() {
    with_world(quick(), async |world| {
        world
            .castlink(
                0,
                &[
                    "apply",
                    "--service",
                    "kvisor",
                    "--subnet",
                    world.subnet("a"),
                ],
            )
            .await;
        let busy = Harm::Error {
            status: 400,
            code: "OperationInProgress".into(),
            message: "VpcEndpoint modify operation in progress".into(),
        };
        world.fault(Fault::on("ec2", "ModifyVpcEndpoint", busy).times(2));
        let (_, asked) = world
            .watched(world.castlink(0, &["apply", "--service", "kvisor"]))
            .await;
        assert_eq!(count(&asked, "ModifyVpcEndpoint"), 3);
        assert_eq!(
            world.names(world.live().await[0].subnets.iter().map(String::as_str)),
            ["a", "b", "c"]
        );
    });
}

#[test]
fn a_run_that_never_hears_back_is_completed_by_the_next_one() {
    for action in [
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "CreateVpcEndpoint",
    ] {
        with_world(quick(), async |world| {
            // Each call is carried out, and nobody learns of it: what a crash leaves behind.
            world.fault(Fault::on("ec2", action, Harm::Lost));
            let cut_off = world.castlink(8, &["apply"]).await;
            assert!(cut_off.stderr.contains("no usable answer"), "{cut_off}");
            world.shared.faults.clear();
            world.castlink(0, &["apply"]).await;
            let live = world.live().await;
            assert_eq!(live.len(), 6, "after {action}");
            let groups: BTreeSet<_> = live.iter().flat_map(|endpoint| &endpoint.groups).collect();
            assert_eq!(groups.len(), 1, "after {action}");
            let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
            assert_eq!(writes(&asked), [""; 0], "after {action}");
        });
    }
}
