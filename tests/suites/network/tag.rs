//! `castlink-tag`.

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;
use castlink_tests::products::Outcome;

use crate::fixture::{World, count, list, quick, with_world, writes};

const KEY: &str = "cast.ai/routable";

impl World {
    pub(crate) async fn tagged(&self) -> Vec<&'static str> {
        let fields = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", self.vpc.as_str()),
            ("Filter.2.Name", "tag:cast.ai/routable"),
            ("Filter.2.Value.1", "true"),
        ];
        let xml = self.ec2("DescribeSubnets", &fields).await;
        let ids = crate::fixture::texts(&xml, "subnetId");
        self.names(ids.iter().map(String::as_str))
    }

    pub(crate) async fn set_tag(&self, subnet: &str, value: &str) {
        let fields = [
            ("ResourceId.1", self.subnet(subnet)),
            ("Tag.1.Key", KEY),
            ("Tag.1.Value", value),
        ];
        self.ec2("CreateTags", &fields).await;
    }

    /// Names of the subnets whose change record has this status.
    pub(crate) fn with_status(&self, outcome: &Outcome, status: &str) -> Vec<&'static str> {
        let changes = outcome.records_of("change").unwrap();
        let ids: Vec<String> = changes
            .iter()
            .filter(|change| change["status"] == status)
            .map(|change| {
                change["resource"]
                    .as_str()
                    .unwrap()
                    .trim_start_matches("subnet/")
                    .to_owned()
            })
            .collect();
        self.names(ids.iter().map(String::as_str))
    }
}

#[test]
fn a_clusters_node_subnets_are_tagged_once_and_its_public_one_is_left_out() {
    with_world(quick(), async |world| {
        let cluster = ["--cluster", &world.cluster];
        let (plan, asked) = world
            .watched(world.tag(3, &[&["plan", "--exit-code"], &cluster[..]].concat()))
            .await;
        assert_eq!(writes(&asked), [""; 0]);
        for text in [
            "node group general",
            "control plane of",
            "public: routes to igw-",
            "5 subnets to tag, 1 public",
        ] {
            assert!(plan.stdout.contains(text), "no {text:?} in\n{plan}");
        }
        world.tag(3, &[&["verify"], &cluster[..]].concat()).await;
        let (applied, asked) = world
            .watched(world.tag(0, &[&["apply", "-o", "json"], &cluster[..]].concat()))
            .await;
        assert_eq!(writes(&asked), ["CreateTags"], "one call for all");
        let created = asked.iter().find(|entry| entry.mutating).unwrap();
        assert_eq!(list(created, "ResourceId").len(), 5);
        assert_eq!(
            world.with_status(&applied, "applied"),
            ["a", "a2", "b", "c", "d"]
        );
        assert_eq!(world.with_status(&applied, "skipped"), ["public"]);
        assert_eq!(world.tagged().await, ["a", "a2", "b", "c", "d"]);
        let (again, asked) = world
            .watched(world.tag(0, &[&["apply"], &cluster[..]].concat()))
            .await;
        assert_eq!(writes(&asked), [""; 0]);
        assert!(
            again.stdout.contains("no changes, 5 tagged already"),
            "{again}"
        );
        world.tag(0, &[&["verify"], &cluster[..]].concat()).await;
    });
}

#[test]
fn a_public_subnet_is_tagged_when_it_is_named_or_asked_for() {
    with_world(quick(), async |world| {
        let vpc = world
            .tag(0, &["apply", "-o", "json", "--vpc", &world.vpc])
            .await;
        assert_eq!(world.with_status(&vpc, "skipped"), ["public"]);
        world
            .tag(0, &["apply", "--vpc", &world.vpc, "--include-public"])
            .await;
        assert_eq!(world.tagged().await, ["a", "a2", "b", "c", "d", "public"]);
    });
    with_world(quick(), async |world| {
        world
            .tag(0, &["apply", "--subnet", world.subnet("public")])
            .await;
        assert_eq!(world.tagged().await, ["public"]);
    });
}

#[test]
fn another_value_is_a_conflict_until_overwriting_is_allowed() {
    with_world(quick(), async |world| {
        world.set_tag("b", "false").await;
        let vpc = ["--vpc", &world.vpc];
        let conflict = world
            .tag(6, &[&["apply", "-o", "json"], &vpc[..]].concat())
            .await;
        assert!(conflict.stderr.contains("--overwrite"), "{conflict}");
        assert_eq!(
            world.with_status(&conflict, "applied"),
            ["a", "a2", "c", "d"],
            "the others are done"
        );
        assert_eq!(world.tagged().await, ["a", "a2", "c", "d"]);
        world
            .tag(0, &[&["apply", "--overwrite"], &vpc[..]].concat())
            .await;
        assert_eq!(world.tagged().await, ["a", "a2", "b", "c", "d"]);
    });
}

#[test]
fn what_does_not_exist_is_named_before_anything_is_changed() {
    with_world(quick(), async |world| {
        let near = format!("{}x", world.cluster);
        let unknown = format!(
            "subnet-0123456789abcdef0,{},subnet-0fedcba9876543210",
            world.subnet("a")
        );
        for (args, said) in [
            (
                ["--subnet", &unknown],
                [
                    "no such subnet",
                    "subnet-0123456789abcdef0, subnet-0fedcba9876543210",
                ],
            ),
            (
                ["--vpc", "vpc-0123456789abcdef0"],
                ["no such VPC", world.vpc.as_str()],
            ),
            (
                ["--cluster", &near],
                ["no such EKS cluster", world.cluster.as_str()],
            ),
        ] {
            let (refused, asked) = world
                .watched(world.tag(2, &["apply", args[0], args[1]]))
                .await;
            assert_eq!(writes(&asked), [""; 0]);
            for text in said {
                assert!(refused.stderr.contains(text), "no {text:?} in\n{refused}");
            }
        }
        let nothing = world.tag(2, &["plan"]).await;
        assert!(
            nothing
                .stderr
                .contains("--cluster NAME, --vpc ID or --subnet ID"),
            "{nothing}"
        );
    });
}

#[test]
fn a_denial_names_the_action_and_throttling_is_waited_out() {
    with_world(quick(), async |world| {
        world.fault(Fault::on("ec2", "CreateTags", Harm::Throttle).times(2));
        let (_, asked) = world
            .watched(world.tag(0, &["apply", "--subnet", world.subnet("a")]))
            .await;
        assert_eq!(count(&asked, "CreateTags"), 3);
        world.fault(Fault::on("ec2", "CreateTags", Harm::Deny));
        let denied = world.tag(7, &["apply", "--vpc", &world.vpc]).await;
        assert!(denied.stderr.contains("allow ec2:CreateTags"), "{denied}");
        assert_eq!(world.tagged().await, ["a"]);
    });
}

#[test]
fn a_tag_that_shows_up_late_is_waited_for() {
    let knobs = Knobs {
        tag_lag: 2,
        ..quick()
    };
    with_world(knobs, async |world| {
        let (_, asked) = world
            .watched(world.tag(0, &["apply", "--subnet", world.subnet("a")]))
            .await;
        let written = asked.iter().position(|entry| entry.mutating).unwrap();
        assert_eq!(
            count(&asked[written..], "DescribeSubnets"),
            3,
            "twice unseen, then seen"
        );
    });
}

#[test]
fn shared_subnets_are_named_with_their_owner() {
    with_world(quick(), async |world| {
        let shared = world.subnet("a").to_owned();
        let owner = "999988887777".to_owned();
        world
            .shared
            .panel
            .set(|knobs| knobs.shared_subnets.insert(shared.clone(), owner));
        let vpc = ["--vpc", world.vpc.as_str()];
        let plan = world.tag(0, &[&["plan"], &vpc[..]].concat()).await;
        let row = plan.stdout.lines().find(|line| line.contains(&shared));
        assert!(
            row.unwrap().contains("shared by account 999988887777"),
            "{plan}"
        );
        assert_eq!(plan.stdout.matches("shared by").count(), 1, "{plan}");
        assert!(
            plan.stderr.contains("seen by the account that sets it"),
            "{plan}"
        );
        let applied = world
            .tag(0, &[&["apply", "-o", "json"], &vpc[..]].concat())
            .await;
        let owners: Vec<_> = applied
            .records_of("change")
            .unwrap()
            .into_iter()
            .filter_map(|change| change["owner"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(owners, ["account:999988887777"]);
    });
}

#[test]
fn one_bad_subnet_fails_alone() {
    with_world(quick(), async |world| {
        let full = Harm::Error {
            status: 400,
            code: "TagLimitExceeded".into(),
            message: "The maximum number of Tags for a resource has been reached.".into(),
        };
        world.fault(Fault::on("ec2", "CreateTags", full).containing(world.subnet("b")));
        let partly = world
            .tag(4, &["apply", "--vpc", &world.vpc, "-o", "json"])
            .await;
        assert_eq!(world.with_status(&partly, "failed"), ["b"]);
        assert_eq!(world.tagged().await, ["a", "a2", "c", "d"]);
        assert!(partly.stderr.contains("TagLimitExceeded"), "{partly}");
    });
}

#[test]
fn answers_in_pages_are_read_to_the_end() {
    let knobs = Knobs {
        page_size: 2,
        ..quick()
    };
    with_world(knobs, async |world| {
        world.tag(0, &["apply", "--vpc", &world.vpc]).await;
        world.castlink(0, &["apply"]).await;
        let (again, asked) = world.watched(world.castlink(0, &["apply"])).await;
        assert_eq!(writes(&asked), [""; 0], "{again}");
        assert!(
            count(&asked, "DescribeVpcEndpoints") >= 3,
            "three pages of two"
        );
    });
}
