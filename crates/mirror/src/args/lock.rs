//! The flags of `lock`, and the one that uses its file.

use std::path::{Path, PathBuf};

use castlink_core::{cli::AwsArgs, lock};
use clap::Args;

/// `lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Image references, as they are written in manifests, and nothing else will be in the
    /// file; `-` reads references or records from stdin; none: those that are in it
    #[arg(value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
    /// The file to write; `-` is stdout
    #[arg(long, value_name = "FILE", default_value = lock::FILE)]
    lock: PathBuf,
    /// Write nothing; exit with 3 when the file would change
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

impl LockArgs {
    /// The file; none for stdout.
    pub(crate) fn file(&self) -> Option<&Path> {
        Some(self.lock.as_path()).filter(|file| *file != Path::new("-"))
    }
}

/// A lock file in place of references.
#[derive(Debug, Args)]
pub(crate) struct Locked {
    /// Take the images from this lock file, each at the digest that is locked in it
    #[arg(long, value_name = "FILE", conflicts_with = "references")]
    pub(crate) lock: Option<PathBuf>,
}
