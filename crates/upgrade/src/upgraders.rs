//! Who upgrades releases without being asked, and so puts the charts' images back: CAST AI, where
//! a label says that it manages a workload, and the CronJob of castai-chart-upgrader.
//!
//! Never here: which tool wrote an object; owner.rs reads that.

use serde_json::Value;

use crate::{
    owner,
    workload::{Id, Kind, Workload},
};

/// `true` on what CAST AI upgrades and scales.
const MANAGED: &str = "charts.cast.ai/managed";

/// The chart whose CronJob runs `helm upgrade`.
const UPGRADER: &str = "castai-chart-upgrader";

/// What is known to undo a change of `patched`, in a namespace of `workloads`.
pub(crate) fn notes(patched: &[&Id], workloads: &[Workload]) -> Vec<String> {
    if patched.is_empty() {
        return Vec::new();
    }
    let managed = workloads
        .iter()
        .filter(|one| patched.contains(&&one.id) && is_managed(one));
    let names: Vec<String> = managed.map(|one| one.id.to_string()).collect();
    let castai = (!names.is_empty()).then(|| {
        format!(
            "note: CAST AI upgrades {} (label {MANAGED}): its cluster-controller puts the charts' images back; \
             set image.repository in the values of the release, or upgrade it yourself (managedByCASTAI=false)",
            names.join(", ")
        )
    });
    let upgraders = workloads.iter().filter(|one| is_upgrader(one)).map(|one| {
        format!(
            "note: {} upgrades releases by itself, which puts the charts' images back; \
             set image.repository in the values of the releases, or suspend it",
            one.id
        )
    });
    castai.into_iter().chain(upgraders).collect()
}

/// The charts write the label on the workload, on its pods, or on both.
fn is_managed(workload: &Workload) -> bool {
    let labels = workload.object.metadata.labels.as_ref();
    let own = labels.and_then(|labels| labels.get(MANAGED));
    let template = workload
        .object
        .data
        .pointer("/spec/template/metadata/labels");
    let of_pods = template.and_then(|labels| labels.get(MANAGED)?.as_str());
    own.map(String::as_str).or(of_pods) == Some("true")
}

/// Its CronJob, unless it is suspended.
fn is_upgrader(workload: &Workload) -> bool {
    let chart = owner::value(&workload.object.metadata, "helm.sh/chart");
    let of_chart = chart.is_some_and(|chart| chart.starts_with(UPGRADER));
    let suspended = workload.object.data.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let named = || workload.id.name.contains("chart-upgrader");
    workload.id.kind == Kind::CronJob && !suspended && (of_chart || named())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(kind: Kind, name: &str, labels: Value, spec: Value) -> Workload {
        let object = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
        Workload::new(kind, serde_json::from_value(object).unwrap())
    }

    #[test]
    fn who_upgrades_by_itself_is_named() {
        let mine = json!({MANAGED: "true"});
        let evictor = |labels: Value, pods: Value| {
            let spec = json!({"template": {"metadata": {"labels": pods}}});
            workload(Kind::Deployment, "evictor", labels, spec)
        };
        let upgrader = |name: &str, chart: &str, suspend: bool| {
            let spec = json!({"schedule": "0 8 * * *", "suspend": suspend});
            workload(Kind::CronJob, name, json!({"helm.sh/chart": chart}), spec)
        };
        for (workload, want) in [
            (evictor(mine.clone(), json!({})), Some("Deployment/evictor")),
            (evictor(json!({}), mine.clone()), Some("Deployment/evictor")),
            (evictor(json!({MANAGED: "false"}), mine), None),
            (evictor(json!({}), json!({})), None),
            (
                upgrader("castai-chart-upgrader", "", false),
                Some("CronJob/castai-chart-upgrader"),
            ),
            (
                upgrader("u", "castai-chart-upgrader-0.2.1", false),
                Some("CronJob/u"),
            ),
            (upgrader("castai-chart-upgrader", "", true), None),
            (
                upgrader("hibernate-pause", "castai-hibernate-0.2.12", false),
                None,
            ),
        ] {
            let evictor = Id {
                kind: Kind::Deployment,
                name: "evictor".into(),
            };
            let said = notes(&[&evictor], std::slice::from_ref(&workload));
            assert_eq!(said.is_empty(), want.is_none(), "{said:?}");
            if let Some(name) = want {
                assert!(said[0].contains(name), "{said:?}");
            }
            assert_eq!(notes(&[], &[workload]), [""; 0], "nothing is changed");
        }
    }
}
