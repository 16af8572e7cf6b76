//! `castlink-bench`: measures castlink-mirror beside other copiers. Only the door lives
//! here; see `castlink_tests::bench`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use castlink_tests::bench::args::{Cli, Verb};
use castlink_tests::bench::{endpoints, exec, faults, mirror, rewrite, upgrade};
use castlink_tests::sandbox;
use clap::Parser;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sandbox::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // Before the command line is parsed: the helper must stay small.
    let words: Vec<_> = std::env::args_os().skip(1).take(3).collect();
    if let [verb, order, result] = words.as_slice()
        && verb == exec::VERB
    {
        return exec::helper(Path::new(order), Path::new(result));
    }
    match Cli::parse().verb {
        Verb::Mirror(args) => mirror::run(&args),
        Verb::Faults(args) => faults::run(&args),
        Verb::Endpoints(args) => endpoints::run(&args),
        Verb::Upgrade(args) => upgrade::run(&args),
        Verb::Rewrite(args) => rewrite::run(&args),
        Verb::Exec { order, result } => exec::helper(&order, &result),
    }
}
