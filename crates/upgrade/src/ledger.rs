//! What the ConfigMap `castlink-runs` of a namespace holds: the last runs, so that another
//! host can put them back, and who is at work now. Pure: text in, text out.
//!
//! One object with a fixed name for both: taking the lock, noting the run and forgetting old
//! ones is a single write that the server accepts or refuses as a whole, and a Role can
//! name the object.

use std::collections::BTreeMap;

use castlink_core::record::Change;
use serde::{Deserialize, Serialize};

use crate::journal::Header;

/// The ConfigMap's name.
pub(crate) const NAME: &str = "castlink-runs";

/// The key of the lock; runs have their own keys.
pub(crate) const LOCK: &str = "lock";

/// Before the name of a run.
const RUN: &str = "run.";

/// An object may have 1 MiB; the rest is for metadata.
const BUDGET: usize = 900_000;

/// How much of an error is kept with a change.
const MESSAGE: usize = 200;

/// A run as it is noted in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub(crate) header: Header,
    /// False while it is under way, and for ever when it was killed.
    pub(crate) ended: bool,
    /// What it sets out to change; once it has ended, what became of it.
    pub(crate) changes: Vec<Change>,
}

/// Who is at work in the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) run: String,
    /// `user@host`, for people.
    pub(crate) by: String,
    /// The machine and process namespace that `pid` is of.
    pub(crate) place: String,
    pub(crate) pid: u32,
    /// Counts up while the run lives. Not a time: clocks of two hosts differ.
    pub(crate) beat: u64,
}

/// The ConfigMap's data.
pub(crate) type Data = BTreeMap<String, String>;

/// The lock in `data`; one that cannot be read is none.
pub(crate) fn lock(data: &Data) -> Option<Lock> {
    serde_json::from_str(data.get(LOCK)?).ok()
}

/// The runs in `data` that can be read, oldest first.
pub(crate) fn entries(data: &Data) -> Vec<Entry> {
    let values = data.iter().filter(|(key, _)| key.starts_with(RUN));
    let mut all: Vec<Entry> = values
        .filter_map(|(_, value)| serde_json::from_str(value).ok())
        .collect();
    all.sort_by(|a, b| a.header.started.cmp(&b.header.started));
    all
}

/// The key of the run called `id`.
pub(crate) fn key(id: &str) -> String {
    format!("{RUN}{id}")
}

/// The text of a lock or an entry.
pub(crate) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists of them")
}

impl Entry {
    /// The entry with its endings, and their errors cut to a length that is bounded.
    pub(crate) fn ended(&self, endings: Vec<Change>) -> Self {
        let brief = |mut change: Change| {
            if let Some(error) = &mut change.error {
                error.message = error.message.chars().take(MESSAGE).collect();
                error.hint = None;
            }
            change
        };
        Self {
            header: self.header.clone(),
            ended: true,
            changes: endings.into_iter().map(brief).collect(),
        }
    }
}

/// What to change in `data` to note `entry` under `lock`, as the values of a merge patch
/// (`None` removes a key): the newest `keep` runs stay, fewer when they are large. None when
/// the entry alone is too large.
pub(crate) fn noted(
    data: &Data,
    entry: &Entry,
    lock: &Lock,
    keep: usize,
) -> Option<BTreeMap<String, Option<String>>> {
    let (key, lock, run) = (key(&entry.header.run), text(lock), text(entry));
    // The endings that replace it at the end add at most an error to each change.
    let largest = run.len() + entry.changes.len() * (2 * MESSAGE);
    let mut room = BUDGET.checked_sub(lock.len() + largest)?;
    let mut patch = BTreeMap::from([(LOCK.to_owned(), Some(lock)), (key, Some(run))]);
    let mut kept = 1;
    for old in entries(data).iter().rev() {
        let old = self::key(&old.header.run);
        let size = data.get(&old).map_or(0, String::len);
        if patch.contains_key(&old) {
            continue;
        }
        if kept < keep && size <= room {
            (kept, room) = (kept + 1, room - size);
        } else {
            (kept, room) = (keep, 0);
            patch.insert(old, None);
        }
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use castlink_core::record::{ChangeStatus, ErrorInfo};

    fn entry(second: u32, image: &str) -> Entry {
        let run = format!("2026112{second}");
        let header = Header {
            castlink: 1,
            run,
            by: "ann@laptop".into(),
            verb: "apply".into(),
            namespace: "castai-agent".into(),
            context: "prod".into(),
            server: "https://x".into(),
            started: format!("2026-11-21 00:00:0{second}"),
        };
        let change = Change {
            resource: "Deployment/web".into(),
            field: "container app image".into(),
            from: Some(image.into()),
            to: Some(format!("r/{image}")),
            owner: None,
            status: ChangeStatus::Planned,
            error: None,
        };
        Entry {
            header,
            ended: false,
            changes: vec![change],
        }
    }

    fn locked() -> Lock {
        Lock {
            run: "x".into(),
            by: "ann@laptop".into(),
            place: "here".into(),
            pid: 1,
            beat: 0,
        }
    }

    fn data(entries: &[Entry]) -> Data {
        let pair = |entry: &Entry| (key(&entry.header.run), text(entry));
        entries.iter().map(pair).collect()
    }

    #[test]
    fn what_was_noted_reads_back_oldest_first() {
        let mut data = data(&[entry(2, "b:1"), entry(1, "a:1")]);
        data.insert("run.broken".into(), "{".into());
        data.insert("notes".into(), "of somebody".into());
        data.insert(LOCK.into(), text(&locked()));
        assert_eq!(entries(&data), [entry(1, "a:1"), entry(2, "b:1")]);
        assert_eq!(lock(&data), Some(locked()));
        data.insert(LOCK.into(), "?".into());
        assert_eq!(lock(&data), None);
    }

    /// The keys that are removed when a run is noted.
    fn forgotten(data: &Data, new: &Entry, keep: usize) -> Vec<String> {
        let patch = noted(data, new, &locked(), keep).unwrap();
        assert!(patch[&key(&new.header.run)].is_some() && patch[LOCK].is_some());
        let gone = patch.into_iter().filter(|(_, value)| value.is_none());
        gone.map(|(key, _)| key).collect()
    }

    #[test]
    fn the_newest_runs_are_kept() {
        let old = data(&[entry(1, "a:1"), entry(2, "a:2"), entry(3, "a:3")]);
        assert_eq!(forgotten(&old, &entry(4, "a:4"), 10), [""; 0]);
        let gone = ["run.20261121", "run.20261122"];
        assert_eq!(forgotten(&old, &entry(4, "a:4"), 2), gone);
        // Noting a run again does not remove it.
        assert_eq!(forgotten(&old, &entry(3, "a:3"), 1), gone);
    }

    #[test]
    fn the_size_is_bounded_whatever_is_kept() {
        let large = "x".repeat(BUDGET / 6);
        let old = data(&[entry(1, "a:1"), entry(2, &large), entry(3, &large)]);
        let gone = ["run.20261121", "run.20261122"];
        // A gap would be a lie: what is older than a run that was forgotten goes as well.
        assert_eq!(forgotten(&old, &entry(4, &large), 10), gone);
        let huge = entry(5, &"x".repeat(BUDGET));
        assert_eq!(noted(&old, &huge, &locked(), 10), None);
    }

    #[test]
    fn endings_are_brief() {
        let mut change = entry(1, "a:1").changes.remove(0);
        change.error = Some(ErrorInfo {
            code: "failed".into(),
            message: "ä".repeat(1000),
            hint: Some("h".into()),
        });
        let ended = entry(1, "a:1").ended(vec![change]);
        let error = ended.changes[0].error.clone().unwrap();
        assert_eq!((error.message.chars().count(), error.hint), (MESSAGE, None));
        assert!(ended.ended);
    }
}
