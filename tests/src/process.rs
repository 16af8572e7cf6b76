//! Child processes that never outlive us, and waiting without sleeping blindly.
//!
//! Every child is started through a shim (`castlink-sandbox child -- PROGRAM ARGS`) that
//! asks the kernel for SIGKILL when its parent dies and then becomes the program, so that
//! even `kill -9` of the owner leaves nothing behind. The kernel means the *thread* that
//! spawned the child, hence the one spawner thread that lives as long as the process.
//!
//! Children see only the environment their [`Spec`] names (and PATH, HOME): the ambient
//! AWS profile and kubeconfig stop here.

mod shim;

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal};

pub use shim::exec_child;
use shim::{OWNER, SHIM, spawn};

/// How much of a log an error carries.
const TAIL_LINES: usize = 25;
const TAIL_BYTES: u64 = 16 * 1024;
/// Between two looks at a predicate.
const POLL: Duration = Duration::from_millis(50);

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    log: PathBuf,
}

impl Spec {
    /// `program`, called `name` in messages, with both output streams in `log_dir/NAME.log`.
    #[must_use]
    pub fn new(name: &str, program: impl Into<PathBuf>, log_dir: &Path) -> Self {
        let inherited = ["PATH", "HOME"];
        let env = inherited
            .iter()
            .filter_map(|key| Some((key.into(), std::env::var_os(key)?)));
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: env.collect(),
            log: log_dir.join(format!("{name}.log")),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the shim is not built, or the program or the log cannot be opened.
    pub fn start(self) -> Result<Child> {
        let inner =
            spawn(self.command()?).with_context(|| format!("cannot start {}", self.name))?;
        Ok(Child {
            name: self.name,
            log: self.log,
            inner,
            status: None,
        })
    }

    fn command(&self) -> Result<Command> {
        if self.program.components().count() > 1 && !self.program.exists() {
            bail!(
                "cannot start {}: no file {}",
                self.name,
                self.program.display()
            );
        }
        if let Some(dir) = self.log.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot open {}", self.log.display()))?;
        let mut command = Command::new(binary(SHIM.0)?);
        command
            .arg(SHIM.1)
            .arg("--")
            .arg(&self.program)
            .args(&self.args);
        command
            .env_clear()
            .envs(&self.env)
            .env(OWNER, std::process::id().to_string());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A group of its own: Ctrl-C at the terminal reaches the owner, who stops its
        // children in order.
        command.process_group(0);
        Ok(command)
    }
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Child {
    name: String,
    log: PathBuf,
    inner: std::process::Child,
    status: Option<ExitStatus>,
}

impl Child {
    /// The name given to [`Spec::new`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id (the shim becomes the program, so it is the program's).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// Where the output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit status when it has ended.
    ///
    /// # Errors
    /// When the operating system cannot say.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.inner.try_wait()?;
        }
        Ok(self.status)
    }

    /// Fails with the end of the log when the child has ended.
    ///
    /// # Errors
    /// See above.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended ({})", self.name, describe(status)))
                .with_context(|| self.tail()),
        }
    }

    /// Waits until `probe` succeeds, watching that the child stays alive meanwhile.
    ///
    /// # Errors
    /// The last error of `probe` at the deadline, or the child's end, each with the end
    /// of the log.
    pub async fn ready<T, F>(&mut self, deadline: Duration, mut probe: F) -> Result<T>
    where
        F: AsyncFnMut() -> Result<T>,
    {
        let end = Instant::now() + deadline;
        loop {
            self.check_alive()?;
            let error = match probe().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if Instant::now() >= end {
                let late = format!("{} is not ready after {deadline:?}", self.name);
                return Err(error.context(late).context(self.tail()));
            }
            pause(POLL).await;
        }
    }

    /// Asks the child to end (SIGTERM) and kills it when it has not within `grace`.
    ///
    /// # Errors
    /// When the operating system refuses to signal or to wait.
    pub async fn stop(mut self, grace: Duration) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        signal(self.pid(), Signal::TERM)?;
        let end = Instant::now() + grace;
        while self.exited()?.is_none() && Instant::now() < end {
            pause(POLL).await;
        }
        Ok(()) // what is still alive is killed by drop
    }

    /// The last lines of the log, introduced by its path.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = tail(&self.log).unwrap_or_else(|error| format!("(unreadable: {error})"));
        format!("end of {}:\n{text}", self.log.display())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Both fail only when it has ended by itself, which is what is wanted.
            drop(self.inner.kill());
            drop(self.inner.wait());
        }
    }
}

/// Lets time pass: between two looks at a predicate, or because passing time is itself
/// what is played (a slow server). Never to wait for something to have happened.
#[expect(
    clippy::disallowed_methods,
    reason = "waiting on predicates is built on it"
)]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits until `probe` succeeds; `what` names the thing in the error.
///
/// # Errors
/// The last error of `probe` when `deadline` has passed.
pub async fn wait_until<T, F>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error.context(format!("{what}: not after {deadline:?}")));
            }
            Err(_) => pause(POLL).await,
        }
    }
}

/// A loopback port that was free a moment ago and that this process has not handed out
/// before.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> Result<u16> {
    static GIVEN: OnceLock<Mutex<HashSet<u16>>> = OnceLock::new();
    let given = GIVEN.get_or_init(Mutex::default);
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot bind to loopback")?;
        let port = listener.local_addr()?.port();
        if given
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(port)
        {
            return Ok(port);
        }
    }
}

/// Sends `signal` to a process by id.
///
/// # Errors
/// When there is no such process or it is not ours.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("process id 0")?;
    rustix::process::kill_process(pid, signal).with_context(|| format!("cannot signal {pid:?}"))
}

/// Whether a process exists (a zombie counts until its parent has waited for it).
#[must_use]
pub fn alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// One of the project's own executables: in `$CASTLINK_BIN_DIR`, else beside the running
/// executable (or one directory up, for a test's).
///
/// # Errors
/// When it is not built; the error says what builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let dirs = match std::env::var_os("CASTLINK_BIN_DIR") {
        Some(dir) => vec![PathBuf::from(dir)],
        None => {
            let exe = std::env::current_exe().context("cannot tell the running executable")?;
            exe.ancestors()
                .skip(1)
                .take(2)
                .map(Path::to_path_buf)
                .collect()
        }
    };
    let found = dirs
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found
        .ok_or_else(|| anyhow!("no {name} in {dirs:?}: run `cargo build --workspace --bin {name}`"))
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
