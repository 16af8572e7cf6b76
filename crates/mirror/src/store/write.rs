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

use super::{BLOBS, INDEX, Store, dir::Dir};
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
    subject: Subject,
}

impl Upload {
    /// What is being written, for errors.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl Store {
    /// Begins to write a blob.
    pub(crate) async fn start_upload(self: &Arc<Self>, blob: &Blob) -> Result<Upload> {
        let subject = self.subject(blob.digest.short().to_owned());
        let temporary = format!(
            "{}-{}",
            blob.digest.short().replace(':', "-"),
            self.serial()
        );
        let name = temporary.clone();
        let opened = self.blocking(move |store| store.work()?.write(&name)).await;
        let file = opened.map_err(|err| self.unwritable(&subject, err))?;
        Ok(Upload {
            file,
            temporary,
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
            subject,
        } = upload;
        let blob = blob.clone();
        let written = self
            .blocking(move |store| {
                let whole = drain(file, &blob, frames)?;
                if whole {
                    store.keep(&temporary, &blob.digest)?;
                } else {
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
            Some(name) => self.give_name(name, manifest).map_err(failed),
            None => Ok(()),
        }
    }

    fn write_content(&self, manifest: &Manifest) -> io::Result<()> {
        let blobs = self.make_blobs(&manifest.digest)?;
        let temporary = format!("manifest-{}", self.serial());
        self.work()?
            .put(&temporary, &manifest.bytes, &blobs, manifest.digest.hex())
    }

    /// Replaces `index.json`, after everything it refers to.
    fn give_name(&self, name: &ImageRef, manifest: &Manifest) -> io::Result<()> {
        let root = self.root()?;
        let blobs = root.child(BLOBS)?;
        for algorithm in ALGORITHMS {
            match blobs.child(algorithm) {
                Ok(blobs) => blobs.sync()?,
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        let mut index = self.index();
        index.set(name, manifest);
        let temporary = format!("index-{}", self.serial());
        self.work()?.put(&temporary, &index.bytes(), root, INDEX)?;
        root.sync()
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

    fn work(&self) -> io::Result<&Dir> {
        self.work.as_ref().ok_or_else(read_only)
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for reading")
}

/// True when the whole blob came and is safely on the disk.
fn drain(mut file: File, blob: &Blob, mut frames: mpsc::Receiver<Bytes>) -> io::Result<bool> {
    let mut written = 0;
    while let Some(frame) = frames.blocking_recv() {
        file.write_all(&frame)?;
        written += frame.len() as u64;
    }
    // Nothing can be kept back of an empty blob.
    let whole = written == blob.size && (written > 0 || blob.digest.matches(&[]));
    if whole {
        file.sync_all()?;
    }
    Ok(whole)
}
