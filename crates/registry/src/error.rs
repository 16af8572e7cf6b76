//! What can go wrong between us and a registry, by what a caller can do about it.
//!
//! Classified by status and by the codes of the distribution specification, never by
//! message text.

use std::{error::Error as StdError, fmt, time::Duration};

use castlink_core::{Exit, Failure};
use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

mod amend;
mod failure;

/// The longest error body that is read.
const MAX_BODY: usize = 64 << 10;

/// How long an error body is waited for: it explains, and nothing depends on it.
const MAX_PATIENCE: Duration = Duration::from_secs(5);

/// The most of a server's own words that is repeated, in characters.
const MAX_WORDS: usize = 300;

/// The longest `Retry-After` that is waited for; a server that asks for more is given up.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Result of a registry call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call.
#[derive(Debug)]
pub struct Error {
    /// What a caller can do about it.
    pub kind: Kind,
    /// The host that was asked, by its name in references.
    host: String,
    /// What it was asked for: `ghcr.io/castai/images/agent:v1`.
    what: String,
    /// The registry's own code and message, or the transport's.
    detail: String,
    /// The status of the answer, if there was one.
    pub status: Option<StatusCode>,
    /// How long the server wants us to wait.
    pub retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Said already by somebody who knows more: the AWS session, the configuration.
    failure: Option<Failure>,
}

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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
    pub fn is_transient(self) -> bool {
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
pub struct Subject {
    /// The registry, by its name in references.
    pub host: String,
    /// `ghcr.io/castai/images/agent:v1`, `upload of sha256:0a1… to …`.
    pub what: String,
}

impl Subject {
    /// An error about this subject.
    pub fn error(&self, kind: Kind, detail: impl Into<String>) -> Error {
        Error {
            kind,
            host: self.host.clone(),
            what: self.what.clone(),
            detail: clean(&detail.into()),
            status: None,
            retry_after: None,
            source: None,
            failure: None,
        }
    }

    /// A failure of something the call stands on: credentials, configuration. It has been
    /// retried where that makes sense.
    pub fn fatal(&self, failure: Failure) -> Error {
        let kind = match failure.exit() {
            Exit::Credentials => Kind::Denied,
            _ => Kind::Refused,
        };
        let mut error = self.error(kind, "");
        error.failure = Some(failure);
        error
    }

    /// An answer that makes no sense.
    pub fn nonsense(&self, detail: impl Into<String>) -> Error {
        self.error(Kind::Refused, detail)
    }

    /// The connection failed, before or within an answer. The URL is left out: it may
    /// carry a signature.
    pub fn transport(&self, err: reqwest::Error) -> Error {
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
    pub fn stalled(&self, limit: Duration) -> Error {
        self.error(
            Kind::Transport,
            format!("no progress for {} s", limit.as_secs()),
        )
    }

    /// The error an unsuccessful answer stands for.
    pub async fn answer(&self, mut response: Response) -> Error {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| delay(value.to_str().ok()?));
        let first = first_error(&rest(&mut response).await);
        let mut detail = match &first {
            Some(error) => format!("{status}, {error}"),
            None => status.to_string(),
        };
        if let Some(asked) = retry_after.filter(|asked| *asked > LONGEST_WAIT) {
            detail = format!("{detail}, to be tried again in {} s", asked.as_secs());
        }
        let mut error = self.error(
            kind(status, first.as_ref().map(|error| error.code.as_str())),
            detail,
        );
        error.status = Some(status);
        error.retry_after = retry_after;
        error
    }
}

/// What is left of an unwelcome answer, as far as it is short and comes soon. Reading it
/// also leaves the connection usable for the next request.
pub(super) async fn rest(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_BODY - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
    };
    // A part explains better than nothing.
    let _ = tokio::time::timeout(MAX_PATIENCE, read).await;
    body
}

/// Words of a server made fit for a terminal and a log: one line, no control characters, not
/// without end.
fn clean(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut clean: String = text.chars().take(MAX_WORDS).map(printable).collect();
    if clean.len() < text.len() {
        clean.push('…');
    }
    clean
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

/// The value of `Retry-After`: seconds or a date, as HTTP allows both. A number beyond all
/// bounds is the largest there is.
pub(super) fn delay(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
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
    fn delays_are_seconds_or_dates() {
        for (text, want) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(delay(text), want.map(Duration::from_secs), "{text}");
        }
        let later = jiff::Timestamp::now() + Duration::from_secs(3_600);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&later);
        let waited = delay(&date.unwrap()).unwrap();
        assert!((3_590..=3_600).contains(&waited.as_secs()), "{waited:?}");
    }

    #[test]
    fn words_of_servers_are_made_fit_to_print() {
        let subject = Subject {
            host: "h".into(),
            what: "w".into(),
        };
        let long = format!("\u{1b}]0;title\u{7}a\nb {}", "x".repeat(100_000));
        let text = subject.nonsense(long).into_failure().one_line();
        assert!(
            text.starts_with("w: refused by h:  ]0;title a b x"),
            "{text}"
        );
        assert!(text.ends_with('…') && text.len() < 400, "{text}");
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
