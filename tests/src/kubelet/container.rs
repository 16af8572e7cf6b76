//! The life of one container, as a state machine without a clock or a network.
//!
//! pull -> (`ErrImagePull` <-> `ImagePullBackOff`) -> running -> ready, with crashes
//! (`CrashLoopBackOff`), completion of init containers and jobs, and the restart that a
//! changed image causes in a live pod. Time comes in as [`Now`]; what is to be done about
//! the outside world (pull, emit an event) goes out as [`Effect`]s.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStateTerminated;

use super::faults::Faults;
use super::pull::PullError;

mod model;
mod status;

pub(crate) use self::model::{Effect, Now, Role, Wanted};

/// From start to ready.
const READY_AFTER: Duration = Duration::from_millis(200);
/// How long a failed pull shows as `ErrImagePull` before it is `ImagePullBackOff`.
const ERROR_SHOWN: Duration = Duration::from_secs(1);
/// First wait before another pull; doubled each time up to the limit. The real ones are
/// 10 s and 300 s.
const PULL_BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(8));
/// The same for restarts after a crash; the first restart is immediate, as the kubelet's.
const CRASH_BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(8));

/// Exit code of a container that was asked to stop.
const SIGTERM_EXIT: i32 = 143;

#[derive(Clone, Debug)]
enum Phase {
    /// Its turn has not come, or the next pull is about to be asked for.
    Waiting,
    Pulling,
    PullFailed {
        until: Instant,
    },
    PullBackOff {
        until: Instant,
    },
    Running {
        since: Timestamp,
        ready: Instant,
        exit: Option<Exit>,
    },
    CrashLoop {
        until: Instant,
    },
    Ended(ContainerStateTerminated),
}

#[derive(Clone, Copy, Debug)]
struct Exit {
    at: Instant,
    code: i32,
}

/// One container and everything that happened to it.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    wanted: Wanted,
    phase: Phase,
    image_id: String,
    /// Distinguishes its incarnations in container ids.
    uid: String,
    starts: u32,
    crashes: u32,
    failed_pulls: u32,
    failure: Option<PullError>,
    last: Option<ContainerStateTerminated>,
}

impl Container {
    /// A container of the pod with this uid; nothing happens before [`Self::advance`].
    #[must_use]
    pub(crate) fn new(wanted: Wanted, pod_uid: &str) -> Self {
        Self {
            wanted,
            phase: Phase::Waiting,
            image_id: String::new(),
            uid: pod_uid.replace('-', ""),
            starts: 0,
            crashes: 0,
            failed_pulls: 0,
            failure: None,
            last: None,
        }
    }

    /// Moves on as far as `now` allows.
    pub(crate) fn advance(&mut self, wanted: &Wanted, now: Now, faults: &Faults) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.wanted.image != wanted.image {
            self.replace_image(wanted, now, &mut effects);
        }
        self.apply_crash_fault(now, faults);
        while self.due().is_none_or(|due| due <= now.instant) {
            if !self.step(now, faults, &mut effects) {
                break;
            }
        }
        effects
    }

    /// Takes the outcome of a pull of `image`; stale ones are ignored.
    pub(crate) fn pulled(
        &mut self,
        image: &str,
        outcome: Result<String, PullError>,
        now: Now,
        faults: &Faults,
    ) -> Vec<Effect> {
        if self.wanted.image != image || !matches!(self.phase, Phase::Pulling) {
            return Vec::new();
        }
        match outcome {
            Ok(id) => {
                self.image_id = id;
                self.failure = None;
                self.failed_pulls = 0;
                let message = format!("Successfully pulled image \"{image}\"");
                let pulled = self.event(false, "Pulled", message);
                let mut effects = vec![pulled];
                self.start(now, faults, &mut effects);
                effects
            }
            Err(error) => self.pull_failed(error, now),
        }
    }

    /// Ends it now, as the kubelet does with what is left when a pod ends.
    pub(crate) fn stop(&mut self, now: Now) {
        if let Phase::Running { since, .. } = self.phase {
            self.phase = Phase::Ended(self.terminated(since, SIGTERM_EXIT, now));
        }
    }

    /// When [`Self::advance`] has something to do next; none while waiting for others.
    #[must_use]
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Running { ready, exit, .. } => {
                let exit = exit.map(|exit| exit.at);
                Some(ready)
                    .filter(|ready| *ready > now)
                    .into_iter()
                    .chain(exit)
                    .min()
            }
            Phase::Waiting | Phase::Pulling | Phase::Ended(_) => None,
            Phase::PullFailed { until }
            | Phase::PullBackOff { until }
            | Phase::CrashLoop { until } => Some(until),
        }
    }

    /// Whether it runs (or, crashing, is meant to).
    #[must_use]
    pub(crate) fn begun(&self) -> bool {
        self.starts > 0
    }

    /// Whether it runs at this moment.
    #[must_use]
    pub(crate) fn running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// The exit code of one that has ended for good.
    #[must_use]
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match &self.phase {
            Phase::Ended(ended) => Some(ended.exit_code),
            _ => None,
        }
    }

    fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { exit, .. } => exit.map(|exit| exit.at),
            Phase::PullFailed { until }
            | Phase::PullBackOff { until }
            | Phase::CrashLoop { until } => Some(until),
            Phase::Waiting | Phase::Pulling | Phase::Ended(_) => None,
        }
    }

    /// One transition; false when there is none to make.
    fn step(&mut self, now: Now, faults: &Faults, effects: &mut Vec<Effect>) -> bool {
        match self.phase {
            Phase::Waiting => {
                let message = format!("Pulling image \"{}\"", self.wanted.image);
                effects.push(self.event(false, "Pulling", message));
                self.ask_pull(effects);
            }
            Phase::PullFailed { .. } => self.back_off_pull(now, effects),
            Phase::PullBackOff { .. } => self.ask_pull(effects),
            Phase::CrashLoop { .. } => self.start(now, faults, effects),
            Phase::Running {
                since,
                exit: Some(exit),
                ..
            } => {
                self.exited(since, exit.code, now, faults, effects);
            }
            Phase::Running { exit: None, .. } | Phase::Pulling | Phase::Ended(_) => return false,
        }
        true
    }

    fn ask_pull(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Pulling;
        effects.push(Effect::Pull(self.wanted.clone()));
    }

    fn pull_failed(&mut self, error: PullError, now: Now) -> Vec<Effect> {
        let image = &self.wanted.image;
        let effects = vec![
            self.event(
                true,
                "Failed",
                format!("Failed to pull image \"{image}\": {error}"),
            ),
            self.event(true, "Failed", format!("Error: {}", error.reason())),
        ];
        self.failed_pulls += 1;
        self.failure = Some(error);
        self.phase = Phase::PullFailed {
            until: now.instant + ERROR_SHOWN,
        };
        effects
    }

    fn back_off_pull(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let until = now.instant + back_off(PULL_BACK_OFF, self.failed_pulls);
        self.phase = Phase::PullBackOff { until };
        let message = format!("Back-off pulling image \"{}\"", self.wanted.image);
        effects.push(self.event(false, "BackOff", message));
        effects.push(self.event(true, "Failed", "Error: ImagePullBackOff".to_owned()));
    }

    fn start(&mut self, now: Now, faults: &Faults, effects: &mut Vec<Effect>) {
        self.starts += 1;
        let crash = faults.lifetime(&self.wanted.image).map(|life| (life, 1));
        let end = crash.or_else(|| self.wanted.role.runtime().map(|life| (life, 0)));
        self.phase = Phase::Running {
            since: now.time,
            ready: now.instant + READY_AFTER,
            exit: end.map(|(life, code)| Exit {
                at: now.instant + life,
                code,
            }),
        };
        let name = &self.wanted.name;
        effects.push(self.event(false, "Created", format!("Container created: {name}")));
        effects.push(self.event(false, "Started", format!("Container started: {name}")));
    }

    fn exited(
        &mut self,
        since: Timestamp,
        code: i32,
        now: Now,
        faults: &Faults,
        effects: &mut Vec<Effect>,
    ) {
        let ended = self.terminated(since, code, now);
        if code == 0 || self.wanted.once {
            self.phase = Phase::Ended(ended);
            return;
        }
        self.last = Some(ended);
        self.crashes += 1;
        if self.crashes == 1 {
            return self.start(now, faults, effects);
        }
        let until = now.instant + back_off(CRASH_BACK_OFF, self.crashes - 1);
        self.phase = Phase::CrashLoop { until };
        let name = &self.wanted.name;
        let message = format!("Back-off restarting failed container {name}");
        effects.push(self.event(true, "BackOff", message));
    }

    /// A crash fault that is set while the container runs ends it, too.
    fn apply_crash_fault(&mut self, now: Now, faults: &Faults) {
        if let Phase::Running { exit, .. } = &mut self.phase
            && exit.is_none()
            && let Some(life) = faults.lifetime(&self.wanted.image)
        {
            *exit = Some(Exit {
                at: now.instant + life,
                code: 1,
            });
        }
    }

    fn replace_image(&mut self, wanted: &Wanted, now: Now, effects: &mut Vec<Effect>) {
        if let Phase::Running { since, .. } = self.phase {
            self.last = Some(self.terminated(since, SIGTERM_EXIT, now));
            let message = format!(
                "Container {} definition changed, will be restarted",
                wanted.name
            );
            effects.push(self.event(false, "Killing", message));
        }
        self.wanted = wanted.clone();
        self.phase = Phase::Waiting;
        (self.failure, self.failed_pulls, self.crashes) = (None, 0, 0);
    }

    fn container_id(&self) -> String {
        format!(
            "containerd://{}{}{:04x}",
            self.uid,
            hex::encode(&self.wanted.name),
            self.starts
        )
    }

    fn event(&self, warning: bool, reason: &'static str, message: String) -> Effect {
        Effect::Event {
            container: self.wanted.name.clone(),
            warning,
            reason,
            message,
        }
    }
}

/// The wait before attempt `n + 1`, from (first, limit).
fn back_off((first, limit): (Duration, Duration), attempt: u32) -> Duration {
    let factor = 2u32.saturating_pow(attempt.saturating_sub(1));
    first.saturating_mul(factor).min(limit)
}
