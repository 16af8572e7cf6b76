//! Where things that are slow to make are kept between runs, and how two processes
//! avoid making the same thing at once.
//!
//! An entry is a directory whose name carries a hash of everything it was made from.
//! It appears by one rename of a finished directory, so an entry that exists is
//! complete. Nothing here knows what an entry holds.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// How often a process that waits for another one's set-up says so.
const WAIT_NOTICE: Duration = Duration::from_secs(30);

/// The cache directory: `$CASTLINK_CACHE`, else `$XDG_CACHE_HOME/castlink`, else
/// `~/.cache/castlink`.
///
/// # Errors
/// When none of the three variables is set.
pub fn root() -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = var("CASTLINK_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    if let Some(dir) = var("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(dir).join("castlink"));
    }
    match var("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".cache").join("castlink")),
        None => bail!("no cache directory: set CASTLINK_CACHE to a writable directory"),
    }
}

/// A short key for the things an entry is made from (order matters).
#[must_use]
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

/// The finished entry at `relative` below [`root`], making it with `make` when absent.
///
/// `make` gets an empty directory on the same file system; whatever it leaves there is
/// renamed into place when it succeeds and removed when it fails. Blocks while another
/// process makes the same entry. `say` gets a line when there is something to wait for.
///
/// # Errors
/// What `make` reports, or the file system.
pub fn ensure(
    relative: &str,
    say: &dyn Fn(&str),
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = root()?.join(relative);
    if entry.is_dir() {
        return Ok(entry);
    }
    let parent = entry.parent().context("cache entry without a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let _held = lock(&entry, say)?;
    if entry.is_dir() {
        return Ok(entry);
    }
    // Under the lock there is one draft at most, a dead process's: nobody works in it.
    let name = entry.file_name().context("cache entry without a name")?;
    let draft = parent.join(format!(".making-{}", name.to_string_lossy()));
    remove(&draft)?;
    fs::create_dir(&draft).with_context(|| format!("cannot create {}", draft.display()))?;
    make(&draft).inspect_err(|_| drop(remove(&draft)))?;
    fs::rename(&draft, &entry)
        .with_context(|| format!("cannot move {} into place", entry.display()))?;
    Ok(entry)
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// An exclusive lock beside `entry`, given up when the returned file is dropped (or its
/// process dies, however it dies).
///
/// # Errors
/// When the lock file cannot be opened or locked.
pub fn lock(entry: &Path, say: &dyn Fn(&str)) -> Result<File> {
    let path = entry.with_extension("lock");
    let open = || File::options().create(true).append(true).open(&path);
    let file = open().with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    let name = entry
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let (done, granted) = mpsc::channel();
    thread::spawn(move || {
        let result = file.lock().map(|()| file);
        drop(done.send(result));
    });
    loop {
        say(&format!(
            "another process is setting up {name}: waiting for it"
        ));
        match granted.recv_timeout(WAIT_NOTICE) {
            Ok(result) => return result.with_context(|| format!("cannot lock {}", path.display())),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("cannot lock {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn key_depends_on_every_part_and_on_their_borders() {
        let key = |parts: &[&str]| super::key(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["ab", ""]), key(&["a", "b"]));
        assert_eq!(key(&[]).len(), 16);
    }
}
