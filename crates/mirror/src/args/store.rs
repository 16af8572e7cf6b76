//! The flags of `pull` and `push`.

use std::{path::PathBuf, str::FromStr};

use castlink_core::{Failure, ImageRef};
use clap::Args;

use super::{Images, Locked, Transfer};

/// `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Image references, as they are written in manifests; `-` reads references or records from stdin
    #[arg(value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
    #[command(flatten)]
    pub(crate) locked: Locked,
    /// OCI image layout directory to write to; made when it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Show what would be pulled; nothing is written
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(super) transfer: Transfer,
}

/// `push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) images: Images,
    /// OCI image layout directory to read from, of `pull`, skopeo, crane, oras or docker;
    /// everything in it is pushed unless images are named
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// What an entry of the directory is called, when it does not say so itself; ENTRY is its
    /// short name there, or its digest. Can be given several times
    #[arg(long = "name", value_name = "ENTRY=REFERENCE")]
    pub(crate) names: Vec<Name>,
    /// Show what would be pushed; nothing is written
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `--name ENTRY=REFERENCE`.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    /// The entry's label or digest.
    pub(crate) entry: String,
    /// What to call it.
    pub(crate) image: ImageRef,
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (entry, image) = text
            .split_once('=')
            .ok_or("write ENTRY=REFERENCE, for example v1=ghcr.io/castai/images/agent:v1")?;
        Ok(Self {
            entry: entry.to_owned(),
            image: image
                .parse()
                .map_err(|failure: Failure| failure.one_line())?,
        })
    }
}
