//! The counters that controllers keep of their pods, under one set of names.

use serde_json::Value;

use super::verdict::Look;
use crate::workload::Kind;

/// The counters of a workload's status, under one set of names.
pub(super) struct Counts {
    kind: Kind,
    pub(super) desired: i64,
    /// How many must be of the new revision: fewer than desired with a partition.
    pub(super) goal: i64,
    total: i64,
    updated: i64,
    available: i64,
}

impl Counts {
    pub(super) fn of(kind: Kind, data: &Value) -> Self {
        let status = |name: &str| number(data, &format!("/status/{name}"));
        if kind == Kind::DaemonSet {
            let desired = status("desiredNumberScheduled");
            return Self {
                kind,
                desired,
                goal: desired,
                total: status("currentNumberScheduled"),
                updated: status("updatedNumberScheduled"),
                available: status("numberAvailable"),
            };
        }
        let desired = data
            .pointer("/spec/replicas")
            .and_then(Value::as_i64)
            .unwrap_or(1);
        let partition = number(data, "/spec/updateStrategy/rollingUpdate/partition");
        Self {
            kind,
            desired,
            goal: (desired - partition).max(0),
            total: status("replicas"),
            updated: status("updatedReplicas"),
            available: status("availableReplicas"),
        }
    }

    /// `spared`: nodes that are not ready, whose pods cannot follow now.
    pub(super) fn missing(&self, spared: i64) -> Option<String> {
        if self.updated < self.goal - spared {
            return Some(format!("{} of {} updated", self.updated, self.goal));
        }
        if self.kind == Kind::Deployment && self.total > self.updated {
            return Some(format!(
                "{} of the old revision left",
                self.total - self.updated
            ));
        }
        (self.available < self.desired - spared)
            .then(|| format!("{} of {} available", self.available, self.desired))
    }
}

pub(super) fn number(data: &Value, path: &str) -> i64 {
    data.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

/// How far a rollout has come, in pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) updated: i64,
    pub(crate) ready: i64,
    pub(crate) desired: i64,
}

/// The counters of a workload, once they are about the generation that is looked for; none
/// for what does not roll.
pub(crate) fn standing(look: &Look<'_>) -> Option<Standing> {
    let kind = look.id.kind;
    let data = &look.object.filter(|_| kind.rolls())?.data;
    let ready = if kind == Kind::DaemonSet {
        "/status/numberReady"
    } else {
        "/status/readyReplicas"
    };
    let counts = Counts::of(kind, data);
    let current = number(data, "/status/observedGeneration") >= look.generation;
    Some(Standing {
        updated: if current { counts.updated } else { 0 },
        ready: number(data, ready),
        desired: counts.desired,
    })
}
