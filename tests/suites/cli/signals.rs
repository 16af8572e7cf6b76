//! A stage whose input does not come can be ended: the stage before may take minutes.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use castlink_tests::process::{self, binary, wait_until};
use rustix::process::Signal;
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(60);

/// A stage with a pipe that stays open and empty.
fn waiting(dir: &Path, program: &str, args: &[&str]) -> Result<Child> {
    let child = Command::new(binary(program)?)
        .args(args)
        .env_clear()
        .env("HOME", dir)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// Waits until the process has said that it wants to hear of `signal`.
async fn listens(pid: u32, signal: Signal) -> Result<()> {
    wait_until("a listener for signals", SOON, async || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.context("SigCgt")?.trim(), 16)?;
        ensure!(caught >> (signal.as_raw() - 1) & 1 == 1, "it does not yet");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_stage_that_waits_for_input_heeds_signals() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (program, args) in [
        ("castlink-upgrade", &["apply", "-"][..]),
        ("castlink-upgrade", &["plan", "-"]),
        ("castlink-upgrade", &["values", "-"]),
        ("castlink-mirror", &["copy", "-", "--to", "r.example"]),
        ("castlink-mirror", &["lock", "-"]),
    ] {
        for signal in [Signal::TERM, Signal::INT] {
            let mut child = waiting(dir.path(), program, args)?;
            // Or else waiting for its end would close it.
            let _open = child.stdin.take().context("a pipe")?;
            let pid = child.id().context("it has ended")?;
            listens(pid, signal).await?;
            process::signal(pid, signal)?;
            let ended = tokio::time::timeout(SOON, child.wait_with_output()).await;
            let output = ended.with_context(|| format!("{program} {args:?} goes on"))??;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                output.status.code() == Some(130),
                "{program} {args:?} {signal:?}: {}, {said}",
                output.status
            );
        }
    }
    Ok(())
}
