//! Layers: gzip-compressed tar archives of files that look like a root file system, whose
//! bytes follow from a name and a size.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use crate::ecr::digest;

/// One layer.
#[derive(Debug)]
pub struct Layer {
    /// Digest of the compressed bytes.
    pub digest: String,
    /// Digest of the archive inside: the config's `diff_id`.
    pub diff_id: String,
    /// How many compressed bytes there are.
    pub size: u64,
    /// The compressed bytes; none of a layer that was written to a file.
    pub bytes: Bytes,
}

impl Layer {
    /// A layer of about `size` bytes that compress badly, written to a file: for sizes that
    /// do not fit into memory.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(name: &str, size: u64, path: &Path) -> io::Result<Self> {
        let file = Hashing::new(BufWriter::new(File::create(path)?));
        let gzip = GzBuilder::new().write(file, Compression::none());
        let mut tar = tar::Builder::new(Hashing::new(gzip));
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        tar.append_data(
            &mut header,
            "var/lib/model.bin",
            Endless::new(name).take(size),
        )?;
        let (gzip, diff_id, _) = tar.into_inner()?.finish();
        let (mut file, digest, size) = gzip.finish()?.finish();
        file.flush()?;
        Ok(Self {
            digest,
            diff_id,
            size,
            bytes: Bytes::new(),
        })
    }
}

/// Passes on what is written, and knows its digest and length.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    length: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        let hash = Sha256::new();
        Self {
            inner,
            hash,
            length: 0,
        }
    }

    fn finish(self) -> (W, String, u64) {
        let digest = format!("sha256:{}", hex::encode(self.hash.finalize()));
        (self.inner, digest, self.length)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.hash.update(&bytes[..taken]);
        self.length += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A block of scrambled bytes over and over.
struct Endless {
    block: Vec<u8>,
    at: usize,
}

impl Endless {
    fn new(name: &str) -> Self {
        let mut block = vec![0; 1 << 20];
        scramble(name, &mut block);
        Self { block, at: 0 }
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.block[self.at..]).read(buffer)?;
        self.at = (self.at + read) % self.block.len();
        Ok(read)
    }
}

/// Makes layers; remembers the shared ones.
#[derive(Debug)]
pub struct Layers {
    scale: f64,
    form: Form,
    shared: Mutex<BTreeMap<String, Arc<Layer>>>,
}

/// What layers are like inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Compressed, and partly compressible.
    Packed,
    /// In a gzip envelope without compression.
    Stored,
}

impl Layers {
    /// Layers whose sizes are multiplied by `scale`.
    #[must_use]
    pub fn new(scale: f64) -> Self {
        Self {
            scale,
            form: Form::Packed,
            shared: Mutex::default(),
        }
    }

    /// Layers that are made quickly and have the size that is asked for: their content does
    /// not compress, and the envelope does not try to. A real envelope it is: some copiers
    /// compress a layer that has none.
    #[must_use]
    pub fn stored(scale: f64) -> Self {
        Self {
            form: Form::Stored,
            ..Self::new(scale)
        }
    }

    /// A layer that several images have.
    ///
    /// # Errors
    /// When the archive cannot be written (it is in memory: never).
    pub fn shared(&self, name: &str, size: u32) -> io::Result<Arc<Layer>> {
        if let Some(known) = self.guard().get(name) {
            return Ok(Arc::clone(known));
        }
        let made = self.own(name, size)?;
        Ok(Arc::clone(
            self.guard().entry(name.to_owned()).or_insert(made),
        ))
    }

    /// A layer of one image alone.
    ///
    /// # Errors
    /// As [`Self::shared`].
    pub fn own(&self, name: &str, size: u32) -> io::Result<Arc<Layer>> {
        let size = (f64::from(size) * self.scale).max(64.0) as usize;
        make(name, size, self.form).map(Arc::new)
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Layer>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(name: &str, size: usize, form: Form) -> io::Result<Layer> {
    let (level, lines) = match form {
        Form::Packed => (Compression::fast(), 1 + size / 512),
        Form::Stored => (Compression::none(), 1),
    };
    let archive = archive(name, size, lines)?;
    let diff_id = digest(&archive);
    // No name and no time in the envelope: the same bytes every time.
    let mut gzip = GzBuilder::new().write(Vec::new(), level);
    gzip.write_all(&archive)?;
    let bytes = Bytes::from(gzip.finish()?);
    Ok(Layer {
        digest: digest(&bytes),
        diff_id,
        size: bytes.len() as u64,
        bytes,
    })
}

/// A binary that does not compress, as binaries hardly do, and a text that does.
fn archive(name: &str, size: usize, lines: usize) -> io::Result<Vec<u8>> {
    let short = name.rsplit('/').next().unwrap_or(name);
    let mut tar = tar::Builder::new(Vec::new());
    let mut program = b"\x7fELF".to_vec();
    program.resize(size, 0);
    scramble(name, &mut program[4..]);
    let text = format!("{name}\n").repeat(lines);
    add(&mut tar, &format!("usr/bin/{short}"), 0o755, &program)?;
    add(
        &mut tar,
        &format!("usr/share/doc/{short}/copyright"),
        0o644,
        text.as_bytes(),
    )?;
    tar.into_inner()
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content)
}

/// Fills `bytes` with xorshift64* started from the name.
fn scramble(name: &str, bytes: &mut [u8]) {
    let hash = Sha256::digest(name.as_bytes());
    let start: [u8; 8] = std::array::from_fn(|index| hash[index]);
    let mut state = u64::from_le_bytes(start) | 1; // never zero
    for chunk in bytes.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_a_gzipped_archive_with_the_digest_of_its_content() {
        for form in [Form::Packed, Form::Stored] {
            let layer = make("castai/agent:v1/linux/amd64", 10_000, form).unwrap();
            let mut archive = Vec::new();
            let mut gzip = flate2::read::GzDecoder::new(&layer.bytes[..]);
            io::copy(&mut gzip, &mut archive).unwrap();
            assert_eq!(digest(&archive), layer.diff_id);
            let mut tar = tar::Archive::new(&archive[..]);
            let sizes: Vec<_> = tar
                .entries()
                .unwrap()
                .map(|one| one.unwrap().size())
                .collect();
            assert_eq!(sizes[0], 10_000);
            assert_eq!(sizes.len(), 2);
        }
    }

    #[test]
    fn a_layer_in_a_file_is_one_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let layer = Layer::write("large", 3_000_000, file.path()).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(layer.digest, digest(&bytes));
        assert_eq!(layer.size, bytes.len() as u64);
        let mut archive = Vec::new();
        let mut gzip = flate2::read::GzDecoder::new(&bytes[..]);
        gzip.read_to_end(&mut archive).unwrap();
        assert_eq!(layer.diff_id, digest(&archive));
    }
}
