//! `--service-region` and `--dual-stack`: what EC2 is asked for, and what it refuses.

use castlink_tests::knobs::Knobs;

use crate::fixture::{World, list, quick, texts, with_world, writes};

const THERE: &str = "com.amazonaws.vpce.us-east-2.vpce-svc-0a1da2d5a6fd29f32";

#[test]
fn a_service_of_another_region_is_asked_for_there() {
    with_world(quick(), async |world| {
        let args = ["--service-region", "us-east-2", "--service", "kvisor"];
        let run = |verb: &'static str| [&[verb][..], &args].concat();
        let plan = world.castlink(0, &run("plan")).await;
        assert!(
            plan.stderr.contains("the services are in us-east-2"),
            "{plan}"
        );
        let (_, asked) = world.watched(world.castlink(0, &run("apply"))).await;
        let made = asked
            .iter()
            .find(|one| one.action == "CreateVpcEndpoint")
            .unwrap();
        assert_eq!(made.params["ServiceName"], THERE);
        assert_eq!(made.params["ServiceRegion"], "us-east-2");
        assert_eq!(list(made, "SubnetId").len(), 4, "every zone with nodes");
        let described = asked
            .iter()
            .find(|one| one.action == "DescribeVpcEndpointServices");
        assert_eq!(described.unwrap().params["ServiceRegion.1"], "us-east-2");
        let (_, asked) = world.watched(world.castlink(0, &run("apply"))).await;
        assert_eq!(writes(&asked), [""; 0]);
    });
}

#[test]
fn a_service_that_serves_its_own_region_only_is_unknown_here() {
    let knobs = Knobs {
        own_region_only: true,
        ..quick()
    };
    with_world(knobs, async |world| {
        let args = [
            "plan",
            "--service-region",
            "us-east-2",
            "--service",
            "kvisor",
        ];
        let outcome = world.castlink(1, &args).await;
        assert!(
            outcome.stderr.contains("is not known to EC2 here"),
            "{outcome}"
        );
        assert!(outcome.stderr.contains("another region"), "{outcome}");
    });
}

#[test]
fn both_families_where_the_service_and_the_subnets_have_them() {
    let knobs = Knobs {
        dual_stack: true,
        ..quick()
    };
    with_world(knobs, async |world| {
        let args = ["--dual-stack", "--service", "kvisor"];
        let run = |verb: &'static str, more: &[&'static str]| [&[verb][..], &args, more].concat();
        let plan = world.castlink(0, &run("plan", &[])).await;
        assert!(plan.stderr.contains("has no IPv6 CIDR"), "{plan}");
        world.castlink(0, &run("apply", &[])).await;
        assert_eq!(world.family().await, "ipv4");
        world.add_ipv6().await;
        let (_, asked) = world.watched(world.castlink(0, &run("apply", &[]))).await;
        assert_eq!(world.family().await, "dualstack");
        let changed = asked
            .iter()
            .find(|one| one.action == "ModifyVpcEndpoint")
            .unwrap();
        assert_eq!(changed.params["IpAddressType"], "dualstack");
        world.castlink(0, &["destroy", "--yes"]).await;
        world.castlink(0, &run("apply", &[])).await;
        assert_eq!(world.family().await, "dualstack");
    });
}

#[test]
fn a_service_without_ipv6_is_connected_by_ipv4_with_a_warning() {
    with_world(quick(), async |world| {
        world.add_ipv6().await;
        let args = ["apply", "--dual-stack", "--service", "kvisor"];
        let outcome = world.castlink(0, &args).await;
        assert!(
            outcome.stderr.contains("kvisor takes IPv4 only"),
            "{outcome}"
        );
        assert_eq!(world.family().await, "ipv4");
    });
}

impl World {
    async fn in_vpc(&self, action: &str) -> String {
        let fields = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", self.vpc.as_str()),
        ];
        self.ec2(action, &fields).await
    }

    /// The address type of the only endpoint that is not on its way out.
    async fn family(&self) -> String {
        let id = self.live().await.remove(0).id;
        let fields = [("VpcEndpointId.1", id.as_str())];
        self.one("ipAddressType", "DescribeVpcEndpoints", &fields)
            .await
    }

    /// An IPv6 range for the VPC and for each of its subnets.
    async fn add_ipv6(&self) {
        let fields = [
            ("VpcId", self.vpc.as_str()),
            ("AmazonProvidedIpv6CidrBlock", "true"),
        ];
        self.ec2("AssociateVpcCidrBlock", &fields).await;
        let xml = self.in_vpc("DescribeVpcs").await;
        let range = texts(&xml, "ipv6CidrBlock").remove(0);
        let stem = range.trim_end_matches("00::/56").to_owned();
        for (n, name) in ["a", "a2", "b", "c", "d", "public"].iter().enumerate() {
            let part = format!("{stem}{n:02}::/64");
            let fields = [("SubnetId", self.subnet(name)), ("Ipv6CidrBlock", &part)];
            self.ec2("AssociateSubnetCidrBlock", &fields).await;
        }
    }
}
