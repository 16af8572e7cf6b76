//! Observe: one look at the namespace (workloads, pods) and at the nodes. A constant
//! number of requests, however many workloads there are.

use std::collections::BTreeMap;

use castlink_core::{Failure, Printer, Result, config::nearest};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    client::Cluster,
    nodes::{NodeView, Nodes},
    pods::PodView,
    workload::{Kind, Workload},
};

/// Objects per page: large enough to need one request, small enough for the server.
const PAGE: u32 = 500;

/// The namespace as it was seen.
pub(crate) struct Observed {
    /// Workloads that nobody else's object made, by kind and name; pods only when bare.
    pub(crate) workloads: Vec<Workload>,
    /// Pods that are not finished.
    pub(crate) pods: Vec<PodView>,
    pub(crate) nodes: Nodes,
}

impl Cluster {
    /// Reads the namespace and the nodes.
    ///
    /// # Errors
    /// Exit 2 when the namespace does not exist; 7 or 8 when reading is denied or the
    /// server cannot be reached. Nodes that may not be listed are only a warning.
    pub(crate) async fn observe(&self, printer: &Printer) -> Result<Observed> {
        let ((), nodes, mut workloads, raw_pods) = tokio::try_join!(
            self.namespace_exists(),
            self.nodes(printer),
            self.templates(),
            self.raw_pods()
        )?;
        workloads.extend(raw_pods.iter().filter_map(bare_pod));
        workloads.sort_by(|a, b| a.id.cmp(&b.id));
        let pods = raw_pods
            .iter()
            .map(PodView::new)
            .filter(|pod| !pod.finished())
            .collect();
        Ok(Observed {
            workloads,
            pods,
            nodes,
        })
    }

    /// Every workload, bare pods among them; nothing else of the namespace.
    ///
    /// # Errors
    /// As [`Cluster::observe`].
    pub(crate) async fn workloads_now(&self) -> Result<Vec<Workload>> {
        let (mut workloads, pods) = tokio::try_join!(self.templates(), self.raw_pods())?;
        workloads.extend(pods.iter().filter_map(bare_pod));
        Ok(workloads)
    }

    /// Every workload with a template.
    async fn templates(&self) -> Result<Vec<Workload>> {
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Pod);
        let lists = try_join_all(kinds.map(|kind| self.workloads(kind))).await?;
        Ok(lists.into_iter().flatten().collect())
    }

    async fn workloads(&self, kind: Kind) -> Result<Vec<Workload>> {
        let objects = list(&self.api(kind)).await;
        let objects =
            objects.map_err(|err| self.explain(err, &format!("listing {}", kind.plural())))?;
        Ok(objects
            .into_iter()
            .map(|object| Workload::new(kind, object))
            .collect())
    }

    async fn raw_pods(&self) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        list(&api)
            .await
            .map_err(|err| self.explain(err, "listing pods"))
    }

    async fn nodes(&self, printer: &Printer) -> Result<Nodes> {
        match list(&Api::<Node>::all(self.client.clone())).await {
            Ok(nodes) => Ok(Some(by_name(&nodes))),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                printer.warn("nodes may not be listed: their architectures are not compared with the images'");
                Ok(None)
            }
            Err(err) => Err(self.explain(err, "listing nodes")),
        }
    }

    /// A user with rights in the namespace alone may not read the namespace itself.
    async fn namespace_exists(&self) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.get_opt(&self.namespace).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(self.no_namespace(&api).await),
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(()),
            Err(err) => Err(self.explain(err, "reading the namespace")),
        }
    }

    async fn no_namespace(&self, api: &Api<Namespace>) -> Failure {
        let all = list(api).await.unwrap_or_default();
        let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let failure = Failure::usage(format!(
            "namespace {} does not exist in context {}",
            self.namespace, self.context
        ));
        match nearest(&self.namespace, &names) {
            Some(near) => failure.hint(format!("did you mean `-n {near}`?")),
            None => failure.hint("choose it with -n, or the cluster with --context"),
        }
    }
}

fn by_name(nodes: &[Node]) -> BTreeMap<String, NodeView> {
    nodes
        .iter()
        .map(|node| (node.name_any(), NodeView::new(node)))
        .collect()
}

/// A pod that no controller made and that still runs, or the copy of a static one.
fn bare_pod(pod: &Pod) -> Option<Workload> {
    if PodView::new(pod).finished() {
        return None;
    }
    let object = serde_json::from_value(serde_json::to_value(pod).ok()?).ok()?;
    let workload = Workload::new(Kind::Pod, object);
    (workload.controller.is_none() || workload.is_static()).then_some(workload)
}

/// All objects, page by page.
pub(crate) async fn list<K>(api: &Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut objects = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}
