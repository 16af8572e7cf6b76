//! A store: an OCI image layout directory that carries images from a host with internet to
//! one without. Other tools read what is written here, and what they wrote is read.
//!
//! Everything in a store is data from elsewhere: dir.rs reaches files without following
//! links, digests are checked before they become names, sizes are bounded. Never here: what
//! has to be copied (plan/), and in which order (engine/).

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use castlink_core::{Failure, ImageRef};

use self::{attached::Referrers, dir::Dir, index::Index, partial::Partials};
use crate::{
    content::{Blob, Digest, MAX_MANIFEST_READ, Malformed, Manifest},
    place,
    registry::{
        Retry,
        error::{Error, Kind, Result, Subject},
    },
};

mod attached;
mod dir;
mod held;
mod index;
mod open;
mod partial;
mod read;
mod write;

pub(crate) use index::Entry;
pub(crate) use partial::Begun;
pub(crate) use read::Reader;
pub(crate) use write::Upload;

/// The largest `index.json` that is read: some twenty thousand images.
const MAX_INDEX: usize = 8 << 20;

const INDEX: &str = "index.json";
const BLOBS: &str = "blobs";

/// An OCI image layout directory.
#[derive(Debug)]
pub(crate) struct Store {
    name: Arc<str>,
    /// None where there is nothing yet.
    root: Option<Dir>,
    /// Where files grow until they are whole; none when nothing may be written.
    work: Option<Dir>,
    /// Holds other processes off as long as it is open.
    _lock: Option<File>,
    index: Mutex<Index>,
    /// What is attached to what, once somebody has asked.
    referrers: Mutex<Option<Arc<Referrers>>>,
    /// Blobs that earlier runs have begun.
    partials: Mutex<Partials>,
    retry: Retry,
    serial: AtomicU64,
}

impl Store {
    /// What it is called in records and errors: `oci:./carry`.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Files are tried once: what a disk refuses, it refuses again.
    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    /// What is in it, as `index.json` has it.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.index().entries().to_vec()
    }

    /// Gives an entry, called by its label or digest, the name `image` for this run.
    ///
    /// # Errors
    /// Exit 2 when there is no such entry.
    pub(crate) fn call(&self, entry: &str, image: &ImageRef) -> castlink_core::Result<()> {
        self.index().name(entry, image)
    }

    /// What `image` stands for here.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when nothing here is called so.
    pub(crate) fn resolve(&self, image: &ImageRef) -> Result<Digest> {
        let subject = self.subject(image.to_string());
        let index = self.index();
        let found = index
            .find(image)
            .map_err(|failure| subject.fatal(failure))?;
        let Some(entry) = found else {
            return Err(subject.error(Kind::NotFound, ""));
        };
        match &entry.target {
            Ok(target) => Ok(target.digest.clone()),
            Err(text) => Err(subject.error(Kind::Corrupt, format!("{INDEX}: {text}"))),
        }
    }

    /// A manifest, by its digest or as another name of the repository of `image`; checked
    /// against its digest.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Corrupt`] for everything that is not the manifest.
    pub(crate) async fn get_manifest(
        self: &Arc<Self>,
        image: &ImageRef,
        selector: &str,
    ) -> Result<Manifest> {
        let digest = match Digest::parse(selector) {
            Some(digest) => digest,
            None if selector == image.selector() => self.resolve(image)?,
            None => {
                let other = format!("{}:{selector}", image.literal_name());
                let other = other
                    .parse()
                    .map_err(|failure| self.subject(other.clone()).fatal(failure))?;
                self.resolve(&other)?
            }
        };
        self.get_by_digest(&digest).await
    }

    /// A manifest, checked against its digest.
    ///
    /// # Errors
    /// As [`Store::get_manifest`].
    pub(crate) async fn get_by_digest(self: &Arc<Self>, digest: &Digest) -> Result<Manifest> {
        let digest = digest.clone();
        self.blocking(move |store| store.read_manifest(&digest))
            .await
    }

    fn read_manifest(&self, digest: &Digest) -> Result<Manifest> {
        let subject = self.subject(digest.short().to_owned());
        let bytes = self
            .blobs(digest)
            .and_then(|blobs| blobs.read_small(digest.hex(), MAX_MANIFEST_READ))
            .map_err(|err| self.unreadable(&subject, err))?;
        let said = self.index().said(digest);
        let wrong_size = said.as_ref().filter(|said| said.size != bytes.len() as u64);
        if let Some(said) = wrong_size {
            let text = format!(
                "{} bytes instead of the {} in {INDEX}",
                bytes.len(),
                said.size
            );
            return Err(subject.error(Kind::Corrupt, text));
        }
        let media_type = said.and_then(|said| said.media_type);
        Manifest::parse(Bytes::from(bytes), media_type.as_deref(), Some(digest)).map_err(
            |malformed| match malformed {
                Malformed::Digest { .. } => subject.error(Kind::Corrupt, malformed.to_string()),
                Malformed::Shape(_) => subject.nonsense(malformed.to_string()),
            },
        )
    }

    /// The directory of the blobs with digests like `digest`.
    fn blobs(&self, digest: &Digest) -> io::Result<Dir> {
        let root = self.root.as_ref().ok_or(io::ErrorKind::NotFound)?;
        root.child(BLOBS)?.child(digest.algorithm())
    }

    /// The size of a blob's file; none when there is none.
    fn size(&self, digest: &Digest) -> io::Result<Option<u64>> {
        match self.blobs(digest) {
            Ok(blobs) => blobs.size(digest.hex()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// True when the blob's file has the size it should have. One that has not, or is no
    /// file at all, is as good as missing.
    fn has(&self, blob: &Blob) -> bool {
        self.size(&blob.digest)
            .is_ok_and(|size| size == Some(blob.size))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subject(&self, what: String) -> Subject {
        Subject {
            host: self.name.to_string(),
            what,
        }
    }

    fn unreadable(&self, subject: &Subject, err: io::Error) -> Error {
        match err.kind() {
            io::ErrorKind::NotFound => subject.error(Kind::NotFound, ""),
            io::ErrorKind::PermissionDenied => subject.fatal(
                Failure::failed(format!("{} in {}: not readable", subject.what, self.name))
                    .because(err),
            ),
            _ => subject.error(Kind::Corrupt, err.to_string()),
        }
    }

    fn unwritable(&self, subject: &Subject, err: io::Error) -> Error {
        let text = format!("{} could not be written to {}", subject.what, self.name);
        let failure = Failure::failed(text).because(err);
        subject.fatal(failure.hint(
            "make room or choose another directory, then run it again: it goes on where it stopped",
        ))
    }

    /// A number that no file of this run has in its name yet.
    fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Relaxed)
    }

    /// Runs `work`, which waits for the disk, where waiting hurts nobody.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let store = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.expect("work on files does not panic")
    }
}

/// What a store at `path` is called: its path always has a slash, which no registry's name
/// has.
fn name_of(path: &Path) -> Arc<str> {
    let text = path.display().to_string();
    let text = text.trim_end_matches('/');
    let name = match text.contains('/') {
        true => format!("{}{text}", place::STORE),
        false => format!("{}./{text}", place::STORE),
    };
    name.into()
}
