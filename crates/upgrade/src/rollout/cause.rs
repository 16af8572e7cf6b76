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
        "ErrImagePull" | "ImagePullBackOff" if pulls == Pulls::Any || is_permanent(trouble) => {
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

/// What a Deployment's own conditions say.
pub(crate) fn of_conditions(data: &Value) -> Option<Cause> {
    let conditions = data
        .pointer("/status/conditions")
        .and_then(Value::as_array)?;
    let find = |kind: &str, status: &str| {
        conditions
            .iter()
            .find(|one| text(one, "/type") == Some(kind) && text(one, "/status") == Some(status))
    };
    let message = |one: &Value| text(one, "/message").unwrap_or_default().to_owned();
    let late = find("Progressing", "False")
        .filter(|one| text(one, "/reason") == Some("ProgressDeadlineExceeded"));
    // A revision that was given up before leaves this behind until the new one is looked at.
    late.map(|one| Cause {
        text: message(one),
        certain: false,
    })
    .or_else(|| {
        let refused = find("ReplicaFailure", "True")?;
        Some(Cause {
            text: format!("pods cannot be created: {}", message(refused)),
            certain: false,
        })
    })
}

/// `pod x on node n (arm64): container c: ImagePullBackOff: …`
pub(crate) fn describe(pod: &PodView, trouble: &Trouble, nodes: &Nodes) -> String {
    let place = pod.node.as_deref().map_or(String::new(), |node| {
        let arch = nodes
            .as_ref()
            .and_then(|nodes| nodes.get(node))
            .map(|view| format!(" ({})", view.arch));
        format!(" on node {node}{}", arch.unwrap_or_default())
    });
    let reason = &trouble.reason;
    format!(
        "pod {}{place}: container {}: {reason}: {}",
        pod.name,
        trouble.container,
        brief(trouble)
    )
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
    if !matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff") {
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
    fn conditions_of_a_deployment() {
        let data = |kind: &str, status: &str, reason: &str| json!({"status": {"conditions": [{"type": kind, "status": status, "reason": reason, "message": "m"}]}});
        let certain = |data: Value| of_conditions(&data).map(|cause| cause.certain);
        assert_eq!(
            certain(data("Progressing", "False", "ProgressDeadlineExceeded")),
            Some(false)
        );
        assert_eq!(
            certain(data("Progressing", "Unknown", "DeploymentPaused")),
            None
        );
        assert_eq!(
            certain(data("ReplicaFailure", "True", "FailedCreate")),
            Some(false)
        );
        assert_eq!(certain(json!({})), None);
    }
}
