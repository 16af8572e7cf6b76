//! Errors told on by somebody who knows more than the answer said, or has waited for it too.

use std::error::Error as _;

use castlink_core::Failure;

use super::{Error, Kind};

impl Error {
    /// True when the server took the request and closed the connection without an answer.
    pub fn is_hang_up(&self) -> bool {
        let source = self.source.as_deref();
        let source = source.and_then(|source| source.downcast_ref::<reqwest::Error>());
        source.is_some_and(|err| err.is_request() && !err.is_connect() && !err.is_timeout())
    }

    /// The same, said by somebody who knows more: final.
    pub fn explained(mut self, failure: Failure) -> Self {
        self.kind = Kind::Refused;
        self.failure = Some(failure);
        self
    }

    /// The same, with what it may mean.
    pub fn noting(mut self, note: String) -> Self {
        self.detail = match self.detail.as_str() {
            "" => note,
            detail => format!("{detail} ({note})"),
        };
        self
    }

    /// The same, of something that will pass.
    pub fn passing(mut self) -> Self {
        self.kind = Kind::Unavailable;
        self
    }

    /// The same error, met while asking `server` for a token. What it says of the token is
    /// not said of the image: a token server that is not found leaves open whether the
    /// image is there.
    pub fn of_token_server(mut self, server: &str) -> Self {
        if matches!(self.kind, Kind::NotFound | Kind::Conflict) {
            self.kind = Kind::Refused;
        }
        let detail = std::mem::take(&mut self.detail);
        self.detail = match detail.as_str() {
            "" => format!("asking {server} for a token"),
            detail => format!("asking {server} for a token: {detail}"),
        };
        self
    }

    /// A copy, for another who has waited for the same thing.
    pub fn echo(&self) -> Self {
        let mut detail = self.detail.clone();
        let mut source = self.source();
        while let Some(cause) = source {
            let separator = if detail.is_empty() { "" } else { ": " };
            detail = format!("{detail}{separator}{cause}");
            source = cause.source();
        }
        let failure = self.failure.as_ref().map(|failure| {
            let copy = Failure::new(failure.exit(), failure.one_line());
            match failure.hint_text() {
                Some(hint) => copy.hint(hint),
                None => copy,
            }
        });
        Self {
            kind: self.kind,
            host: self.host.clone(),
            what: self.what.clone(),
            detail,
            status: self.status,
            retry_after: self.retry_after,
            source: None,
            failure,
        }
    }
}
