//! The custom resources by which castware-operator is told what to install: their values
//! decide over the images of the next installation, whatever the workloads say now.

use castlink_core::{ImageRef, Printer, Result};
use castlink_manifest::{self as manifest, stream::parts};
use castlink_rewrite::values::settings;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    discovery,
};
use serde_json::Value;

use crate::{charts::CHARTS, client::Cluster, cluster::list, json::text};

/// Where castware-operator keeps them.
pub(crate) const GROUP: &str = "castware.cast.ai";
pub(crate) const PLURAL: &str = "components";
const VERSION: &str = "v1alpha1";

/// Names the chart, where it is not called like the component.
const CHART_LABEL: &str = "castware.cast.ai/helm-chart";

/// One Component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    /// Of the object.
    pub(crate) name: String,
    /// What it installs: the name of a chart.
    pub(crate) chart: String,
    /// The name of the release it makes.
    pub(crate) release: String,
    /// The operator only reads: others decide.
    pub(crate) readonly: bool,
    /// Its image overrides: the path below `spec.values`, and the reference.
    pub(crate) images: Vec<(String, String)>,
}

impl Cluster {
    /// The Components of the namespace; none where there is no castware-operator.
    ///
    /// # Errors
    /// When the server cannot be asked. That Components may not be listed is a warning.
    pub(crate) async fn components(&self, printer: &Printer) -> Result<Vec<Component>> {
        let kind = GroupVersionKind::gvk(GROUP, VERSION, "Component");
        let resource = ApiResource::from_gvk_with_plural(&kind, PLURAL);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        match list(&api).await {
            Ok(all) => Ok(all.iter().filter_map(Component::of).collect()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                if self.has_operator().await {
                    printer.warn(format!("{PLURAL}.{GROUP} may not be listed: what castware-operator installs next is not looked at"));
                }
                Ok(Vec::new())
            }
            Err(err) => Err(self.explain(err, &format!("listing {PLURAL}.{GROUP}"))),
        }
    }

    /// A right is refused before the server looks whether there is such a thing.
    async fn has_operator(&self) -> bool {
        discovery::group(&self.client, GROUP).await.is_ok()
    }
}

impl Component {
    /// The image that `image`, one of its own, starts at run time; none where its values name
    /// that.
    pub(crate) fn scanners(&self, image: &str) -> Option<ImageRef> {
        let told = self
            .images
            .iter()
            .any(|(path, _)| path.ends_with("SCANNERS_IMAGE"));
        let image: ImageRef = image.parse().ok()?;
        image.kvisor_scanners().filter(|_| !told)
    }

    fn of(object: &DynamicObject) -> Option<Self> {
        let spec = object.data.get("spec")?;
        let installs = text(spec, "/component").map_or_else(|| object.name_any(), str::to_owned);
        let label = object.labels().get(CHART_LABEL);
        let release = text(spec, "/releaseName").filter(|name| !name.is_empty());
        Some(Self {
            name: object.name_any(),
            chart: label.cloned().unwrap_or_else(|| chart(&installs)),
            release: release.map_or(installs, str::to_owned),
            readonly: spec.get("readonly") == Some(&Value::Bool(true)),
            images: spec.get("values").map(overrides).unwrap_or_default(),
        })
    }
}

/// The operator calls some charts by their names without `castai-`.
fn chart(component: &str) -> String {
    let full = format!("castai-{component}");
    match CHARTS.chart(component).is_none() && CHARTS.chart(&full).is_some() {
        true => full,
        false => component.to_owned(),
    }
}

/// The images that `values` set, read as Helm values in a file are: whoever writes them
/// means the same.
fn overrides(values: &Value) -> Vec<(String, String)> {
    let text = values.to_string();
    let mut found = Vec::new();
    for part in parts(&text) {
        let Ok(tree) = manifest::parse(&text, &part) else {
            continue;
        };
        let roots = tree.roots().iter();
        for setting in roots.flat_map(|root| settings(&tree, *root)) {
            let images = setting.images.into_iter();
            found.extend(images.map(|image| (setting.path.clone(), image)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(values: Value, want: &[&str]) {
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "agent"},
            "spec": {"component": "castai-agent", "readonly": true, "values": values},
        }))
        .unwrap();
        let component = Component::of(&object).unwrap();
        assert_eq!(
            (component.chart.as_str(), component.readonly),
            ("castai-agent", true)
        );
        let found: Vec<String> = component
            .images
            .iter()
            .map(|(path, image)| format!("{path}={image}"))
            .collect();
        assert_eq!(found, want, "{values}");
    }

    #[test]
    fn overrides_are_found_in_the_values() {
        let agent = json!({
            "image": {"repository": "r.example/agent", "tag": "v1"},
            "clusterVPA": {"repository": "r.example/cpvpa", "version": "v0.8.4"},
            "other": {"image": "r.example/other:2", "tag": ""},
            "half": {"repository": "r.example/untagged"},
        });
        check(
            agent,
            &[
                "image=r.example/agent:v1",
                "clusterVPA=r.example/cpvpa:v0.8.4",
                "other.image=r.example/other:2",
            ],
        );
    }

    #[test]
    fn the_repository_of_kvisor_is_the_beginning_of_two() {
        let kvisor = json!({
            "image": {"repository": "r.example/kvisor/kvisor", "tag": "v1"},
            "agent": {"gpu": {"dcgmExporter": {"image": {
                "registry": "nvcr.io", "repository": "nvidia/k8s/dcgm-exporter", "tag": 4.5}}}},
            "controller": {"additionalEnv": {"SCANNERS_IMAGE": "r.example/mine:1"}},
        });
        check(
            kvisor,
            &[
                "image=r.example/kvisor/kvisor-agent:v1",
                "image=r.example/kvisor/kvisor-controller:v1",
                "agent.gpu.dcgmExporter.image=nvcr.io/nvidia/k8s/dcgm-exporter:4.5",
                "controller.additionalEnv.SCANNERS_IMAGE=r.example/mine:1",
            ],
        );
    }

    #[test]
    fn the_values_of_an_umbrella_lie_deeper() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let umbrella = json!({"autoscaler": {
            "castai-kvisor": {"image": {"repository": "r.example/kvisor", "tag": "v1"}},
            "castai-evictor": {"crdUpgrade": {"image": {
                "repository": "rancher/kubectl", "tag": "v1.35.6", "digest": digest}}},
            "extra": [{"image": "busybox:1"}],
        }});
        let hook =
            format!("autoscaler.castai-evictor.crdUpgrade.image=rancher/kubectl:v1.35.6@{digest}");
        check(
            umbrella,
            &[
                "autoscaler.castai-kvisor.image=r.example/kvisor-agent:v1",
                "autoscaler.castai-kvisor.image=r.example/kvisor-controller:v1",
                &hook,
                "autoscaler.extra[0].image=busybox:1",
            ],
        );
    }

    #[test]
    fn components_are_called_like_charts_or_shorter() {
        for (component, want) in [
            ("castai-agent", "castai-agent"),
            ("spot-handler", "castai-spot-handler"),
            ("something-else", "something-else"),
        ] {
            assert_eq!(chart(component), want);
        }
    }
}
