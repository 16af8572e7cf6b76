//! Every error that EC2 is known to answer with, one row each: what is said, what to do,
//! and how the command ends.

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;

use crate::fixture::{World, count, quick, with_world, writes};

/// Status, code and message of an answer; exit code and texts of the command.
type Row = (
    u16,
    &'static str,
    &'static str,
    i32,
    &'static [&'static str],
);

fn harm(row: &Row) -> Harm {
    Harm::Error {
        status: row.0,
        code: row.1.to_owned(),
        message: row.2.to_owned(),
    }
}

impl World {
    /// Runs `args` once for each row, with `action` answering as the row says.
    async fn refused(&self, action: &str, args: &[&str], rows: &[Row]) {
        for row in rows {
            self.fault(Fault::on("ec2", action, harm(row)));
            let refused = self.castlink(row.3, args).await;
            for text in [&[row.1][..], row.4].concat() {
                assert!(
                    refused.stderr.contains(text),
                    "no {text:?} for {}:\n{refused}",
                    row.1
                );
            }
            assert!(refused.stderr.contains("hint:"), "{refused}");
            self.shared.faults.clear();
        }
    }
}

const CREATE: &[Row] = &[
    (
        400,
        "InvalidServiceName",
        "The Vpc Endpoint Service 'x' does not exist",
        1,
        &[
            "is not known to EC2 here",
            "the name is wrong, it belongs to another region, or CAST AI has not allowed this AWS account",
        ],
    ),
    (
        400,
        "InvalidParameter",
        "The VPC endpoint service x does not support the availability zone of the subnet: subnet-1.",
        1,
        &["not offered in the zone", "--subnet"],
    ),
    (
        400,
        "DuplicateSubnetsInSameZone",
        "Found another VPC endpoint subnet in the availability zone of subnet-1",
        1,
        &["two subnets of", "in one zone", "run it again"],
    ),
    (
        400,
        "InvalidParameter",
        "private-dns-enabled cannot be set because there is already a conflicting DNS domain for x in the VPC vpc-1",
        6,
        &["the private DNS name of", "Route 53 private hosted zone"],
    ),
    (
        400,
        "InvalidParameter",
        "Private DNS can only be enabled after the endpoint connection is accepted by the owner of x.",
        8,
        &["until CAST AI accepts", "ask CAST AI"],
    ),
    (
        400,
        "InvalidParameter",
        "Private DNS can't be enabled because the service x does not provide a private DNS name.",
        1,
        &["provides no private DNS name", "--no-private-dns"],
    ),
    (
        400,
        "InvalidParameter",
        "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for vpc-1",
        1,
        &[
            "both DNS attributes of the VPC",
            "aws ec2 modify-vpc-attribute",
        ],
    ),
    (
        400,
        "InvalidParameter",
        "Only the following availability zones are supported for remote access: use1-az1, use1-az2",
        1,
        &["not offered in the zone", "use1-az1, use1-az2"],
    ),
    (
        400,
        "VpcEndpointLimitExceeded",
        "The maximum number of VPC endpoints has been reached.",
        1,
        &["Service Quotas"],
    ),
    (
        400,
        "InvalidSubnetID.NotFound",
        "The subnet ID 'subnet-1' does not exist",
        1,
        &["needs does not exist", "run it again"],
    ),
    (
        400,
        "InvalidSubnetId.NotFound",
        "The subnet ID 'subnet-1' does not exist",
        1,
        &["needs does not exist", "run it again"],
    ),
    (
        400,
        "InvalidVpcID.NotFound",
        "The vpc ID 'vpc-1' does not exist",
        1,
        &["needs does not exist"],
    ),
    (
        400,
        "InvalidGroup.NotFound",
        "The security group 'sg-1' does not exist",
        1,
        &["needs does not exist"],
    ),
    (
        400,
        "InvalidSecurityGroupID.NotFound",
        "The security group 'sg-1' does not exist",
        1,
        &["needs does not exist"],
    ),
    (
        400,
        "IdempotentParameterMismatch",
        "The client token has been used with different parameters.",
        6,
        &["remembers another request", "wait a few minutes"],
    ),
    (
        400,
        "InsufficientFreeAddressesInSubnet",
        "There are not enough free addresses in subnet 'subnet-1'",
        1,
        &["no free address", "--subnet"],
    ),
    (
        403,
        "UnauthorizedOperation",
        "You are not authorized to perform this operation. Encoded authorization failure message: x",
        7,
        &[
            "ec2:CreateVpcEndpoint is denied",
            "route53:AssociateVPCWithHostedZone",
        ],
    ),
    (
        401,
        "AuthFailure",
        "AWS was not able to validate the provided access credentials",
        7,
        &["no usable AWS credentials"],
    ),
    (
        400,
        "RequestExpired",
        "Request has expired.",
        7,
        &["have expired", "aws sso login"],
    ),
    (
        503,
        "RequestLimitExceeded",
        "Request limit exceeded.",
        8,
        &["throttles", "run it again"],
    ),
    (
        503,
        "Unavailable",
        "The service is unavailable. Please try again shortly.",
        8,
        &["no usable answer", "check the network"],
    ),
];

#[test]
fn of_a_creation() {
    with_world(quick(), async |world| {
        let args = ["apply", "--service", "kvisor", "--timeout", "1s"];
        world.refused("CreateVpcEndpoint", &args, CREATE).await;
        assert!(world.live().await.is_empty());
    });
}

#[test]
fn of_a_change() {
    with_world(quick(), async |world| {
        let kvisor = ["apply", "--service", "kvisor"];
        let one = [&kvisor[..], &["--subnet", world.subnet("a")]].concat();
        world.castlink(0, &one).await;
        let args = [&kvisor[..], &["--timeout", "1s"]].concat();
        let rows: &[Row] = &[
            (
                400,
                "OperationInProgress",
                "VpcEndpoint modify operation in progress",
                8,
                &["another change of endpoint vpce-", "run it again"],
            ),
            (
                400,
                "DuplicateSubnetsInSameZone",
                "Found another VPC endpoint subnet in the availability zone of subnet-1",
                1,
                &["two subnets of endpoint vpce-"],
            ),
            (
                400,
                "InvalidVpcEndpointId.NotFound",
                "The Vpc Endpoint Id 'vpce-1' does not exist",
                1,
                &["does not exist", "run it again"],
            ),
            (
                400,
                "InvalidParameter",
                "Private DNS can only be enabled after the endpoint connection is accepted by the owner of x.",
                8,
                &["until CAST AI accepts"],
            ),
        ];
        world.refused("ModifyVpcEndpoint", &args, rows).await;
        world.castlink(0, &kvisor).await;
    });
}

#[test]
fn of_a_deletion() {
    with_world(quick(), async |world| {
        world.castlink(0, &["apply", "--service", "kvisor"]).await;
        let args = ["destroy", "--yes", "--timeout", "2s"];
        let denied: &[Row] = &[(
            403,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
            7,
            &[
                "ec2:DeleteVpcEndpoints is denied",
                "allow ec2:DeleteVpcEndpoints",
            ],
        )];
        world.refused("DeleteVpcEndpoints", &args, denied).await;
        let used: &[Row] = &[(
            400,
            "DependencyViolation",
            "resource sg-1 has a dependent object",
            4,
            &["is still in use", "describe-network-interfaces"],
        )];
        world.refused("DeleteSecurityGroup", &args, used).await;
        assert!(world.live().await.is_empty());
        // The group can go when the interfaces have gone, a moment after the endpoints.
        let harm = harm(&used[0]);
        world.fault(Fault::on("ec2", "DeleteSecurityGroup", harm).times(2));
        let (_, asked) = world
            .watched(world.castlink(0, &["destroy", "--yes"]))
            .await;
        assert_eq!(count(&asked, "DeleteSecurityGroup"), 3);
    });
}

#[test]
fn what_a_deletion_refuses_in_a_good_answer_is_read() {
    let knobs = Knobs {
        kept_services: ["03281b4e5730a84b6".to_owned()].into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        world.castlink(0, &["apply"]).await;
        let (partly, asked) = world
            .watched(world.castlink(4, &["destroy", "--yes"]))
            .await;
        for said in ["was not deleted", "OperationNotPermitted"] {
            assert!(partly.stderr.contains(said), "no {said:?} in\n{partly}");
        }
        assert_eq!(
            writes(&asked),
            ["DeleteVpcEndpoints"],
            "the group stays while an endpoint uses it"
        );
        assert_eq!(world.live().await.len(), 1);
    });
}

#[test]
fn two_deletions_at_once_both_find_everything_gone() {
    with_world(quick(), async |world| {
        world.castlink(0, &["apply"]).await;
        let destroy = || world.castlink(0, &["destroy", "--yes"]);
        tokio::join!(destroy(), destroy());
        assert!(world.live().await.is_empty());
    });
}

#[test]
fn what_was_just_made_may_be_unknown_for_a_while() {
    let knobs = Knobs {
        endpoint_lag: 2,
        ..quick()
    };
    with_world(knobs, async |world| {
        for (action, code) in [
            ("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound"),
            ("CreateVpcEndpoint", "InvalidSecurityGroupID.NotFound"),
        ] {
            let unknown = Harm::Error {
                status: 400,
                code: code.into(),
                message: "The security group does not exist".into(),
            };
            world.fault(Fault::on("ec2", action, unknown).times(1));
        }
        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        assert_eq!(count(&asked, "CreateVpcEndpoint"), 7, "one was sent again");
        assert_eq!(world.live().await.len(), 6);
        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        assert_eq!(writes(&asked), [""; 0]);
    });
}
