//! Writing to a store. A blob grows under another name in a directory of ours and takes its
//! own when it is whole and safely on the disk; a name is given when everything below
//! it is there. A run that is killed leaves a readable store at every moment.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::Arc,
};

use bytes::Bytes;
use castlink_core::ImageRef;
use tokio::sync::mpsc;

use super::{
    BLOBS, INDEX, Store,
    dir::Dir,
    index::Index,
    partial::{self, WORTH},
};
use crate::{
    content::{Blob, Digest, Manifest},
    registry::error::{Error, Kind, Result, Subject},
};

/// The directories that blobs lie in.
const ALGORITHMS: [&str; 2] = ["sha256", "sha512"];

/// A blob that is being written.
#[derive(Debug)]
pub(crate) struct Upload {
    file: File,
    temporary: String,
    /// Bytes that are in it already.
    taken: u64,
    subject: Subject,
}

impl Upload {
    /// What is being written, for errors.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl Store {
    /// Begins to write a blob, or goes on where [`Store::begun`] said.
    pub(crate) async fn start_upload(self: &Arc<Self>, blob: &Blob) -> Result<Upload> {
        let subject = self.subject(blob.digest.short().to_owned());
        let (file, temporary, taken) = match self.taken_up(&blob.digest) {
            Some(taken_up) => taken_up,
            None => {
                let temporary = partial::name(&blob.digest, self.serial());
                let name = temporary.clone();
                let opened = self
                    .blocking(move |store| store.work()?.create(&name))
                    .await;
                let file = opened.map_err(|err| self.unwritable(&subject, err))?;
                (file, temporary, 0)
            }
        };
        Ok(Upload {
            file,
            temporary,
            taken,
            subject,
        })
    }

    /// Writes the blob as its `frames` come, and gives it its name when all are there. The
    /// sender keeps the last one back until it knows that the digest is right: what is
    /// complete is right.
    ///
    /// # Errors
    /// [`Kind::Transport`] when the frames end too early.
    pub(crate) async fn finish_upload(
        self: &Arc<Self>,
        upload: Upload,
        blob: &Blob,
        frames: mpsc::Receiver<Bytes>,
    ) -> Result<()> {
        let Upload {
            file,
            temporary,
            taken,
            subject,
        } = upload;
        let blob = blob.clone();
        let written = self
            .blocking(move |store| {
                let written = drain(file, taken, &blob, frames)?;
                let whole = written == blob.size;
                if whole {
                    store.keep(&temporary, &blob.digest)?;
                } else if written < WORTH {
                    store.work()?.remove(&temporary)?;
                }
                Ok(whole)
            })
            .await;
        match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(subject.error(Kind::Transport, "the content ended too early")),
            Err(err) => Err(self.unwritable(&subject, err)),
        }
    }

    /// Writes a manifest, under its digest or under a reference, which the store has from
    /// then on.
    pub(crate) async fn put_manifest(
        self: &Arc<Self>,
        selector: &str,
        manifest: &Manifest,
    ) -> Result<()> {
        let name: Option<ImageRef> = match Digest::parse(selector) {
            Some(_) => None,
            None => Some(
                selector
                    .parse()
                    .map_err(|failure| self.subject(selector.to_owned()).fatal(failure))?,
            ),
        };
        let manifest = manifest.clone();
        self.blocking(move |store| store.write_manifest(name.as_ref(), &manifest))
            .await
    }

    fn write_manifest(&self, name: Option<&ImageRef>, manifest: &Manifest) -> Result<()> {
        let subject = self.subject(manifest.digest.short().to_owned());
        let failed = |err: io::Error| -> Error { self.unwritable(&subject, err) };
        if self.read_manifest(&manifest.digest).is_err() {
            self.write_content(manifest).map_err(failed)?;
        }
        match name {
            Some(name) => self.change(|index| index.set(name, manifest)),
            // Whoever reads a store finds it by looking for what names its subject.
            None if manifest.subject.is_some() => self.change(|index| index.list(manifest)),
            None => Ok(()),
        }
        .map_err(failed)
    }

    fn write_content(&self, manifest: &Manifest) -> io::Result<()> {
        let blobs = self.make_blobs(&manifest.digest)?;
        let temporary = format!("manifest-{}", self.serial());
        self.work()?
            .put(&temporary, &manifest.bytes, &blobs, manifest.digest.hex())
    }

    /// Replaces `index.json`, after everything it refers to.
    fn change(&self, change: impl FnOnce(&mut Index)) -> io::Result<()> {
        let root = self.root()?;
        let blobs = root.child(BLOBS)?;
        for algorithm in ALGORITHMS {
            match blobs.child(algorithm) {
                Ok(blobs) => blobs.sync()?,
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        let temporary = format!("index-{}", self.serial());
        let mut index = self.index();
        change(&mut index);
        let written = self.work()?.put(&temporary, &index.bytes(), root, INDEX);
        // Whoever reads referrers waits for the index: never the other way round.
        drop(index);
        self.forget_referrers();
        written.and_then(|()| root.sync())
    }

    fn keep(&self, temporary: &str, digest: &Digest) -> io::Result<()> {
        let blobs = self.make_blobs(digest)?;
        self.work()?.rename(temporary, &blobs, digest.hex())
    }

    fn make_blobs(&self, digest: &Digest) -> io::Result<Dir> {
        let blobs = self.root()?.make_child(BLOBS)?;
        blobs.make_child(digest.algorithm())
    }

    fn root(&self) -> io::Result<&Dir> {
        self.root.as_ref().ok_or_else(read_only)
    }

    pub(super) fn work(&self) -> io::Result<&Dir> {
        self.work.as_ref().ok_or_else(read_only)
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for reading")
}

/// Writes behind the bytes that are there; returns how many there are then. All of them are
/// safely on the disk.
fn drain(
    mut file: File,
    taken: u64,
    blob: &Blob,
    mut frames: mpsc::Receiver<Bytes>,
) -> io::Result<u64> {
    let mut written = taken;
    while let Some(frame) = frames.blocking_recv() {
        file.write_all(&frame)?;
        written += frame.len() as u64;
    }
    // Nothing can be kept back of an empty blob.
    if blob.size == 0 && !blob.digest.matches(&[]) {
        return Err(io::Error::other("an empty blob has another digest"));
    }
    if written == blob.size {
        file.sync_all()?;
    }
    Ok(written)
}
