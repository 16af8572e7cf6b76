//! `bench`: build, then measure with castlink-bench.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::build;

/// Measure castlink-mirror beside skopeo, crane, regctl and regsync.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Passed on to castlink-bench: `mirror`, `faults`, `endpoints`, `upgrade` or `rewrite` (`--help` lists their options)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// `cargo xtask bench …`
pub(crate) fn run(args: &Bench) -> Result<ExitCode> {
    let bin_dir = build::binaries()?;
    build::code(Command::new(bin_dir.join("castlink-bench")).args(&args.rest))
}
