//! The AWS emulator (moto) as a child process: EC2, EKS, IAM and STS as far as it gets
//! them right. Products never talk to it directly, the AWS gate stands in front.
//!
//! It is installed from a pinned requirements file into a Python environment of its own,
//! kept in the cache under a key made of those pins and the Python version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::process::{self, Child, Spec};

/// Every package with its version; the reasons are in the file.
const REQUIREMENTS: &str = include_str!("../servers/moto/requirements.txt");
/// Interpreters to look for, `PYTHON` of the environment before both.
const PYTHONS: [&str; 2] = ["python3", "python"];
/// Python imports slowly when the disk is cold.
const READY: Duration = Duration::from_secs(60);

/// The interpreter of an environment with moto in it, made when absent (half a minute).
/// Blocking. `say` gets the lines that tell what is being done.
///
/// # Errors
/// When there is no Python with `venv`, or its package index cannot be reached.
pub fn ensure(say: &dyn Fn(&str)) -> Result<PathBuf> {
    let python = find_python()?;
    let version = output(Command::new(&python).arg("--version"))?;
    let key = cache::key([REQUIREMENTS.as_bytes(), version.as_bytes()]);
    let entry = cache::ensure(&format!("servers/moto-{key}"), say, |dir| {
        say("setting up the AWS emulator (moto) in a Python environment: about 30 s");
        install(&python, dir)
    })?;
    Ok(interpreter(&entry))
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
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
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

fn find_python() -> Result<PathBuf> {
    let named = std::env::var_os("PYTHON").into_iter();
    let mut candidates = named.chain(PYTHONS.iter().map(Into::into));
    let works = |program: &_| output(Command::new(program).args(["-c", "import venv"])).is_ok();
    match candidates.find(works) {
        Some(program) => Ok(program.into()),
        None => bail!(
            "the AWS emulator needs Python 3 with its venv module: \
             install it (Debian: apt-get install python3-venv) or set PYTHON"
        ),
    }
}

/// Environments survive being moved as long as nothing uses their scripts: `-m` only.
fn install(python: &Path, dir: &Path) -> Result<()> {
    output(Command::new(python).args(["-m", "venv"]).arg(dir))?;
    let pins = dir.join("requirements.txt");
    std::fs::write(&pins, REQUIREMENTS)?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ];
    output(Command::new(interpreter(dir)).args(pip).arg(&pins)).map(drop)
}

fn interpreter(environment: &Path) -> PathBuf {
    environment.join("bin").join("python")
}

fn output(command: &mut Command) -> Result<String> {
    let what = || {
        let args = command
            .get_args()
            .map(OsStr::to_string_lossy)
            .collect::<Vec<_>>()
            .join(" ");
        format!("{} {args}", command.get_program().to_string_lossy())
    };
    let shown = what();
    let output = command
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}\n{}", output.status, log.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
