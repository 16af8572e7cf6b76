//! Flags about the images that workloads are pointed at, and how their registry is asked.

use castlink_core::{cli::AwsArgs, config::Config};
use clap::Args;

/// What is asked of the target registry before anything moves.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image options")]
pub(crate) struct ImageArgs {
    /// Take every image to be in the target registry, without asking it
    #[arg(long, conflicts_with_all = ["require_images", "pin_digest"])]
    pub(crate) no_image_check: bool,
    /// Stop when the target registry cannot be asked; without it that is a warning
    #[arg(long)]
    pub(crate) require_images: bool,
    /// Write references with the digest that the records name or the registry has
    #[arg(long)]
    pub(crate) pin_digest: bool,
    #[command(flatten)]
    aws: AwsArgs,
}

impl ImageArgs {
    pub(crate) fn apply(&self, config: &mut Config) {
        self.aws.apply(config);
    }
}
