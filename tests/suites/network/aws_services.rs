//! `--aws-services`: AWS's own endpoints beside CAST AI's; and the picture of both.

use castlink_tests::knobs::Knobs;

use crate::fixture::{World, list, quick, with_world, writes};

const S3: &str = "com.amazonaws.us-east-1.s3";

#[test]
fn check_says_which_are_missing_and_changes_nothing() {
    with_world(quick(), async |world| {
        let args = ["plan", "--aws-services", "check", "--service", "kvisor"];
        let (before, asked) = world.watched(world.castlink(3, &args)).await;
        assert_eq!(writes(&asked), [""; 0]);
        assert!(
            before
                .stdout
                .contains("0 of 13 AWS services have an endpoint"),
            "{before}"
        );
        assert!(
            before.stdout.contains("1 endpoint to create"),
            "AWS's are not planned: {before}"
        );

        let args = ["apply", "--aws-services", "sts,s3", "--service", "kvisor"];
        world.castlink(0, &args).await;
        let args = [
            "plan",
            "--aws-services",
            "check",
            "--service",
            "kvisor",
            "-o",
            "json",
        ];
        let after = world.castlink(3, &args).await;
        let checks = after.records_of("check").unwrap();
        let ok: Vec<&str> = checks
            .iter()
            .filter(|check| check["status"] == "ok")
            .map(|check| check["subject"].as_str().unwrap())
            .collect();
        assert_eq!(ok, ["endpoint/s3", "endpoint/sts"], "{after}");
    });
}

#[test]
fn all_of_them_are_made_in_one_run_and_s3_as_a_gateway() {
    with_world(quick(), async |world| {
        let args = ["apply", "--aws-services", "all"];
        let (_, asked) = world.watched(world.castlink(0, &args)).await;
        let made: Vec<_> = asked
            .iter()
            .filter(|one| one.action == "CreateVpcEndpoint")
            .collect();
        assert_eq!(made.len(), 6 + 13);
        let s3 = made
            .iter()
            .find(|one| one.params["ServiceName"] == S3)
            .unwrap();
        assert_eq!(s3.params["VpcEndpointType"], "Gateway");
        assert!(list(s3, "SubnetId").is_empty() && list(s3, "SecurityGroupId").is_empty());
        assert_eq!(
            list(s3, "RouteTableId").len(),
            1,
            "the private subnets share the main table"
        );
        assert!(!s3.params.contains_key("PrivateDnsEnabled"));
        for endpoint in world.live().await {
            assert_eq!(endpoint.state, "available");
            assert_eq!(endpoint.private_dns, endpoint.service != S3, "{endpoint:?}");
        }
        let (_, asked) = world.watched(world.castlink(0, &args)).await;
        assert_eq!(writes(&asked), [""; 0]);
        assert!(asked.len() <= 9, "{} calls", asked.len());
        let check = ["plan", "--aws-services", "check"];
        let said = world.castlink(0, &check).await;
        assert!(said.stdout.contains("13 of 13 AWS services"), "{said}");
        let status = ["status", "--aws-services", "all"];
        let said = world.castlink(0, &status).await;
        assert!(
            said.stdout.contains("19 of 19 endpoints available"),
            "{said}"
        );
        world.castlink(0, &["destroy", "--yes"]).await;
        assert!(world.live().await.is_empty());
    });
}

#[test]
fn a_gateway_of_somebody_else_gets_the_missing_routes() {
    with_world(quick(), async |world| {
        let fields = [("VpcId", world.vpc.as_str()), ("ServiceName", S3)];
        let id = world
            .one("vpcEndpointId", "CreateVpcEndpoint", &fields)
            .await;
        assert_eq!(world.route_tables(&id).await, 0);
        let check = ["plan", "--aws-services", "check", "--service", "kvisor"];
        let said = world.castlink(3, &check).await;
        assert!(said.stdout.contains("without a route in rtb-"), "{said}");
        let args = ["apply", "--aws-services", "s3", "--service", "kvisor"];
        let (_, asked) = world.watched(world.castlink(0, &args)).await;
        assert_eq!(world.route_tables(&id).await, 1);
        let made = asked.iter().filter(|one| one.action == "CreateVpcEndpoint");
        assert_eq!(made.count(), 1, "kvisor's");
        assert!(
            !world
                .live()
                .await
                .iter()
                .any(|one| one.id == id && one.managed)
        );
    });
}

#[test]
fn a_service_that_the_region_lacks_is_left_out_of_all_and_refused_by_name() {
    let knobs = Knobs {
        hidden_services: [".eks-auth".to_owned()].into(),
        ..quick()
    };
    with_world(knobs, async |world| {
        let all = world.castlink(0, &["plan", "--aws-services", "all"]).await;
        assert!(all.stdout.contains("18 endpoints to create"), "{all}");
        let args = ["plan", "--aws-services", "eks-auth"];
        let named = world.castlink(1, &args).await;
        assert!(
            named
                .stderr
                .contains("eks-auth has no endpoint service here"),
            "{named}"
        );
    });
}

/// The classes and ids of the groups of an SVG.
fn groups(svg: &str) -> Vec<(String, String)> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let text = |node: roxmltree::Node<'_, '_>, name: &str| node.attribute(name).map(str::to_owned);
    document
        .descendants()
        .filter_map(|node| Some((text(node, "class")?, text(node, "data-id")?)))
        .collect()
}

impl World {
    async fn picture(&self, code: i32) -> Vec<(String, String)> {
        let args = ["status", "--picture", "svg", "--aws-services", "s3"];
        groups(&self.castlink(code, &args).await.stdout)
    }
}

#[test]
fn the_picture_shows_every_subnet_and_endpoint_and_ends_as_status_does() {
    with_world(quick(), async |world| {
        let before = world.picture(3).await;
        let of = |class: &str| before.iter().filter(|one| one.0 == class).count();
        assert_eq!((of("zone"), of("subnet"), of("endpoint")), (4, 6, 7));
        for name in ["a", "a2", "b", "c", "d", "public"] {
            let id = world.subnet(name);
            assert_eq!(before.iter().filter(|one| one.1 == id).count(), 1, "{name}");
        }
        world.castlink(0, &["apply", "--aws-services", "s3"]).await;
        assert_eq!(world.picture(0).await, before, "the same grid, now filled");
        let args = ["status", "--picture", "mermaid"];
        let chart = world.castlink(0, &args).await.stdout;
        assert!(
            chart.starts_with("flowchart TB\n") && !chart.contains("missing"),
            "{chart}"
        );
    });
}
