//! `cargo xtask`: project tasks. A door, not a house: it builds what is needed, says so,
//! and runs it. What users need without a checkout is in the binaries.

mod bench;
mod build;
mod dist;
mod docs;
mod sandbox;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Project tasks
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Run the whole job: pull, push, patch (`castlink run` from this checkout)
    Upgrade(sandbox::Upgrade),
    /// Local real servers to try everything on: up, down, env, seed, status, …
    Sandbox(sandbox::Sandbox),
    /// Build the binaries, set up the servers, run all tests
    Test(Rest),
    /// Measure the mirror beside other copiers: mirror, faults
    Bench(bench::Bench),
    /// Write the generated pages of docs/ (`--check` only compares)
    Docs(docs::Docs),
    /// Build a release archive of static binaries
    Dist(dist::Dist),
}

/// Arguments that are passed on.
#[derive(clap::Args)]
struct Rest {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(code) => code,
        Err(err) => {
            build::say(&format!("error: {err:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    std::env::set_current_dir(build::root())?;
    match task {
        Task::Upgrade(args) => sandbox::upgrade(&args),
        Task::Sandbox(args) => sandbox::sandbox(&args),
        Task::Test(args) => build::test(&args.rest),
        Task::Bench(args) => bench::run(&args),
        Task::Docs(args) => docs::run(&args),
        Task::Dist(args) => dist::run(&args),
    }
}
