//! Running the project's own binaries as a user would, but with nothing of the user's.
//!
//! The environment is the stack's and nothing else: no ambient AWS profile, no ambient
//! kubeconfig, a home directory of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::faults::Faults;
use crate::process::{self, pause};

/// No product takes longer in a suite; a hang becomes a failure with a name.
const DEADLINE: Duration = Duration::from_secs(300);

/// A call of one binary.
#[derive(Clone, Debug)]
pub struct Product {
    program: PathBuf,
    name: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    deadline: Duration,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output, as it came.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Product {
    /// The binary called `name` (`castlink-mirror`), with `env` as its whole environment.
    ///
    /// # Errors
    /// When it is not built; the error says what builds it.
    pub fn new(name: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        Ok(Self {
            program: process::binary(name)?,
            name: name.to_owned(),
            args: Vec::new(),
            env: env.into_iter().collect(),
            dir: None,
            stdin: Vec::new(),
            deadline: DEADLINE,
        })
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same environment for another program and its arguments.
    #[must_use]
    pub fn through<S: Into<String>>(
        mut self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        self.program = program.into();
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.insert(key.to_owned(), value.into());
        self
    }

    /// Takes one variable away.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.env.remove(key);
        self
    }

    /// What it reads on standard input (nothing by default).
    #[must_use]
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// The directory it runs in.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started or is not through by its deadline.
    pub async fn run(self) -> Result<Outcome> {
        self.start()?.end().await
    }

    /// Starts it, for a test that does something to it. Its output waits in pipes, so that it
    /// must not be much.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut self) -> Result<Running> {
        let child = self.command().spawn();
        let mut child = child.with_context(|| format!("cannot run {}", self.name))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let text = std::mem::take(&mut self.stdin);
        // A reader that stops early is its own business, as in a shell's pipe.
        let feed = tokio::spawn(async move { drop(stdin.write_all(&text).await) });
        Ok(Running {
            child,
            feed,
            product: self,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(self.args.iter().map(OsStr::new))
            .env_clear()
            .envs(&self.env);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }
}

/// A call under way; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    feed: JoinHandle<()>,
    product: Product,
}

impl Running {
    /// Its process; nothing once it has been waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until a gate holds a request of it.
    ///
    /// # Errors
    /// When it ends instead, with what it said, or asks nothing of the kind by its deadline.
    pub async fn held(mut self, faults: &Faults) -> Result<Self> {
        let Product { name, deadline, .. } = self.product.clone();
        tokio::select! {
            () = faults.held() => return Ok(self),
            ended = self.child.wait() => drop(ended?),
            () = pause(deadline) => bail!("{name}: no request is held after {deadline:?}"),
        }
        bail!(
            "{name} ended before a request was held\n{}",
            self.end().await?
        )
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it is not through by its deadline.
    pub async fn end(self) -> Result<Outcome> {
        let Product { name, deadline, .. } = self.product.clone();
        let Ok(output) = tokio::time::timeout(deadline, self.output()).await else {
            bail!("{name} is still running after {deadline:?}");
        };
        let output = output.with_context(|| format!("cannot run {name}"))?;
        Ok(Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    async fn output(self) -> Result<Output> {
        let output = self.child.wait_with_output().await?;
        self.feed.abort();
        Ok(output)
    }
}

impl Outcome {
    /// Standard output as JSON Lines.
    ///
    /// # Errors
    /// When a line is not JSON; carries both streams.
    pub fn records(&self) -> Result<Vec<Value>> {
        let parse = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("not a record: {line}\n{self}"))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// The records of one kind.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub fn records_of(&self, kind: &str) -> Result<Vec<Value>> {
        let mut records = self.records()?;
        records.retain(|record| record["kind"] == kind);
        Ok(records)
    }

    /// Itself, when it ended with this exit code.
    ///
    /// # Errors
    /// When it did not; carries both streams.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code == code {
            return Ok(self);
        }
        bail!("exit code {} instead of {code}\n{self}", self.code)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}
