//! What stands in the way: found before the first change where it can be, and told apart
//! by message and exit code everywhere.

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;
use castlink_tests::products::Outcome;

use crate::fixture::{count, quick, with_world, writes};

const KVISOR: &str = "03281b4e5730a84b6";

fn says(outcome: &Outcome, texts: &[&str]) {
    for text in texts {
        assert!(outcome.stderr.contains(text), "no {text:?} in\n{outcome}");
    }
}

#[test]
fn dns_attributes_that_are_off_stop_everything_with_the_command_that_helps() {
    with_world(quick(), async |world| {
        world
            .ec2(
                "ModifyVpcAttribute",
                &[("VpcId", &world.vpc), ("EnableDnsHostnames.Value", "false")],
            )
            .await;
        for verb in ["plan", "apply"] {
            let (refused, asked) = world.watched(world.castlink(1, &[verb])).await;
            says(
                &refused,
                &[
                    "enableDnsHostnames is off",
                    "modify-vpc-attribute",
                    "--enable-dns-hostnames",
                ],
            );
            assert_eq!(writes(&asked), [""; 0]);
        }
        world
            .castlink(0, &["apply", "--no-private-dns", "--service", "kvisor"])
            .await;
    });
}

#[test]
fn an_unknown_service_is_explained_and_does_not_stop_the_others() {
    let knobs = Knobs {
        hidden_services: [KVISOR.to_owned()].into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        let partly = world.castlink(4, &["apply"]).await;
        says(
            &partly,
            &[
                "kvisor",
                "the name is wrong, it belongs to another region, or CAST AI has not allowed this AWS account",
            ],
        );
        assert_eq!(world.live().await.len(), 5);
        let (_, asked) = world.watched(world.castlink(1, &["apply"])).await;
        assert_eq!(writes(&asked), [""; 0], "nothing left that can be done");
    });
}

#[test]
fn a_service_in_other_zones_only_says_which() {
    let knobs = Knobs {
        offered_zones: "ef".into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        let (refused, asked) = world
            .watched(world.castlink(1, &["apply", "--service", "kvisor"]))
            .await;
        says(
            &refused,
            &[
                "kvisor is offered in us-east-1e, us-east-1f",
                "the subnets are in us-east-1a",
            ],
        );
        assert_eq!(writes(&asked), [""; 0]);
    });
}

#[test]
fn an_endpoint_that_aws_cannot_make_is_reported_with_its_reason() {
    let knobs = Knobs {
        failing_services: [KVISOR.to_owned()].into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        let partly = world.castlink(4, &["apply"]).await;
        says(&partly, &["AWS could not make the endpoint of kvisor"]);
        world.castlink(3, &["status"]).await;
        world.castlink(0, &["destroy", "--yes"]).await;
        assert!(world.live().await.is_empty());
    });
}

#[test]
fn a_rejected_endpoint_is_told_from_one_that_waits() {
    let knobs = Knobs {
        acceptance_required: [KVISOR.to_owned()].into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        world.castlink(8, &["apply", "--service", "kvisor"]).await;
        assert!(world.gate.decide(&world.live().await[0].id, false));
        let status = world.castlink(3, &["status", "--service", "kvisor"]).await;
        assert!(status.stdout.contains("rejected"), "{status}");
        let plan = world.castlink(0, &["plan", "--service", "kvisor"]).await;
        says(&plan, &["is rejected and left alone"]);
    });
}

#[test]
fn an_endpoint_that_is_not_ready_in_time_says_try_later() {
    let knobs = Knobs {
        endpoint_pending_ms: 60_000,
        ..quick()
    };
    with_world(knobs, async |world| {
        let late = world
            .castlink(8, &["apply", "--service", "kvisor", "--timeout", "2s"])
            .await;
        says(&late, &["is not available after 2 s", "run it again"]);
    });
}

#[test]
fn refusals_of_aws_have_their_exit_codes_and_hints() {
    with_world(quick(), async |world| {
        let error = |status, code: &str, message: &str| Harm::Error {
            status,
            code: code.into(),
            message: message.into(),
        };
        for (harm, code, texts) in [
            (
                Harm::Deny,
                7,
                &[
                    "ec2:CreateVpcEndpoint is denied",
                    "route53:AssociateVPCWithHostedZone",
                ][..],
            ),
            (Harm::Expired, 7, &["have expired", "aws sso login"]),
            (
                error(400, "VpcEndpointLimitExceeded", "The maximum"),
                1,
                &["Service Quotas"],
            ),
            (
                error(400, "InsufficientFreeAddressesInSubnet", "none"),
                1,
                &["no free address"],
            ),
            (
                error(
                    400,
                    "InvalidParameter",
                    "The VPC endpoint service x does not support the availability zone of the subnet: subnet-1.",
                ),
                1,
                &["not offered in the zone"],
            ),
            (
                error(503, "RequestLimitExceeded", "Request limit exceeded."),
                8,
                &["throttles", "run it again"],
            ),
        ] {
            world.fault(Fault::on("ec2", "CreateVpcEndpoint", harm));
            let refused = world
                .castlink(code, &["apply", "--service", "kvisor"])
                .await;
            says(&refused, texts);
            world.shared.faults.clear();
        }
        assert!(world.live().await.is_empty());
    });
}

#[test]
fn throttled_reads_are_waited_out() {
    with_world(quick(), async |world| {
        world.fault(Fault::on("ec2", "DescribeVpcEndpoints", Harm::Throttle).times(2));
        let (_, asked) = world.watched(world.castlink(3, &["status"])).await;
        assert_eq!(count(&asked, "DescribeVpcEndpoints"), 3);
    });
}

#[test]
fn a_region_without_services_is_refused_without_asking_aws() {
    with_world(quick(), async |world| {
        let (refused, asked) = world
            .watched(world.castlink(2, &["plan", "--region", "eu-central-1"]))
            .await;
        says(&refused, &["eu-central-1", "us-east-1", "--catalogue FILE"]);
        assert!(asked.is_empty());
    });
}

#[test]
fn how_aws_cannot_be_reached_is_told_apart() {
    with_world(quick(), async |world| {
        let plan = || world.product("castlink-endpoints", &["plan", "--vpc", world.vpc.as_str()]);
        for (product, code, texts) in [
            (
                plan().env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                8,
                &["no usable answer", "--endpoint-url"][..],
            ),
            (
                plan()
                    .without("AWS_ACCESS_KEY_ID")
                    .without("AWS_SECRET_ACCESS_KEY"),
                7,
                &["no usable AWS credentials", "AWS_PROFILE"],
            ),
            (
                plan().env("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN"),
                7,
                &["no usable AWS credentials"],
            ),
            (
                plan().without("AWS_REGION"),
                2,
                &["no AWS region is set", "AWS_REGION"],
            ),
            (
                plan()
                    .args(["--profile", "nope"])
                    .without("AWS_ACCESS_KEY_ID")
                    .without("AWS_SECRET_ACCESS_KEY"),
                7,
                &["no usable AWS credentials", "check profile nope"],
            ),
            (
                plan().env("AWS_CA_BUNDLE", "/nonexistent.pem"),
                2,
                &["CA bundle /nonexistent.pem"],
            ),
        ] {
            let refused = product.run().await.unwrap().expect_code(code).unwrap();
            says(&refused, texts);
        }
    });
}
