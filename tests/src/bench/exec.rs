//! Running a tool and measuring what it used: wall clock, CPU, peak memory.
//!
//! The kernel adds a child's resources up for the process that waits for it, and counts
//! the parent's memory as the child's until the child has become its program. Hence the
//! helper, `castlink-bench exec`, which does nothing else and is small.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use wait4::Wait4;

use crate::process::{self, Spec};

/// The helper's executable.
const HELPER: &str = "castlink-bench";
/// The helper's verb.
pub const VERB: &str = "exec";
/// No tool needs longer for one run.
const DEADLINE: Duration = Duration::from_secs(20 * 60);

/// What to run, one command after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Program and arguments of each.
    pub commands: Vec<Vec<String>>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Where they run.
    pub dir: PathBuf,
    /// Where their output goes.
    pub log: PathBuf,
}

/// What a job used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// From the first start to the last end, in seconds.
    pub wall_s: f64,
    /// CPU of the commands and what they started, in seconds, user and system.
    pub cpu_s: f64,
    /// The largest of them, in MB (10^6 bytes).
    pub rss_mb: f64,
    /// Commands that did not end with 0.
    pub failed: usize,
}

/// Runs `job` in a helper process, whose files are in `dir`.
///
/// # Errors
/// When it cannot be started or is not through in time; not when its commands fail.
pub async fn run(job: &Job, dir: &Path) -> Result<Usage> {
    let (order, result) = (dir.join("job.json"), dir.join("usage.json"));
    drop(fs::remove_file(&result));
    fs::write(&order, serde_json::to_vec(job)?)?;
    let mut child = Spec::new("helper", process::binary(HELPER)?, dir)
        .arg(VERB)
        .arg(&order)
        .arg(&result)
        .start()?;
    let group = Group(child.pid());
    let ended = process::wait_until("a tool", DEADLINE, async || {
        child.exited()?.context("still running")
    });
    let Ok(status) = ended.await else {
        bail!("not through after {DEADLINE:?}, see {}", job.log.display());
    };
    drop(group);
    if !status.success() {
        bail!("the helper ended with {status}: {}", child.tail());
    }
    Ok(serde_json::from_slice(&fs::read(&result)?)?)
}

/// The helper's process group, in which the tool is too: nothing of it stays behind,
/// however the run ends.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It fails when everything has ended by itself.
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The helper's work: runs the job in the first file and writes the usage into the second.
///
/// # Errors
/// When a file cannot be read or written, or a program cannot be started.
pub fn helper(order: &Path, result: &Path) -> Result<()> {
    let job: Job = serde_json::from_slice(&fs::read(order)?)?;
    let started = Instant::now();
    let mut usage = Usage::default();
    for command in &job.commands {
        measure(&job, command, &mut usage)?;
    }
    usage.wall_s = started.elapsed().as_secs_f64();
    fs::write(result, serde_json::to_vec(&usage)?)?;
    Ok(())
}

fn measure(job: &Job, command: &[String], usage: &mut Usage) -> Result<()> {
    let (program, args) = command.split_first().context("an empty command")?;
    let log = File::options().create(true).append(true).open(&job.log)?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(&job.env)
        .current_dir(&job.dir);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let used = child.wait4()?;
    let cpu = used.rusage.utime + used.rusage.stime;
    usage.cpu_s += cpu.as_secs_f64();
    usage.rss_mb = usage.rss_mb.max(used.rusage.maxrss as f64 / 1e6);
    usage.failed += usize::from(!used.status.success());
    Ok(())
}

/// The last line of a tool's output, or the beginning of it.
pub(super) fn last_words(log: &Path) -> String {
    const ENOUGH: usize = 200;
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let last = lines.next_back().unwrap_or("no output");
    last.chars().take(ENOUGH).collect()
}
