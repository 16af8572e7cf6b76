//! Taints and tolerations: the nodes that turn a pod away, by Kubernetes' own rules.
//!
//! Never here: labels; what being turned away means for an image.

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use crate::{json::text, workload::Kind};

/// Taints that come and go with the state of a node: whoever is turned away now may land
/// there a minute later.
const PASSING: [&str; 7] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
];

/// What a DaemonSet's controller makes its pods tolerate, beside some of the passing ones.
const CORDONED: &str = "node.kubernetes.io/unschedulable";

/// One taint of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Taint {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) effect: String,
}

/// The taints of a node.
pub(crate) fn of_node(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let taint = |one: &k8s_openapi::api::core::v1::Taint| Taint {
        key: one.key.clone(),
        value: one.value.clone().unwrap_or_default(),
        effect: one.effect.clone(),
    };
    taints.into_iter().flatten().map(taint).collect()
}

impl Taint {
    /// `PreferNoSchedule` only makes a node the last choice.
    fn keeps_away(&self) -> bool {
        matches!(self.effect.as_str(), "NoSchedule" | "NoExecute")
            && !PASSING.contains(&self.key.as_str())
    }
}

/// What the pods of a template tolerate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tolerations(Vec<Toleration>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Toleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
}

impl Tolerations {
    /// Of the pods that an object of `kind` makes from `pod_spec`.
    pub(crate) fn of(kind: Kind, pod_spec: &Value) -> Self {
        let list = pod_spec.get("tolerations").and_then(Value::as_array);
        let written = list.into_iter().flatten().map(Toleration::of);
        let added = (kind == Kind::DaemonSet).then(|| Toleration {
            key: CORDONED.into(),
            operator: "Exists".into(),
            effect: "NoSchedule".into(),
            ..Toleration::default()
        });
        Self(written.chain(added).collect())
    }

    /// True when none of `taints` keeps the pods away.
    pub(crate) fn admit(&self, taints: &[Taint]) -> bool {
        let tolerated = |taint: &Taint| self.0.iter().any(|one| one.tolerates(taint));
        taints
            .iter()
            .filter(|taint| taint.keeps_away())
            .all(tolerated)
    }
}

impl Toleration {
    fn of(value: &Value) -> Self {
        let part = |path: &str| text(value, path).unwrap_or_default().to_owned();
        Self {
            key: part("/key"),
            operator: part("/operator"),
            value: part("/value"),
            effect: part("/effect"),
        }
    }

    /// What is left out fits everything, but for the value. An operator that compares numbers
    /// is taken to hold.
    fn tolerates(&self, taint: &Taint) -> bool {
        let fits = |own: &String, other: &String| own.is_empty() || own == other;
        fits(&self.effect, &taint.effect)
            && fits(&self.key, &taint.key)
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taint(text: &str) -> Taint {
        let (rest, effect) = text.rsplit_once(':').unwrap();
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        Taint {
            key: key.into(),
            value: value.into(),
            effect: effect.into(),
        }
    }

    fn check(kind: Kind, tolerations: Value, taints: &[&str], want: bool) {
        let spec = json!({"tolerations": tolerations});
        let taints: Vec<Taint> = taints.iter().map(|text| taint(text)).collect();
        let got = Tolerations::of(kind, &spec).admit(&taints);
        assert_eq!(got, want, "{kind:?} {spec} {taints:?}");
    }

    #[test]
    fn a_pod_lands_where_every_taint_is_tolerated() {
        let gpu = "dedicated=gpu:NoSchedule";
        for (tolerations, taints, want) in [
            (json!(null), &[][..], true),
            (json!([]), &[gpu], false),
            (json!([]), &["dedicated=gpu:NoExecute"], false),
            (json!([]), &["dedicated=gpu:PreferNoSchedule"], true),
            (
                json!([{"operator": "Exists"}]),
                &[gpu, "other:NoExecute"],
                true,
            ),
            (
                json!([{"operator": "Exists", "effect": "NoExecute"}]),
                &[gpu],
                false,
            ),
            (
                json!([{"key": "dedicated", "operator": "Exists"}]),
                &[gpu],
                true,
            ),
            (
                json!([{"key": "dedicated", "operator": "Exists"}]),
                &[gpu, "other:NoSchedule"],
                false,
            ),
            (
                json!([{"key": "other", "operator": "Exists"}]),
                &[gpu],
                false,
            ),
            (json!([{"key": "dedicated", "value": "gpu"}]), &[gpu], true),
            (
                json!([{"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]),
                &[gpu],
                true,
            ),
            (
                json!([{"key": "dedicated", "operator": "Equal", "value": "db"}]),
                &[gpu],
                false,
            ),
            (json!([{"key": "dedicated"}]), &[gpu], false),
            (
                json!([{"key": "dedicated"}]),
                &["dedicated:NoSchedule"],
                true,
            ),
            (
                json!([{"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]),
                &["spot=true:NoExecute"],
                true,
            ),
            (
                json!([{"key": "level", "operator": "Gt", "value": "3"}]),
                &["level=5:NoSchedule"],
                true,
            ),
        ] {
            check(Kind::Deployment, tolerations, taints, want);
        }
    }

    #[test]
    fn daemons_go_to_cordoned_nodes_and_states_pass() {
        let cordoned = &["node.kubernetes.io/unschedulable:NoSchedule"][..];
        let late = &["node.kubernetes.io/not-ready:NoExecute"][..];
        let full = &["node.kubernetes.io/disk-pressure:NoSchedule"][..];
        for (kind, taints, want) in [
            (Kind::DaemonSet, cordoned, true),
            (Kind::Deployment, cordoned, false),
            (Kind::DaemonSet, late, true),
            (Kind::Deployment, late, true),
            (Kind::Deployment, full, true),
            (Kind::DaemonSet, &["dedicated=gpu:NoSchedule"], false),
        ] {
            check(kind, json!([]), taints, want);
        }
    }
}
