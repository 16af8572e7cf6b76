//! Output that is held back until everything is known to be right: in memory while it is
//! small, in a file without a name when it is not.
//!
//! Never here: what is written.

use std::io::{self, Seek, SeekFrom, Write};

use castlink_core::{Failure, Result};
use tempfile::{SpooledData, SpooledTempFile};

/// More than this goes to the disk.
const IN_MEMORY: usize = 8 << 20;

/// Output so far.
pub(crate) struct Spool {
    file: SpooledTempFile,
    last: Option<u8>,
}

impl Spool {
    pub(crate) fn new() -> Self {
        Self {
            file: SpooledTempFile::new(IN_MEMORY),
            last: None,
        }
    }

    /// The byte that was written last.
    pub(crate) fn last(&self) -> Option<u8> {
        self.last
    }

    /// Holds `bytes` back.
    ///
    /// # Errors
    /// Exit 1 when the temporary file cannot be written.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.last = bytes.last().copied().or(self.last);
        self.file.write_all(bytes).map_err(full)
    }

    /// Everything, at its beginning.
    ///
    /// # Errors
    /// Exit 1 when the temporary file cannot be read.
    pub(crate) fn held(mut self) -> Result<SpooledData> {
        self.file.seek(SeekFrom::Start(0)).map_err(full)?;
        Ok(self.file.into_inner())
    }
}

fn full(error: io::Error) -> Failure {
    Failure::failed("the output cannot be held back in a temporary file")
        .because(error)
        .hint("name a directory with room for it in TMPDIR")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_went_in_comes_out() {
        for size in [0, 10, IN_MEMORY + 1] {
            let mut spool = Spool::new();
            let bytes = vec![b'x'; size];
            spool.push(&bytes).unwrap();
            assert_eq!(spool.last(), bytes.last().copied());
            let mut out = Vec::new();
            match spool.held().unwrap() {
                SpooledData::InMemory(held) => out = held.into_inner(),
                SpooledData::OnDisk(mut file) => drop(file.read_to_end(&mut out).unwrap()),
            }
            assert!(out == bytes);
        }
    }
}
