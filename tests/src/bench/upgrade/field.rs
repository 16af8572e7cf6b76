//! The cluster that both contenders work on, and what they find in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::kubelet::NodeSpec;
use crate::mirrored::mirror;
use crate::process::wait_until;
use crate::seed;
use crate::stack::{Options, Stack};

/// How long setting up and clearing away may take.
const SOON: Duration = Duration::from_secs(180);
/// What images pulled in a turn have in common.
const PREFIX: &str = "ghcr.io/castlink/bench";

/// A workload of the namespace.
pub(super) struct Workload {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    replicas: usize,
}

const fn workload(kind: &'static str, name: &'static str, replicas: usize) -> Workload {
    Workload {
        kind,
        name,
        replicas,
    }
}

/// What a namespace of CAST AI looks like. A DaemonSet has a pod per node.
pub(super) const WORKLOADS: [Workload; 10] = [
    workload("Deployment", "castai-agent", 2),
    workload("Deployment", "castai-cluster-controller", 2),
    workload("Deployment", "castai-evictor", 1),
    workload("Deployment", "castai-pod-mutator", 2),
    workload("Deployment", "castai-pod-pinner", 2),
    workload("Deployment", "castai-workload-autoscaler", 2),
    workload("Deployment", "castai-kvisor-controller", 1),
    workload("DaemonSet", "castai-kvisor-agent", 3),
    workload("DaemonSet", "castai-spot-handler", 3),
    workload("StatefulSet", "castai-kvisor-clickhouse", 1),
];

/// The cluster.
pub(super) struct Field {
    stack: Stack,
    client: kube::Client,
    pull: f64,
}

impl Field {
    /// Three nodes, whose pulls take `pull` seconds.
    pub(super) async fn start(pull: f64) -> Result<Self> {
        let mut options = Options::bare_cluster(&[]);
        options.nodes = NodeSpec::default_set().into_iter().take(3).collect();
        options.aws.images.scale = 0.05;
        let stack = Stack::start(options).await?;
        let images: Vec<String> = WORKLOADS
            .iter()
            .flat_map(|one| ["v1", "v2"].map(|tag| format!("{PREFIX}/{}:{tag}", one.name)))
            .collect();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let small = seed::Options {
            scale: 0.05,
            ..seed::Options::default()
        };
        mirror(&stack.aws, &images, small).await?;
        let client = stack.client().await?;
        Ok(Self {
            stack,
            client,
            pull,
        })
    }

    pub(super) fn plane(&self) -> Result<&ControlPlane> {
        Ok(&self.stack.cluster()?.plane)
    }

    pub(super) fn nodes(&self) -> Result<usize> {
        Ok(self.stack.cluster()?.kubelets.nodes().len())
    }

    pub(super) fn dir(&self) -> &Path {
        self.stack.dir()
    }

    pub(super) fn kubectl(&self) -> PathBuf {
        self.stack.dir().join("bin/kubectl")
    }

    /// The name of a release of `workload`'s image in the private registry.
    pub(super) fn image(&self, workload: &Workload, tag: &str) -> String {
        format!(
            "{}/{PREFIX}/{}:{tag}",
            self.stack.aws.ecr_host(),
            workload.name
        )
    }

    /// A new namespace with all workloads on the first release, ready. Pulls are as quick as
    /// they can be meanwhile.
    pub(super) async fn plant(&self, namespace: &str) -> Result<()> {
        self.set_pull(None)?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        api.create(&PostParams::default(), &object).await?;
        for one in &WORKLOADS {
            let object = serde_json::from_value(one.object(&self.image(one, "v1")))?;
            let api = self.api(one, namespace);
            api.create(&PostParams::default(), &object).await?;
        }
        self.all_on(namespace, "v1").await?;
        self.set_pull(Some(self.pull))
    }

    /// Every pod must be ready on the second release.
    pub(super) async fn check(&self, namespace: &str) -> Result<()> {
        let late = self.missing(namespace, "v2").await?;
        ensure!(late.is_none(), "{namespace}: {}", late.unwrap_or_default());
        Ok(())
    }

    /// Removes the namespace's workloads, so that they do not weigh on the next turn.
    pub(super) async fn clear(&self, namespace: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(namespace, &DeleteParams::default()).await?;
        wait_until("an empty namespace", SOON, async || {
            let left = self.pods(namespace).await?.len();
            ensure!(left == 0, "{left} pods");
            Ok(())
        })
        .await
    }

    fn set_pull(&self, seconds: Option<f64>) -> Result<()> {
        let slow = seconds.map(|seconds| ("castlink/bench".to_owned(), seconds));
        let kubelets = &self.stack.cluster()?.kubelets;
        kubelets.change_faults(|faults| faults.slow = BTreeMap::from_iter(slow));
        Ok(())
    }

    async fn all_on(&self, namespace: &str, tag: &str) -> Result<()> {
        wait_until("the workloads", SOON, async || {
            let late = self.missing(namespace, tag).await?;
            ensure!(late.is_none(), "{}", late.unwrap_or_default());
            Ok(())
        })
        .await
    }

    /// What keeps the namespace from being all on `tag`; pods that are ending do not count.
    async fn missing(&self, namespace: &str, tag: &str) -> Result<Option<String>> {
        let mut pods = self.pods(namespace).await?;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let wanted: usize = WORKLOADS.iter().map(|one| one.replicas).sum();
        if pods.len() != wanted {
            return Ok(Some(format!("{} pods instead of {wanted}", pods.len())));
        }
        let end = format!(":{tag}");
        let late = pods.iter().find(|pod| !runs(pod, &end));
        Ok(late.and_then(|pod| pod.metadata.name.clone()))
    }

    async fn pods(&self, namespace: &str) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    fn api(&self, workload: &Workload, namespace: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk("apps", "v1", workload.kind);
        let resource = ApiResource::from_gvk(&gvk);
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }
}

impl Workload {
    fn object(&self, image: &str) -> Value {
        let labels = json!({"app": self.name});
        let mut object = json!({"apiVersion": "apps/v1", "kind": self.kind,
            "metadata": {"name": self.name},
            "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                    {"name": "app", "image": image, "imagePullPolicy": "Always"}]}}}});
        let spec = &mut object["spec"];
        if self.kind != "DaemonSet" {
            spec["replicas"] = self.replicas.into();
        }
        if self.kind == "StatefulSet" {
            spec["serviceName"] = self.name.into();
        }
        object
    }
}

/// Ready on an image whose name ends so.
fn runs(pod: &Pod, end: &str) -> bool {
    let image = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.containers[0].image.as_deref());
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    ready && image.is_some_and(|image| image.ends_with(end))
}
