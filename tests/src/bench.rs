//! Measuring castlink-mirror beside other copiers, on the same images, registries and
//! networks: `cargo xtask bench`.
//!
//! Nothing here is timed in tests. A tool that copies nothing must not win: what arrived is
//! compared with the source after every run that should have copied something
//! ([`check`]).

pub mod access;
pub mod args;
mod bars;
pub mod check;
pub mod ecr;
pub mod endpoints;
pub mod exec;
pub mod faults;
pub mod images;
pub mod machine;
pub mod mirror;
pub mod network;
pub mod proxy;
mod report;
pub mod rewrite;
pub mod site;
pub mod tools;
pub mod upgrade;

use std::io::{self, Write as _};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Does `work` on a runtime of its own, unless somebody interrupts: then everything that
/// was started and written is cleaned up as if it had failed.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    })
}

/// One line of progress; a closed standard error is nobody's problem.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Text to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    write!(io::stdout(), "{text}").context("cannot write to standard output")
}
