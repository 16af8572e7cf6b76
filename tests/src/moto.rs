//! The AWS emulator (moto) as a child process: EC2, EKS, IAM and STS as far as it gets
//! them right. Products never talk to it directly, the AWS gate stands in front.
//!
//! It is installed from a pinned requirements file into a Python environment of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, Child, Spec};
use crate::python;

/// Every package with its version; the reasons are in the file.
const REQUIREMENTS: &str = include_str!("../servers/moto/requirements.txt");
/// Starts its server; why not the one it brings is in the file.
const SERVE: &str = include_str!("../servers/moto/serve.py");
/// Python imports slowly when the disk is cold.
const READY: Duration = Duration::from_secs(60);

/// The interpreter of an environment with moto in it, made when absent (half a minute).
/// Blocking. `say` gets the lines that tell what is being done.
///
/// # Errors
/// When there is no Python with `venv`, or its package index cannot be reached.
pub fn ensure(say: &dyn Fn(&str)) -> Result<PathBuf> {
    python::ensure("moto", REQUIREMENTS, say, || {
        say("setting up the AWS emulator (moto) in a Python environment: about 30 s");
    })
}

/// A running emulator.
pub struct Moto {
    /// Its base URL.
    pub url: String,
    child: Child,
}

impl Moto {
    /// Starts the emulator with `python` (from [`ensure`]) and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer in time; carries the end of its log.
    pub async fn start(python: &Path, log_dir: &Path) -> Result<Self> {
        let port = process::free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut child = Spec::new("moto", python, log_dir)
            .args(["-c", SERVE, "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .start()?;
        let probe = format!("{url}/moto-api/data.json");
        child
            .ready(READY, async || {
                Ok(reqwest::get(&probe).await?.error_for_status()?)
            })
            .await?;
        Ok(Self { url, child })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }
}
