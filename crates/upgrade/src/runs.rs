//! Runs that were made earlier, as this host and the cluster remember them: what they set
//! out to change, which is meant by a name, and which are old enough to be forgotten.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use castlink_core::{
    Failure, Result,
    config::nearest,
    input::{self, Input},
    record::{Change, ChangeStatus, Record},
};

use crate::{
    client::Cluster,
    journal::{HEADER, Header, JOURNAL, UNFINISHED, directory},
    ledger::Entry,
};

/// Where a run is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Host,
    Cluster,
    Both,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "this host",
            Self::Cluster => "cluster",
            Self::Both => "both",
        })
    }
}

/// A run that was made earlier.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) header: Header,
    pub(crate) place: Place,
    changes: Vec<Change>,
    intended: Vec<Change>,
}

impl Run {
    /// The run in the directory `text`, when that is one.
    pub(crate) fn in_directory(text: &str) -> Option<Result<Self>> {
        let is = text.contains('/') || Path::new(text).join(JOURNAL).is_file();
        is.then(|| Self::read(Path::new(text)))
    }

    /// Of `all`, the run called `text`: `last` (the last `apply` of the namespace of `here`)
    /// or a name.
    ///
    /// # Errors
    /// Exit 2 when there is none.
    pub(crate) fn find(all: &[Self], text: &str, here: &Cluster) -> Result<Self> {
        if text == "last" {
            return last(all, &here.server, &here.namespace)
                .cloned()
                .ok_or_else(|| no_last(here));
        }
        let wanted = all.iter().find(|run| run.is_called(text));
        wanted.cloned().ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|run| run.name.as_str()).collect();
            let failure = Failure::usage(format!(
                "there is no run `{text}` in {} or in namespace {}",
                shown(directory()),
                here.namespace
            ));
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
        let Ok(entries) = fs::read_dir(directory()?) else {
            return Ok(Vec::new());
        };
        let mut all: Vec<Self> = entries
            .flatten()
            .filter_map(|entry| Self::read(&entry.path()).ok())
            .collect();
        all.sort_by(|a, b| a.key().cmp(&b.key()));
        Ok(all)
    }

    /// The runs of this host and those of the cluster, each once, oldest first.
    pub(crate) fn merged(host: Vec<Self>, cluster: Vec<Self>) -> Vec<Self> {
        let mut all = host;
        for run in cluster {
            match all
                .iter_mut()
                .find(|known| known.header.run == run.header.run)
            {
                Some(known) => known.place = Place::Both,
                None => all.push(run),
            }
        }
        all.sort_by(|a, b| a.key().cmp(&b.key()));
        all
    }

    /// A run as the cluster remembers it: everything in it was to be changed.
    pub(crate) fn noted(entry: Entry) -> Self {
        Self {
            name: entry.header.run.clone(),
            header: entry.header,
            place: Place::Cluster,
            intended: entry.changes.clone(),
            changes: entry.changes,
        }
    }

    fn is_called(&self, text: &str) -> bool {
        self.name == text || self.header.run == text
    }

    /// Names come from several programs and do not sort by time.
    fn key(&self) -> (&str, &str) {
        (&self.header.started, &self.name)
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
        Ok(Self::read_back(
            name.unwrap_or_default(),
            header,
            changes.collect(),
        ))
    }

    fn read_back(name: String, header: Header, changes: Vec<Change>) -> Self {
        let planned = |change: &&Change| change.status == ChangeStatus::Planned;
        Self {
            name,
            header,
            place: Place::Host,
            intended: changes.iter().filter(planned).cloned().collect(),
            changes,
        }
    }

    /// What the run set out to change: by resource and field, the first value before and the
    /// last value after. What is really there now decides what a rollback does.
    pub(crate) fn intended(&self) -> Vec<Change> {
        let mut all: BTreeMap<(&str, &str), Change> = BTreeMap::new();
        for change in &self.intended {
            all.entry((&change.resource, &change.field))
                .and_modify(|first| first.to.clone_from(&change.to))
                .or_insert_with(|| change.clone());
        }
        all.into_values().collect()
    }

    /// How many fields ended with `status`; what was patched counts as applied even when
    /// the run ended before its rollout.
    pub(crate) fn count(&self, status: ChangeStatus) -> usize {
        let last = self.last_word();
        last.filter(|change| change.status == status).count()
    }

    /// How many fields have no ending: the run was interrupted.
    pub(crate) fn unfinished(&self) -> usize {
        let open = |change: &&Change| {
            change.status == ChangeStatus::Planned
                || change
                    .error
                    .as_ref()
                    .is_some_and(|error| error.code == UNFINISHED)
        };
        self.last_word().filter(open).count()
    }

    /// What the run changed and did not take back itself. The cluster remembers no endings:
    /// of a run of another host, everything that was to be changed.
    pub(crate) fn applied(&self) -> Vec<&Change> {
        if self.place == Place::Cluster {
            return self.changes.iter().collect();
        }
        self.last_word()
            .filter(|change| change.status == ChangeStatus::Applied)
            .collect()
    }

    /// The last line about each field.
    fn last_word(&self) -> impl Iterator<Item = &Change> {
        let lines = self.changes.iter();
        let by_field: BTreeMap<(&str, &str), &Change> = lines
            .map(|change| ((&*change.resource, &*change.field), change))
            .collect();
        by_field.into_values()
    }
}

/// The last `apply` on `server` in `namespace`. What the cluster itself remembers is of this
/// cluster, by whatever name it was reached.
fn last<'a>(all: &'a [Run], server: &str, namespace: &str) -> Option<&'a Run> {
    all.iter().rev().find(|run| {
        let header = &run.header;
        let here = run.place != Place::Host || header.server == server;
        header.verb == "apply" && here && header.namespace == namespace
    })
}

/// Removes the journals of all but the newest `keep` runs of each cluster and namespace, of
/// those whose directories this program has named. Best effort: it is only tidying up.
pub(crate) fn prune(keep: usize) {
    let (Ok(dir), Ok(all)) = (directory(), Run::all()) else {
        return;
    };
    for run in surplus(&all, keep) {
        let dir = dir.join(&run.name);
        for file in [HEADER, JOURNAL] {
            let _gone_already = fs::remove_file(dir.join(file));
        }
        let _holds_something_else = fs::remove_dir(&dir);
    }
}

/// The runs that are not among the newest `keep` of their cluster and namespace.
fn surplus(all: &[Run], keep: usize) -> Vec<&Run> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let newest_first = all.iter().rev().filter(|run| run.name == run.header.run);
    newest_first
        .filter(|run| {
            let header = &run.header;
            let count = seen.entry((&header.server, &header.namespace)).or_default();
            *count += 1;
            *count > keep
        })
        .collect()
}

fn no_last(here: &Cluster) -> Failure {
    Failure::usage(format!(
        "no run of `apply` in namespace {} of {}",
        here.namespace, here.server
    ))
    .hint("choose the namespace with -n and the cluster with --context; `castlink-upgrade rollback` lists the runs")
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
#[path = "runs_tests.rs"]
mod tests;
