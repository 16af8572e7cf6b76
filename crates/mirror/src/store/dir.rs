//! Files below one directory, reached by its open handle: a name never leads outside, no
//! link is followed, and nothing but a regular file is ever opened. What lies in a store was
//! put there by others.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::fs::{self as sys, AtFlags, Mode, OFlags};

/// What a file is opened with, whichever way: never through a link, never waiting for the
/// other end of a pipe, never becoming a terminal's.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

impl Dir {
    /// The directory at `path`. Links on the way are the user's own and are followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(sys::open(path, DIRECTORY, Mode::empty())?))
    }

    /// The directory `name` in this one.
    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        let flags = DIRECTORY.union(OFlags::NOFOLLOW);
        Ok(Self(sys::openat(
            &self.0,
            single(name)?,
            flags,
            Mode::empty(),
        )?))
    }

    /// As [`Self::child`], made when it is missing.
    pub(super) fn make_child(&self, name: &str) -> io::Result<Self> {
        match sys::mkdirat(&self.0, single(name)?, DIRECTORY_MODE) {
            Ok(()) => self.sync()?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        self.child(name)
    }

    /// The size of the file `name`; none when there is none.
    ///
    /// # Errors
    /// Also when it is anything but a regular file.
    pub(super) fn size(&self, name: &str) -> io::Result<Option<u64>> {
        match sys::statat(&self.0, single(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => regular(&stat).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// The file `name`, for reading, and its size.
    pub(super) fn read(&self, name: &str) -> io::Result<(File, u64)> {
        // Looked at before it is opened: opening a device may do something.
        if self.size(name)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = sys::openat(
            &self.0,
            single(name)?,
            OFlags::RDONLY.union(FILE),
            Mode::empty(),
        )?;
        let size = regular(&sys::fstat(&file)?)?;
        Ok((file.into(), size))
    }

    /// The whole file `name`, which must not be larger than `most` bytes.
    pub(super) fn read_small(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let too_large = || {
            let text = format!("larger than {} MiB", most >> 20);
            io::Error::new(io::ErrorKind::FileTooLarge, text)
        };
        let (file, size) = self.read(name)?;
        if size > most as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(most as u64 + 1).read_to_end(&mut bytes)?;
        match bytes.len() > most {
            true => Err(too_large()),
            false => Ok(bytes),
        }
    }

    /// The file `name`, made when it is missing, for reading and writing.
    pub(super) fn write(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR.union(OFlags::CREATE).union(FILE);
        let file = sys::openat(&self.0, single(name)?, flags, FILE_MODE)?;
        regular(&sys::fstat(&file)?)?;
        Ok(file.into())
    }

    /// The file `name`, made anew and empty.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let file = self.write(name)?;
        file.set_len(0)?;
        Ok(file)
    }

    /// Puts a small file under `name` of `to`, whole or not at all; `temporary` is its name
    /// in this directory until then.
    pub(super) fn put(
        &self,
        temporary: &str,
        bytes: &[u8],
        to: &Self,
        name: &str,
    ) -> io::Result<()> {
        let mut file = self.create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.rename(temporary, to, name)
    }

    /// Moves a file of this directory to `name` of `to`, taking the place of what is there.
    pub(super) fn rename(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        Ok(sys::renameat(&self.0, single(from)?, &to.0, single(name)?)?)
    }

    /// Takes the file `name` away.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(sys::unlinkat(&self.0, single(name)?, AtFlags::empty())?)
    }

    /// The names in this directory that are text, without `.` and `..`.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(&self.0)? {
            let entry = entry?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// Makes what was made, moved and removed here survive a crash.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(sys::fsync(&self.0)?)
    }
}

/// `name` itself when it is one step down, and not a way to somewhere else.
fn single(name: &str) -> io::Result<&str> {
    let way = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    match way {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{name}` is not a file name"),
        )),
        false => Ok(name),
    }
}

/// The size, when it is a regular file.
fn regular(stat: &sys::Stat) -> io::Result<u64> {
    match sys::FileType::from_raw_mode(stat.st_mode) {
        sys::FileType::RegularFile => Ok(u64::try_from(stat.st_size).unwrap_or(0)),
        kind => Err(io::Error::other(format!(
            "not a regular file but {}",
            called(kind)
        ))),
    }
}

fn called(kind: sys::FileType) -> &'static str {
    match kind {
        sys::FileType::Symlink => "a symbolic link",
        sys::FileType::Directory => "a directory",
        sys::FileType::Fifo => "a pipe",
        sys::FileType::Socket => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_step_down() {
        for bad in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0"] {
            assert!(single(bad).is_err(), "{bad:?}");
        }
        assert_eq!(single("..x").unwrap(), "..x");
    }
}
