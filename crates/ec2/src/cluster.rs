//! Where an EKS cluster's control plane and managed nodes are.

use castlink_aws::{Kind, kind};
use castlink_core::{Failure, Result, config::nearest};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    model::{Cluster, NodeGroup},
    network::Network,
};

/// Enough to hide the round trips, few enough not to be throttled.
pub(crate) const CONCURRENT: usize = 8;

impl Network {
    /// A cluster by name.
    ///
    /// # Errors
    /// Exit 2 when there is none of that name in this account and region; the hint says
    /// which there are.
    pub async fn cluster(&self, name: &str) -> Result<Cluster> {
        let answer = self.eks.describe_cluster().name(name).send().await;
        let cluster = match answer {
            Ok(answer) => answer.cluster,
            Err(err) if kind(&err) == Kind::NotFound => return Err(self.no_cluster(name).await),
            Err(err) => {
                return Err(self.failure("eks:DescribeCluster", &format!("cluster {name}"), &err));
            }
        };
        let network = cluster.and_then(|cluster| cluster.resources_vpc_config);
        let network = network.ok_or_else(|| {
            Failure::unreachable(format!("cluster {name} has no network yet"))
                .hint("wait until the cluster is active")
        })?;
        Ok(Cluster {
            name: name.to_owned(),
            vpc: network.vpc_id.filter(|id| !id.is_empty()),
            subnets: network.subnet_ids.unwrap_or_default(),
            security_group: network
                .cluster_security_group_id
                .filter(|id| !id.is_empty()),
        })
    }

    /// The managed node groups of a cluster, asked concurrently.
    ///
    /// # Errors
    /// When EKS cannot be asked.
    pub async fn node_groups(&self, cluster: &str) -> Result<Vec<NodeGroup>> {
        let names: Vec<String> = self
            .eks
            .list_nodegroups()
            .cluster_name(cluster)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| {
                self.failure("eks:ListNodegroups", &format!("cluster {cluster}"), &err)
            })?;
        stream::iter(names)
            .map(|name| self.node_group(cluster, name))
            .buffered(CONCURRENT)
            .try_filter_map(async |group| Ok(group))
            .try_collect()
            .await
    }

    /// Nothing when the group was deleted since it was listed.
    async fn node_group(&self, cluster: &str, name: String) -> Result<Option<NodeGroup>> {
        let request = self
            .eks
            .describe_nodegroup()
            .cluster_name(cluster)
            .nodegroup_name(&name);
        match request.send().await {
            Ok(answer) => Ok(Some(NodeGroup {
                name,
                subnets: answer
                    .nodegroup
                    .and_then(|group| group.subnets)
                    .unwrap_or_default(),
            })),
            Err(err) if kind(&err) == Kind::NotFound => Ok(None),
            Err(err) => {
                Err(self.failure("eks:DescribeNodegroup", &format!("node group {name}"), &err))
            }
        }
    }

    async fn no_cluster(&self, name: &str) -> Failure {
        let failure = Failure::usage(format!("no such EKS cluster in {}: {name}", self.region()));
        let listed = self.eks.list_clusters().into_paginator().items().send();
        // The list is only a courtesy: not being allowed to list changes nothing.
        let known: Vec<String> = listed.collect::<Result<_, _>>().await.unwrap_or_default();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        match (nearest(name, &known), known.as_slice()) {
            (Some(near), _) => failure.hint(format!("did you mean `{near}`?")),
            (None, []) => failure.hint("there is none here; check --region and --profile"),
            (None, known) => failure.hint(format!(
                "clusters here: {}; or check --region and --profile",
                known.join(", ")
            )),
        }
    }
}
