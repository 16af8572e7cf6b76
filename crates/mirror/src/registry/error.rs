//! What can go wrong between us and a registry, by what a caller can do about it.
//!
//! Classified by status and by the codes of the distribution specification, never by
//! message text.

use std::{error::Error as StdError, fmt, time::Duration};

use castlink_core::{Exit, Failure};
use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

/// The longest error body that is read.
const MAX_BODY: usize = 64 << 10;

/// The longest `Retry-After` that is waited for; a server that asks for more is given up.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Result of a registry call.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call.
#[derive(Debug)]
pub(crate) struct Error {
    /// What a caller can do about it.
    pub(crate) kind: Kind,
    /// The host that was asked, by its name in references.
    host: String,
    /// What it was asked for: `ghcr.io/castai/images/agent:v1`.
    what: String,
    /// The registry's own code and message, or the transport's.
    detail: String,
    /// How long the server wants us to wait.
    pub(crate) retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Said already by somebody who knows more: the AWS session, the configuration.
    failure: Option<Failure>,
}

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It does not exist.
    NotFound,
    /// No credentials, wrong ones, or not allowed.
    Denied,
    /// Too many requests.
    Throttled,
    /// The server's fault.
    Unavailable,
    /// Connecting, a reset, an end too early, or no byte for too long.
    Transport,
    /// The content is not what its digest or length says.
    Corrupt,
    /// An immutable tag holds something else.
    Conflict,
    /// Refused for another reason, or an answer that makes no sense.
    Refused,
}

impl Kind {
    /// True when the same request may succeed later.
    pub(crate) fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Transport)
    }

    fn exit(self) -> Exit {
        match self {
            Self::Denied => Exit::Credentials,
            Self::Throttled | Self::Unavailable | Self::Transport => Exit::Unreachable,
            Self::Conflict => Exit::Conflict,
            Self::NotFound | Self::Corrupt | Self::Refused => Exit::Failed,
        }
    }
}

/// Whom and what a call was about: the beginning of every error.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The registry, by its name in references.
    pub(crate) host: String,
    /// `ghcr.io/castai/images/agent:v1`, `upload of sha256:0a1… to …`.
    pub(crate) what: String,
}

impl Subject {
    /// An error about this subject.
    pub(crate) fn error(&self, kind: Kind, detail: impl Into<String>) -> Error {
        Error {
            kind,
            host: self.host.clone(),
            what: self.what.clone(),
            detail: detail.into(),
            retry_after: None,
            source: None,
            failure: None,
        }
    }

    /// A failure of something the call stands on: credentials, configuration. It has been
    /// retried where that makes sense.
    pub(crate) fn fatal(&self, failure: Failure) -> Error {
        let kind = match failure.exit() {
            Exit::Credentials => Kind::Denied,
            _ => Kind::Refused,
        };
        let mut error = self.error(kind, "");
        error.failure = Some(failure);
        error
    }

    /// An answer that makes no sense.
    pub(crate) fn nonsense(&self, detail: impl Into<String>) -> Error {
        self.error(Kind::Refused, detail)
    }

    /// The connection failed, before or within an answer. The URL is left out: it may
    /// carry a signature.
    pub(crate) fn transport(&self, err: reqwest::Error) -> Error {
        let kind = if err.is_redirect() || err.is_builder() {
            Kind::Refused
        } else {
            Kind::Transport
        };
        let mut error = self.error(kind, "");
        error.source = Some(Box::new(err.without_url()));
        error
    }

    /// No byte for too long.
    pub(crate) fn stalled(&self, limit: Duration) -> Error {
        self.error(
            Kind::Transport,
            format!("no progress for {} s", limit.as_secs()),
        )
    }

    /// The error an unsuccessful answer stands for.
    pub(crate) async fn answer(&self, mut response: Response) -> Error {
        let status = response.status();
        let retry_after = retry_after(&response);
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY {
                break;
            }
        }
        let first = first_error(&body);
        let detail = match &first {
            Some(error) => format!("{status}, {error}"),
            None => status.to_string(),
        };
        let mut error = self.error(
            kind(status, first.as_ref().map(|error| error.code.as_str())),
            detail,
        );
        error.retry_after = retry_after;
        error
    }
}

fn kind(status: StatusCode, code: Option<&str>) -> Kind {
    match (status.as_u16(), code) {
        // ECR refuses to move an immutable tag with 400 or 409, depending on its age.
        (400 | 409, Some("TAG_INVALID" | "TAG_IMMUTABLE" | "ImageTagAlreadyExistsException"))
        | (409, _) => Kind::Conflict,
        (_, Some("TOOMANYREQUESTS")) | (429, _) => Kind::Throttled,
        (401 | 403, _) => Kind::Denied,
        (404, _) => Kind::NotFound,
        (408 | 425 | 500.., _) => Kind::Unavailable,
        _ => Kind::Refused,
    }
}

/// Seconds or a date, as HTTP allows both.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

#[derive(Deserialize)]
struct Body {
    errors: Vec<BodyError>,
}

#[derive(Deserialize)]
struct BodyError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if self.message.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.message.trim().trim_end_matches('.'))
    }
}

fn first_error(body: &[u8]) -> Option<BodyError> {
    let body: Body = serde_json::from_slice(body).ok()?;
    body.errors.into_iter().next()
}

impl Error {
    /// The same error as the end of a command or of one image.
    pub(crate) fn into_failure(self) -> Failure {
        if let Some(failure) = self.failure {
            return failure;
        }
        let host = self.host.clone();
        let failure = match self.kind {
            Kind::NotFound => Failure::new(
                self.kind.exit(),
                format!("{}: not found in {host}", self.what),
            ),
            Kind::Denied => {
                Failure::new(self.kind.exit(), format!("{}: denied by {host}", self.what))
            }
            Kind::Corrupt => Failure::new(
                self.kind.exit(),
                format!("{}: corrupt content from {host}", self.what),
            ),
            Kind::Conflict => Failure::new(
                self.kind.exit(),
                format!("{}: {host} keeps what is under that tag", self.what),
            ),
            Kind::Refused => Failure::new(
                self.kind.exit(),
                format!("{}: refused by {host}", self.what),
            ),
            Kind::Throttled | Kind::Unavailable | Kind::Transport => Failure::new(
                self.kind.exit(),
                format!("{}: no success with {host}", self.what),
            ),
        };
        let failure = match hint(self.kind, &host) {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
        if self.detail.is_empty() && self.source.is_none() {
            return failure;
        }
        failure.because(Detail {
            text: self.detail,
            source: self.source,
        })
    }
}

fn hint(kind: Kind, host: &str) -> Option<String> {
    Some(match kind {
        Kind::NotFound => "check the name and the tag; a registry may also answer so when credentials are missing".into(),
        Kind::Denied => format!(
            "check the name (registries also answer so for images that do not exist), log in with `docker login {host}`, \
             or set username and password_file in [registries.\"{host}\"]"
        ),
        Kind::Throttled => "wait a little and run it again: it does only what is missing".into(),
        Kind::Unavailable | Kind::Transport => format!(
            "check the network and HTTPS_PROXY, or set `endpoint` (and `ca`) in [registries.\"{host}\"]; then run it again"
        ),
        Kind::Corrupt => "something between here and the registry changes content: check proxies, then run it again".into(),
        Kind::Conflict | Kind::Refused => return None,
    })
}

#[derive(Debug)]
struct Detail {
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) if self.text.is_empty() => source.fmt(f),
            _ => f.write_str(&self.text),
        }
    }
}

impl StdError for Detail {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        if self.text.is_empty() {
            source.source()
        } else {
            Some(source)
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {:?}", self.what, self.host, self.kind)?;
        if !self.detail.is_empty() {
            write!(f, ", {}", self.detail)?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_codes() {
        for (status, code, want) in [
            (404, None, Kind::NotFound),
            (401, None, Kind::Denied),
            (403, Some("DENIED"), Kind::Denied),
            (400, Some("TAG_INVALID"), Kind::Conflict),
            (400, Some("MANIFEST_INVALID"), Kind::Refused),
            (403, Some("TOOMANYREQUESTS"), Kind::Throttled),
            (429, None, Kind::Throttled),
            (503, None, Kind::Unavailable),
            (405, Some("UNSUPPORTED"), Kind::Refused),
            (416, None, Kind::Refused),
        ] {
            assert_eq!(
                kind(StatusCode::from_u16(status).unwrap(), code),
                want,
                "{status} {code:?}"
            );
        }
    }

    #[test]
    fn a_missing_image_is_named_with_its_registry() {
        let subject = Subject {
            host: "us-docker.pkg.dev".into(),
            what: "us-docker.pkg.dev/castai-hub/library/agent:v9".into(),
        };
        let failure = subject
            .error(Kind::NotFound, "404 Not Found")
            .into_failure();
        assert_eq!(
            failure.to_string(),
            "us-docker.pkg.dev/castai-hub/library/agent:v9: not found in us-docker.pkg.dev"
        );
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.hint_text().unwrap().contains("tag"));
    }
}
