//! Nodes, and which of them a pod template can land on: an image must cover their
//! architectures, and a node that is not ready must not be blamed on an image.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use crate::{
    json::text,
    taints::{self, Taint, Tolerations},
    workload::Kind,
};

/// What is needed to know about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) ready: bool,
    /// `amd64`, `arm64`.
    pub(crate) arch: String,
    /// `linux`.
    pub(crate) os: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
}

/// Nodes by name; `None` when the user may not list them.
pub(crate) type Nodes = Option<BTreeMap<String, NodeView>>;

impl NodeView {
    pub(crate) fn new(node: &Node) -> Self {
        let status = node.status.as_ref();
        let info = status.and_then(|status| status.node_info.as_ref());
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|all| {
                all.iter()
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            });
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let label = |key: &str| labels.get(key).cloned();
        Self {
            ready,
            arch: label("kubernetes.io/arch")
                .or_else(|| Some(info?.architecture.clone()))
                .unwrap_or_default(),
            os: label("kubernetes.io/os")
                .or_else(|| Some(info?.operating_system.clone()))
                .unwrap_or_default(),
            labels,
            taints: taints::of_node(node),
        }
    }

    /// `linux/arm64`.
    pub(crate) fn platform(&self) -> String {
        format!("{}/{}", self.os, self.arch)
    }
}

/// The platforms of all nodes, sorted; empty when they are not known.
pub(crate) fn platforms(nodes: &Nodes) -> Vec<String> {
    let all: BTreeSet<String> = nodes
        .iter()
        .flatten()
        .map(|(_, node)| node.platform())
        .collect();
    all.into_iter().collect()
}

/// True for a node that is known and not ready, or known to be gone.
pub(crate) fn is_down(nodes: &Nodes, name: &str) -> bool {
    nodes
        .as_ref()
        .is_some_and(|nodes| nodes.get(name).is_none_or(|node| !node.ready))
}

/// Where the pods of a template can go: its node selector, required node affinity and
/// tolerations, or the node that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// A pod that is on a node stays there.
    node: Option<String>,
    tolerations: Tolerations,
    selector: Vec<(String, String)>,
    /// Alternatives; the expressions of one hold together.
    terms: Vec<Vec<Expression>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Placement {
    /// Of the pods that an object of `kind` makes from `pod_spec`.
    pub(crate) fn of(kind: Kind, pod_spec: &Value) -> Self {
        const TERMS: &str = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        let selector = pod_spec
            .get("nodeSelector")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let terms = pod_spec
            .pointer(TERMS)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Self {
            node: text(pod_spec, "/nodeName").map(str::to_owned),
            tolerations: Tolerations::of(kind, pod_spec),
            selector: selector
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            terms: terms.map(expressions).collect(),
        }
    }

    /// The platforms of the nodes that this placement allows.
    pub(crate) fn platforms(&self, nodes: &Nodes) -> BTreeSet<String> {
        nodes
            .iter()
            .flatten()
            .filter(|(name, node)| match &self.node {
                Some(only) => only == *name,
                None => self.tolerations.admit(&node.taints) && self.allows(&node.labels),
            })
            .map(|(_, node)| node.platform())
            .collect()
    }

    fn allows(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && (self.terms.is_empty()
                || self
                    .terms
                    .iter()
                    .any(|term| term.iter().all(|one| one.holds(labels))))
    }
}

impl Expression {
    /// An operator that compares numbers is taken to hold: it says nothing about architecture.
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => true,
        }
    }
}

fn expressions(term: &Value) -> Vec<Expression> {
    let list = term
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    list.filter_map(|item| {
        let values = item
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Some(Expression {
            key: text(item, "/key")?.to_owned(),
            operator: text(item, "/operator")?.to_owned(),
            values: values
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect(),
        })
    })
    .collect()
}

#[cfg(test)]
pub(crate) fn sample(nodes: &[(&str, &str, bool)]) -> Nodes {
    let view = |arch: &str, ready| NodeView {
        ready,
        arch: arch.into(),
        os: "linux".into(),
        labels: [("kubernetes.io/arch".to_owned(), arch.to_owned())].into(),
        taints: Vec::new(),
    };
    Some(
        nodes
            .iter()
            .map(|(name, arch, ready)| ((*name).to_owned(), view(arch, *ready)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placement_narrows_the_platforms() {
        let nodes = sample(&[("a", "amd64", true), ("b", "arm64", true)]);
        let affinity = |operator: &str, values: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/arch", "operator": operator, "values": values}]}]}}}})
        };
        for (spec, want) in [
            (json!({}), "linux/amd64 linux/arm64"),
            (
                json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}}),
                "linux/amd64",
            ),
            (affinity("In", json!(["arm64"])), "linux/arm64"),
            (affinity("NotIn", json!(["arm64"])), "linux/amd64"),
            (affinity("Exists", json!(null)), "linux/amd64 linux/arm64"),
            (affinity("DoesNotExist", json!(null)), ""),
            (json!({"nodeName": "b"}), "linux/arm64"),
        ] {
            check(&spec, &nodes, want);
        }
    }

    fn check(spec: &Value, nodes: &Nodes, want: &str) {
        let placement = Placement::of(Kind::Deployment, spec);
        let got: Vec<String> = placement.platforms(nodes).into_iter().collect();
        assert_eq!(got.join(" "), want, "{spec}");
    }

    #[test]
    fn nodes_that_turn_the_pods_away_do_not_count() {
        let mut nodes = sample(&[("a", "amd64", true), ("b", "arm64", true)]);
        let taint = Taint {
            key: "arch".into(),
            value: "arm64".into(),
            effect: "NoSchedule".into(),
        };
        let tainted = nodes.as_mut().and_then(|all| all.get_mut("b")).unwrap();
        tainted.taints.push(taint);
        let tolerant = json!({"tolerations": [{"key": "arch", "operator": "Exists"}]});
        check(&json!({}), &nodes, "linux/amd64");
        check(&tolerant, &nodes, "linux/amd64 linux/arm64");
        check(&json!({"nodeName": "b"}), &nodes, "linux/arm64");
    }

    #[test]
    fn only_a_known_node_can_be_down() {
        let nodes = sample(&[("a", "amd64", true), ("b", "arm64", false)]);
        for (name, down) in [("a", false), ("b", true), ("deleted", true)] {
            assert_eq!(is_down(&nodes, name), down, "{name}");
        }
        assert!(!is_down(&None, "a"));
    }
}
