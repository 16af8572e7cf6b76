//! Flags of `drift`.

use std::time::Duration;

use castlink_core::cli::{self, KubeArgs};
use clap::Args;

/// Which run, and when to look.
#[derive(Debug, Args)]
pub(crate) struct DriftArgs {
    /// The run: its name, its directory, or `last`; without it, whatever all runs left
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Wait so long before looking
    #[arg(long, value_parser = cli::duration, value_name = "DURATION")]
    pub(crate) after: Option<Duration>,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
}
