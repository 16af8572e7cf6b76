//! Reading a blob from a store, piece by piece.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;

use super::{Begun, Store};
use crate::{
    content::Blob,
    digest::Hasher,
    registry::error::{Kind, Result, Subject},
};

/// What one read takes: about what a fast network brings at once, so that a transfer
/// keeps no more in memory than any other.
const PIECE: u64 = 64 << 10;

/// One blob being read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    store: Arc<Store>,
    blob: &'a Blob,
    subject: Subject,
    file: Option<Arc<File>>,
    taken: u64,
    begun: Option<Hasher>,
}

impl<'a> Reader<'a> {
    /// Nothing is opened before the first [`Reader::next`].
    pub(crate) fn new(store: &Arc<Store>, blob: &'a Blob) -> Self {
        Self {
            subject: store.subject(blob.digest.short().to_owned()),
            store: Arc::clone(store),
            blob,
            file: None,
            taken: 0,
            begun: None,
        }
    }

    /// Leaves out what is elsewhere already.
    pub(crate) fn resume(&mut self, begun: Begun) {
        self.taken = begun.taken;
        self.begun = Some(begun.hasher);
    }

    /// The hash of what is left out.
    pub(crate) fn hasher(&mut self) -> Hasher {
        self.begun
            .take()
            .unwrap_or_else(|| self.blob.digest.hasher())
    }

    /// What is read.
    pub(crate) fn blob(&self) -> &'a Blob {
        self.blob
    }

    /// What is being read, for errors.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Bytes handed out so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Corrupt`] for a file that is too short or too long, or is
    /// no regular file.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.open().await?,
        };
        let left = self.blob.size - self.taken;
        if left == 0 {
            return Ok(None);
        }
        let piece = self
            .store
            .blocking(move |_| read(&file, left.min(PIECE)))
            .await;
        let piece = piece.map_err(|err| self.store.unreadable(&self.subject, err))?;
        if piece.is_empty() {
            return Err(self.wrong_size(self.taken));
        }
        self.taken += piece.len() as u64;
        Ok(Some(piece))
    }

    async fn open(&mut self) -> Result<Arc<File>> {
        let (digest, taken) = (self.blob.digest.clone(), self.taken);
        let opened = self
            .store
            .blocking(move |store| {
                let (mut file, size) = store.blobs(&digest)?.read(digest.hex())?;
                file.seek(SeekFrom::Start(taken))?;
                Ok((file, size))
            })
            .await;
        let (file, size) = opened.map_err(|err| self.store.unreadable(&self.subject, err))?;
        if size != self.blob.size {
            return Err(self.wrong_size(size));
        }
        let file = Arc::new(file);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    fn wrong_size(&self, size: u64) -> crate::registry::error::Error {
        let want = self.blob.size;
        let text = format!("{size} bytes instead of the {want} that the manifest says");
        self.subject.error(Kind::Corrupt, text)
    }
}

fn read(mut file: &File, most: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(most).unwrap_or(0)];
    let length = file.read(&mut piece)?;
    piece.truncate(length);
    Ok(piece.into())
}
