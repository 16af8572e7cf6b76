//! The flags of `rewrite`.

use std::path::PathBuf;

use castlink_core::reference::Layout;
use clap::{Args, ValueEnum};

/// Flags of `rewrite`.
#[derive(Debug, Args)]
pub(crate) struct RewriteArgs {
    /// Manifests, YAML or JSON; `-` is stdin [default: stdin]
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Which images are mirrored: a lock file, or the records of `castlink-mirror copy`;
    /// `-` reads records from stdin [default: every image is, at --to]
    #[arg(long, value_name = "FILE")]
    pub(crate) images: Option<PathBuf>,
    /// Target registry [default: `to` below `[mirror]` in castlink.toml]; with records, only
    /// those of this registry count
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) to: Option<String>,
    /// How target names are built from the reference, without records
    #[arg(long, value_enum, value_name = "LAYOUT")]
    pub(crate) layout: Option<Layout>,
    /// Write digests behind the tags, from the lock file or the records
    #[arg(long)]
    pub(crate) pin_digest: bool,
    /// What to do about public images that nothing says a target of
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) on_unmapped: OnUnmapped,
    /// Rewrite manifests within ConfigMaps too
    #[arg(long)]
    pub(crate) configmaps: bool,
    /// Change nothing, list what would change; exit 3 when something would
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

/// Which variables are added.
#[derive(Debug, Args)]
#[command(next_help_heading = "Proxy options")]
pub(crate) struct ProxyArgs {
    /// Give the containers of CAST AI HTTP_PROXY, HTTPS_PROXY and NO_PROXY, where they have
    /// none
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// Further hosts for NO_PROXY, beside what every EKS cluster reaches directly (repeat, or
    /// separate with commas). With PrivateLink endpoints name what they serve, or it goes to the
    /// proxy: --no-proxy .cast.ai,.us-east-1.amazonaws.com
    #[arg(long, value_name = "HOST", value_delimiter = ',', requires = "proxy")]
    pub(crate) no_proxy: Vec<String>,
}

/// What becomes of images without a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnUnmapped {
    /// Nothing is written; exit 6
    #[default]
    Fail,
    /// They stay, and are named
    Warn,
    /// They stay
    Keep,
}
