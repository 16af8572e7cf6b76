//! The one table of exit codes. Every binary uses it, whatever `-o` is;
//! `docs/exit-codes.md` is generated from it.

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Everything asked for is in place.
    Done,
    /// Something failed that no other code describes.
    Failed,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage,
    /// Changes are pending (`plan --exit-code`), or a check did not pass.
    Pending,
    /// Some items are done, others failed; running again does only the rest.
    Partial,
    /// A rollout failed and what this run changed there was restored.
    RolledBack,
    /// Somebody else's state is in the way: an immutable tag with another digest, a changed field, a taken DNS name.
    Conflict,
    /// Credentials are missing, expired, or not allowed to do this.
    Credentials,
    /// The other side cannot be reached, throttles, or is not ready; try later.
    Unreachable,
    /// Interrupted by Ctrl-C or SIGTERM.
    Interrupted,
}

impl Exit {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Pending,
        Self::Partial,
        Self::RolledBack,
        Self::Conflict,
        Self::Credentials,
        Self::Unreachable,
        Self::Interrupted,
    ];

    /// The process exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Pending => 3,
            Self::Partial => 4,
            Self::RolledBack => 5,
            Self::Conflict => 6,
            Self::Credentials => 7,
            Self::Unreachable => 8,
            Self::Interrupted => 130,
        }
    }

    /// The exit a process code stands for; an unknown code is [`Exit::Failed`].
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        Self::ALL
            .into_iter()
            .find(|exit| i32::from(exit.code()) == code)
            .unwrap_or(Self::Failed)
    }

    /// The word used for it in records (`error.code`) and in the docs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Pending => "pending",
            Self::Partial => "partial",
            Self::RolledBack => "rolled_back",
            Self::Conflict => "conflict",
            Self::Credentials => "credentials",
            Self::Unreachable => "unreachable",
            Self::Interrupted => "interrupted",
        }
    }

    /// What it means and what to do, one line.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Failed => "failed; the message says what and why",
            Self::Usage => "wrong usage or configuration; nothing was changed",
            Self::Pending => "changes are pending (`plan --exit-code`), or a check failed",
            Self::Partial => "partly done; run it again, only the rest is tried",
            Self::RolledBack => "a rollout failed and was rolled back",
            Self::Conflict => {
                "conflict: immutable tag with another digest, field changed by another owner, DNS name taken"
            }
            Self::Credentials => "credentials missing, expired or denied",
            Self::Unreachable => "unreachable, throttled or not ready; try later",
            Self::Interrupted => "interrupted; run it again to complete",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_are_distinct_and_read_back() {
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(i32::from(exit.code())), exit);
        }
        assert_eq!(Exit::from_code(77), Exit::Failed);
    }
}
