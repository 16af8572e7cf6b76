//! Blobs that a run was ended in. What is there is hashed and kept, and only the rest is
//! fetched; that the whole has the right digest is checked as for any other.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    sync::{Arc, MutexGuard, PoisonError},
};

use super::{Store, dir::Dir};
use crate::{
    content::Blob,
    digest::{Digest, Hasher},
};

/// Less is fetched again: asking for it costs as much as having it.
pub(super) const WORTH: u64 = 64 << 10;

/// What is there of a blob already.
#[derive(Debug)]
pub(crate) struct Begun {
    /// So many bytes from its beginning.
    pub(crate) taken: u64,
    /// Their hash.
    pub(crate) hasher: Hasher,
}

/// The beginning of a blob, in a file.
#[derive(Debug)]
pub(super) struct Partial {
    name: String,
    /// Open, with so many bytes, once somebody goes on with it.
    file: Option<(File, u64)>,
}

/// The beginnings that are known, by what they belong to.
pub(super) type Partials = HashMap<Digest, Partial>;

/// What stands for the number in the names of files of earlier runs.
const LEFT: &str = "left";

/// `sha256-<digits>-<number>`.
pub(super) fn name(digest: &Digest, number: impl std::fmt::Display) -> String {
    format!("{}-{}-{number}", digest.algorithm(), digest.hex())
}

fn digest_of(name: &str) -> Option<Digest> {
    let mut parts = name.split('-');
    let (algorithm, hex, _number) = (parts.next()?, parts.next()?, parts.next()?);
    Digest::parse(&format!("{algorithm}:{hex}"))
}

/// Finds what earlier runs have left in `work`: the longest beginning of each blob. Everything
/// else goes, but for the files called `keep`.
pub(super) fn find(work: &Dir, keep: &str) -> io::Result<Partials> {
    let mut found: HashMap<Digest, (String, u64)> = HashMap::new();
    for name in work.names()?.into_iter().filter(|name| name != keep) {
        let size = work.size(&name).ok().flatten().unwrap_or(0);
        let digest = digest_of(&name).filter(|_| size >= WORTH);
        let shorter = match digest {
            None => Some(name),
            Some(digest) => match found.get(&digest) {
                Some((_, longer)) if *longer >= size => Some(name),
                _ => found.insert(digest, (name, size)).map(|(name, _)| name),
            },
        };
        if let Some(name) = shorter {
            work.remove(&name)?;
        }
    }
    let mut partials = Partials::new();
    for (digest, (name, _)) in found {
        // Out of the way of the files of this run.
        let left = self::name(&digest, LEFT);
        work.rename(&name, work, &left)?;
        let partial = Partial {
            name: left,
            file: None,
        };
        partials.insert(digest, partial);
    }
    Ok(partials)
}

impl Store {
    /// What an earlier run has left of `blob`, which the next upload of it goes on with.
    pub(crate) async fn begun(self: &Arc<Self>, blob: &Blob) -> Option<Begun> {
        let partial = self.partials().remove(&blob.digest)?;
        let blob = blob.clone();
        self.blocking(move |store| {
            let (file, begun) = store.take_up(&partial.name, &blob).ok()?;
            let partial = Partial {
                name: partial.name,
                file: Some((file, begun.taken)),
            };
            store.partials().insert(blob.digest, partial);
            Some(begun)
        })
        .await
    }

    /// The file to go on with, what it is called and how much is in it.
    pub(super) fn taken_up(&self, digest: &Digest) -> Option<(File, String, u64)> {
        let mut partials = self.partials();
        partials.get(digest)?.file.as_ref()?;
        let partial = partials.remove(digest)?;
        let (file, taken) = partial.file?;
        Some((file, partial.name, taken))
    }

    /// The last byte is left out in any case: a blob is complete only when it comes from
    /// whoever has checked the digest.
    fn take_up(&self, name: &str, blob: &Blob) -> io::Result<(File, Begun)> {
        let mut file = self.work()?.write(name)?;
        let taken = file.metadata()?.len().min(blob.size.saturating_sub(1));
        file.set_len(taken)?;
        let mut hasher = blob.digest.hasher();
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = file.read(&mut piece)?;
            if length == 0 {
                return Ok((file, Begun { taken, hasher }));
            }
            hasher.update(&piece[..length]);
        }
    }

    /// Removes every beginning: nobody will go on with them.
    pub(crate) async fn tidy(self: &Arc<Self>) {
        let removed = self.blocking(|store| {
            store.partials().clear();
            let work = store.work()?;
            for name in work
                .names()?
                .iter()
                .filter(|name| digest_of(name).is_some())
            {
                work.remove(name)?;
            }
            io::Result::Ok(())
        });
        // The next run tries again.
        let _ = removed.await;
    }

    fn partials(&self) -> MutexGuard<'_, Partials> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_belong_to() {
        let digest = Digest::of(b"x");
        assert_eq!(digest_of(&name(&digest, 7)), Some(digest));
        for other in [
            "lock",
            "index-1",
            "manifest-2",
            "sha256-abc-1",
            "sha256-../x-1",
        ] {
            assert_eq!(digest_of(other), None, "{other}");
        }
    }
}
