//! The nodes: their objects, leases and heartbeats.
//!
//! A node is what EKS would show: provider id, zone, architecture, capacity. While it is
//! alive its status and lease are renewed; a node that is down says so itself at once
//! (`Ready=Unknown`), which the node controller would only find out 50 s later.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::faults::Faults;
use super::pull::NodeStore;

/// Leases live 40 s; beating often keeps a loaded machine from losing nodes.
const HEARTBEAT: Duration = Duration::from_secs(5);
const LEASE_SECONDS: u32 = 40;
const VERSION: &str = "v1.36.4-eks-simulated";

/// What one node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name, as EKS makes it from the address.
    pub name: String,
    /// Its address.
    pub ip: String,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// Its availability zone.
    pub zone: String,
    /// The EC2 instance behind it.
    pub instance: String,
}

impl NodeSpec {
    /// The node at `ip` in `zone`.
    #[must_use]
    pub fn new(ip: &str, arch: &str, zone: &str) -> Self {
        let octets = ip.split('.').filter_map(|part| part.parse::<u8>().ok());
        let hex: String = octets.map(|octet| format!("{octet:02x}")).collect();
        Self {
            name: format!("ip-{}.ec2.internal", ip.replace('.', "-")),
            ip: ip.to_owned(),
            arch: arch.to_owned(),
            zone: zone.to_owned(),
            instance: format!("i-0ca57{hex:0>12}"),
        }
    }

    /// Five nodes: amd64 in three zones, arm64 in two of them.
    #[must_use]
    pub fn default_set() -> Vec<Self> {
        vec![
            Self::new("10.0.1.10", "amd64", "us-east-1a"),
            Self::new("10.0.2.10", "amd64", "us-east-1b"),
            Self::new("10.0.3.10", "amd64", "us-east-1c"),
            Self::new("10.0.1.20", "arm64", "us-east-1a"),
            Self::new("10.0.2.20", "arm64", "us-east-1b"),
        ]
    }

    fn region(&self) -> &str {
        self.zone.trim_end_matches(|c: char| c.is_ascii_lowercase())
    }

    fn object(&self) -> Value {
        let instance_type = if self.arch == "arm64" {
            "m7g.2xlarge"
        } else {
            "m6i.2xlarge"
        };
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "labels": {
                "kubernetes.io/hostname": self.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": self.arch,
                "topology.kubernetes.io/region": self.region(),
                "topology.kubernetes.io/zone": self.zone,
                "node.kubernetes.io/instance-type": instance_type,
                "eks.amazonaws.com/nodegroup": format!("general-{}", self.arch),
                "eks.amazonaws.com/capacityType": "ON_DEMAND",
            }},
            "spec": {"providerID": format!("aws:///{}/{}", self.zone, self.instance)},
            "status": self.status("True", "KubeletReady"),
        })
    }

    fn status(&self, ready: &str, reason: &str) -> Value {
        let capacity =
            json!({"cpu": "8", "memory": "32Gi", "pods": "58", "ephemeral-storage": "80Gi"});
        json!({
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": self.ip},
                {"type": "Hostname", "address": self.name},
            ],
            "conditions": [
                condition("Ready", ready, reason),
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            ],
            "nodeInfo": {
                "architecture": self.arch, "operatingSystem": "linux", "kubeletVersion": VERSION,
                "containerRuntimeVersion": "containerd://2.1.4", "kubeProxyVersion": "",
                "osImage": "simulated", "kernelVersion": "6.12.0", "machineID": self.instance,
                "systemUUID": self.instance, "bootID": self.instance,
            },
        })
    }
}

/// A node and what it has pulled.
#[derive(Debug)]
pub(crate) struct SimNode {
    /// What it is.
    pub(crate) spec: NodeSpec,
    /// Its image store.
    pub(crate) store: NodeStore,
}

/// Creates the node objects and their leases.
///
/// # Errors
/// The API server's.
pub(super) async fn register(client: &kube::Client, nodes: &[Arc<SimNode>]) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    for node in nodes {
        let name = &node.spec.name;
        let object = serde_json::from_value(node.spec.object())?;
        let created = api.create(&PostParams::default(), &object).await;
        created.with_context(|| format!("cannot register node {name}"))?;
        renew_lease(client, name)
            .await
            .with_context(|| format!("cannot lease node {name}"))?;
    }
    Ok(())
}

/// Renews status and lease of the living nodes for as long as the program runs.
pub(super) async fn heartbeats(
    client: kube::Client,
    nodes: Vec<Arc<SimNode>>,
    mut faults: watch::Receiver<Faults>,
) {
    let mut dead = HashSet::new();
    loop {
        let down = faults.borrow_and_update().clone();
        for node in &nodes {
            let name = node.spec.name.as_str();
            // Errors are not for us: a control plane that is gone takes the kubelets along,
            // and one that is slow gets the next beat.
            if down.is_down(name) {
                if dead.insert(name) {
                    drop(post_status(&client, &node.spec, "Unknown", "NodeStatusUnknown").await);
                }
            } else {
                dead.remove(name);
                drop(post_status(&client, &node.spec, "True", "KubeletReady").await);
                drop(renew_lease(&client, name).await);
            }
        }
        drop(tokio::time::timeout(HEARTBEAT, faults.changed()).await);
    }
}

async fn post_status(
    client: &kube::Client,
    node: &NodeSpec,
    ready: &str,
    reason: &str,
) -> kube::Result<Node> {
    let api: Api<Node> = Api::all(client.clone());
    // Strategic merge: conditions are merged by type, so the transition time of an
    // unchanged condition has to be left out rather than repeated.
    let mut status = node.status(ready, reason);
    let shown = api
        .get(&node.name)
        .await?
        .status
        .and_then(|status| status.conditions);
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        let same = shown.iter().flatten().any(|old| {
            condition["type"] == old.type_.as_str() && condition["status"] == old.status.as_str()
        });
        if let Some(fields) = condition.as_object_mut().filter(|_| same) {
            fields.remove("lastTransitionTime");
        }
    }
    let patch = Patch::Strategic(json!({ "status": status }));
    api.patch_status(&node.name, &PatchParams::default(), &patch)
        .await
}

async fn renew_lease(client: &kube::Client, node: &str) -> kube::Result<Lease> {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node},
        "spec": {
            "holderIdentity": node,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": format!("{:.6}", Timestamp::now()),
        },
    });
    let params = PatchParams::apply("kubelet").force();
    api.patch(node, &params, &Patch::Apply(lease)).await
}

fn condition(name: &str, status: &str, reason: &str) -> Value {
    let now = format!("{:.0}", Timestamp::now());
    json!({
        "type": name, "status": status, "reason": reason, "message": reason,
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_as_eks_names_them() {
        let node = NodeSpec::new("10.0.1.10", "arm64", "us-east-1b");
        assert_eq!(node.name, "ip-10-0-1-10.ec2.internal");
        assert_eq!(node.region(), "us-east-1");
        assert_eq!(node.instance.len(), "i-0123456789abcdef0".len());
        assert_eq!(
            node.object()["spec"]["providerID"],
            format!("aws:///us-east-1b/{}", node.instance)
        );
    }
}
