//! How a step ended, and how that is told.

use std::{fmt, time::Duration};

use castlink_core::{
    Exit, Failure,
    record::{ChangeStatus, ErrorInfo},
};

use crate::{
    plan::Step,
    rollout::{counts::standing, verdict::Look},
};

/// Where a step leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To mirrored images: a rollout that fails is taken back.
    Forward,
    /// To what was there before: the references count, even where they do not run.
    Back,
}

/// How a step ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) step: Step,
    pub(crate) status: ChangeStatus,
    /// What this ending asks the process to return.
    pub(crate) exit: Exit,
    pub(crate) error: Option<ErrorInfo>,
    /// For people: `paused: nothing rolls`, or why it failed.
    pub(crate) note: String,
    pub(crate) took: Duration,
    pub(crate) before: Health,
    pub(crate) after: Health,
    pub(crate) direction: Direction,
    /// Images that its pods could not pull.
    pub(crate) unpullable: Vec<String>,
}

/// How many pods of a workload are ready, and what the others suffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pods: Option<(i64, i64)>,
    trouble: Option<String>,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pods, &self.trouble) {
            (None, _) => f.write_str("-"),
            (Some((ready, desired)), None) => write!(f, "{ready}/{desired} ready"),
            (Some((ready, desired)), Some(trouble)) => write!(f, "{ready}/{desired} {trouble}"),
        }
    }
}

impl Health {
    pub(crate) fn of(look: &Look<'_>) -> Self {
        let late = look
            .pods
            .iter()
            .filter(|pod| !pod.ready && !pod.terminating);
        Self {
            pods: standing(look).map(|at| (at.ready, at.desired)),
            trouble: late
                .flat_map(|pod| &pod.troubles)
                .map(|trouble| trouble.reason.clone())
                .next(),
        }
    }
}

impl Ended {
    /// A step that was not tried, because the server would refuse it.
    pub(crate) fn refused(step: Step, failure: &Failure, direction: Direction) -> Self {
        let (status, exit, note) = refused(failure);
        Self {
            error: error(exit, &note),
            step,
            status,
            exit,
            note,
            took: Duration::ZERO,
            before: Health::default(),
            after: Health::default(),
            direction,
            unpullable: Vec::new(),
        }
    }

    /// A change that did not stay.
    pub(crate) fn overrule(&mut self, note: String) {
        (self.status, self.exit) = (ChangeStatus::Failed, Exit::Conflict);
        self.error = error(self.exit, &note);
        self.note = note;
    }

    /// What became of it, in two words.
    pub(crate) fn word(&self) -> &'static str {
        match self.status {
            ChangeStatus::Applied if self.direction == Direction::Back => "put back",
            ChangeStatus::Unchanged if self.step.is_watch() && self.note.is_empty() => "rolled out",
            ChangeStatus::Applied if self.step.id.kind.rolls() && self.note.is_empty() => {
                "rolled out"
            }
            ChangeStatus::Applied => "patched",
            ChangeStatus::RolledBack => "rolled back",
            ChangeStatus::Unchanged => "unchanged",
            ChangeStatus::Planned => "not reached",
            ChangeStatus::Skipped => "skipped",
            ChangeStatus::Failed => "failed",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step.id, self.word())?;
        if self.after.pods.is_some() {
            write!(f, ", {} after {:.1} s", self.after, self.took.as_secs_f64())?;
        }
        if self.note.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.note)
        }
    }
}

/// The record's error, unless all is well.
pub(crate) fn error(exit: Exit, note: &str) -> Option<ErrorInfo> {
    (exit != Exit::Done).then(|| ErrorInfo {
        code: exit.name().into(),
        message: note.to_owned(),
        hint: None,
    })
}

pub(crate) fn refused(failure: &Failure) -> (ChangeStatus, Exit, String) {
    (
        ChangeStatus::Failed,
        partial(failure.exit()),
        failure.one_line(),
    )
}

/// One workload that failed leaves the others done.
pub(crate) fn partial(exit: Exit) -> Exit {
    if exit == Exit::Failed {
        Exit::Partial
    } else {
        exit
    }
}
