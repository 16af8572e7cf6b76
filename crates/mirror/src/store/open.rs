//! Opening a store: for reading, as it is; for writing, with everything in place and other
//! writers held off.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use castlink_core::{Exit, Failure, Result};
use serde::Deserialize;

use super::{BLOBS, INDEX, MAX_INDEX, Store, dir::Dir, index::Index, name_of, partial};
use crate::registry::Retry;

/// What makes a directory an OCI image layout.
const MARKER: &str = "oci-layout";
const MARKER_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The largest marker that is read.
const MAX_MARKER: usize = 1 << 20;

/// Ours, beside the layout's own files: no tool looks for blobs in it.
const WORK: &str = ".castlink";
const LOCK: &str = "lock";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Store {
    /// A store to take from. A writer that is at work holds us off.
    ///
    /// # Errors
    /// Exit 2 when it is no image layout, 8 when it is in use.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let root = Dir::open(path).map_err(|err| unusable(path, err))?;
        check_marker(path, &root)?;
        let lock = match root.child(WORK).and_then(|work| work.read(LOCK)) {
            Ok((file, _)) => Some(locked(path, file, File::try_lock_shared)?),
            // Written by another tool, or on a medium that cannot be written to.
            Err(_) => None,
        };
        let index = read_index(path, &root)?;
        Ok(Arc::new(Self::new(path, Some(root), None, lock, index)))
    }

    /// A store to look at before writing to it: what is not there yet is empty.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn preview(path: &Path) -> Result<Arc<Self>> {
        if is_new(path)? {
            return Ok(Arc::new(Self::new(path, None, None, None, Index::empty())));
        }
        Self::open(path)
    }

    /// A store to write to, made when it is missing.
    ///
    /// # Errors
    /// Exit 2 when the directory is something else, 8 when it is in use, 1 when it cannot be
    /// written to.
    pub(crate) fn open_for_writing(path: &Path) -> Result<Arc<Self>> {
        let new = is_new(path)?;
        let failed = |err: io::Error| {
            Failure::failed(format!("{} cannot be written to", path.display())).because(err)
        };
        fs::create_dir_all(path).map_err(failed)?;
        let root = Dir::open(path).map_err(|err| unusable(path, err))?;
        if !new {
            check_marker(path, &root)?;
        }
        let work = root.make_child(WORK).map_err(failed)?;
        let lock = locked(path, work.write(LOCK).map_err(failed)?, File::try_lock)?;
        furnish(&root, &work).map_err(failed)?;
        let index = read_index(path, &root)?;
        let partials = partial::find(&work, LOCK).map_err(failed)?;
        let mut store = Self::new(path, Some(root), Some(work), Some(lock), index);
        store.partials = Mutex::new(partials);
        Ok(Arc::new(store))
    }

    fn new(
        path: &Path,
        root: Option<Dir>,
        work: Option<Dir>,
        lock: Option<File>,
        index: Index,
    ) -> Self {
        Self {
            name: name_of(path),
            root,
            work,
            _lock: lock,
            index: Mutex::new(index),
            referrers: Mutex::default(),
            partials: Mutex::default(),
            retry: Retry::new(1),
            serial: AtomicU64::new(0),
        }
    }
}

/// True when a store may be made here: nothing is there, or what a run left that was ended
/// before its first file.
fn is_new(path: &Path) -> Result<bool> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(err) => return Err(unusable(path, err)),
    };
    for entry in entries {
        let entry = entry.map_err(|err| unusable(path, err))?;
        if entry.file_name() != WORK {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check_marker(path: &Path, root: &Dir) -> Result<()> {
    let not_a_layout = || {
        Failure::usage(format!("{} is not an OCI image layout", path.display()))
            .hint("name a directory that `castlink-mirror pull` or another tool wrote images to; to pull, an empty or a new one")
    };
    let bytes = root
        .read_small(MARKER, MAX_MARKER)
        .map_err(|err| not_a_layout().because(err))?;
    let marker: Marker =
        serde_json::from_slice(&bytes).map_err(|err| not_a_layout().because(err))?;
    match marker.image_layout_version.starts_with("1.") {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "{} has the unknown layout version {}",
            path.display(),
            marker.image_layout_version
        ))),
    }
}

fn read_index(path: &Path, root: &Dir) -> Result<Index> {
    let malformed = || {
        Failure::failed(format!("{} is not usable", path.join(INDEX).display()))
            .hint("the store was damaged: copy or pull it again")
    };
    let bytes = root
        .read_small(INDEX, MAX_INDEX)
        .map_err(|err| malformed().because(err))?;
    Index::parse(&bytes).map_err(|text| malformed().because(text))
}

/// Takes the lock; a file system that has none is written to without.
fn locked(
    path: &Path,
    file: File,
    lock: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<File> {
    match lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Unreachable,
            format!("{} is in use by another castlink-mirror", path.display()),
        )
        .hint("wait until it has ended, then run it again")),
        Err(TryLockError::Error(err)) if err.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(err)) => {
            Err(Failure::failed(format!("{} cannot be locked", path.display())).because(err))
        }
    }
}

/// Makes what is missing of an empty layout, the marker last.
fn furnish(root: &Dir, work: &Dir) -> io::Result<()> {
    root.make_child(BLOBS)?.make_child("sha256")?;
    if root.size(INDEX)?.is_none() {
        work.put("index", &Index::empty().bytes(), root, INDEX)?;
    }
    if root.size(MARKER)?.is_none() {
        work.put("marker", MARKER_TEXT, root, MARKER)?;
    }
    root.sync()
}

fn unusable(path: &Path, err: io::Error) -> Failure {
    Failure::usage(format!("{} is not a usable directory", path.display())).because(err)
}
