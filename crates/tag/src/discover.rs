//! Collects subnet ids with the reasons why they are meant: what is named, what the
//! cluster says, and where its nodes really are.

use std::collections::{BTreeMap, BTreeSet};

use castlink_core::{Exit, Failure, Result};
use castlink_ec2::{Instance, Network};
use tokio::join;

use crate::nodes::Nodes;

/// Why subnets are meant, by id, and what could not be looked at.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) reasons: BTreeMap<String, BTreeSet<String>>,
    pub(crate) warnings: Vec<String>,
}

impl Found {
    pub(crate) fn add<S: AsRef<str>>(&mut self, ids: &[S], reason: &str) {
        for id in ids {
            self.reasons
                .entry(id.as_ref().to_owned())
                .or_default()
                .insert(reason.to_owned());
        }
    }

    fn add_instances(&mut self, instances: &[Instance]) {
        let mut groups: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for instance in instances {
            *groups
                .entry((&instance.subnet, starter(instance)))
                .or_default() += 1;
        }
        for ((subnet, starter), count) in groups {
            let nodes = castlink_core::printer::count(count, "node");
            self.add(&[subnet], &format!("{nodes} of {starter}"));
        }
    }

    /// What `source` said. Not being allowed to ask one source leaves the others:
    /// it is said, and the rest is used.
    fn take<T>(&mut self, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.exit() == Exit::Credentials => {
                self.warnings
                    .push(format!("subnets may be missing: {}", failure.one_line()));
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Adds the subnets of a cluster: its control plane's, and wherever its nodes are or may be.
///
/// # Errors
/// Exit 2 when there is no such cluster.
pub(crate) async fn of_cluster(network: &Network, name: &str, found: &mut Found) -> Result<()> {
    // The cluster first: for an unknown one, its answer is the better error.
    let cluster = network.cluster(name).await?;
    let vpc = cluster.vpc.as_deref();
    let (groups, profiles, instances, karpenter) = join!(
        network.node_groups(name),
        network.fargate_profiles(name),
        network.instances_of(name, vpc),
        network.karpenter_subnets(name, vpc),
    );
    found.add(&cluster.subnets, &format!("control plane of {name}"));
    for group in found.take(groups)?.unwrap_or_default() {
        found.add(&group.subnets, &format!("node group {}", group.name));
    }
    for profile in found.take(profiles)?.unwrap_or_default() {
        found.add(
            &profile.subnets,
            &format!("Fargate profile {}", profile.name),
        );
    }
    if let Some(instances) = found.take(instances)? {
        found.add_instances(&instances);
    }
    for subnet in found.take(karpenter)?.unwrap_or_default() {
        found.add(&[subnet.id], "tagged for Karpenter");
    }
    Ok(())
}

/// Adds the subnets of the nodes that a cluster listed.
///
/// # Errors
/// Exit 2 when none of them is an instance of this account and region.
pub(crate) async fn of_nodes(network: &Network, nodes: &Nodes, found: &mut Found) -> Result<()> {
    let instances = network.instances(&nodes.instances).await?;
    if instances.is_empty() {
        return Err(Failure::usage(format!(
            "none of the nodes is an instance in {}: {}",
            network.region(),
            some(&nodes.instances, &nodes.others),
        ))
        .hint("check --region and --profile; for Fargate, give --cluster: its profiles name their subnets"));
    }
    let gone: Vec<String> = nodes
        .instances
        .iter()
        .filter(|id| !instances.iter().any(|instance| instance.id == **id))
        .cloned()
        .collect();
    for (ids, why) in [
        (&gone, "no instance of this account and region any more"),
        (&nodes.others, "no instance: their subnets are not known"),
    ] {
        if !ids.is_empty() {
            found.warnings.push(format!("{}: {why}", some(ids, &[])));
        }
    }
    found.add_instances(&instances);
    Ok(())
}

fn some(ids: &[String], more: &[String]) -> String {
    let all = [ids, more].concat();
    match all.as_slice() {
        [a, b, _, _, ..] => format!("{a}, {b} and {} more", all.len() - 2),
        all => all.join(", "),
    }
}

/// Who started the instance, by the tags that each leaves.
fn starter(instance: &Instance) -> String {
    let tag = |key: &str| instance.tags.get(key).map(String::as_str);
    let by_pool = |pool: &str| format!("Karpenter's {pool}");
    if let Some(group) = tag("eks:nodegroup-name") {
        return format!("node group {group}");
    }
    if instance.tags.keys().any(|key| key.starts_with("cast:")) {
        return "CAST AI".to_owned();
    }
    if let Some(pool) = tag("karpenter.sh/nodepool") {
        return by_pool(pool);
    }
    match tag("aws:autoscaling:groupName") {
        Some(group) => format!("auto scaling group {group}"),
        None => "the cluster".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(subnet: &str, tags: &[(&str, &str)]) -> Instance {
        Instance {
            id: "i-1".into(),
            subnet: subnet.into(),
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn nodes_are_counted_by_who_started_them() {
        let mut found = Found::default();
        found.add_instances(&[
            instance(
                "a",
                &[("cast:cluster-id", "1"), ("karpenter.sh/nodepool", "x")],
            ),
            instance("a", &[("cast:cluster-id", "1")]),
            instance("a", &[("eks:nodegroup-name", "blue")]),
            instance("b", &[("karpenter.sh/nodepool", "spot")]),
            instance("b", &[("aws:autoscaling:groupName", "old")]),
            instance("c", &[]),
        ]);
        let reasons =
            |id: &str| -> Vec<&str> { found.reasons[id].iter().map(String::as_str).collect() };
        assert_eq!(
            reasons("a"),
            ["1 node of node group blue", "2 nodes of CAST AI"]
        );
        assert_eq!(
            reasons("b"),
            [
                "1 node of Karpenter's spot",
                "1 node of auto scaling group old"
            ]
        );
        assert_eq!(reasons("c"), ["1 node of the cluster"]);
    }

    #[test]
    fn a_source_that_is_denied_is_said_and_left_out() {
        let mut found = Found::default();
        let denied = Failure::credentials("ec2:DescribeInstances is denied");
        assert!(found.take::<()>(Err(denied)).unwrap().is_none());
        assert!(found.warnings[0].contains("ec2:DescribeInstances is denied"));
        assert!(found.take::<()>(Err(Failure::unreachable("x"))).is_err());
    }
}
