//! Compiling a pinned Go module's program into the cache, once per set of pins and Go
//! version.
//!
//! Which modules there are and what their programs are for is said in [`crate::servers`]
//! and [`crate::peers`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::cache;

/// How often a build says that it is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How much of a failed build's output the error shows.
const TAIL_LINES: usize = 30;

/// One program of one module, and all that decides what comes out.
pub(crate) struct Program<'a> {
    /// What messages call it.
    pub(crate) title: &'a str,
    /// The module's files: name and text.
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// The main package, as `go build` names it.
    pub(crate) package: &'a str,
    /// `-ldflags`
    pub(crate) linker: &'a str,
    /// How long the build takes, for the line that announces it.
    pub(crate) takes: &'a str,
    /// What somebody without Go can do.
    pub(crate) instead: &'a str,
}

impl Program<'_> {
    /// The cache entry `PREFIX-KEY`, which holds the program under `name`; built when it
    /// is absent, and then completed by `finish`.
    ///
    /// # Errors
    /// When Go is missing or the build fails (with the end of its output).
    pub(crate) fn ensure(
        &self,
        prefix: &str,
        name: &str,
        say: &dyn Fn(&str),
        finish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let go = version(self.title, self.instead)?;
        let texts = self.files.iter().map(|(_, text)| text.as_bytes());
        let key = cache::key(texts.chain([go.as_bytes(), self.linker.as_bytes()]));
        cache::ensure(&format!("{prefix}-{key}"), say, |draft| {
            let Self { title, takes, .. } = self;
            say(&format!("building {title} with {go}: {takes}, once"));
            let started = Instant::now();
            self.compile(draft, name, say)?;
            finish(draft)?;
            let seconds = started.elapsed().as_secs();
            say(&format!("built {title} in {seconds} s"));
            Ok(())
        })
    }

    fn compile(&self, draft: &Path, name: &str, say: &dyn Fn(&str)) -> Result<()> {
        let source = draft.join("source");
        fs::create_dir(&source)?;
        for (name, text) in self.files {
            fs::write(source.join(name), text)?;
        }
        let log = draft.join("build.log");
        let mut command = Command::new("go");
        command
            .current_dir(&source)
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        // The linker drops debug information anyway: the compiler need not write it.
        command.args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-gcflags=all=-dwarf=false",
        ]);
        command
            .args(["-ldflags", self.linker, "-o"])
            .arg(draft.join(name))
            .arg(self.package);
        // The compiler's processes are short: they collect garbage only when they grow large.
        command.envs([
            ("CGO_ENABLED", "0"),
            ("GOTOOLCHAIN", "local"),
            ("GOFLAGS", "-mod=readonly"),
            ("GOGC", "off"),
            ("GOMEMLIMIT", "2GiB"),
            ("GOWORK", "off"),
        ]);
        wait(command, self.title, say).with_context(|| tail(&log))?;
        fs::remove_dir_all(&source)?;
        Ok(())
    }
}

/// Runs `command` to its end, saying every now and then that it still runs.
fn wait(mut command: Command, title: &str, say: &dyn Fn(&str)) -> Result<()> {
    let started = Instant::now();
    let mut child = command.spawn().context("cannot run go")?;
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait()));
    loop {
        match ended.recv_timeout(HEARTBEAT) {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => {
                return Ok(());
            }
            Ok(status) => bail!("the build of {title} failed ({})", status?),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                say(&format!(
                    "building {title}: {} s so far",
                    started.elapsed().as_secs()
                ));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("lost the build of {title}"),
        }
    }
}

fn version(title: &str, instead: &str) -> Result<String> {
    let output = match Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .output()
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "go is not installed, and {title} is built with it: install Go 1.26 or newer \
             (https://go.dev/dl/), or {instead}"
        ),
        other => other.context("cannot run go")?,
    };
    if !output.status.success() {
        return Err(anyhow!("{}", String::from_utf8_lossy(&output.stderr))
            .context("cannot ask go for its version"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    format!(
        "end of the build's output:\n{}",
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    )
}
