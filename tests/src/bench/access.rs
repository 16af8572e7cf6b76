//! What a registry was asked, from the line its log has for every answered request.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Bytes of answers to blob reads.
    pub sent: u64,
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

    fn add(&mut self, access: &Access) {
        let kind = operation(&access.method, &access.uri);
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        if kind == "MountBlob" && access.status == 201 {
            self.mounted += 1;
        }
        if kind == "GetBlob" {
            self.sent += access.written;
        }
    }
}

/// One answered request.
#[derive(Debug, PartialEq, Eq)]
struct Access {
    id: String,
    method: String,
    uri: String,
    status: u16,
    written: u64,
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

/// Adds up a log's lines, our own marks aside. A request that went wrong has a line per
/// error: it counts once.
fn count_lines(text: &str) -> Requests {
    let (mut requests, mut seen) = (Requests::default(), BTreeSet::new());
    for access in text.lines().filter_map(parse) {
        if !access.uri.contains("?mark=") && seen.insert(access.id.clone()) {
            requests.add(&access);
        }
    }
    requests
}

fn parse(line: &str) -> Option<Access> {
    if !line.contains("response completed") {
        return None;
    }
    let number = |name| field(line, name).and_then(|text| text.parse::<u64>().ok());
    Some(Access {
        id: field(line, "http.request.id")?.to_owned(),
        method: field(line, "http.request.method")?.to_owned(),
        uri: field(line, "http.request.uri")?.to_owned(),
        status: number("http.response.status").and_then(|code| u16::try_from(code).ok())?,
        written: number("http.response.written").unwrap_or(0),
    })
}

/// The value of `name=value` or `name="value"`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(' ').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, method: &str, uri: &str, status: u16, written: u64) -> String {
        let message = if status < 400 { "" } else { " with error" };
        format!(
            "time=\"2026-11-21T05:40:47Z\" level=info msg=\"response completed{message}\" \
             go.version=go1.26.8 http.request.host=\"127.0.0.1:45999\" http.request.id={id} \
             http.request.method={method} http.request.uri=\"{uri}\" \
             http.response.duration=\"579.798µs\" http.response.status={status} \
             http.response.written={written} vars.name=a/b\n"
        )
    }

    #[test]
    fn requests_are_counted_by_kind() {
        let log = [
            line("1", "GET", "/v2/", 200, 2),
            line("2", "HEAD", "/v2/a/b/manifests/v1", 404, 95),
            line("3", "GET", "/v2/a/b/blobs/sha256:0", 200, 1_000),
            line("4", "GET", "/v2/a/b/blobs/sha256:0", 206, 500),
            line(
                "5",
                "POST",
                "/v2/a/b/blobs/uploads/?mount=sha256:0&from=c",
                201,
                0,
            ),
            line(
                "6",
                "POST",
                "/v2/a/b/blobs/uploads/?from=c&mount=sha256:1",
                202,
                0,
            ),
            line("7", "POST", "/v2/a/b/blobs/uploads/?m0unt=sha256:1", 202, 0),
            line("8", "PUT", "/v2/a/b/manifests/v1", 400, 10),
            line("8", "PUT", "/v2/a/b/manifests/v1", 400, 10),
            line("9", "GET", "/v2/?mark=1.1", 200, 2),
            "time=\"2026-11-21T05:40:47Z\" level=info msg=\"redis not configured\"\n".to_owned(),
        ];
        let requests = count_lines(&log.concat());
        let kinds: Vec<_> = requests
            .kinds
            .iter()
            .map(|(kind, n)| (kind.as_str(), *n))
            .collect();
        let expected = [
            ("GetBlob", 2),
            ("HeadManifest", 1),
            ("MountBlob", 2),
            ("Ping", 1),
            ("PutManifest", 1),
            ("StartUpload", 1),
        ];
        assert_eq!(kinds, expected);
        assert_eq!((requests.mounted, requests.sent), (1, 1_500));
        assert_eq!((requests.total(), requests.writes()), (8, 4));
    }
}
