//! Who else manages a workload, read from its labels, annotations and managed fields.
//! A patch holds only until its owner writes again, so plans and reports name it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;

/// The operator that installs CAST AI's components.
pub(crate) const OPERATOR: &str = "castware-operator";

/// Labels and annotations that name the tool, most specific first. The value is the
/// tool's name for the object's group (release, application).
const MARKS: [(&str, &str); 6] = [
    ("argocd", "argocd.argoproj.io/instance"),
    ("argocd", "argocd.argoproj.io/tracking-id"),
    ("flux", "helm.toolkit.fluxcd.io/name"),
    ("flux", "kustomize.toolkit.fluxcd.io/name"),
    ("helm", "meta.helm.sh/release-name"),
    ("olm", "olm.owner"),
];

/// Managers of fields and the tool they belong to, when no label says so.
const MANAGERS: [(&str, &str); 6] = [
    ("castware-operator", "castware-operator"),
    ("terraform", "terraform"),
    ("hashicorp", "terraform"),
    ("helm", "helm"),
    ("argocd", "argocd"),
    ("kubectl-client-side-apply", "kubectl-apply"),
];

/// The tool that manages `object`: `helm:castai-agent`, `argocd:platform`, `terraform`.
pub(crate) fn of(object: &DynamicObject) -> Option<String> {
    let metadata = &object.metadata;
    if value(metadata, "app.kubernetes.io/managed-by") == Some(OPERATOR) {
        return Some(OPERATOR.into());
    }
    let mark = |(tool, key): &(&'static str, &str)| Some((*tool, group(value(metadata, key)?)));
    match MARKS.iter().find_map(mark) {
        Some(("helm", release)) => Some(installer(metadata, release)),
        Some((tool, name)) => Some(format!("{tool}:{name}")),
        None => manager(metadata).map(str::to_owned),
    }
}

/// Who ran Helm: Terraform and the operator link its library, and it writes under their
/// names.
fn installer(metadata: &ObjectMeta, release: &str) -> String {
    match manager(metadata) {
        Some(OPERATOR) => OPERATOR.into(),
        Some("terraform") => format!("terraform:{release}"),
        _ => format!("helm:{release}"),
    }
}

/// The object that made this one and would put a change back: `ReplicaSet/x`.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<String> {
    let owner = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))?;
    Some(format!("{}/{}", owner.kind, owner.name))
}

/// The tool alone: `helm` of `helm:castai-agent`.
pub(crate) fn tool(owner: &str) -> &str {
    owner.split(':').next().unwrap_or(owner)
}

pub(crate) fn value<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let find = |map: &'a Option<std::collections::BTreeMap<String, String>>| map.as_ref()?.get(key);
    find(&metadata.labels)
        .or_else(|| find(&metadata.annotations))
        .map(String::as_str)
}

/// An Argo CD tracking id is `application:group/kind:namespace/name`.
fn group(value: &str) -> &str {
    value.split(':').next().unwrap_or(value)
}

fn manager(metadata: &ObjectMeta) -> Option<&'static str> {
    let names = || {
        metadata
            .managed_fields
            .iter()
            .flatten()
            .filter_map(|entry| entry.manager.as_deref())
    };
    MANAGERS
        .iter()
        .find(|(needle, _)| names().any(|name| name.to_lowercase().contains(needle)))
        .map(|(_, tool)| *tool)
}

/// The tool that writes under the name `manager`.
pub(crate) fn tool_of_manager(manager: &str) -> Option<&'static str> {
    let manager = manager.to_lowercase();
    let known = MANAGERS.iter().find(|(needle, _)| manager.contains(needle));
    known.map(|(_, tool)| *tool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(metadata: Value, want: Option<&str>) {
        let object: DynamicObject = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(of(&object).as_deref(), want, "{metadata}");
    }

    #[test]
    fn owners_by_label_annotation_and_field_manager() {
        check(json!({}), None);
        check(
            json!({"annotations": {"meta.helm.sh/release-name": "castai-agent"}}),
            Some("helm:castai-agent"),
        );
        check(
            json!({"annotations": {
                "meta.helm.sh/release-name": "a",
                "argocd.argoproj.io/tracking-id": "platform:apps/Deployment:castai-agent/x",
            }}),
            Some("argocd:platform"),
        );
        check(
            json!({"labels": {"app.kubernetes.io/managed-by": "castware-operator"}}),
            Some("castware-operator"),
        );
        let helm = json!({"meta.helm.sh/release-name": "agent"});
        for (manager, want) in [
            ("helm", "helm:agent"),
            ("terraform-provider-helm_v3.0.2_x5", "terraform:agent"),
            ("castware-operator", "castware-operator"),
            ("castai-cluster-controller", "helm:agent"),
        ] {
            let fields = json!([{"manager": "kube-controller-manager"}, {"manager": manager}]);
            check(
                json!({"annotations": helm, "managedFields": fields}),
                Some(want),
            );
        }
        check(
            json!({"managedFields": [{"manager": "HashiCorp"}]}),
            Some("terraform"),
        );
        check(
            json!({"managedFields": [{"manager": "kube-controller-manager"}]}),
            None,
        );
    }

    #[test]
    fn only_a_controller_counts_as_maker() {
        let reference = |controller| {
            json!({"ownerReferences": [
            {"apiVersion": "v1", "kind": "CronJob", "name": "c", "uid": "1", "controller": controller}]})
        };
        let metadata = |value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        assert_eq!(
            controller(&metadata(reference(true))).as_deref(),
            Some("CronJob/c")
        );
        assert_eq!(controller(&metadata(reference(false))), None);
    }
}
