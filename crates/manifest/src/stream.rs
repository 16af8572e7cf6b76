//! Streams of manifests: read piece by piece, cut where a document ends, so that memory does
//! not grow with the stream.
//!
//! Never here: what documents say.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use castlink_core::{Failure, Result};
use memchr::{memchr_iter, memmem, memrchr_iter};

/// Read at once. Larger only when a single document is.
const PIECE: usize = 1 << 20;

/// The largest document: memory has to end somewhere, and the API server takes 1.5 MB.
const LARGEST: usize = 256 << 20;

/// Behind a marker, to see what kind of marker it is.
const LOOK_AHEAD: usize = 512;

/// How stdin is called in messages.
pub const STDIN: &str = "stdin";

/// A file, or stdin.
pub struct Source {
    name: Arc<str>,
    input: Box<dyn Read + Send>,
}

/// Whole documents, one after the other.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The file.
    pub name: Arc<str>,
    /// The line of the file that it begins with.
    pub line: usize,
    /// True for the first one of a file.
    pub first: bool,
    /// What is written.
    pub text: String,
}

/// Opens `files` (`-` is stdin); stdin when there are none.
///
/// # Errors
/// Exit 2 when a file cannot be read, or stdin is a terminal.
pub fn open(files: &[PathBuf]) -> Result<Vec<Source>> {
    if files.is_empty() {
        return Ok(vec![stdin()?]);
    }
    files.iter().map(|file| source(file)).collect()
}

fn source(file: &Path) -> Result<Source> {
    if file == Path::new("-") {
        return stdin();
    }
    let name = file.display().to_string();
    let opened = File::open(file).and_then(|opened| match opened.metadata()?.is_dir() {
        true => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        false => Ok(opened),
    });
    let input = opened.map_err(|error| {
        Failure::usage(format!("manifest {name} cannot be read")).because(error)
    })?;
    Ok(Source {
        name: name.into(),
        input: Box::new(input),
    })
}

fn stdin() -> Result<Source> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage("no manifest: stdin is a terminal").hint(
            "name a file, or pipe manifests in: helm template … | castlink-upgrade rewrite",
        ));
    }
    Ok(Source {
        name: STDIN.into(),
        input: Box::new(io::stdin()),
    })
}

impl Source {
    /// Anything that can be read, by the name it has in messages.
    pub fn new(name: &str, input: impl Read + Send + 'static) -> Self {
        Self {
            name: name.into(),
            input: Box::new(input),
        }
    }
}

/// The pieces of all sources.
pub struct Pieces {
    sources: std::vec::IntoIter<Source>,
    open: Option<Open>,
}

struct Open {
    source: Source,
    rest: Vec<u8>,
    line: usize,
    first: bool,
}

impl Pieces {
    /// The pieces of `sources`, one source after the other.
    #[must_use]
    pub fn new(sources: Vec<Source>) -> Self {
        Self {
            sources: sources.into_iter(),
            open: None,
        }
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                none => none.insert(Open {
                    source: self.sources.next()?,
                    rest: Vec::new(),
                    line: 1,
                    first: true,
                }),
            };
            match open.next() {
                Ok(None) => self.open = None,
                Ok(Some(piece)) => return Some(Ok(piece)),
                Err(failure) => {
                    self.open = None;
                    return Some(Err(failure));
                }
            }
        }
    }
}

impl Open {
    fn next(&mut self) -> Result<Option<Piece>> {
        let mut want = PIECE;
        loop {
            let ended = self.read(want)?;
            if ended && self.rest.is_empty() {
                return Ok(None);
            }
            let end = match ended {
                true => Some(self.rest.len()),
                false => last_boundary(&self.rest),
            };
            if let Some(end) = end {
                return self.take(end).map(Some);
            }
            if want >= LARGEST {
                return Err(Failure::failed(format!(
                    "{}:{}: a document of more than {} MB",
                    self.source.name,
                    self.line,
                    LARGEST >> 20
                )));
            }
            want *= 2;
        }
    }

    /// Reads until there are `want` bytes; true at the end of the input.
    fn read(&mut self, want: usize) -> Result<bool> {
        let missing = want.saturating_sub(self.rest.len()) as u64;
        self.rest.reserve(want.saturating_sub(self.rest.len()));
        let mut limited = self.source.input.by_ref().take(missing);
        let read = limited.read_to_end(&mut self.rest).map_err(|error| {
            Failure::failed(format!("reading {}", self.source.name)).because(error)
        })?;
        Ok((read as u64) < missing)
    }

    fn take(&mut self, end: usize) -> Result<Piece> {
        let rest = self.rest.split_off(end);
        let bytes = std::mem::replace(&mut self.rest, rest);
        let line = self.line;
        self.line += lines(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| self.not_text(line, &error))?;
        Ok(Piece {
            name: self.source.name.clone(),
            line,
            first: std::mem::take(&mut self.first),
            text,
        })
    }

    fn not_text(&self, line: usize, error: &std::string::FromUtf8Error) -> Failure {
        let bytes = error.as_bytes();
        let valid = error.utf8_error().valid_up_to();
        let line = line + lines(&bytes[..valid]);
        let failure = Failure::usage(format!("{}:{line}: not UTF-8", self.source.name));
        match bytes.get(..2) {
            Some([0xff, 0xfe] | [0xfe, 0xff]) => {
                failure.hint("it is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`")
            }
            _ => failure,
        }
    }
}

/// How many lines end in `bytes`.
#[must_use]
pub fn lines(bytes: &[u8]) -> usize {
    memchr_iter(b'\n', bytes).count()
}

/// A part of a piece: from one `---` to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its bytes.
    pub range: Range<usize>,
    /// The byte at which it begins to be YAML: behind a byte order mark, and behind a `---`
    /// with the first key right behind it, which YAML takes for a part of the key.
    pub start: usize,
}

impl Part {
    /// True when its `---` has the first key right behind it, or a brace; a comment is none
    /// of kubectl's business either.
    #[must_use]
    pub fn is_glued(&self, text: &str) -> bool {
        text[self.range.start..self.start] == *"---" && !text[self.start..].starts_with('#')
    }
}

/// The parts of a piece, in order; together they are all of it.
#[must_use]
pub fn parts(text: &str) -> Vec<Part> {
    let bytes = text.as_bytes();
    let mut starts = vec![0];
    for at in memmem::find_iter(bytes, b"\n---") {
        let directive = || text[starts[starts.len() - 1]..].starts_with('%');
        if marker(&bytes[at + 1..]).is_some() && !directive() {
            starts.push(at + 1);
        }
    }
    let ends = starts[1..].iter().copied().chain([text.len()]);
    let ranges = starts.iter().zip(ends);
    ranges.map(|(start, end)| part(text, *start..end)).collect()
}

fn part(text: &str, range: Range<usize>) -> Part {
    Part {
        start: range.start + prefix(&text[range.clone()]),
        range,
    }
}

/// How much of a part is not YAML: a marker with something right behind it, or everything
/// up to a byte order mark, which kubectl takes at the beginning of each document.
fn prefix(part: &str) -> usize {
    let mark = '\u{feff}';
    let first = match marker(part.as_bytes()) {
        Some(Marker::Glued) => return 3,
        Some(Marker::Plain) => part.find('\n').map_or(part.len(), |end| end + 1),
        None => 0,
    };
    match part[first..].starts_with(mark) {
        true => first + mark.len_utf8(),
        false => 0,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    /// `---` alone, or with a blank behind it.
    Plain,
    /// `---apiVersion: v1`, `---# Source: x`, `---{"apiVersion":"v1"}`: what Helm's templates
    /// leave of a lost line end, and Helm itself splits at.
    Glued,
}

/// What kind of marker the line that begins `rest` is, if any.
fn marker(line: &[u8]) -> Option<Marker> {
    let rest = line.strip_prefix(b"---")?;
    match rest.first() {
        None | Some(b' ' | b'\t' | b'\r' | b'\n') => Some(Marker::Plain),
        Some(b'#' | b'{') => Some(Marker::Glued),
        Some(_) => is_key(rest).then_some(Marker::Glued),
    }
}

/// True when `rest` begins with `word:` and a blank or the end of the line.
fn is_key(rest: &[u8]) -> bool {
    let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric());
    let length = length.count();
    length > 0
        && matches!(
            rest.get(length..length + 2),
            Some([b':', b' ' | b'\t' | b'\r' | b'\n'])
        )
}

/// Where the last document of `bytes` begins, which more bytes will follow.
fn last_boundary(bytes: &[u8]) -> Option<usize> {
    let seen = &bytes[..bytes.len().saturating_sub(LOOK_AHEAD)];
    memrchr_iter(b'\n', seen)
        .map(|at| at + 1)
        .find(|start| marker(&bytes[*start..]).is_some())
}
