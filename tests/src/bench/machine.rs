//! What a figure depends on besides the program: the machine and what else it does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// The kernel's unit of process times, in seconds (USER_HZ, 100 on every Linux).
const TICK: f64 = 0.01;

/// Facts that belong beside every figure.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
    /// The processor's name.
    pub processor: String,
    /// Kernel release.
    pub kernel: String,
    /// Memory in MB (10^6 bytes).
    pub memory_mb: u64,
    /// Whether the destination's data is in memory.
    pub destination_in_memory: bool,
}

impl Machine {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(name));
            let value = lines.next().and_then(|line| line.split_once(':'));
            value.map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mb: kib * 1_024 / 1_000_000,
            destination_in_memory: scratch().starts_with("/dev/shm"),
        }
    }
}

/// Where destinations keep their data: in memory when the machine has such a directory.
#[must_use]
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() && tempfile::tempfile_in(memory).is_ok() {
        return memory.to_owned();
    }
    std::env::temp_dir()
}

/// Processes that want a core, averaged over the last minute.
#[must_use]
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|value| value.parse().ok());
    first.unwrap_or(0.0)
}

/// CPU that a process has used so far, in seconds, user and system.
///
/// # Errors
/// When there is no such process.
pub fn cpu_of(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the name in parentheses, with anything in it.
    let (_, rest) = text.rsplit_once(") ").context("not a process status")?;
    let ticks = rest.split(' ').skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|value| value.parse::<f64>().ok()).sum();
    Ok(ticks * TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_charged_for_its_work() {
        let pid = std::process::id();
        let before = cpu_of(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_of(pid).unwrap() < before + 3.0 * TICK {
            sum = (0..100_000_u64).fold(sum, u64::wrapping_add);
        }
        assert!(Machine::read().cores > 0);
    }
}
