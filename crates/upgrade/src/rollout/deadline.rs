//! The deadline that a Deployment has of its own. Its controller only notes that it has
//! passed and goes on; what that means depends on what the new pods wait for.
//!
//! Never here: our own limits, which the rollout keeps.

use kube::api::DynamicObject;

use super::{
    cause::{self, Cause, Pulls},
    counts::number,
    stale::Stale,
    verdict::{Look, is_new, on_dead_node},
};
use crate::{json::text, pods::PodView};

/// The reason to give up: the deadline has passed, and a new pod is stuck by itself. A
/// registry that has no time and a node that is not ready are waited for as long as the
/// user said. Without new pods the note is left from the revision before.
pub(super) fn passed(look: &Look<'_>, object: &DynamicObject, stale: &Stale) -> Option<Cause> {
    let late = cause::condition(&object.data, "Progressing", "False")?;
    if text(late, "/reason") != Some("ProgressDeadlineExceeded") {
        return None;
    }
    let new = look.pods.iter().filter(|pod| is_new(look, pod));
    let pod = new
        .filter(|pod| !pod.ready && !on_dead_node(look, pod))
        .find(|pod| !may_pass(look, pod, stale))?;
    let why = cause::of_pod(pod, look.nodes).unwrap_or_else(|| format!("pod {}", pod.name));
    let seconds = number(&object.data, "/spec/progressDeadlineSeconds");
    Some(Cause {
        text: format!("no progress within its progressDeadlineSeconds ({seconds} s): {why}"),
        certain: false,
    })
}

/// A pod that waits for its registry, or for another try at what failed before our change.
fn may_pass(look: &Look<'_>, pod: &PodView, stale: &Stale) -> bool {
    pod.troubles.iter().any(|trouble| {
        cause::is_busy_registry(trouble)
            || (look.pulls == Pulls::Refused && stale.covers(pod, trouble))
    })
}

#[cfg(test)]
mod tests {
    use super::super::verdict_tests::{Case, NEW, OLD, check, deployment, on, pod, troubled};
    use crate::pods::PodView;
    use serde_json::json;

    /// The deadline of a Deployment with one pod has passed.
    fn late(pods: Vec<PodView>) -> Case {
        let condition = json!({"type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "has timed out progressing"});
        let status = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "conditions": [condition]});
        deployment(
            json!({"replicas": 1, "progressDeadlineSeconds": 5}),
            status,
            pods,
        )
    }

    #[test]
    fn it_counts_against_new_pods_that_are_stuck_by_themselves() {
        let unready = PodView {
            unready: Some("containers with unready status: [app]".into()),
            ..pod("p", NEW, false)
        };
        let pending = PodView {
            node: None,
            unschedulable: Some("0/3 nodes are available".into()),
            ..pod("p", NEW, false)
        };
        let busy = || troubled("q", NEW, "ErrImagePull", "429 Too Many Requests");
        check(vec![
            (
                late(vec![unready.clone()]),
                "failing",
                "no progress within its progressDeadlineSeconds (5 s): pod p on node good (amd64): containers with unready status: [app]",
            ),
            (
                late(vec![pending]),
                "failing",
                "pod p cannot be scheduled: 0/3 nodes are available",
            ),
            (
                late(vec![troubled("p", NEW, "Error", "exit code 1")]),
                "failing",
                "container app: Error: exit code 1",
            ),
            (
                late(vec![busy(), unready.clone()]),
                "failing",
                "pod p on node good",
            ),
            (late(vec![busy()]), "progress", "429 Too Many Requests"),
            (
                late(vec![on("dead", busy())]),
                "node",
                "not ready: node dead",
            ),
            (
                late(vec![on("dead", unready)]),
                "node",
                "not ready: node dead",
            ),
            (
                late(vec![pod("p", OLD, false)]),
                "progress",
                "of the old revision",
            ),
        ]);
    }
}
