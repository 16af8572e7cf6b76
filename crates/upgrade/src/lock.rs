//! The run's note in the cluster, and the lock that goes with it: taken before the first
//! patch, kept alive while the run lives, given back at its end.
//!
//! Whoever may not write the ConfigMap works without: the journal on the host is enough for
//! this host, and patches are guarded one by one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use castlink_core::{
    Failure, Printer, Result,
    record::Change,
    wait::{self, Poll},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Error,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::Mutex, task::JoinHandle};

use crate::{
    client::{Cluster, FIELD_MANAGER},
    identity,
    journal::Header,
    ledger::{self, Data, Entry, LOCK, Lock, NAME},
    runs::Run,
};

/// How often a run shows that it is alive.
const BEAT: Duration = Duration::from_secs(5);

/// A run that has not shown it for so long is dead: three beats.
const DEAD: Duration = Duration::from_secs(15);

/// How often a write is tried again when somebody else wrote in between.
const ATTEMPTS: usize = 5;

/// How long the last write may take: a process that was interrupted should end.
const CLOSE: Duration = Duration::from_secs(5);

/// A run that is noted in the cluster, and the lock that it holds.
#[derive(Debug)]
pub(crate) struct Held {
    shared: Arc<Shared>,
    beats: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    api: Api<ConfigMap>,
    entry: Entry,
    state: Mutex<State>,
    printer: Printer,
}

#[derive(Debug)]
struct State {
    version: Option<String>,
    lock: Lock,
}

/// Notes the run and takes the lock; `None` when that is not allowed or not possible, which
/// is told and no failure.
///
/// # Errors
/// Exit 6 when another run is at work in the namespace.
pub(crate) async fn take(
    cluster: &Cluster,
    header: &Header,
    changes: Vec<Change>,
    keep: usize,
    printer: &Printer,
) -> Result<Option<Held>> {
    let entry = Entry {
        header: header.clone(),
        ended: false,
        changes,
    };
    let lock = Lock {
        run: header.run.clone(),
        by: header.by.clone(),
        place: identity::place(),
        pid: std::process::id(),
        beat: 0,
    };
    match acquire(cluster, &entry, &lock, keep, printer).await {
        Ok(version) => Ok(Some(Held::start(cluster, entry, lock, version, printer))),
        Err(Refusal::Busy(failure)) => Err(failure),
        Err(Refusal::Without(why)) => {
            printer.warn(format!(
                "this run is not noted in the cluster ({why}): only this host can put it back, and nobody else sees that it is under way; `castlink-upgrade rbac` prints the rights that it takes"
            ));
            Ok(None)
        }
    }
}

/// Why there is no lock.
enum Refusal {
    /// Somebody else has it.
    Busy(Failure),
    /// It cannot be had; one works without.
    Without(String),
}

async fn acquire(
    cluster: &Cluster,
    entry: &Entry,
    lock: &Lock,
    keep: usize,
    printer: &Printer,
) -> Result<Option<String>, Refusal> {
    let api = api(cluster);
    let without = |err: Error| {
        Refusal::Without(
            cluster
                .explain(err, &format!("noting the run in ConfigMap {NAME}"))
                .one_line(),
        )
    };
    for _ in 0..ATTEMPTS {
        let found = api.get_opt(NAME).await.map_err(without)?;
        let data = found
            .as_ref()
            .and_then(|map| map.data.clone())
            .unwrap_or_default();
        if let Some(other) = ledger::lock(&data) {
            wait_for_its_end(&api, &other, printer).await?;
        }
        let values = ledger::noted(&data, entry, lock, keep)
            .ok_or_else(|| Refusal::Without("it is too large for a ConfigMap".into()))?;
        let written = match &found {
            Some(map) => write(&api, map.metadata.resource_version.as_deref(), &values).await,
            None => create(&api, &values).await,
        };
        match written {
            Ok(version) => return Ok(version),
            Err(err) if is_conflict(&err) => {}
            Err(err) => return Err(without(err)),
        }
    }
    Err(Refusal::Busy(busy("others keep writing to it")))
}

/// Returns when the run that holds the lock is dead.
async fn wait_for_its_end(
    api: &Api<ConfigMap>,
    other: &Lock,
    printer: &Printer,
) -> Result<(), Refusal> {
    if identity::is_gone(&other.place, other.pid) {
        printer.note(format!(
            "run {} by {} was killed; its lock is taken over",
            other.run, other.by
        ));
        return Ok(());
    }
    printer.note(format!(
        "run {} by {} (pid {}) has the lock of the namespace; is it alive?",
        other.run, other.by, other.pid
    ));
    let look = async || -> Result<Poll<()>, Refusal> {
        let now = api.get_opt(NAME).await;
        let now = now.map_err(|err| Refusal::Without(err.to_string()))?;
        let now = now.and_then(|map| ledger::lock(&map.data?));
        match now {
            Some(now) if now == *other => Ok(Poll::Pending(String::new())),
            Some(now) => Err(Refusal::Busy(busy(&format!(
                "run {} by {} is under way",
                now.run, now.by
            )))),
            None => Ok(Poll::Ready(())),
        }
    };
    if wait::until(DEAD, BEAT / 2, look).await?.is_err() {
        printer.note(format!(
            "run {} by {} is dead; its lock is taken over",
            other.run, other.by
        ));
    }
    Ok(())
}

fn busy(why: &str) -> Failure {
    Failure::conflict(format!("another run is at work in this namespace: {why}"))
        .hint("nothing was changed; run it again when the other has ended")
}

impl Held {
    fn start(
        cluster: &Cluster,
        entry: Entry,
        lock: Lock,
        version: Option<String>,
        printer: &Printer,
    ) -> Self {
        let shared = Arc::new(Shared {
            api: api(cluster),
            entry,
            state: Mutex::new(State { version, lock }),
            printer: printer.clone(),
        });
        let beats = tokio::spawn(beat(Arc::clone(&shared)));
        Self { shared, beats }
    }

    /// Writes what became of the run and gives the lock back.
    pub(crate) async fn close(self, endings: Vec<Change>) {
        self.beats.abort();
        let shared = &self.shared;
        let entry = shared.entry.ended(endings);
        let values = BTreeMap::from([
            (LOCK.to_owned(), None),
            (ledger::key(&entry.header.run), Some(ledger::text(&entry))),
        ]);
        self.last_write(&values).await;
    }

    /// Forgets the run, which has not changed anything, and gives the lock back.
    pub(crate) async fn abandon(self) {
        self.beats.abort();
        let run = ledger::key(&self.shared.entry.header.run);
        self.last_write(&BTreeMap::from([(LOCK.to_owned(), None), (run, None)]))
            .await;
    }

    async fn last_write(&self, values: &BTreeMap<String, Option<String>>) {
        let write = self.shared.write(values);
        let error = match tokio::time::timeout(CLOSE, write).await {
            Ok(Ok(())) => return,
            Ok(Err(err)) => err.to_string(),
            Err(_) => format!("no answer within {} s", CLOSE.as_secs()),
        };
        self.shared.printer.warn(format!(
            "the end of this run could not be noted in ConfigMap {NAME}: {error}; the next run waits {} s for it",
            DEAD.as_secs()
        ));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

/// Shows that the run is alive, for as long as the lock is its own.
async fn beat(shared: Arc<Shared>) {
    loop {
        wait::pause(BEAT).await;
        let lock = {
            let mut state = shared.state.lock().await;
            state.lock.beat += 1;
            ledger::text(&state.lock)
        };
        let values = BTreeMap::from([(LOCK.to_owned(), Some(lock))]);
        match shared.write(&values).await {
            // The next beat may get through again.
            Ok(()) | Err(Lost::Error(_)) => {}
            Err(Lost::To(by)) => {
                return shared.printer.warn(format!(
                    "{by} has taken the lock of the namespace over and may be changing the same workloads"
                ));
            }
        }
    }
}

/// Why a write under the lock did not happen.
enum Lost {
    To(String),
    Error(Error),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::To(by) => write!(f, "{by} has the lock"),
            Self::Error(err) => err.fmt(f),
        }
    }
}

impl Shared {
    /// Writes `values` as long as the lock is ours.
    async fn write(&self, values: &BTreeMap<String, Option<String>>) -> Result<(), Lost> {
        let mut state = self.state.lock().await;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match write(&self.api, state.version.as_deref(), values).await {
                Ok(version) => {
                    state.version = version;
                    return Ok(());
                }
                Err(err) if is_conflict(&err) => {
                    last = Some(err);
                    state.version = self.ours(&state.lock.run).await?;
                }
                Err(err) => return Err(Lost::Error(err)),
            }
        }
        Err(last.map_or_else(|| Lost::To("somebody".into()), Lost::Error))
    }

    /// The present version of the object, when the lock in it is still that of `run`.
    async fn ours(&self, run: &str) -> Result<Option<String>, Lost> {
        let now = self.api.get(NAME).await.map_err(Lost::Error)?;
        match now.data.as_ref().and_then(ledger::lock) {
            Some(lock) if lock.run == run => Ok(now.metadata.resource_version),
            Some(other) => Err(Lost::To(format!("run {} by {}", other.run, other.by))),
            None => Err(Lost::To("somebody".into())),
        }
    }
}

fn api(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

fn is_conflict(err: &Error) -> bool {
    matches!(err, Error::Api(status) if status.code == 409)
}

/// Changes `values` if the object is still of this version.
async fn write(
    api: &Api<ConfigMap>,
    version: Option<&str>,
    values: &BTreeMap<String, Option<String>>,
) -> Result<Option<String>, Error> {
    let patch = json!({"metadata": {"resourceVersion": version}, "data": values});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let map = api.patch(NAME, &params, &Patch::Merge(patch)).await?;
    Ok(map.metadata.resource_version)
}

async fn create(
    api: &Api<ConfigMap>,
    values: &BTreeMap<String, Option<String>>,
) -> Result<Option<String>, Error> {
    let data: Data = values
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
        .collect();
    let mut map = ConfigMap {
        data: Some(data),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(NAME.into());
    let label = |key: &str| (key.to_owned(), "castlink".to_owned());
    map.metadata.labels = Some(
        ["app.kubernetes.io/managed-by", "app.kubernetes.io/name"]
            .map(label)
            .into(),
    );
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    Ok(api.create(&params, &map).await?.metadata.resource_version)
}

/// The runs that are noted in the namespace, oldest first.
///
/// # Errors
/// As the API says.
pub(crate) async fn runs(cluster: &Cluster) -> Result<Vec<Run>> {
    let found = api(cluster).get_opt(NAME).await;
    let found = found.map_err(|err| cluster.explain(err, &format!("reading ConfigMap {NAME}")))?;
    let data = found.and_then(|map| map.data).unwrap_or_default();
    Ok(ledger::entries(&data).into_iter().map(Run::noted).collect())
}
