//! What would make EC2 refuse, or leave endpoints that nobody reaches: found before the
//! first change, with the command that helps.

use std::time::Duration;

use castlink_tests::knobs::Knobs;
use castlink_tests::process::wait_until;

use crate::fixture::{World, count, quick, with_world, writes};

const KVISOR: &str = "kvisor.prod-master.cast.ai";

impl World {
    /// A security group of somebody's; its id.
    pub(crate) async fn group(&self, name: &str) -> String {
        let fields = [
            ("VpcId", self.vpc.as_str()),
            ("GroupName", name),
            ("GroupDescription", "theirs"),
        ];
        self.one("groupId", "CreateSecurityGroup", &fields).await
    }

    /// Lets a range in on 443.
    pub(crate) async fn let_in(&self, group: &str, range: &str) {
        let fields = [
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "443"),
            ("IpPermissions.1.ToPort", "443"),
            ("IpPermissions.1.IpRanges.1.CidrIp", range),
        ];
        self.ec2("AuthorizeSecurityGroupIngress", &fields).await;
    }

    /// A private hosted zone in the VPC.
    async fn hosted_zone(&self, name: &str) {
        let body = format!(
            "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <Name>{name}</Name><CallerReference>{0}</CallerReference>\
             <VPC><VPCRegion>us-east-1</VPCRegion><VPCId>{0}</VPCId></VPC>\
             <HostedZoneConfig><PrivateZone>true</PrivateZone></HostedZoneConfig>\
             </CreateHostedZoneRequest>",
            self.vpc
        );
        self.post("route53", "/2013-04-01/hostedzone", &body).await;
    }
}

#[test]
fn vpc_attributes_are_switched_on_when_asked() {
    with_world(quick(), async |world| {
        let off = [
            ("VpcId", world.vpc.as_str()),
            ("EnableDnsHostnames.Value", "false"),
        ];
        world.ec2("ModifyVpcAttribute", &off).await;
        let apply = ["apply", "--service", "kvisor"];
        let refused = world.castlink(1, &apply).await;
        assert!(
            refused.stderr.contains("give --enable-vpc-dns"),
            "{refused}"
        );
        let flag = [&apply[..], &["--enable-vpc-dns"]].concat();
        let (applied, asked) = world.watched(world.castlink(0, &flag)).await;
        let order = [
            "ModifyVpcAttribute",
            "CreateSecurityGroup",
            "AuthorizeSecurityGroupIngress",
            "CreateVpcEndpoint",
        ];
        assert_eq!(writes(&asked), order);
        assert!(
            applied
                .stdout
                .contains("VPC attribute enableDnsHostnames on"),
            "{applied}"
        );
        let (_, asked) = world.watched(world.castlink(0, &flag)).await;
        assert_eq!(writes(&asked), [""; 0]);
    });
}

#[test]
fn a_name_that_a_hosted_zone_serves_is_found_before_anything_is_changed() {
    with_world(quick(), async |world| {
        world.hosted_zone(KVISOR).await;
        let (plan, asked) = world.watched(world.castlink(6, &["plan"])).await;
        assert_eq!(count(&asked, "ListHostedZonesByVPC"), 1);
        for said in [
            "private hosted zone",
            KVISOR,
            "123456789012",
            "--no-private-dns",
        ] {
            assert!(plan.stderr.contains(said), "no {said:?} in\n{plan}");
        }
        // The others are made all the same.
        world.castlink(4, &["apply"]).await;
        assert_eq!(world.live().await.len(), 5);
        world
            .castlink(0, &["apply", "--service", "kvisor", "--no-private-dns"])
            .await;
        assert_eq!(world.live().await.len(), 6);
    });
}

#[test]
fn not_being_allowed_to_see_hosted_zones_is_only_a_warning() {
    with_world(quick(), async |world| {
        let deny = castlink_tests::faults::Harm::Deny;
        world.fault(castlink_tests::faults::Fault::on(
            "route53",
            "ListHostedZonesByVPC",
            deny,
        ));
        let plan = world.castlink(0, &["plan"]).await;
        assert!(
            plan.stderr
                .contains("hosted zones were not compared with the names"),
            "{plan}"
        );
        assert!(plan.stdout.contains("6 endpoints to create"), "{plan}");
    });
}

#[test]
fn a_named_group_that_shuts_the_nodes_out_stops_everything() {
    with_world(quick(), async |world| {
        let group = world.group("theirs").await;
        let apply = ["apply", "--service", "kvisor", "--security-group", &group];
        let (refused, asked) = world.watched(world.castlink(1, &apply)).await;
        assert_eq!(writes(&asked), [""; 0]);
        for said in [
            "does not let 10.0.0.0/16, 100.64.0.0/16 in on 443",
            "authorize-security-group-ingress",
        ] {
            assert!(refused.stderr.contains(said), "no {said:?} in\n{refused}");
        }
        world.let_in(&group, "10.0.0.0/16").await;
        let partly = world.castlink(0, &apply).await;
        assert!(
            partly.stderr.contains("does not let 100.64.0.0/16 in"),
            "{partly}"
        );
    });
}

#[test]
fn another_subnet_or_group_replaces_the_first_in_one_call() {
    with_world(quick(), async |world| {
        let apply = |subnets: &str| {
            vec![
                "apply".to_owned(),
                "--service=kvisor".to_owned(),
                format!("--subnet={subnets}"),
            ]
        };
        let run = async |args: Vec<String>| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            world.watched(world.castlink(0, &args)).await.1
        };
        let two = |a: &str| format!("{},{}", world.subnet(a), world.subnet("b"));
        run(apply(&two("a"))).await;
        // Two subnets of one zone in two calls would be refused in between.
        let asked = run(apply(&two("a2"))).await;
        assert_eq!(writes(&asked), ["ModifyVpcEndpoint"]);
        let live = world.live().await;
        assert_eq!(
            world.names(live[0].subnets.iter().map(String::as_str)),
            ["a2", "b"]
        );
        let group = world.group("theirs").await;
        for range in ["10.0.0.0/16", "100.64.0.0/16"] {
            world.let_in(&group, range).await;
        }
        let named = [apply(&two("a2")), vec![format!("--security-group={group}")]].concat();
        let asked = run(named).await;
        assert_eq!(writes(&asked), ["ModifyVpcEndpoint"]);
        assert_eq!(world.live().await[0].groups, [group]);
    });
}

#[test]
fn acceptance_is_waited_for_when_asked() {
    let knobs = Knobs {
        acceptance_required: ["03281b4e5730a84b6".to_owned()].into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        let apply = ["apply", "--service", "kvisor", "--wait-acceptance"];
        let late = world
            .castlink(8, &[&apply[..], &["--timeout", "2s"]].concat())
            .await;
        assert!(late.stderr.contains("wait for CAST AI to accept"), "{late}");
        let id = world.live().await[0].id.clone();
        let (applied, ()) = tokio::join!(world.castlink(0, &apply), async {
            // Only when it has begun to look, so that it has to wait.
            let mark = world.shared.journal.mark();
            let looked = async || {
                let asked = world.shared.journal.since(mark);
                anyhow::ensure!(count(&asked, "DescribeVpcEndpoints") >= 2, "not twice");
                Ok(())
            };
            let deadline = Duration::from_secs(60);
            wait_until("it looks", deadline, looked).await.unwrap();
            assert!(world.gate.decide(&id, true));
        });
        assert!(world.live().await[0].private_dns, "{applied}");
    });
}
