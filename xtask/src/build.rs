//! Building the workspace and running its tests.
//!
//! Always `--workspace --bins` or `--workspace --tests`, never `-p`: a single package is
//! built with other features of the shared dependencies, and that means aws-sdk-ec2 anew
//! (five minutes of CPU).

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
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
            "building castlink; the first time about 10 minutes on 2 cores, most of it one crate\n\
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
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if rest.is_empty() {
        // Not the documentation's examples: there are none.
        command.args(["--lib", "--bins", "--tests"]);
    }
    command.args(rest).env("CASTLINK_BIN_DIR", &bin_dir);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let total = show(BufReader::new(output), std::io::stdout())?;
    let status = child.wait()?;
    writeln!(
        std::io::stdout(),
        "\n{} passed, {} failed",
        total.passed,
        total.failed
    )?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::from(130), ExitCode::from))
}

#[derive(Default)]
struct Total {
    passed: u64,
    failed: u64,
}

/// Passes the test runner's output on and adds up its results, one line per binary.
fn show(output: impl BufRead, mut to: impl Write) -> Result<Total> {
    let mut total = Total::default();
    for line in output.lines() {
        let line = line?;
        writeln!(to, "{line}")?;
        if line.starts_with("test result:") {
            total.passed += count(&line, "passed");
            total.failed += count(&line, "failed");
        }
    }
    Ok(total)
}

/// The number before `word`: `test result: ok. 7 passed; 0 failed; …`
fn count(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ';']).collect();
    let at = words.iter().position(|found| *found == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok())
        .unwrap_or(0)
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

#[cfg(test)]
mod tests {
    #[test]
    fn results_add_up() {
        let output = "running 2 tests\ntest result: ok. 7 passed; 0 failed; 0 ignored\n\
            test result: FAILED. 51 passed; 1 failed; 0 ignored\n";
        let mut shown = Vec::new();
        let total = super::show(output.as_bytes(), &mut shown).unwrap();
        assert_eq!(shown, output.as_bytes());
        assert_eq!((total.passed, total.failed), (58, 1));
    }
}
