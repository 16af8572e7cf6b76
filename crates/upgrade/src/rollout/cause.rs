//! Why a container does not start: which reasons of the kubelet end a rollout, and how
//! they are told (pod, node, architecture, container, the registry's message).

use std::fmt;

use serde_json::Value;

use crate::{
    json::text,
    nodes::Nodes,
    pods::{PodView, Trouble},
};

/// A reason to give up on a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// The whole story on one line.
    pub(crate) text: String,
    /// True when waiting longer cannot help; otherwise it counts only if it lasts.
    pub(crate) certain: bool,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What containerd says for good. The one place that reads its text: kubelets pass no code.
const PERMANENT: [&str; 11] = [
    "400 bad request",
    "not found",
    "manifest unknown",
    "name unknown",
    "no match for platform",
    "forbidden",
    "denied",
    "unauthorized",
    "no basic auth credentials",
    "insufficient_scope",
    "invalid reference format",
];

/// What passes by itself, whatever else the message says.
const TRANSIENT: [&str; 7] = [
    "timeout",
    "timed out",
    "toomanyrequests",
    "429 too many",
    "connection refused",
    "connection reset",
    "503 service",
];

/// Container starts after which a crash is not a hiccup.
const CRASHES: i32 = 2;

/// Which failed pulls end a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulls {
    /// Those that the registry refused: it may be reached again in a moment.
    Refused,
    /// All of them: the way back leads to registries that a closed cluster never reaches,
    /// and the references are restored all the same.
    Any,
}

/// The reason, when this trouble can end a rollout.
pub(crate) fn of_container(
    pod: &PodView,
    trouble: &Trouble,
    nodes: &Nodes,
    pulls: Pulls,
) -> Option<Cause> {
    let certain = match trouble.reason.as_str() {
        reason if is_pull(reason) => {
            if pulls == Pulls::Refused && !is_permanent(trouble) {
                return None;
            }
            false
        }
        "ErrImageNeverPull" | "InvalidImageName" => true,
        "CrashLoopBackOff" => trouble.restarts >= CRASHES,
        // The kubelet has not read the ConfigMap yet; it says so with the same reason.
        "CreateContainerConfigError" if trouble.message.contains("failed to sync") => return None,
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "ImageInspectError" => false,
        _ => return None,
    };
    Some(Cause {
        text: describe(pod, trouble, nodes),
        certain,
    })
}

/// Pods that the server does not let the controller create.
pub(crate) fn of_creation(data: &Value) -> Option<Cause> {
    let refused = condition(data, "ReplicaFailure", "True")?;
    let message = text(refused, "/message").unwrap_or_default();
    Some(Cause {
        text: format!("pods cannot be created: {message}"),
        // A revision that was given up before leaves this behind until the new one is
        // looked at.
        certain: false,
    })
}

/// A condition of a workload, when it has `status`.
pub(super) fn condition<'a>(data: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    let conditions = data
        .pointer("/status/conditions")
        .and_then(Value::as_array)?;
    conditions
        .iter()
        .find(|one| text(one, "/type") == Some(kind) && text(one, "/status") == Some(status))
}

/// What keeps a pod from being ready, as far as anybody says.
pub(super) fn of_pod(pod: &PodView, nodes: &Nodes) -> Option<String> {
    if let Some(trouble) = pod.troubles.first() {
        return Some(describe(pod, trouble, nodes));
    }
    if let Some(message) = &pod.unschedulable {
        return Some(format!("pod {} cannot be scheduled: {message}", pod.name));
    }
    let message = pod.unready.as_ref()?;
    Some(format!("pod {}{}: {message}", pod.name, place(pod, nodes)))
}

/// `pod x on node n (arm64): container c: ImagePullBackOff: …`
pub(crate) fn describe(pod: &PodView, trouble: &Trouble, nodes: &Nodes) -> String {
    let place = place(pod, nodes);
    let reason = &trouble.reason;
    format!(
        "pod {}{place}: container {}: {reason}: {}",
        pod.name,
        trouble.container,
        brief(trouble)
    )
}

/// ` on node n (arm64)`
fn place(pod: &PodView, nodes: &Nodes) -> String {
    let Some(node) = &pod.node else {
        return String::new();
    };
    let view = nodes.as_ref().and_then(|nodes| nodes.get(node));
    let arch = view.map_or(String::new(), |view| format!(" ({})", view.arch));
    format!(" on node {node}{arch}")
}

/// The kubelet's message, without the repetitions of a failed pull: containerd wraps the
/// registry's answer three times, each time with the whole reference.
fn brief(trouble: &Trouble) -> String {
    let Trouble {
        image,
        reason,
        message,
        ..
    } = trouble;
    if !is_pull(reason) {
        return if message.is_empty() {
            format!("image {image}")
        } else {
            message.clone()
        };
    }
    let answer = message
        .rsplit_once("\": ")
        .map_or(message.as_str(), |(_, answer)| answer);
    let answer = answer
        .strip_prefix(image.as_str())
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(answer);
    format!("{image}: {answer}")
}

fn is_pull(reason: &str) -> bool {
    matches!(reason, "ErrImagePull" | "ImagePullBackOff")
}

/// A pull that may succeed when it is tried again.
pub(super) fn is_busy_registry(trouble: &Trouble) -> bool {
    is_pull(&trouble.reason) && !is_permanent(trouble)
}

/// The name of the image does not count: it may be called anything.
fn is_permanent(trouble: &Trouble) -> bool {
    let message = trouble.message.replace(&trouble.image, "").to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    has(&PERMANENT) && !has(&TRANSIENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(reason: &str, message: &str, restarts: i32) -> Option<bool> {
        let trouble = Trouble {
            container: "app".into(),
            image: "r/app:1".into(),
            reason: reason.into(),
            message: message.into(),
            restarts,
        };
        of_container(&PodView::default(), &trouble, &None, Pulls::Refused)
            .map(|cause| cause.certain)
    }

    #[test]
    fn which_troubles_end_a_rollout() {
        const NO_PLATFORM: &str = "no match for platform in manifest: not found";
        for (reason, message, restarts, want) in [
            ("ErrImagePull", "r/app:1: not found", 0, Some(false)),
            ("ImagePullBackOff", NO_PLATFORM, 0, Some(false)),
            ("ErrImagePull", "pulling: 403 Forbidden", 0, Some(false)),
            ("ErrImagePull", "dial tcp: i/o timeout", 0, None),
            ("ErrImagePull", "429 Too Many Requests", 0, None),
            (
                "ImagePullBackOff",
                "Back-off pulling image \"r/app:1\"",
                0,
                None,
            ),
            ("InvalidImageName", "", 0, Some(true)),
            ("CrashLoopBackOff", "back-off 10s", 1, Some(false)),
            ("CrashLoopBackOff", "back-off 20s", 2, Some(true)),
            (
                "CreateContainerConfigError",
                "secret \"x\" not found",
                0,
                Some(false),
            ),
            (
                "CreateContainerConfigError",
                "failed to sync configmap cache",
                0,
                None,
            ),
            ("Error", "exit code 1", 0, None),
        ] {
            assert_eq!(
                verdict(reason, message, restarts),
                want,
                "{reason} {message}"
            );
        }
    }

    #[test]
    fn a_pull_error_is_told_without_repetitions() {
        let tell = |reason: &str, message: &str| {
            brief(&Trouble {
                image: "r/app:1".into(),
                reason: reason.into(),
                message: message.into(),
                ..Trouble::default()
            })
        };
        let wrapped = |answer: &str| {
            format!(
                "Back-off pulling image \"r/app:1\": ErrImagePull: failed to pull and unpack image \"r/app:1\": \
                failed to resolve reference \"r/app:1\": {answer}"
            )
        };
        for (answer, want) in [
            ("r/app:1: not found", "r/app:1: not found"),
            (
                "unexpected status from HEAD request: 403 Forbidden",
                "r/app:1: unexpected status from HEAD request: 403 Forbidden",
            ),
            (
                "failed to do request: Head \"https://r/v2/\": dial tcp: i/o timeout",
                "r/app:1: dial tcp: i/o timeout",
            ),
        ] {
            assert_eq!(tell("ImagePullBackOff", &wrapped(answer)), want);
        }
        assert_eq!(tell("CrashLoopBackOff", "back-off 10s"), "back-off 10s");
        assert_eq!(tell("InvalidImageName", ""), "image r/app:1");
    }

    #[test]
    fn pods_that_cannot_be_created() {
        let data = |status: &str| json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": status, "message": "quota"}]}});
        let told = |data: Value| of_creation(&data).map(|cause| (cause.text, cause.certain));
        assert_eq!(
            told(data("True")),
            Some(("pods cannot be created: quota".into(), false))
        );
        assert_eq!(told(data("False")), None);
        assert_eq!(told(json!({})), None);
    }
}
