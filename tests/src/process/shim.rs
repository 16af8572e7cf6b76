//! How a child is made to die with its owner: the shim it is started through, and the
//! thread it is started from.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;

/// The shim's executable and subcommand.
pub(super) const SHIM: (&str, &str) = ("castlink-sandbox", "child");
/// Tells the shim whose death it must not have missed.
pub(super) const OWNER: &str = "CASTLINK_OWNER_PID";
/// The shim's work: die with the owner, then become `args` (PROGRAM ARGS). Returns only
/// when that fails.
#[must_use]
pub fn exec_child(args: &[OsString]) -> anyhow::Error {
    match prepare_child(args) {
        Ok(mut command) => anyhow!(command.exec()).context(format!("cannot run {:?}", args[0])),
        Err(error) => error,
    }
}

fn prepare_child(args: &[OsString]) -> Result<Command> {
    let (program, rest) = args.split_first().context("no program given")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let owner = std::env::var(OWNER).ok().and_then(|pid| pid.parse().ok());
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if owner.is_some() && parent != owner {
        bail!("the owner is gone already"); // it died before the kernel could be told
    }
    let mut command = Command::new(program);
    command.args(rest).env_remove(OWNER);
    Ok(command)
}

/// A command for the spawner, and where to send what became of it.
type Order = (Command, mpsc::Sender<io::Result<std::process::Child>>);

/// Spawns from the thread that never ends.
pub(super) fn spawn(command: Command) -> Result<std::process::Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| Mutex::new(start_spawner()));
    let (reply, child) = mpsc::channel();
    let sent = spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply));
    sent.map_err(|_| anyhow!("the spawner thread has ended"))?;
    Ok(child.recv().context("the spawner thread has ended")??)
}

fn start_spawner() -> mpsc::Sender<Order> {
    let (sender, orders) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, reply) in orders {
            drop(reply.send(command.spawn()));
        }
    });
    sender
}
