//! `castlink-endpoints destroy`.

use crate::fixture::{World, count, quick, with_world, writes};

impl World {
    /// How many security groups the VPC has besides its default one and the cluster's.
    async fn groups(&self) -> usize {
        let fields = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", self.vpc.as_str()),
        ];
        let xml = self.ec2("DescribeSecurityGroups", &fields).await;
        let names = crate::fixture::texts(&xml, "groupName");
        names
            .iter()
            .filter(|name| name.starts_with("castlink-endpoints-"))
            .count()
    }
}

#[test]
fn what_castlink_made_goes_and_what_it_adopted_stays() {
    with_world(quick(), async |world| {
        let fields = [
            ("VpcEndpointType", "Interface"),
            ("VpcId", world.vpc.as_str()),
            ("ServiceName", "com.amazonaws.us-east-1.sts"),
            ("SubnetId.1", world.subnet("a")),
            ("PrivateDnsEnabled", "true"),
        ];
        let theirs = world
            .one("vpcEndpointId", "CreateVpcEndpoint", &fields)
            .await;
        world.castlink(0, &["apply"]).await;
        let (refused, asked) = world.watched(world.castlink(2, &["destroy"])).await;
        assert!(refused.stderr.contains("--yes"), "{refused}");
        assert_eq!(writes(&asked), [""; 0]);
        let (_, asked) = world
            .watched(world.castlink(0, &["destroy", "--yes"]))
            .await;
        assert_eq!(count(&asked, "DeleteVpcEndpoints"), 1, "one call for all");
        let live = world.live().await;
        assert_eq!(
            live.iter().map(|endpoint| &endpoint.id).collect::<Vec<_>>(),
            [&theirs]
        );
        assert_eq!(world.groups().await, 0);
        let (again, asked) = world
            .watched(world.castlink(0, &["destroy", "--yes"]))
            .await;
        assert_eq!(writes(&asked), [""; 0]);
        assert!(again.stdout.contains("castlink has nothing"), "{again}");
    });
}

#[test]
fn a_new_run_after_a_deletion_makes_new_endpoints() {
    with_world(quick(), async |world| {
        let fields = [
            ("VpcId", world.vpc.as_str()),
            ("GroupName", "theirs"),
            ("GroupDescription", "theirs"),
        ];
        let group = world.one("groupId", "CreateSecurityGroup", &fields).await;
        for range in ["10.0.0.0/16", "100.64.0.0/16"] {
            world.let_in(&group, range).await;
        }
        // With a group of the user's, the parameters and hence the token are the same again.
        let apply = ["apply", "--service", "kvisor", "--security-group", &group];
        world.castlink(0, &apply).await;
        let first = world.live().await[0].id.clone();
        world.castlink(0, &["destroy", "--yes"]).await;
        world.castlink(0, &apply).await;
        let live = world.live().await;
        assert_eq!(live.len(), 1);
        assert_ne!(live[0].id, first);
        assert_eq!(live[0].state, "available");
    });
}

#[test]
fn a_vpc_that_does_not_exist_is_not_an_empty_one() {
    with_world(quick(), async |world| {
        let product = world.product(
            "castlink-endpoints",
            &["destroy", "--yes", "--vpc", "vpc-0123456789abcdef0"],
        );
        let refused = product.run().await.unwrap().expect_code(2).unwrap();
        assert!(refused.stderr.contains("no such VPC"), "{refused}");
    });
}

#[test]
fn somebody_at_a_terminal_is_asked_once_and_types_the_vpc() {
    with_world(quick(), async |world| {
        world.castlink(0, &["apply", "--service", "kvisor"]).await;
        let no = world.at_terminal("destroy", "yes\n").await;
        assert!(no.contains("not confirmed: nothing was changed"), "{no}");
        assert_eq!(world.live().await.len(), 1);
        let yes = world
            .at_terminal("destroy", &format!("{}\n", world.vpc))
            .await;
        let question = format!("type {} to go on", world.vpc);
        assert_eq!(yes.matches(&question).count(), 1, "{yes}");
        assert!(world.live().await.is_empty(), "{yes}");
    });
}
