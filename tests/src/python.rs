//! Python environments for the programs that come from its package index: each from a
//! pinned requirements file, kept in the cache under a key made of those pins and the
//! Python version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;

/// Interpreters to look for, `PYTHON` of the environment before both.
const PYTHONS: [&str; 2] = ["python3", "python"];

/// The interpreter of the environment called `name` with everything of `pins` in it, made
/// when absent; `making` is called before that. Blocking.
///
/// # Errors
/// When there is no Python with `venv`, or its package index cannot be reached.
pub fn ensure(
    name: &str,
    pins: &str,
    say: &dyn Fn(&str),
    making: impl FnOnce(),
) -> Result<PathBuf> {
    let python = find_python()?;
    let version = output(Command::new(&python).arg("--version"))?;
    let key = cache::key([pins.as_bytes(), version.as_bytes()]);
    let entry = cache::ensure(&format!("servers/{name}-{key}"), say, |dir| {
        making();
        install(&python, pins, dir)
    })?;
    Ok(interpreter(&entry))
}

fn find_python() -> Result<PathBuf> {
    let named = std::env::var_os("PYTHON").into_iter();
    let mut candidates = named.chain(PYTHONS.iter().map(Into::into));
    let works = |program: &_| output(Command::new(program).args(["-c", "import venv"])).is_ok();
    match candidates.find(works) {
        Some(program) => Ok(program.into()),
        None => bail!(
            "the tests need Python 3 with its venv module: \
             install it (Debian: apt-get install python3-venv) or set PYTHON"
        ),
    }
}

/// Environments survive being moved as long as nothing uses their scripts: `-m` only.
fn install(python: &Path, pins: &str, dir: &Path) -> Result<()> {
    output(Command::new(python).args(["-m", "venv"]).arg(dir))?;
    let file = dir.join("requirements.txt");
    std::fs::write(&file, pins)?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ];
    output(Command::new(interpreter(dir)).args(pip).arg(&file)).map(drop)
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
