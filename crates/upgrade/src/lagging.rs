//! Workloads in place whose pods are not, and will not be by themselves: paused, `OnDelete`,
//! kept back by a partition, or of a kind that does not replace its pods.
//!
//! Never here: rollouts that are under way, and pods that a webhook gave other references.

use crate::{
    pods::PodView,
    rollout::verdict::standstill,
    workload::{Kind, Slot, Workload},
};

/// Why `pods`, those of `workload`, do not follow its template, with the first that does not.
pub(crate) fn reason(workload: &Workload, pods: &[&PodView]) -> Option<String> {
    let lags = |pod: &&&PodView| !pod.terminating && !pod.finished();
    let (pod, (slot, image)) = pods
        .iter()
        .filter(lags)
        .find_map(|pod| Some((pod, other(workload, pod)?)))?;
    let kind = workload.id.kind;
    let stands = kind
        .rolls()
        .then(|| standstill(kind, &workload.object.data));
    let why = stands.flatten().or_else(|| kept(workload))?;
    Some(format!("{why}; {slot} of pod {} is {image}", pod.name))
}

/// A reference of the pod that is not the template's.
fn other<'p>(workload: &Workload, pod: &'p PodView) -> Option<&'p (Slot, String)> {
    pod.images.iter().find(|(slot, image)| {
        let field = workload.fields.iter().find(|field| field.slot == *slot);
        field.is_some_and(|field| field.literal != *image)
    })
}

/// The pods of a kind, or below a number, that stay as they are.
fn kept(workload: &Workload) -> Option<String> {
    const PARTITION: &str = "/spec/updateStrategy/rollingUpdate/partition";
    match workload.id.kind {
        Kind::ReplicaSet | Kind::ReplicationController => {
            Some(workload.id.kind.follows().to_owned())
        }
        Kind::StatefulSet => {
            let partition = workload.object.data.pointer(PARTITION)?.as_i64()?;
            (partition > 0).then(|| format!("partition {partition}: pods below it are kept"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn workload(kind: Kind, spec: &Value) -> Workload {
        let mut spec = spec.clone();
        spec["template"] = json!({"spec": {"containers": [{"name": "app", "image": "r/a:2"}]}});
        let object = json!({"metadata": {"name": "web", "generation": 2}, "spec": spec,
            "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}});
        Workload::new(kind, serde_json::from_value(object).unwrap())
    }

    fn pod(image: &str) -> PodView {
        PodView {
            name: "web-0".into(),
            images: vec![
                (Slot::Container("injected".into()), "r/proxy:1".into()),
                (Slot::Container("app".into()), image.into()),
            ],
            ..PodView::default()
        }
    }

    #[test]
    fn pods_that_nothing_replaces_are_told() {
        use Kind::{CronJob, DaemonSet, Deployment, ReplicaSet, StatefulSet};
        let manual = json!({"updateStrategy": {"type": "OnDelete"}});
        let partition =
            json!({"replicas": 1, "updateStrategy": {"rollingUpdate": {"partition": 1}}});
        for (kind, spec, want) in [
            (Deployment, json!({"paused": true}), Some("paused: ")),
            (Deployment, json!({}), None),
            (StatefulSet, manual.clone(), Some("strategy OnDelete: ")),
            (DaemonSet, manual, Some("strategy OnDelete: ")),
            (StatefulSet, partition, Some("partition 1: ")),
            (StatefulSet, json!({}), None),
            (ReplicaSet, json!({}), Some("it does not replace its pods")),
            (CronJob, json!({}), None),
        ] {
            let workload = workload(kind, &spec);
            let said = reason(&workload, &[&pod("a:1")]);
            assert_eq!(said.is_some(), want.is_some(), "{kind:?} {spec}: {said:?}");
            if let (Some(said), Some(want)) = (said, want) {
                assert!(said.starts_with(want), "{said}");
                assert!(
                    said.ends_with("; container app of pod web-0 is a:1"),
                    "{said}"
                );
            }
            assert_eq!(reason(&workload, &[&pod("r/a:2")]), None, "{kind:?}");
            let mut ending = pod("a:1");
            ending.terminating = true;
            assert_eq!(reason(&workload, &[&ending]), None, "{kind:?}");
        }
    }
}
