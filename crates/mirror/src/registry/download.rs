//! Reading a blob as if the connection never broke: cuts and stalls are resumed where
//! they happened.

use bytes::Bytes;
use reqwest::{Response, StatusCode, header::CONTENT_RANGE};

use super::{
    client::Registry,
    error::{Error, Kind, Result, Subject},
    retry::Backoff,
};
use crate::content::Blob;

/// Progress that makes up for an earlier failure; less would let a server that sends a
/// byte per connection hold us for ever.
const PROGRESS: u64 = 256 << 10;

/// One blob being read.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    registry: &'a Registry,
    repository: &'a str,
    blob: &'a Blob,
    subject: Subject,
    backoff: Backoff<'a>,
    response: Option<Response>,
    /// How an early start failed.
    failure: Option<Error>,
    /// Bytes handed out.
    offset: u64,
    /// Bytes of the current answer to leave out: it started before `offset`.
    skip: u64,
    /// `offset` at the last failure.
    failed_at: u64,
}

impl<'a> Download<'a> {
    /// Nothing is asked before the first [`Download::next`].
    pub(crate) fn new(registry: &'a Registry, repository: &'a str, blob: &'a Blob) -> Self {
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
            failure: None,
            offset: 0,
            skip: 0,
            failed_at: 0,
        }
    }

    /// Asks for the first bytes ahead of [`Download::next`], which tells how that went.
    pub(crate) async fn start(&mut self) {
        if self.blob.size == 0 {
            return;
        }
        match self.open().await {
            Ok(response) => self.response = Some(response),
            Err(error) => self.failure = Some(error),
        }
    }

    /// What is read.
    pub(crate) fn blob(&self) -> &'a Blob {
        self.blob
    }

    /// What this download is about, for errors.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Bytes handed out so far.
    pub(crate) fn taken(&self) -> u64 {
        self.offset
    }

    /// The next bytes; none at the end, which is only reported when exactly the expected
    /// number of bytes came.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when there are more bytes than expected; otherwise what the last
    /// try failed with.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.offset < self.blob.size {
            match self.step().await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(error) => {
                    self.response = None;
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
        let chunk = match tokio::time::timeout(self.registry.stall, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|err| self.subject.transport(err))?,
            Err(_) => return Err(self.subject.stalled(self.registry.stall)),
        };
        let Some(bytes) = chunk else {
            return Err(self
                .subject
                .error(Kind::Transport, "the answer ended too early"));
        };
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
        let asked = self
            .registry
            .open_blob(self.repository, self.blob, self.offset, &self.subject);
        let response = asked.await?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(&response)
                .filter(|start| *start <= self.offset)
                .ok_or_else(|| {
                    self.subject
                        .nonsense("the answer is not the range that was asked for")
                })?,
            // The server ignores ranges: everything again, and the beginning is left out.
            _ => 0,
        };
        if response.status() == StatusCode::OK {
            self.check_length(&response)?;
        }
        self.skip = self.offset - start;
        Ok(response)
    }

    /// A wrong length is known before the first byte is sent anywhere.
    fn check_length(&self, response: &Response) -> Result<()> {
        match response.content_length() {
            Some(length) if length != self.blob.size => {
                let text = format!(
                    "{length} bytes instead of the {} that the manifest says",
                    self.blob.size
                );
                Err(self.subject.error(Kind::Corrupt, text))
            }
            _ => Ok(()),
        }
    }
}

/// `bytes 100-199/200` starts at 100.
fn range_start(response: &Response) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}
