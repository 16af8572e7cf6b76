//! The lock file: which digest each reference stood for when somebody agreed to it. Made to
//! be reviewed in git: sorted, one image an entry, the same bytes for the same content, and
//! nothing in it that changes by itself.
//!
//! Never here: asking registries. `castlink-mirror lock` does that.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use crate::{Failure, ImageRef, Result};

/// The file that is read and written when none is named.
pub const FILE: &str = "castlink.lock";

/// The version of the format.
const VERSION: i64 = 1;

const HEADER: &str = "\
# What each image reference stands for. Written by `castlink-mirror lock`, read by
# `castlink-mirror plan|copy|verify --lock`.
version = 1
";

/// The content of a lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    images: Vec<Locked>,
}

/// One image of a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The reference, as it is written in manifests.
    pub source: ImageRef,
    /// The digest of its manifest or index, `sha256:…`.
    pub digest: String,
    /// The platforms in it, in the order of the index; empty when it is of one platform.
    pub platforms: Vec<String>,
    /// Bytes of everything in it, over all platforms, each blob counted once.
    pub size: u64,
}

impl Lock {
    /// A lock of these images, sorted by their references; of two with the same reference
    /// the first counts.
    #[must_use]
    pub fn new(mut images: Vec<Locked>) -> Self {
        images.sort_by(|one, other| one.source.literal().cmp(other.source.literal()));
        images.dedup_by(|one, other| one.source == other.source);
        Self { images }
    }

    /// The images, sorted by their references.
    #[must_use]
    pub fn images(&self) -> &[Locked] {
        &self.images
    }

    /// The image that `source`, as it is written, is locked as.
    #[must_use]
    pub fn get(&self, source: &ImageRef) -> Option<&Locked> {
        let found = self
            .images
            .binary_search_by(|image| image.source.literal().cmp(source.literal()));
        found.ok().map(|at| &self.images[at])
    }

    /// Reads the text of a lock file.
    ///
    /// # Errors
    /// Exit 2, with the line: not a lock file, of another version, an unknown key, a
    /// malformed reference or digest, a reference that occurs twice.
    pub fn parse(text: &str) -> Result<Self> {
        check_version(text)?;
        let file: File = toml::from_str(text).map_err(|err| malformed(text, &err))?;
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut images = Vec::new();
        for entry in file.image {
            let line = line(text, entry.source.span().start);
            let source = entry.source.get_ref().clone();
            if let Some(first) = lines.insert(source.clone(), line) {
                return Err(Failure::usage(format!(
                    "line {line}: {source} is locked twice, first in line {first}"
                ))
                .hint("keep the entry that is right and delete the other"));
            }
            images.push(entry.check(text)?);
        }
        Ok(Self::new(images))
    }

    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut out = HEADER.to_owned();
        for image in &self.images {
            let platforms: Vec<String> = image.platforms.iter().map(|name| quoted(name)).collect();
            let _ = write!(
                out,
                "\n[[image]]\nsource = {}\ndigest = {}\nplatforms = [{}]\nsize = {}\n",
                quoted(image.source.literal()),
                quoted(&image.digest),
                platforms.join(", "),
                image.size,
            );
        }
        out
    }

    /// Reads a lock file; none when it does not exist.
    ///
    /// # Errors
    /// As [`Lock::parse`]; also when the file cannot be read.
    pub fn read_if_there(file: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(unreadable(file).because(err)),
        };
        Self::parse(&text)
            .map(Some)
            .map_err(|failure| failure.context(format!("lock file {}", file.display())))
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// As [`Lock::read_if_there`]; also exit 2 when it does not exist.
    pub fn read(file: &Path) -> Result<Self> {
        Self::read_if_there(file)?.ok_or_else(|| {
            Failure::usage(format!("lock file {} does not exist", file.display()))
                .hint("write it: castlink-mirror lock REFERENCE…")
        })
    }

    /// Writes the file, whole or not at all. A file that holds this already is not touched.
    ///
    /// # Errors
    /// Exit 1 when it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = self.render();
        if fs::read(file).is_ok_and(|held| held == text.as_bytes()) {
            return Ok(());
        }
        // A link stays one: what it names is replaced.
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let beside = beside(&file);
        let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &file));
        written.map_err(|err| {
            // What could not be put in place is of no use to anybody.
            let _ = fs::remove_file(&beside);
            Failure::failed(format!("lock file {} cannot be written", file.display())).because(err)
        })
    }
}

impl Locked {
    /// The same image by its digest alone, as registries are asked for it.
    ///
    /// # Errors
    /// Exit 2 when the digest is none.
    pub fn pinned(&self) -> Result<ImageRef> {
        format!("{}@{}", self.source.literal_name(), self.digest).parse()
    }
}

fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn unreadable(file: &Path) -> Failure {
    Failure::usage(format!("lock file {} cannot be read", file.display()))
}

/// Of a file only the version: whatever else a newer one holds, its version is what is said.
#[derive(Deserialize)]
struct Head {
    version: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    image: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    source: Spanned<String>,
    digest: Spanned<String>,
    platforms: Vec<String>,
    size: u64,
}

impl Entry {
    fn check(self, text: &str) -> Result<Locked> {
        let at = |span: std::ops::Range<usize>| format!("line {}", line(text, span.start));
        let place = at(self.source.span());
        let parsed = self.source.get_ref().parse::<ImageRef>();
        let source = parsed.map_err(|failure| failure.context(place))?;
        let place = at(self.digest.span());
        let locked = Locked {
            source,
            digest: self.digest.into_inner(),
            platforms: self.platforms,
            size: self.size,
        };
        locked
            .pinned()
            .map_err(|_| Failure::usage(format!("{place}: `{}` is not a digest", locked.digest)))?;
        if locked
            .source
            .digest()
            .is_some_and(|pinned| pinned != locked.digest)
        {
            return Err(Failure::usage(format!(
                "{place}: {} is pinned to another digest",
                locked.source
            )));
        }
        Ok(locked)
    }
}

fn check_version(text: &str) -> Result<()> {
    let head: Head = toml::from_str(text).map_err(|err| malformed(text, &err))?;
    let Some(version) = head.version else {
        return Err(Failure::usage("this is not a lock file: it has no version")
            .hint("write one: castlink-mirror lock REFERENCE…"));
    };
    if version.get_ref().as_integer() == Some(VERSION) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "line {}: format version {}, this binary reads version {VERSION}",
        line(text, version.span().start),
        version.get_ref()
    ))
    .hint("use the castlink version that wrote it, or a newer one"))
}

fn malformed(text: &str, err: &toml::de::Error) -> Failure {
    let message = err.message().replace('\n', " ");
    match err.span() {
        Some(span) => Failure::usage(format!("line {}: {message}", line(text, span.start))),
        None => Failure::usage(message),
    }
}

/// The line that byte `at` is in.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;

    fn digest(fill: char) -> String {
        format!("sha256:{}", fill.to_string().repeat(64))
    }

    fn locked(source: &str, fill: char, platforms: &[&str]) -> Locked {
        Locked {
            source: source.parse().unwrap(),
            digest: digest(fill),
            platforms: platforms.iter().map(|&name| name.to_owned()).collect(),
            size: 42,
        }
    }

    fn sample() -> Lock {
        Lock::new(vec![
            locked(
                "ghcr.io/castai/images/agent:v1",
                'b',
                &["linux/amd64", "linux/arm64"],
            ),
            locked("busybox", 'a', &[]),
            locked("busybox", 'c', &[]),
        ])
    }

    #[test]
    fn what_is_written_reads_back_byte_for_byte() {
        let lock = sample();
        assert_eq!(lock.images().len(), 2);
        let text = lock.render();
        assert_eq!(Lock::parse(&text).unwrap(), lock);
        assert_eq!(Lock::parse(&text).unwrap().render(), text);
        let entry = format!(
            "\n[[image]]\nsource = \"busybox\"\ndigest = \"{}\"\nplatforms = []\nsize = 42\n\n[[image]]\nsource = \"ghcr.io",
            digest('a')
        );
        assert!(text.contains(&entry), "{text}");
        assert_eq!(
            lock.get(&"busybox".parse().unwrap()),
            Some(&lock.images()[0])
        );
        assert_eq!(lock.get(&"busybox:latest".parse().unwrap()), None);
    }

    #[test]
    fn names_from_the_network_cannot_leave_their_string() {
        let hostile = "linux/\"]\n[[image]]\nsource = \"evil\u{1b}";
        let lock = Lock::new(vec![locked("busybox", 'a', &[hostile])]);
        assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
    }

    fn refused(text: &str) -> String {
        let failure = Lock::parse(text).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage, "{text}");
        failure.one_line()
    }

    #[test]
    fn mistakes_are_refused_with_their_line() {
        let good = sample().render();
        let at = |needle: &str| line(&good, good.find(needle).unwrap());
        let second = good.replace("ghcr.io/castai/images/agent:v1", "busybox");
        for (text, want) in [
            (
                second,
                format!(
                    "line {}: busybox is locked twice, first in line {}",
                    at("ghcr"),
                    at("busybox")
                ),
            ),
            (
                good.replace("busybox", "BAD ref"),
                format!("line {}: malformed image reference", at("busybox")),
            ),
            (
                good.replace(&digest('b'), "sha256:b"),
                format!("line {}: `sha256:b` is not a digest", at(&digest('b'))),
            ),
            (
                good.replace("\"busybox\"", &format!("\"busybox@{}\"", digest('d'))),
                format!(
                    "line {}: busybox@{} is pinned",
                    at(&digest('a')),
                    digest('d')
                ),
            ),
            (
                good.replace("size = 42", "sise = 42"),
                format!("line {}: unknown field `sise`", at("size")),
            ),
            (
                good.replace("size = 42", "size = -1"),
                format!("line {}: ", at("size")),
            ),
            (
                good.replace("version = 1", "version = 2"),
                "line 3: format version 2, this".to_owned(),
            ),
            (
                good.replace("version = 1", "version = \"1\""),
                "line 3: format version \"1\"".to_owned(),
            ),
            (
                "[[image]]\n".to_owned(),
                "this is not a lock file".to_owned(),
            ),
            (
                "version = 1\n[[image]]\nsource = \"a\"\n".to_owned(),
                "line 2: missing field `digest`".to_owned(),
            ),
            ("version = 1\nx\n".to_owned(), "line 2: ".to_owned()),
        ] {
            let got = refused(&text);
            assert!(got.starts_with(&want), "{got} instead of {want}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_mistake() {
        assert!(refused("version = 9\n[new]\nx = 1\n").contains("format version 9"));
    }
}
