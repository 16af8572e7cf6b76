//! Where nodes really are: Fargate profiles, instances, and the subnets that Karpenter
//! may use. What the cluster itself names is in `cluster`.

use aws_sdk_ec2::types::{Filter, Reservation};
use castlink_aws::{Kind, kind};
use castlink_core::Result;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    cluster::CONCURRENT,
    convert,
    model::{FargateProfile, Instance, Subnet},
    network::{FILTER_VALUES, Network, filter},
};

/// Tags by which an instance says which cluster it belongs to: the one that kubelets need,
/// and those of EKS node groups, EKS Auto Mode and Karpenter. The first has the cluster
/// in its key, the others in their value.
const CLUSTER_KEYS: [&str; 4] = [
    "kubernetes.io/cluster/",
    "eks:cluster-name",
    "eks:eks-cluster-name",
    "aws:eks:cluster-name",
];

/// Stopped ones come back where they were; terminated ones do not.
const ALIVE: [&str; 4] = ["pending", "running", "stopping", "stopped"];

impl Network {
    /// The Fargate profiles of a cluster, asked concurrently.
    ///
    /// # Errors
    /// When EKS cannot be asked.
    pub async fn fargate_profiles(&self, cluster: &str) -> Result<Vec<FargateProfile>> {
        let names: Vec<String> = self
            .eks
            .list_fargate_profiles()
            .cluster_name(cluster)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| {
                self.failure(
                    "eks:ListFargateProfiles",
                    &format!("cluster {cluster}"),
                    &err,
                )
            })?;
        stream::iter(names)
            .map(|name| self.fargate_profile(cluster, name))
            .buffered(CONCURRENT)
            .try_filter_map(async |profile| Ok(profile))
            .try_collect()
            .await
    }

    /// Nothing when the profile was deleted since it was listed.
    async fn fargate_profile(&self, cluster: &str, name: String) -> Result<Option<FargateProfile>> {
        let request = self
            .eks
            .describe_fargate_profile()
            .cluster_name(cluster)
            .fargate_profile_name(&name);
        match request.send().await {
            Ok(answer) => Ok(Some(FargateProfile {
                name,
                subnets: answer
                    .fargate_profile
                    .and_then(|profile| profile.subnets)
                    .unwrap_or_default(),
            })),
            Err(err) if kind(&err) == Kind::NotFound => Ok(None),
            Err(err) => Err(self.failure(
                "eks:DescribeFargateProfile",
                &format!("Fargate profile {name}"),
                &err,
            )),
        }
    }

    /// The instances that are tagged as nodes of a cluster, whoever started them; of one
    /// VPC when it is known.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn instances_of(&self, cluster: &str, vpc: Option<&str>) -> Result<Vec<Instance>> {
        let mut keys = CLUSTER_KEYS.map(ToOwned::to_owned);
        keys[0].push_str(cluster);
        let mut filters = vec![filter("tag-key", &keys)];
        filters.extend(vpc.map(|vpc| filter("vpc-id", &[vpc])));
        let mut found = self
            .instances_where(filters, &format!("cluster {cluster}"))
            .await?;
        found.retain(|instance| belongs(instance, cluster));
        Ok(found)
    }

    /// The instances with these ids that exist, in no particular order.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn instances(&self, ids: &[String]) -> Result<Vec<Instance>> {
        let mut found = Vec::new();
        // A filter leaves unknown ids out; asking by id would fail on the first.
        for batch in ids.chunks(FILTER_VALUES) {
            let filters = vec![filter("instance-id", batch)];
            found.extend(self.instances_where(filters, "the nodes").await?);
        }
        Ok(found)
    }

    async fn instances_where(
        &self,
        mut filters: Vec<Filter>,
        subject: &str,
    ) -> Result<Vec<Instance>> {
        filters.push(filter("instance-state-name", &ALIVE));
        let reservations: Vec<Reservation> = self
            .ec2
            .describe_instances()
            .set_filters(Some(filters))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| self.failure("ec2:DescribeInstances", subject, &err))?;
        let instances = reservations
            .into_iter()
            .flat_map(|reservation| reservation.instances.unwrap_or_default());
        Ok(instances.filter_map(convert::instance).collect())
    }

    /// The subnets that are tagged for Karpenter to start nodes of a cluster in.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn karpenter_subnets(&self, cluster: &str, vpc: Option<&str>) -> Result<Vec<Subnet>> {
        let mut filters = vec![filter("tag:karpenter.sh/discovery", &[cluster])];
        filters.extend(vpc.map(|vpc| filter("vpc-id", &[vpc])));
        let found: Vec<_> = self
            .ec2
            .describe_subnets()
            .set_filters(Some(filters))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| {
                self.failure("ec2:DescribeSubnets", &format!("cluster {cluster}"), &err)
            })?;
        Ok(found.into_iter().map(convert::subnet).collect())
    }
}

/// EC2 matches keys alone; the cluster's name is in the value of all but the first.
fn belongs(instance: &Instance, cluster: &str) -> bool {
    let [by_key, by_value @ ..] = CLUSTER_KEYS;
    let tags = &instance.tags;
    tags.contains_key(&format!("{by_key}{cluster}"))
        || by_value
            .iter()
            .any(|key| tags.get(*key).is_some_and(|value| value == cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_belongs_to_the_cluster_that_its_tags_name() {
        for (key, value, want) in [
            ("kubernetes.io/cluster/prod", "owned", true),
            ("kubernetes.io/cluster/prod", "shared", true),
            ("kubernetes.io/cluster/production", "owned", false),
            ("eks:cluster-name", "prod", true),
            ("eks:cluster-name", "test", false),
            ("eks:eks-cluster-name", "prod", true),
            ("Name", "prod", false),
        ] {
            let instance = Instance {
                tags: [(key.to_owned(), value.to_owned())].into(),
                ..Instance::default()
            };
            assert_eq!(belongs(&instance, "prod"), want, "{key}={value}");
        }
    }
}
