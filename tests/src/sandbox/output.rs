//! What the sandbox prints: lines for people on standard error, data on standard output.

use std::io::{self, Write as _};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;

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
    let status = pod.status.as_ref();
    let containers = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    let inits = status
        .and_then(|status| status.init_container_statuses.as_deref())
        .unwrap_or_default();
    let ready = containers
        .iter()
        .filter(|container| container.ready)
        .count();
    let waiting = inits.iter().chain(containers).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        waiting
            .reason
            .clone()
            .filter(|reason| reason != "PodInitializing")
    });
    let phase = status
        .and_then(|status| status.phase.clone())
        .unwrap_or_default();
    format!(
        "{:<60} {ready}/{} {}",
        pod.metadata.name.as_deref().unwrap_or_default(),
        containers.len(),
        waiting.unwrap_or(phase)
    )
}
