//! The one error type commands return: what failed, how the process ends, and
//! what the user can do about it.
//!
//! `Display` says one thing, a lower-case fragment that names the resource;
//! [`Failure::chain`] walks the causes. Only `app` prints it.

use std::{error::Error, fmt};

use crate::{exit::Exit, record::ErrorInfo};

/// Result with a [`Failure`] as its error.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Something that ends a command, or one item of it.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure that ends the process with `exit`. `message` is a lower-case
    /// fragment that names the resource and has no final period.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            exit,
            message: message.into(),
            hint: None,
            source: None,
        }))
    }

    /// Exit 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Exit 2: the command line or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Exit 6: somebody else's state is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Exit::Conflict, message)
    }

    /// Exit 7: credentials are missing, expired or denied.
    pub fn credentials(message: impl Into<String>) -> Self {
        Self::new(Exit::Credentials, message)
    }

    /// Exit 8: unreachable, throttled or not ready.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// Adds what to do about it: a command to run, a setting to change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `message` in front; this failure becomes the cause. Exit and hint stay.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let hint = self.0.hint.take();
        Self(Box::new(Inner {
            exit: self.0.exit,
            message: message.into(),
            hint,
            source: Some(Box::new(self)),
        }))
    }

    /// How the process ends when nothing better is known.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// What the user can do.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The messages from the outermost to the first cause. A cause whose text the
    /// message before it already ends with is left out.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut out = vec![self.0.message.clone()];
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !text.is_empty() && out.last().is_none_or(|last| !last.ends_with(&text)) {
                out.push(text);
            }
            next = cause.source();
        }
        out
    }

    /// The whole chain on one line, for a record or a table cell.
    #[must_use]
    pub fn one_line(&self) -> String {
        self.chain().join(": ")
    }

    /// The serialised form.
    #[must_use]
    pub fn info(&self) -> ErrorInfo {
        ErrorInfo {
            code: self.0.exit.name().into(),
            message: self.one_line(),
            hint: self.0.hint.clone(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

/// Adds a resource name to an error on its way up.
pub trait ResultExt<T> {
    /// Puts `message()` in front of the failure.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context(self, message: impl FnOnce() -> String) -> Self {
        self.map_err(|failure| failure.context(message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_three_says_each_thing_once() {
        let io = std::io::Error::other("connection refused");
        let failure = Failure::unreachable("asking 127.0.0.1:1: connection refused")
            .because(io)
            .hint("start it")
            .context("mirroring busybox");
        assert_eq!(
            failure.chain(),
            [
                "mirroring busybox",
                "asking 127.0.0.1:1: connection refused"
            ]
        );
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert_eq!(failure.hint_text(), Some("start it"));
        assert_eq!(failure.info().code, "unreachable");
    }
}
