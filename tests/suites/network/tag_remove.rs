//! `castlink-tag remove` and `iam-policy`.

use std::collections::BTreeSet;

use castlink_tests::faults::{Fault, Harm};

use crate::fixture::{count, list, quick, with_world, writes};

#[test]
fn the_tag_is_taken_off_where_castlink_could_have_set_it() {
    with_world(quick(), async |world| {
        let vpc = ["--vpc", world.vpc.as_str()];
        world
            .tag(0, &[&["apply", "--include-public"], &vpc[..]].concat())
            .await;
        world.set_tag("b", "false").await;
        let (refused, asked) = world
            .watched(world.tag(2, &[&["remove"], &vpc[..]].concat()))
            .await;
        assert!(refused.stderr.contains("give --yes"), "{refused}");
        assert_eq!(writes(&asked), [""; 0]);
        let (removed, asked) = world
            .watched(world.tag(0, &[&["remove", "--yes", "-o", "json"], &vpc[..]].concat()))
            .await;
        assert_eq!(writes(&asked), ["DeleteTags"]);
        let deleted = asked.iter().find(|entry| entry.mutating).unwrap();
        assert_eq!(list(deleted, "ResourceId").len(), 5);
        assert_eq!(deleted.params["Tag.1.Value"], "true", "no other value goes");
        assert_eq!(
            world.with_status(&removed, "applied"),
            ["a", "a2", "c", "d", "public"]
        );
        assert_eq!(world.with_status(&removed, "skipped"), ["b"]);
        assert_eq!(world.tagged().await, [""; 0]);
        let (again, asked) = world
            .watched(world.tag(0, &[&["remove"], &vpc[..]].concat()))
            .await;
        assert_eq!(writes(&asked), [""; 0], "nothing to ask about");
        assert!(again.stdout.contains("no changes"), "{again}");
    });
}

#[test]
fn a_removal_that_is_denied_says_which_action() {
    with_world(quick(), async |world| {
        let subnet = ["--subnet", world.subnet("a")];
        world.tag(0, &[&["apply"], &subnet[..]].concat()).await;
        world.fault(Fault::on("ec2", "DeleteTags", Harm::Deny));
        let denied = world
            .tag(7, &[&["remove", "--yes"], &subnet[..]].concat())
            .await;
        assert!(denied.stderr.contains("allow ec2:DeleteTags"), "{denied}");
        assert_eq!(world.tagged().await, ["a"]);
    });
}

#[test]
fn the_policy_names_every_call_and_no_other() {
    with_world(quick(), async |world| {
        let (_, asked) = world
            .watched(async {
                for verb in [&["plan"][..], &["apply"], &["verify"], &["remove", "--yes"]] {
                    let cluster = ["--cluster", world.cluster.as_str()];
                    world.tag(0, &[verb, &cluster[..]].concat()).await;
                }
                // What tells a VPC without subnets from one that is not there.
                world
                    .tag(2, &["plan", "--vpc", "vpc-0123456789abcdef0"])
                    .await;
            })
            .await;
        assert_eq!(count(&asked, "CreateTags"), 1);
        // The caller's identity needs no permission.
        let called: BTreeSet<String> = asked
            .iter()
            .filter(|entry| entry.service != "sts")
            .map(|entry| format!("{}:{}", entry.service, entry.action))
            .collect();
        let policy = world.tag(0, &["iam-policy"]).await;
        let policy: serde_json::Value = serde_json::from_str(&policy.stdout).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let mut allowed: BTreeSet<String> = statements
            .iter()
            .flat_map(|statement| statement["Action"].as_array().unwrap())
            .map(|action| action.as_str().unwrap().to_owned())
            .collect();
        // No test world has a profile here; `tag_nodes` has.
        allowed.remove("eks:DescribeFargateProfile");
        assert_eq!(called, allowed);
    });
}
