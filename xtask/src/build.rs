//! Building the workspace and running its tests.
//!
//! Always `--workspace --bins` or `--workspace --tests`, never `-p`: a single package is
//! built with other features of the shared dependencies, and that means aws-sdk-ec2 anew
//! (five minutes of CPU).

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// The checkout this xtask was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace root")
}

/// Where binaries of the daily profile are.
pub(crate) fn bin_dir() -> PathBuf {
    target_dir().join("debug")
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// One line to stderr.
pub(crate) fn say(text: &str) {
    // There is nobody to tell when stderr is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Builds all binaries; says what that means when it has never been done here.
pub(crate) fn binaries() -> Result<PathBuf> {
    if !bin_dir().join("castlink").exists() {
        say(
            "building castlink; the first time about 6 minutes on 2 cores, most of it one crate\n\
             (aws-sdk-ec2, which needs 8 GB of memory); seconds from then on",
        );
    }
    let start = Instant::now();
    checked(cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
    if start.elapsed().as_secs() >= 5 {
        say(&format!("built in {} s", start.elapsed().as_secs()));
    }
    Ok(bin_dir())
}

/// Runs all tests, or those that `rest` selects as `cargo test` understands it.
pub(crate) fn test(rest: &[String]) -> Result<ExitCode> {
    let bin_dir = binaries()?;
    // Before the tests, where the progress can be seen: cargo hides a test's output.
    checked(Command::new(bin_dir.join("castlink-sandbox")).arg("servers"))?;
    say("running the tests; they start their own servers on loopback");
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).args(rest);
    command.env("CASTLINK_BIN_DIR", &bin_dir);
    code(&mut command)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command that has to succeed.
pub(crate) fn checked(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Runs a command and returns its exit code as ours.
pub(crate) fn code(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::from(130), ExitCode::from))
}

/// The standard output of a command that has to succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
