//! Reading a blob as if the connection never broke: cuts and stalls are resumed where
//! they happened.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Response, StatusCode, header::CONTENT_RANGE};
use url::Url;

use super::{
    client::Registry,
    error::{Error, Kind, Result, Subject},
    retry::Backoff,
};
use crate::{content::Blob, digest::Hasher};

/// Progress that makes up for an earlier failure; less would let a server that sends a
/// byte per connection hold us for ever.
const PROGRESS: u64 = 256 << 10;

/// The fewest bytes a second that count as a transfer. A source that is slower while we
/// wait for it is cut as one that has stalled: it would hold its stream for days.
const SLOWEST: u64 = 1_000;

/// One blob being read.
#[derive(Debug)]
pub struct Download<'a> {
    registry: &'a Registry,
    repository: &'a str,
    blob: &'a Blob,
    subject: Subject,
    backoff: Backoff<'a>,
    response: Option<Response>,
    /// Where the registry sent us for the bytes. Asked again while it answers: the registry
    /// need not be asked for the way at every cut.
    address: Option<Url>,
    /// How an early start failed.
    failure: Option<Error>,
    /// Bytes handed out.
    offset: u64,
    /// The hash of what was there before.
    begun: Option<Hasher>,
    /// Bytes of the current answer to leave out: it started before `offset`.
    skip: u64,
    /// `offset` at the last failure.
    failed_at: u64,
    /// False once the server could not serve a range.
    ranges: bool,
    flow: Flow,
}

/// What came while we waited: time spent on the targets is not the source's.
#[derive(Debug, Default)]
struct Flow {
    waited: Duration,
    bytes: u64,
}

impl<'a> Download<'a> {
    /// Nothing is asked before the first [`Download::next`].
    pub fn new(registry: &'a Registry, repository: &'a str, blob: &'a Blob) -> Self {
        Self {
            registry,
            repository,
            blob,
            subject: registry.subject(format!(
                "{} of {}/{repository}",
                blob.digest.short(),
                registry.host()
            )),
            backoff: registry.retry.start(),
            response: None,
            address: None,
            failure: None,
            offset: 0,
            begun: None,
            skip: 0,
            failed_at: 0,
            ranges: true,
            flow: Flow::default(),
        }
    }

    /// Leaves out the first `taken` bytes, whose hash is `hasher`: they are there already.
    pub fn resume(&mut self, taken: u64, hasher: Hasher) {
        self.offset = taken;
        self.failed_at = taken;
        self.begun = Some(hasher);
    }

    /// The hash of what is left out: of nothing, as a rule.
    pub fn hasher(&mut self) -> Hasher {
        self.begun
            .take()
            .unwrap_or_else(|| self.blob.digest.hasher())
    }

    /// Asks for the first bytes ahead of [`Download::next`], which tells how that went.
    pub async fn start(&mut self) {
        if self.blob.size == 0 {
            return;
        }
        match self.open().await {
            Ok(response) => self.response = Some(response),
            Err(error) => self.failure = Some(error),
        }
    }

    /// What is read.
    pub fn blob(&self) -> &'a Blob {
        self.blob
    }

    /// What this download is about, for errors.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Bytes handed out so far.
    pub fn taken(&self) -> u64 {
        self.offset
    }

    /// The next bytes; none at the end, which is only reported when exactly the expected
    /// number of bytes came.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when there are more bytes than expected; otherwise what the last
    /// try failed with.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.offset < self.blob.size {
            match self.step().await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(error) => {
                    self.response = None;
                    self.flow = Flow::default();
                    if self.offset >= self.failed_at + PROGRESS {
                        self.backoff.succeeded();
                    }
                    self.failed_at = self.offset;
                    self.backoff.after(error).await?;
                }
            }
        }
        Ok(None)
    }

    /// One read; none when there is nothing to hand out yet.
    async fn step(&mut self) -> Result<Option<Bytes>> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let mut response = match self.response.take() {
            Some(response) => response,
            None => self.open().await?,
        };
        let asked = Instant::now();
        let chunk = match tokio::time::timeout(self.registry.stall, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|err| self.subject.transport(err))?,
            Err(_) => return Err(self.subject.stalled(self.registry.stall)),
        };
        let Some(bytes) = chunk else {
            return Err(self
                .subject
                .error(Kind::Transport, "the answer ended too early"));
        };
        self.flow
            .check(asked.elapsed(), bytes.len(), self.registry.stall)
            .map_err(|text| self.subject.error(Kind::Transport, text))?;
        self.response = Some(response);
        self.hand_out(bytes)
    }

    fn hand_out(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>> {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        let bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
        if bytes.is_empty() {
            return Ok(None);
        }
        self.offset += bytes.len() as u64;
        if self.offset > self.blob.size {
            return Err(self.subject.error(
                Kind::Corrupt,
                format!("more than the expected {} bytes", self.blob.size),
            ));
        }
        Ok(Some(bytes))
    }

    async fn open(&mut self) -> Result<Response> {
        let from = if self.ranges { self.offset } else { 0 };
        let response = self.ask(from).await?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => self.range_start(&response)?,
            // The server ignores ranges: everything again, and the beginning is left out.
            _ => {
                self.check_length(&response)?;
                0
            }
        };
        self.skip = self.offset - start;
        let asked = self.registry.blob_url(self.repository, &self.blob.digest);
        self.address = Some(response.url().clone()).filter(|address| *address != asked);
        Ok(response)
    }

    /// Asks where the bytes came from last, and the registry when that is refused.
    async fn ask(&mut self, from: u64) -> Result<Response> {
        let registry = self.registry;
        if let Some(address) = self.address.take()
            && let Some(response) = registry.open_address(&address, from, &self.subject).await?
        {
            return Ok(response);
        }
        let asked = registry.open_blob(self.repository, self.blob, from, &self.subject);
        asked.await.map_err(|error| self.without_ranges(error))
    }

    /// A range that cannot be had does not mean that the blob cannot.
    fn without_ranges(&mut self, mut error: Error) -> Error {
        let refused = error.status == Some(StatusCode::RANGE_NOT_SATISFIABLE);
        if refused && self.ranges && self.offset > 0 {
            self.ranges = false;
            error.kind = Kind::Transport;
        }
        error
    }

    fn range_start(&self, response: &Response) -> Result<u64> {
        let text = response.headers().get(CONTENT_RANGE);
        let range = text.and_then(|text| Range::parse(text.to_str().ok()?));
        match range {
            Some(Range {
                total: Some(total), ..
            }) if total != self.blob.size => Err(self.wrong_length(total)),
            Some(range) if range.first <= self.offset && self.offset <= range.last => {
                Ok(range.first)
            }
            _ => Err(self
                .subject
                .nonsense("the answer is not the range that was asked for")),
        }
    }

    /// A wrong length is known before the first byte is sent anywhere.
    fn check_length(&self, response: &Response) -> Result<()> {
        match response.content_length() {
            Some(length) if length != self.blob.size => Err(self.wrong_length(length)),
            _ => Ok(()),
        }
    }

    fn wrong_length(&self, length: u64) -> Error {
        let want = self.blob.size;
        let text = format!("{length} bytes instead of the {want} that the manifest says");
        self.subject.error(Kind::Corrupt, text)
    }
}

impl Flow {
    /// Counts one read; the error says how little came in the last `window` of waiting.
    fn check(&mut self, waited: Duration, bytes: usize, window: Duration) -> Result<(), String> {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < window {
            return Ok(());
        }
        let Self { waited, bytes } = std::mem::take(self);
        if bytes >= SLOWEST * waited.as_secs() {
            return Ok(());
        }
        Err(format!("only {bytes} bytes in {} s", waited.as_secs()))
    }
}

/// A `Content-Range`: `bytes 100-199/200`, or `…/*` of unknown length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) total: Option<u64>,
}

impl Range {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let found = Self {
            first: number(first)?,
            last: number(last)?,
            total: match total.trim() {
                "*" => None,
                total => Some(number(total)?),
            },
        };
        let inside = found.total.is_none_or(|total| found.last < total);
        (found.first <= found.last && inside).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_make_sense_or_are_none() {
        let range = |first, last, total| Some(Range { first, last, total });
        for (text, want) in [
            ("bytes 0-0/1", range(0, 0, Some(1))),
            ("bytes 100-199/200", range(100, 199, Some(200))),
            ("bytes 100-199/*", range(100, 199, None)),
            ("bytes 100-199/199", None),
            ("bytes 200-199/*", None),
            ("bytes */200", None),
            ("bytes 100-199", None),
            ("bytes -100/200", None),
            ("items 1-2/3", None),
            ("bytes 1-99999999999999999999/*", None),
            ("", None),
        ] {
            assert_eq!(Range::parse(text), want, "{text}");
        }
    }

    #[test]
    fn a_trickle_is_a_stall() {
        let window = Duration::from_secs(30);
        let mut flow = Flow::default();
        let mut step = |seconds, bytes| flow.check(Duration::from_secs(seconds), bytes, window);
        assert_eq!(step(29, 1), Ok(()), "not yet");
        assert!(step(1, 1).is_err());
        assert_eq!(step(29, 0), Ok(()), "a new window");
        assert_eq!(step(1, 30_000), Ok(()));
    }
}
