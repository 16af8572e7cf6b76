//! `castlink-tag`: subnets found from where nodes really are.

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::products::Outcome;
use serde_json::{Value, json};

use crate::fixture::{World, quick, with_world, writes};

impl World {
    /// Starts an instance in a subnet; its id.
    async fn instance(&self, subnet: &str, tags: &[(&str, &str)]) -> String {
        let mut fields = vec![
            ("ImageId".to_owned(), "ami-12c6146b".to_owned()),
            ("MinCount".to_owned(), "1".to_owned()),
            ("MaxCount".to_owned(), "1".to_owned()),
            ("SubnetId".to_owned(), self.subnet(subnet).to_owned()),
            (
                "TagSpecification.1.ResourceType".to_owned(),
                "instance".to_owned(),
            ),
        ];
        for (n, (key, value)) in tags.iter().enumerate() {
            let tag = format!("TagSpecification.1.Tag.{}", n + 1);
            fields.push((format!("{tag}.Key"), (*key).to_owned()));
            fields.push((format!("{tag}.Value"), (*value).to_owned()));
        }
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        self.one("instanceId", "RunInstances", &fields).await
    }

    async fn fargate_profile(&self, name: &str, subnet: &str) {
        let body = json!({
            "fargateProfileName": name,
            "podExecutionRoleArn": "arn:aws:iam::123456789012:role/pods",
            "subnets": [self.subnet(subnet)],
            "selectors": [{"namespace": "default"}],
        });
        let path = format!("/clusters/{}/fargate-profiles", self.cluster);
        self.eks(&path, &body).await;
    }

    /// What the plan says of a subnet.
    fn row<'a>(&self, plan: &'a Outcome, subnet: &str) -> &'a str {
        let id = self.subnet(subnet);
        plan.stdout
            .lines()
            .find(|line| line.contains(id))
            .unwrap_or_default()
    }
}

fn node(provider_id: &str) -> Value {
    json!({"kind": "Node", "metadata": {"name": "n"}, "spec": {"providerID": provider_id}})
}

#[test]
fn a_clusters_nodes_are_found_whoever_started_them() {
    with_world(quick(), async |world| {
        let owned = format!("kubernetes.io/cluster/{}", world.cluster);
        world
            .instance("a2", &[(&owned, "owned"), ("cast:cluster-id", "1")])
            .await;
        world
            .instance("a2", &[(&owned, "owned"), ("cast:cluster-id", "1")])
            .await;
        world
            .instance("d", &[("eks:cluster-name", "another")])
            .await;
        let karpenter = [
            ("eks:eks-cluster-name", world.cluster.as_str()),
            ("karpenter.sh/nodepool", "spot"),
        ];
        world.instance("c", &karpenter).await;
        world.fargate_profile("batch", "d").await;
        let discovery = [
            ("ResourceId.1", world.subnet("b")),
            ("Tag.1.Key", "karpenter.sh/discovery"),
            ("Tag.1.Value", world.cluster.as_str()),
        ];
        world.ec2("CreateTags", &discovery).await;
        let plan = world.tag(0, &["plan", "--cluster", &world.cluster]).await;
        for (subnet, reason) in [
            ("a2", "2 nodes of CAST AI"),
            ("c", "1 node of Karpenter's spot"),
            ("d", "Fargate profile batch"),
            ("b", "tagged for Karpenter"),
            ("b", "control plane of"),
        ] {
            let row = world.row(&plan, subnet);
            assert!(
                row.contains(reason),
                "no {reason:?} for {subnet} in\n{plan}"
            );
        }
        assert!(!world.row(&plan, "d").contains("of the cluster"), "{plan}");
    });
}

#[test]
fn nodes_that_kubectl_lists_lead_to_their_subnets() {
    with_world(quick(), async |world| {
        let (a, b) = (
            world.instance("a", &[("Name", "one")]).await,
            world.instance("b", &[("Name", "two")]).await,
        );
        let nodes = json!({"kind": "List", "items": [
            node(&format!("aws:///us-east-1a/{a}")),
            node(&format!("aws:///us-east-1b/{b}")),
            node("aws:///us-east-1b/i-0123456789abcdef0"),
            node("aws:///us-east-1b/24a1/fargate-ip-10-0-1-2.ec2.internal"),
        ]});
        let product = world.product("castlink-tag", &["apply", "--nodes", "-", "-o", "json"]);
        let applied = product.stdin(nodes.to_string()).run().await.unwrap();
        let applied = applied.expect_code(0).unwrap();
        assert_eq!(world.with_status(&applied, "applied"), ["a", "b"]);
        assert_eq!(world.tagged().await, ["a", "b"]);
        for said in [
            "i-0123456789abcdef0: no instance of this account",
            "fargate-ip-10-0-1-2.ec2.internal: no instance: their subnets are not known",
        ] {
            assert!(applied.stderr.contains(said), "no {said:?} in\n{applied}");
        }
    });
}

#[test]
fn nodes_of_another_account_are_a_usage_error() {
    with_world(quick(), async |world| {
        let plan = || world.product("castlink-tag", &["plan", "--nodes", "-"]);
        for (text, said) in [
            ("i-0123456789abcdef0", "none of the nodes is an instance"),
            ("NAME STATUS ROLES", "`NAME` is no instance id"),
            ("", "no nodes in it"),
        ] {
            let refused = plan().stdin(text).run().await.unwrap();
            let refused = refused.expect_code(2).unwrap();
            assert!(refused.stderr.contains(said), "no {said:?} in\n{refused}");
            assert!(refused.stderr.contains("hint:"), "{refused}");
        }
    });
}

#[test]
fn a_source_that_is_denied_leaves_the_others() {
    with_world(quick(), async |world| {
        world.fault(Fault::on("ec2", "DescribeInstances", Harm::Deny));
        world.fault(Fault::on("eks", "ListFargateProfiles", Harm::Deny));
        let (plan, asked) = world
            .watched(world.tag(0, &["plan", "--cluster", &world.cluster]))
            .await;
        assert_eq!(writes(&asked), [""; 0]);
        for action in ["ec2:DescribeInstances", "eks:ListFargateProfiles"] {
            let said = format!("subnets may be missing: {action} is denied");
            assert!(plan.stderr.contains(&said), "{plan}");
        }
        assert!(plan.stdout.contains("5 subnets to tag"), "{plan}");
        world.fault(Fault::on("eks", "DescribeCluster", Harm::Deny));
        world.tag(7, &["plan", "--cluster", &world.cluster]).await;
    });
}
