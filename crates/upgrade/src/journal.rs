//! The journal of a run: what was going to be changed, written before the first patch,
//! and what became of it. It decides nothing in a later run; it is for people and for
//! `rollback`.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use castlink_core::{
    Failure, Result,
    config::nearest,
    input::{self, Input},
    record::{Change, ChangeStatus, Record},
};
use serde::{Deserialize, Serialize};

use crate::client::Cluster;

const JOURNAL: &str = "journal.jsonl";
const HEADER: &str = "run.json";

/// Where and when a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    castlink: u32,
    /// `apply` or `rollback`.
    pub(crate) verb: String,
    pub(crate) namespace: String,
    pub(crate) context: String,
    pub(crate) server: String,
    /// UTC.
    pub(crate) started: String,
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
    pub(crate) fn create(dir: Option<&Path>, cluster: &Cluster, verb: &str) -> Result<Self> {
        let started = jiff::Timestamp::now();
        let dir = match dir {
            Some(dir) => dir.to_path_buf(),
            None => runs()?.join(name(started, &cluster.namespace)),
        };
        let header = Header {
            castlink: castlink_core::record::VERSION,
            verb: verb.into(),
            namespace: cluster.namespace.clone(),
            context: cluster.context.clone(),
            server: cluster.server.clone(),
            started: started.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        };
        let file = open(&dir, &header).map_err(|err| {
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
fn runs() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    base.map(|base| base.join("castlink/runs")).ok_or_else(|| {
        Failure::usage("neither XDG_STATE_HOME nor HOME is set").hint("say where with --run-dir")
    })
}

/// A run that was made earlier.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) header: Header,
    changes: Vec<Change>,
}

impl Run {
    /// The run called `text`: `last` (the last `apply`), a name, or a directory.
    ///
    /// # Errors
    /// Exit 2 when there is none, or its journal cannot be read.
    pub(crate) fn find(text: &str) -> Result<Self> {
        if text.contains('/') || Path::new(text).join(JOURNAL).is_file() {
            return Self::read(Path::new(text));
        }
        let all = Self::all()?;
        let wanted = if text == "last" {
            all.iter().rev().find(|run| run.header.verb == "apply")
        } else {
            all.iter().find(|run| run.name == text)
        };
        wanted.cloned().ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|run| run.name.as_str()).collect();
            let failure = Failure::usage(format!("there is no run `{text}` in {}", shown(runs())));
            match nearest(text, &names) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint("`castlink-upgrade rollback` without a name lists the runs"),
            }
        })
    }

    /// Every readable run of this user, oldest first.
    ///
    /// # Errors
    /// Exit 2 when there is no place for them.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(runs()?) else {
            return Ok(Vec::new());
        };
        let mut all: Vec<Self> = entries
            .flatten()
            .filter_map(|entry| Self::read(&entry.path()).ok())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn read(dir: &Path) -> Result<Self> {
        let unreadable = |err: std::io::Error| {
            Failure::usage(format!(
                "{} holds no journal that can be read",
                dir.display()
            ))
            .because(err)
        };
        let header = fs::read(dir.join(HEADER)).map_err(unreadable)?;
        let header = serde_json::from_slice(&header).map_err(|err| unreadable(err.into()))?;
        let journal = fs::read(dir.join(JOURNAL)).map_err(unreadable)?;
        let changes =
            input::read(whole_lines(&journal))?
                .into_iter()
                .filter_map(|item| match item {
                    Input::Record(Record::Change(change)) => Some(change),
                    _ => None,
                });
        let name = dir
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            name: name.unwrap_or_default(),
            header,
            changes: changes.collect(),
        })
    }

    /// What the run set out to change: by resource and field, the first value before and the
    /// last value after. What is really there now decides what a rollback does.
    pub(crate) fn intended(&self) -> Vec<Change> {
        let mut all: BTreeMap<(&str, &str), Change> = BTreeMap::new();
        for change in self
            .changes
            .iter()
            .filter(|change| change.status == ChangeStatus::Planned)
        {
            all.entry((&change.resource, &change.field))
                .and_modify(|first| first.to.clone_from(&change.to))
                .or_insert_with(|| change.clone());
        }
        all.into_values().collect()
    }

    /// How many fields ended with `status`.
    pub(crate) fn count(&self, status: ChangeStatus) -> usize {
        self.changes
            .iter()
            .filter(|change| change.status == status)
            .count()
    }
}

/// Without the last line when a crash cut it short.
fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    &text[..end]
}

fn shown(dir: Result<PathBuf>) -> String {
    dir.map_or_else(
        |_| "the user's state".into(),
        |dir| dir.display().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(field: &str, from: &str, to: &str, status: ChangeStatus) -> Change {
        Change {
            resource: "Deployment/web".into(),
            field: field.into(),
            from: Some(from.into()),
            to: Some(to.into()),
            owner: None,
            status,
            error: None,
        }
    }

    fn header() -> Header {
        Header {
            castlink: 1,
            verb: "apply".into(),
            namespace: "castai-agent".into(),
            context: "prod".into(),
            server: "https://x".into(),
            started: "2026-01-01 00:00:00".into(),
        }
    }

    #[test]
    fn a_journal_reads_back_even_when_cut_short() {
        let dir = std::env::temp_dir().join(format!("castlink-journal-{}", std::process::id()));
        let mut journal = Journal {
            file: open(&dir, &header()).unwrap(),
            dir: dir.clone(),
        };
        journal
            .write([change("a", "1", "2", ChangeStatus::Planned)])
            .unwrap();
        journal
            .write([change("a", "1", "2", ChangeStatus::Applied)])
            .unwrap();
        journal
            .write([change("a", "2", "3", ChangeStatus::Planned)])
            .unwrap();
        journal
            .file
            .write_all(b"{\"castlink\":1,\"kind\":\"cha")
            .unwrap();
        let run = Run::find(dir.to_str().unwrap()).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(run.header, header());
        assert_eq!(run.count(ChangeStatus::Applied), 1);
        assert_eq!(
            run.intended(),
            [change("a", "1", "3", ChangeStatus::Planned)]
        );
    }

    #[test]
    fn a_missing_run_is_a_usage_error() {
        assert_eq!(
            Run::find("/nowhere/at/all").unwrap_err().exit(),
            castlink_core::Exit::Usage
        );
    }
}
