//! What pods show of themselves.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

pub(crate) fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    })
}

/// True when the first container is waiting with a pull error.
pub(crate) fn cannot_pull(pod: &Pod) -> bool {
    waits_for(pod).is_some_and(|reason| reason.contains("Pull"))
}

/// Why the first container is waiting.
pub(crate) fn waits_for(pod: &Pod) -> Option<&str> {
    let status = first_status(pod)?;
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

/// When the first container started, as its kubelet says.
pub(crate) fn running_since(pod: &Pod) -> Option<Timestamp> {
    let running = first_status(pod)?.state.as_ref()?.running.as_ref()?;
    Some(running.started_at.as_ref()?.0)
}

fn first_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref();
    statuses.and_then(|all| all.first())
}

pub(crate) fn first_image(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref().expect("pods have a spec");
    spec.containers[0].image.as_deref().unwrap_or_default()
}
