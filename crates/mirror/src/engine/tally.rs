//! What a run has moved, counted where it happens.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The counters of one run. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    repositories: AtomicU64,
    manifests: AtomicU64,
    read: AtomicU64,
    uploads: AtomicU64,
    sent: AtomicU64,
    mounts: AtomicU64,
    mounted: AtomicU64,
}

impl Tally {
    /// A repository was created.
    pub(super) fn repository(&self) {
        self.0.repositories.fetch_add(1, Relaxed);
    }

    /// A manifest was written.
    pub(super) fn manifest(&self) {
        self.0.manifests.fetch_add(1, Relaxed);
    }

    /// Bytes of a blob have come.
    pub(super) fn received(&self, bytes: u64) {
        self.0.read.fetch_add(bytes, Relaxed);
    }

    /// A blob was sent.
    pub(super) fn upload(&self, bytes: u64) {
        self.0.uploads.fetch_add(1, Relaxed);
        self.0.sent.fetch_add(bytes, Relaxed);
    }

    /// A blob was mounted.
    pub(super) fn mount(&self, bytes: u64) {
        self.0.mounts.fetch_add(1, Relaxed);
        self.0.mounted.fetch_add(bytes, Relaxed);
    }

    /// Repositories created.
    pub(crate) fn repositories(&self) -> u64 {
        self.0.repositories.load(Relaxed)
    }

    /// Manifests written.
    pub(crate) fn manifests(&self) -> u64 {
        self.0.manifests.load(Relaxed)
    }

    /// Bytes of blobs that came from sources, each time they came.
    pub(crate) fn read(&self) -> u64 {
        self.0.read.load(Relaxed)
    }

    /// Blobs sent.
    pub(crate) fn uploads(&self) -> u64 {
        self.0.uploads.load(Relaxed)
    }

    /// Bytes sent, each time they were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Relaxed)
    }

    /// Bytes that were mounted instead of sent.
    pub(crate) fn mounted(&self) -> u64 {
        self.0.mounted.load(Relaxed)
    }
}
