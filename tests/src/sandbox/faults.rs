//! The options of `fault`: which images and nodes misbehave, and how.

use clap::Args;

use crate::kubelet::Faults;

/// Which faults to set.
#[derive(Args, Debug, Default)]
pub struct FaultArgs {
    /// Containers of images that contain this text crash
    #[arg(long, value_name = "TEXT")]
    pub crash: Vec<String>,
    /// They crash this long after their start, e.g. agent=5
    #[arg(long, value_name = "TEXT=SECONDS", value_parser = timed)]
    pub crash_after: Vec<(String, f64)>,
    /// They start but never become ready
    #[arg(long, value_name = "TEXT")]
    pub notready: Vec<String>,
    /// Pulling them takes this long
    #[arg(long, value_name = "TEXT=SECONDS", value_parser = timed)]
    pub slow: Vec<(String, f64)>,
    /// The registry answers 403 to the nodes
    #[arg(long, value_name = "TEXT")]
    pub deny: Vec<String>,
    /// The registry answers 404 to the nodes
    #[arg(long, value_name = "TEXT")]
    pub missing: Vec<String>,
    /// Kubelets show this as their id, e.g. agent=ghcr.io/x/agent@sha256:…
    #[arg(long, value_name = "TEXT=ID", value_parser = named)]
    pub image_id: Vec<(String, String)>,
    /// This node is dead
    #[arg(long, value_name = "NODE")]
    pub node_down: Vec<String>,
    /// Forget the faults that are set
    #[arg(long)]
    pub clear: bool,
}

impl FaultArgs {
    /// Adds what was asked for to the faults in force.
    pub(super) fn add_to(&self, faults: &mut Faults) {
        faults.crash.extend(self.crash.iter().cloned());
        faults.crash_after.extend(self.crash_after.iter().cloned());
        faults.notready.extend(self.notready.iter().cloned());
        faults.slow.extend(self.slow.iter().cloned());
        faults.deny.extend(self.deny.iter().cloned());
        faults.missing.extend(self.missing.iter().cloned());
        faults.image_id.extend(self.image_id.iter().cloned());
        faults.node_down.extend(self.node_down.iter().cloned());
    }
}

fn timed(text: &str) -> Result<(String, f64), String> {
    let wanted = || "expected TEXT=SECONDS".to_owned();
    let (part, seconds) = text.split_once('=').ok_or_else(wanted)?;
    Ok((part.to_owned(), seconds.parse().map_err(|_| wanted())?))
}

fn named(text: &str) -> Result<(String, String), String> {
    let found = text.split_once('=');
    let (part, id) = found.ok_or_else(|| "expected TEXT=ID".to_owned())?;
    Ok((part.to_owned(), id.to_owned()))
}
