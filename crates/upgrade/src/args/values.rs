//! Flags of `values`.

use castlink_core::{cli::KubeArgs, config::Config};
use clap::Args;

use super::SourceArgs;

/// Which values to print.
#[derive(Debug, Args)]
pub(crate) struct ValuesArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Only the values of this release (repeatable)
    #[arg(long = "release", value_name = "NAME")]
    pub(crate) releases: Vec<String>,
    /// Also name the tags that run now, so that a release does not move to one that is not
    /// mirrored
    #[arg(long)]
    pub(crate) tags: bool,
    #[command(flatten)]
    kube: KubeArgs,
}

impl ValuesArgs {
    pub(crate) fn apply(&self, config: &mut Config) {
        self.kube.apply(config);
    }
}
