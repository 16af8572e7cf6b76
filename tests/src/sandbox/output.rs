//! What the sandbox prints: lines for people on standard error, data on standard output.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// One line to standard error; a closed one is nobody's problem.
pub(super) fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// One line to standard output.
pub(super) fn print(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write to standard output")
}

/// A word for a POSIX shell.
pub(super) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// `NAME  READY/ALL  what the first container that waits says, else the phase`
pub(super) fn pod_line(pod: &Pod) -> String {
    let containers = containers(pod);
    let ready = containers.iter().filter(|one| one.ready).count();
    format!(
        "{:<60} {ready}/{} {}",
        pod.metadata.name.as_deref().unwrap_or_default(),
        containers.len(),
        state(pod)
    )
}

/// `29 pods: 28 Running from 123456789012.dkr.ecr.us-east-1.amazonaws.com, 1 Succeeded`
pub(super) fn pods_brief(pods: &[Pod]) -> String {
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods {
        // The kubelet goes to and fro between the two.
        let state = state(pod).replace("ErrImagePull", "ImagePullBackOff");
        *tally.entry(state + &origin(pod)).or_default() += 1;
    }
    let parts: Vec<String> = tally
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    format!("{} pods: {}", pods.len(), parts.join(", "))
}

/// Whether the kubelet has tried to start it.
pub(super) fn is_tried(pod: &Pod) -> bool {
    !["Pending", "ContainerCreating", ""].contains(&state(pod).as_str())
}

/// Where the images of a running pod came from, when they came from one registry.
fn origin(pod: &Pod) -> String {
    let host = |one: &ContainerStatus| one.image_id.split('/').next().map(str::to_owned);
    let containers = containers(pod);
    let first = containers.first().and_then(host).unwrap_or_default();
    let ready = containers
        .iter()
        .all(|one| one.ready && host(one) == Some(first.clone()));
    match ready && !first.is_empty() {
        true => format!(" from {first}"),
        false => String::new(),
    }
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default()
}

/// What the first container that waits says, else the phase.
fn state(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let inits = status.and_then(|status| status.init_container_statuses.as_deref());
    let all = inits.unwrap_or_default().iter().chain(containers(pod));
    let mut waiting = all.filter_map(|one| one.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let phase = status.and_then(|status| status.phase.clone());
    waiting
        .find(|reason| reason != "PodInitializing")
        .or(phase)
        .unwrap_or_default()
}
