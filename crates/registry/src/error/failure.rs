//! Registry errors as people see them: what failed at whom, and what to do about it.

use std::{error::Error as StdError, fmt};

use castlink_core::{Failure, reference::EcrHost};

use super::{Error, Kind};
use crate::place;

impl Error {
    /// The same error as the end of a command or of one image.
    pub fn into_failure(self) -> Failure {
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
    if place::is_store(host) {
        return store_hint(kind);
    }
    Some(match kind {
        Kind::NotFound => "check the name and the tag; a registry may also answer so when credentials are missing".into(),
        Kind::Denied if EcrHost::parse(host).is_some() => {
            "allow the identity in use (`aws sts get-caller-identity` shows it) what `castlink-mirror iam-policy` prints".into()
        }
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

/// A store came from elsewhere: what it lacks has to be fetched there.
fn store_hint(kind: Kind) -> Option<String> {
    Some(match kind {
        Kind::NotFound => "pull it into the store, on the side with internet: only what is missing is fetched".into(),
        Kind::Corrupt => "the store was damaged on its way: remove the file from its blobs, and pull the image again or copy the store once more".into(),
        _ => return None,
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
