//! Finding and running the other binaries.

use std::{env, io, os::unix::process::ExitStatusExt, path::PathBuf, process::Stdio};

use castlink_core::{Exit, Failure, Result, app, config::nearest};
use tokio::process::{Child, Command};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The binaries that `castlink NAME` stands for.
const NAMES: [&str; 4] = ["tag", "endpoints", "mirror", "upgrade"];

/// Runs `castlink-WORDS[0] WORDS[1..]` with our streams and returns how it ended.
pub(crate) async fn dispatch(words: &[String]) -> Result<Exit> {
    let name = words.first().map(String::as_str).unwrap_or_default();
    if !NAMES.contains(&name) {
        let failure = Failure::usage(format!("no castlink command `{name}`"));
        return Err(match nearest(name, &NAMES) {
            Some(near) => failure.hint(format!("did you mean `castlink {near}`?")),
            None => failure.hint(format!("there are: run, config, {}", NAMES.join(", "))),
        });
    }
    let program = sibling(name);
    let child = Command::new(&program)
        .args(&words[1..])
        .stdin(Stdio::inherit())
        .spawn()
        .map_err(|err| cannot_start(&program, err))?;
    wait(child).await
}

/// Waits until `child` has ended. A signal to us is passed on: the child knows what it
/// has to put in order, and we end after it.
pub(crate) async fn wait(mut child: Child) -> Result<Exit> {
    let pid = child.id();
    let status = tokio::select! {
        status = child.wait() => status,
        () = app::interrupted() => {
            terminate(pid);
            child.wait().await
        }
    };
    let status =
        status.map_err(|err| Failure::failed("waiting for a castlink command").because(err))?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(Exit::from_code(code)),
        (None, Some(SIGINT | SIGTERM)) => Ok(Exit::Interrupted),
        (None, signal) => Err(Failure::failed(format!(
            "a castlink command was killed by signal {}",
            signal.unwrap_or_default()
        ))
        .hint("signal 9 is often the kernel, out of memory")),
    }
}

fn terminate(pid: Option<u32>) {
    let pid = pid
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in this very moment; then there is nobody to tell.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// The binary `castlink-NAME` beside this one; by `PATH` when it is not there.
pub(crate) fn sibling(name: &str) -> PathBuf {
    let file = format!("castlink-{name}{}", env::consts::EXE_SUFFIX);
    env::current_exe()
        .ok()
        .and_then(|exe| exe.canonicalize().ok())
        .map(|exe| exe.with_file_name(&file))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| file.into())
}

pub(crate) fn cannot_start(program: &std::path::Path, err: io::Error) -> Failure {
    Failure::failed(format!("starting {}", program.display()))
        .because(err)
        .hint("keep the castlink binaries in one directory, or put it on PATH")
}
