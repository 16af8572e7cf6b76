//! What a registry was asked, from the line its log has for every answered request
//! (`tests/servers/registry.go` writes it).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::ecr_gate::operation;
use crate::process;

/// How long the log may lag behind the answers.
const SETTLED: Duration = Duration::from_secs(10);

/// Requests by kind, and the bytes of blobs that were sent for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// By operation: `HeadBlob`, `PutManifest`, …
    pub kinds: BTreeMap<String, u64>,
    /// Mounts that were granted (they are in `kinds` too).
    pub mounted: u64,
    /// Bytes of blobs that were sent.
    pub sent: u64,
    /// Bytes of blobs that were received.
    pub received: u64,
}

impl Requests {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Those of one kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }

    /// Those that change something.
    #[must_use]
    pub fn writes(&self) -> u64 {
        let reads = ["Ping", "Head", "Get", "List"];
        let write = |kind: &String| !reads.iter().any(|read| kind.starts_with(read));
        let of = self.kinds.iter().filter(|(kind, _)| write(kind));
        of.map(|(_, count)| count).sum()
    }

    fn add(&mut self, access: &Access<'_>) {
        let kind = operation(access.method, access.uri);
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        if kind == "MountBlob" && access.status == 201 {
            self.mounted += 1;
        }
        match kind {
            "GetBlob" => self.sent += access.sent,
            "PutBlob" | "PatchBlob" | "StartUpload" => self.received += access.received,
            _ => {}
        }
    }
}

/// One answered request.
#[derive(Debug, PartialEq, Eq)]
struct Access<'a> {
    method: &'a str,
    uri: &'a str,
    status: u16,
    received: u64,
    sent: u64,
}

/// A registry's log, read on from where the last reading stopped.
pub struct Log {
    path: PathBuf,
    url: String,
    http: reqwest::Client,
    offset: u64,
    marks: u64,
}

impl Log {
    /// The log at `path` of the registry at `url`, from its present end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn new(path: &Path, url: &str, http: reqwest::Client) -> Result<Self> {
        let mut log = Self {
            path: path.to_owned(),
            url: url.to_owned(),
            http,
            offset: 0,
            marks: 0,
        };
        log.take().await?;
        Ok(log)
    }

    /// The requests since the last call.
    ///
    /// # Errors
    /// When the log cannot be read or does not get the line of our own request.
    pub async fn take(&mut self) -> Result<Requests> {
        self.marks += 1;
        let (pid, count) = (std::process::id(), self.marks);
        let mark = format!("/v2/?mark={pid}.{count}");
        self.http.get(format!("{}{mark}", self.url)).send().await?;
        let text = process::wait_until("the registry's log", SETTLED, async || {
            let text = self.rest()?;
            if !text.lines().any(|line| line.contains(&mark)) {
                bail!("{} has no line for {mark}", self.path.display());
            }
            Ok(text)
        });
        let text = text.await?;
        self.offset += text.len() as u64;
        Ok(count_lines(&text))
    }

    /// Whole lines from the offset on.
    fn rest(&self) -> Result<String> {
        let open = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let mut bytes = open().with_context(|| format!("cannot read {}", self.path.display()))?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(end.map_or(0, |at| at + 1));
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Adds up a log's lines, our own marks aside.
fn count_lines(text: &str) -> Requests {
    let mut requests = Requests::default();
    let theirs = |access: &Access<'_>| !access.uri.contains("?mark=");
    for access in text.lines().filter_map(parse).filter(theirs) {
        requests.add(&access);
    }
    requests
}

/// `access METHOD URI STATUS RECEIVED SENT`; other lines are the registry's own.
fn parse(line: &str) -> Option<Access<'_>> {
    let mut words = line.strip_prefix("access ")?.split(' ');
    Some(Access {
        method: words.next()?,
        uri: words.next()?,
        status: words.next()?.parse().ok()?,
        received: words.next()?.parse().ok()?,
        sent: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
        time=\"2026-11-21T05:40:47Z\" level=info msg=\"redis not configured\"\n\
        access GET /v2/ 200 0 2\n\
        access HEAD /v2/a/b/manifests/v1 200 0 0\n\
        access GET /v2/a/b/blobs/sha256:0 200 0 1000\n\
        access GET /v2/a/b/blobs/sha256:0 206 0 500\n\
        access POST /v2/a/b/blobs/uploads/?mount=sha256:0&from=c 201 0 0\n\
        access POST /v2/a/b/blobs/uploads/?from=c&mount=sha256:1 202 0 0\n\
        access POST /v2/a/b/blobs/uploads/?m0unt=sha256:1 202 0 0\n\
        access PATCH /v2/a/b/blobs/uploads/id?_state=x 202 700 0\n\
        access PUT /v2/a/b/blobs/uploads/id?_state=x&digest=sha256:1 201 30 0\n\
        access PUT /v2/a/b/manifests/v1 400 900 10\n\
        access GET /v2/?mark=1.1 200 0 2\n";

    #[test]
    fn requests_are_counted_by_kind() {
        let requests = count_lines(LOG);
        let kinds = requests.kinds.iter();
        let kinds: Vec<_> = kinds.map(|(kind, n)| (kind.as_str(), *n)).collect();
        let expected = [
            ("GetBlob", 2),
            ("HeadManifest", 1),
            ("MountBlob", 2),
            ("PatchBlob", 1),
            ("Ping", 1),
            ("PutBlob", 1),
            ("PutManifest", 1),
            ("StartUpload", 1),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(requests.mounted, 1);
        assert_eq!((requests.sent, requests.received), (1_500, 730));
        assert_eq!((requests.total(), requests.writes()), (10, 6));
    }
}
