//! What goes into a container's life and what comes out of it: the moment, the wish, the
//! effects.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// How long the containers of a job run.
const JOB_TIME: Duration = Duration::from_secs(1);
/// How long init containers run.
const INIT_TIME: Duration = Duration::from_millis(200);

/// One moment, on the clock that deadlines use and the one that people read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For the API.
    pub time: Timestamp,
}

impl Now {
    /// This moment.
    #[must_use]
    pub(crate) fn read() -> Self {
        Self {
            instant: Instant::now(),
            time: Timestamp::now(),
        }
    }
}

/// What a container is for, which decides how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to completion before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    /// Runs for ever.
    Main,
    /// Runs to completion.
    Job,
    /// Added to a live pod; runs until the pod ends.
    Ephemeral,
}

impl Role {
    /// How long it runs by itself; for ever when none.
    pub(super) fn runtime(self) -> Option<Duration> {
        match self {
            Self::Init => Some(INIT_TIME),
            Self::Job => Some(JOB_TIME),
            Self::Sidecar | Self::Main | Self::Ephemeral => None,
        }
    }
}

/// What a pod's spec says about one container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// Its name in the pod.
    pub name: String,
    /// Its image, as written.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub policy: String,
    /// What it is for.
    pub role: Role,
    /// Whether a failure is final (`restartPolicy: Never`).
    pub once: bool,
}

/// Something for the outside world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Pull this container's image and report to [`Container::pulled`].
    Pull(Wanted),
    /// Emit an event about a container.
    Event {
        /// The container.
        container: String,
        /// `Warning` instead of `Normal`.
        warning: bool,
        /// The event's reason.
        reason: &'static str,
        /// The event's message.
        message: String,
    },
}
