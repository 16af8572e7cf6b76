//! `upgrade` and `sandbox`: build, then run the project's own binaries.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::build;

/// Run the whole job: pull, push, patch.
#[derive(clap::Args)]
pub(crate) struct Upgrade {
    /// Against the sandbox: starts it when needed, and includes --network
    #[arg(long)]
    sandbox: bool,
    /// Passed on to `castlink run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Local real servers to try everything on.
#[derive(clap::Args)]
pub(crate) struct Sandbox {
    /// Passed on to castlink-sandbox (`--help` lists its verbs)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// `cargo xtask sandbox …`
pub(crate) fn sandbox(args: &Sandbox) -> Result<ExitCode> {
    let bin_dir = build::binaries()?;
    build::code(Command::new(bin_dir.join("castlink-sandbox")).args(&args.rest))
}

/// `cargo xtask upgrade …`
pub(crate) fn upgrade(args: &Upgrade) -> Result<ExitCode> {
    let bin_dir = build::binaries()?;
    let mut run = Command::new(bin_dir.join("castlink"));
    run.arg("run");
    if !args.sandbox {
        return build::code(run.args(&args.rest));
    }
    let tool = bin_dir.join("castlink-sandbox");
    build::checked(Command::new(&tool).arg("up"))?;
    let env = environment(&tool)?;
    if let Some(registry) = env.get("ECR") {
        run.args(["--to", registry]);
    }
    let status = || build::output(Command::new(&tool).args(["status", "--brief"]));
    build::say(&format!("before: {}", status()?.trim_end()));
    run.args(["--network", "--cluster", "castlink-sandbox"]);
    let code = build::code(run.args(&args.rest).envs(&env))?;
    build::say(&format!("after: {}", status()?.trim_end()));
    Ok(code)
}

/// The variables of `castlink-sandbox env`, which prints them for a shell.
fn environment(tool: &Path) -> Result<BTreeMap<String, String>> {
    let text = build::output(Command::new(tool).args(["env", "--plain"]))?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}
