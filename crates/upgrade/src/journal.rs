//! The journal of a run on this host: what was going to be changed, written before the
//! first patch, and what became of it. It decides nothing in a later run; it is for people
//! and for `rollback`. What the cluster keeps of runs is in `ledger`; how
//! both are read back, in `runs`.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use castlink_core::{
    Failure, Result,
    config::state_dir,
    record::{Change, ErrorInfo, Record},
};
use serde::{Deserialize, Serialize};

use crate::{client::Cluster, identity::who};

pub(crate) const JOURNAL: &str = "journal.jsonl";
pub(crate) const HEADER: &str = "run.json";

/// The code of a change that was made and whose rollout has not ended: the next line about
/// the same field says how it did.
pub(crate) const UNFINISHED: &str = "unfinished";

/// Where and when a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) castlink: u32,
    /// The name of the run, the same on this host and in the cluster. Sorts by time.
    #[serde(default)]
    pub(crate) run: String,
    /// `user@host`.
    #[serde(default)]
    pub(crate) by: String,
    /// `apply` or `rollback`.
    pub(crate) verb: String,
    pub(crate) namespace: String,
    pub(crate) context: String,
    pub(crate) server: String,
    /// UTC, with fractions of a second: as text it sorts by time.
    pub(crate) started: String,
}

impl Header {
    /// The header of a run that begins now.
    pub(crate) fn now(cluster: &Cluster, verb: &str) -> Self {
        let started = jiff::Timestamp::now();
        Self {
            castlink: castlink_core::record::VERSION,
            run: name(started, &cluster.namespace),
            by: who(),
            verb: verb.into(),
            namespace: cluster.namespace.clone(),
            context: cluster.context.clone(),
            server: cluster.server.clone(),
            started: started.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        }
    }
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) dir: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal in `dir`, or in a new directory of the user's state.
    ///
    /// # Errors
    /// Exit 2 when the directory cannot be written: nothing is changed without a journal.
    pub(crate) fn create(dir: Option<&Path>, header: &Header) -> Result<Self> {
        let dir = match dir {
            Some(dir) => dir.to_path_buf(),
            None => directory()?.join(&header.run),
        };
        let file = open(&dir, header).map_err(|err| {
            Failure::usage(format!(
                "the journal in {} cannot be written, so nothing is changed",
                dir.display()
            ))
            .because(err)
            .hint("choose another directory with --run-dir")
        })?;
        Ok(Self { dir, file })
    }

    /// Appends records and makes sure that they are on disk.
    ///
    /// # Errors
    /// Exit 1 when the disk does not take them.
    pub(crate) fn write(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<()> {
        let mut text = String::new();
        for change in changes {
            text.push_str(&Record::Change(change).to_line());
            text.push('\n');
        }
        let wrote = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data());
        wrote.map_err(|err| {
            Failure::failed(format!("writing the journal {}", self.dir.display())).because(err)
        })
    }
}

/// What is noted of a step between its patch and the end of its rollout.
pub(crate) fn unfinished() -> ErrorInfo {
    ErrorInfo {
        code: UNFINISHED.into(),
        message: "patched; its rollout has not ended".into(),
        hint: None,
    }
}

fn open(dir: &Path, header: &Header) -> std::io::Result<File> {
    fs::create_dir_all(dir)?;
    fs::write(
        dir.join(HEADER),
        serde_json::to_string_pretty(header)? + "\n",
    )?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join(JOURNAL))
}

/// Sorts by time; the process tells apart what starts in one second.
fn name(started: jiff::Timestamp, namespace: &str) -> String {
    format!(
        "{}-{namespace}-{}",
        started.strftime("%Y%m%dT%H%M%SZ"),
        std::process::id()
    )
}

/// The directory that holds the runs of this user.
pub(crate) fn directory() -> Result<PathBuf> {
    state_dir().map(|dir| dir.join("runs")).ok_or_else(|| {
        Failure::usage("neither XDG_STATE_HOME nor HOME is set").hint("say where with --run-dir")
    })
}
