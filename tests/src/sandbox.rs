//! The stack as a background process: `up` starts it, `down` ends it, everything else
//! reads what it left in its directory.
//!
//! Whether it runs is a lock that the serving process holds, which neither a crash nor a
//! recycled process id can get wrong. What it is (environment, URLs) is `state.json`,
//! written when it is ready.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::control_plane;
use crate::kubelet::Faults;
use crate::process::{self, wait_until};
use crate::seed::{self, Seeder};
use crate::stack::{Options, Stack, faults_file};
use crate::{cache, namespace};
use output::{is_tried, pod_line, pods_brief, print, quoted, say};

mod faults;
mod output;

pub use faults::FaultArgs;

/// The first `up` of a machine builds servers for minutes; `up` only gives up when the
/// process does.
const UP: Duration = Duration::from_secs(3600);
/// From SIGTERM to gone.
const DOWN: Duration = Duration::from_secs(30);
const STATE: &str = "state.json";
const LOG: &str = "sandbox.log";
const LOCK: &str = "sandbox.lock";
/// Ends the log's progress lines.
/// How long `status --brief` waits for pods that are just starting.
const SETTLED: Duration = Duration::from_secs(20);
const READY: &str = "the sandbox is ready";

/// A sandbox, running or not.
pub struct Sandbox {
    dir: PathBuf,
}

/// What the serving process tells the other verbs.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    pid: u32,
    env: BTreeMap<String, String>,
    path: Vec<PathBuf>,
    upstream_store: String,
    gone: PathBuf,
}

impl Sandbox {
    /// The sandbox in `dir`, by default `sandbox` in the cache directory.
    ///
    /// # Errors
    /// When there is no cache directory.
    pub fn at(dir: Option<PathBuf>) -> Result<Self> {
        let dir = match dir {
            Some(dir) => std::path::absolute(dir)?,
            None => cache::root()?.join("sandbox"),
        };
        Ok(Self { dir })
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; its log has been shown by then.
    pub async fn up(&self) -> Result<()> {
        if self.running()? {
            // Another `up` may still be starting it.
            self.wait_ready(None).await?;
            say(&format!("already up in {}", self.dir.display()));
            return Ok(());
        }
        self.clean()?;
        let log = File::create(self.dir.join(LOG))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--dir").arg(&self.dir);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.process_group(0); // Ctrl-C here is not meant for it
        let child = command.spawn().context("cannot start the sandbox")?;
        self.wait_ready(Some(child)).await
    }

    /// Runs it until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn serve(&self) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let _held = self.lock()?;
        let mut end = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let _hangup = signal(SignalKind::hangup())?; // the terminal may go, the sandbox stays
        let dir = self.dir.join("stack");
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        let started = Instant::now();
        let launch = move || {
            let progress =
                move |line: &str| say(&format!("{:>4} s  {line}", started.elapsed().as_secs()));
            Stack::launch(&dir, Options::default(), &progress)
        };
        let launched = tokio::task::spawn_blocking(launch);
        let stack = tokio::select! {
            stack = launched => stack??,
            _ = end.0.recv() => bail!("stopped while starting"),
            _ = end.1.recv() => bail!("stopped while starting"),
        };
        self.write_state(&stack)?;
        say(&format!("{:>4} s  {READY}", started.elapsed().as_secs()));
        tokio::select! {
            _ = end.0.recv() => {}
            _ = end.1.recv() => {}
        }
        fs::remove_file(self.dir.join(STATE))?;
        tokio::task::spawn_blocking(|| drop(stack)).await?;
        Ok(())
    }

    /// Stops it and waits until it is gone.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn down(&self) -> Result<()> {
        if !self.running()? {
            say("not running");
            return Ok(());
        }
        let pid = fs::read_to_string(self.dir.join(LOCK))?;
        let pid = pid
            .trim()
            .parse()
            .context("the sandbox has only just been started: try again")?;
        process::signal(pid, Signal::TERM)?;
        wait_until("the sandbox to end", DOWN, async || {
            ensure!(!self.running()?, "process {pid} is still running");
            Ok(())
        })
        .await?;
        say("stopped");
        Ok(())
    }

    /// Prints the environment as shell commands, or plainly as NAME=VALUE.
    ///
    /// # Errors
    /// When it is not running.
    pub fn env(&self, plain: bool) -> Result<()> {
        let state = self.state()?;
        if plain {
            let pairs = state
                .env
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            return print(&pairs.collect::<Vec<_>>().join("\n"));
        }
        let mut lines: Vec<_> = state
            .env
            .iter()
            .map(|(key, value)| format!("export {key}={}", quoted(value)))
            .collect();
        let path: Vec<_> = state
            .path
            .iter()
            .map(|dir| quoted(&dir.display().to_string()))
            .collect();
        lines.push(format!("export PATH={}:\"$PATH\"", path.join(":")));
        print(&lines.join("\n"))
    }

    /// Puts images into the upstream registry; all default ones when none is named.
    ///
    /// # Errors
    /// When it is not running, or a reference is malformed.
    pub async fn seed(&self, references: &[String]) -> Result<()> {
        let references = match references {
            [] => seed::defaults(),
            named => named.to_vec(),
        };
        for seeded in self.seeder()?.seed_all(references).await? {
            let what = if seeded.present { "present" } else { "seeded" };
            print(&format!("{what} {}@{}", seeded.reference, seeded.digest))?;
        }
        Ok(())
    }

    /// Takes images out of the upstream registry.
    ///
    /// # Errors
    /// When it is not running, or a reference is malformed.
    pub async fn unseed(&self, references: &[String]) -> Result<()> {
        let seeder = self.seeder()?;
        for reference in references {
            // Whether it was there or would have been made on demand: from now on it is
            // missing.
            seeder.unseed(reference).await?;
            print(&format!("taken away {reference}"))?;
        }
        Ok(())
    }

    /// Adds faults to those in force, or shows them.
    ///
    /// # Errors
    /// When it is not running.
    pub fn fault(&self, args: &FaultArgs) -> Result<()> {
        self.state()?;
        let path = faults_file(&self.dir.join("stack"));
        let mut faults = if args.clear {
            Faults::default()
        } else {
            Faults::read(&path)?
        };
        args.add_to(&mut faults);
        faults.write(&path)?;
        print(&serde_json::to_string(&faults)?)
    }

    /// Says what its nodes and pods are doing; with `brief`, the pods on one line.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn status(&self, brief: bool) -> Result<()> {
        let state = self.state()?;
        let kubeconfig = state
            .env
            .get("KUBECONFIG")
            .context("the sandbox has no cluster")?;
        let client = control_plane::client(Path::new(kubeconfig)).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace::NAME);
        if brief {
            return print(&pods_brief(&settled(&pods).await?));
        }
        let pods = pods.list(&ListParams::default()).await?.items;
        let nodes = Api::<Node>::all(client)
            .list(&ListParams::default())
            .await?;
        print(&format!(
            "up: process {}, directory {}",
            state.pid,
            self.dir.display()
        ))?;
        print(&format!("nodes: {}", nodes.items.len()))?;
        for pod in &pods {
            print(&pod_line(pod))?;
        }
        Ok(())
    }

    /// Takes the lock that says "running" and leaves the process id in it.
    fn lock(&self) -> Result<File> {
        let path = self.dir.join(LOCK);
        let open = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path);
        let mut lock = open.with_context(|| format!("cannot open {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!("a sandbox is running in {} already", self.dir.display());
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(lock)
    }

    fn running(&self) -> Result<bool> {
        match File::open(self.dir.join(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => Ok(other?.try_lock_shared().is_err()),
        }
    }

    fn state(&self) -> Result<State> {
        if !self.running()? {
            bail!(
                "no sandbox is running in {}: start it with `up`",
                self.dir.display()
            );
        }
        let text = fs::read(self.dir.join(STATE)).context("the sandbox is still starting")?;
        serde_json::from_slice(&text).context("unreadable state of the sandbox")
    }

    fn write_state(&self, stack: &Stack) -> Result<()> {
        let state = State {
            pid: std::process::id(),
            env: stack.env(),
            path: stack.path(),
            upstream_store: stack.aws.upstream_store.clone(),
            gone: stack.aws.gone.clone(),
        };
        let draft = self.dir.join("state.tmp");
        fs::write(&draft, serde_json::to_vec_pretty(&state)?)?;
        fs::rename(&draft, self.dir.join(STATE)).context("cannot write the sandbox's state")
    }

    /// Takes away what an earlier one left; nothing but its own files.
    fn clean(&self) -> Result<()> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        match fs::remove_file(self.dir.join(STATE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Shows the log as it grows until the sandbox is ready.
    async fn wait_ready(&self, mut child: Option<std::process::Child>) -> Result<()> {
        let mut shown = if child.is_some() { 0 } else { usize::MAX };
        let end = Instant::now() + UP;
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        while !self.dir.join(STATE).is_file() {
            shown = self.show_log(shown);
            if let Some(child) = &mut child
                && let Some(status) = child.try_wait()?
            {
                self.show_log(shown);
                bail!("the sandbox ended while starting ({status})");
            }
            ensure!(
                child.is_some() || self.running()?,
                "the sandbox ended while starting"
            );
            ensure!(
                Instant::now() < end,
                "the sandbox is not ready after {UP:?}"
            );
            looks.tick().await;
        }
        self.show_log(shown);
        Ok(())
    }

    /// Shows the log's whole lines from byte `from` on; where the next ones begin.
    fn show_log(&self, from: usize) -> usize {
        let text = fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if let Some(new) = text.get(from..whole).filter(|new| !new.is_empty()) {
            say(new.trim_end());
            return whole;
        }
        from
    }

    fn seeder(&self) -> Result<Seeder> {
        let state = self.state()?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let options = seed::Options::default();
        Ok(Seeder::new(&state.upstream_store, http, options).remembering(&state.gone))
    }
}

/// The pods once each has been tried, or after a while as they are.
async fn settled(pods: &Api<Pod>) -> Result<Vec<Pod>> {
    let list = async || Ok(pods.list(&ListParams::default()).await?.items);
    let tried = wait_until("pods", SETTLED, async || {
        let pods = list().await?;
        ensure!(pods.iter().all(is_tried), "a pod is still starting");
        Ok(pods)
    });
    match tried.await {
        Ok(pods) => Ok(pods),
        Err(_) => list().await,
    }
}

/// Sets up every server of the stack in the cache.
///
/// # Errors
/// When something it is built with is missing, or a build fails.
pub fn servers() -> Result<()> {
    crate::servers::ensure(&say)?;
    crate::moto::ensure(&say)?;
    Ok(())
}

/// Shows an error and its causes on standard error.
pub fn complain(error: &anyhow::Error) {
    say(&format!("error: {error:#}"));
}
