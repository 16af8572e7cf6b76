//! What the two gates share: serving on loopback, and the journal of every request.
//!
//! The journal is how suites prove absences ("the second run wrote nothing"): it knows
//! which requests mutate. It never holds headers, hence no credentials.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An HTTP server on a free loopback port; stops when dropped.
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds first, so that `router` can be told its own address.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(router: impl FnOnce(SocketAddr) -> Router) -> Result<Self> {
        let bound = Bound::new().await?;
        let router = router(bound.addr);
        Ok(bound.serve(router))
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

/// A port that nothing is served on yet: for servers that know each other's address.
pub struct Bound {
    /// Where it will listen.
    pub addr: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    /// Binds a free loopback port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn new() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot bind loopback")?;
        let addr = listener.local_addr()?;
        Ok(Self { addr, listener })
    }

    /// Starts answering.
    #[must_use]
    pub fn serve(self, router: Router) -> Server {
        let Self { addr, listener } = self;
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Server { addr, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One answered request.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its place in the journal, from 0.
    pub seq: usize,
    /// When it was answered.
    pub at: Timestamp,
    /// `ec2`, `ecr`, `eks`, `iam`, `sts`, or `registry` for the `/v2/` data plane.
    pub service: String,
    /// The API's name for the operation; the data plane's are `PutBlob`, `GetManifest`, …
    pub action: String,
    /// Whether it would change something.
    pub mutating: bool,
    /// HTTP status of the answer.
    pub status: u16,
    /// What it was about: a repository, a resource id, a cluster.
    pub resource: String,
    /// Parameters worth asserting on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

/// Every request in order, in memory and as JSON Lines on disk.
pub struct Journal {
    entries: Mutex<Vec<Entry>>,
    file: Option<Mutex<File>>,
}

impl Journal {
    /// A journal that also appends to `path`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn new(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("cannot open {}", path.display()))
        };
        let file = path.map(open).transpose()?.map(Mutex::new);
        Ok(Self {
            entries: Mutex::default(),
            file,
        })
    }

    /// Adds `entry`, giving it its number.
    pub fn add(&self, mut entry: Entry) {
        let mut entries = self.guard();
        entry.seq = entries.len();
        if let (Some(file), Ok(line)) = (&self.file, serde_json::to_string(&entry)) {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk must not fail the request under test.
            drop(writeln!(file, "{line}"));
        }
        entries.push(entry);
    }

    /// The number of requests so far: the `since` of a later look.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.guard().len()
    }

    /// What came in from number `since` on.
    #[must_use]
    pub fn since(&self, since: usize) -> Vec<Entry> {
        self.guard().get(since..).unwrap_or_default().to_vec()
    }

    /// The mutating requests from number `since` on.
    #[must_use]
    pub fn writes(&self, since: usize) -> Vec<Entry> {
        self.since(since)
            .into_iter()
            .filter(|entry| entry.mutating)
            .collect()
    }

    /// How often each `service:action` came in from number `since` on.
    #[must_use]
    pub fn counts(&self, since: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.since(since) {
            *counts
                .entry(format!("{}:{}", entry.service, entry.action))
                .or_default() += 1;
        }
        counts
    }

    fn guard(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
