//! The way back of single steps: what failed, what shares a failure, or all of a run.

use std::{collections::BTreeMap, time::Duration};

use castlink_core::{Exit, progress::Line, record::ChangeStatus};
use futures::{StreamExt, stream};

use super::{Ending, Engine};
use crate::{
    ended::{Direction, Ended, error, partial},
    patch::Mode,
    plan::Step,
    rollout::{End, Limits, watch::Baseline},
    workload::{Id, Kind},
};

impl Engine<'_> {
    /// Restores the references of one workload, where they are still ours.
    pub(super) async fn take_back(&self, step: &Step, why: String, line: &Line) -> Ending {
        line.say(&format!("rolling back: {why}"));
        let back = step.reversed();
        let patched = match self
            .cluster
            .patch(&back.id, back.replacements(), Mode::Real)
            .await
        {
            Ok(patched) => patched,
            Err(failure) => {
                let text = format!("{why}; not rolled back: {}", failure.one_line());
                return (ChangeStatus::Failed, partial(failure.exit()), text);
            }
        };
        let limits = Limits {
            timeout: self.rollback_timeout,
            soak: Duration::ZERO,
        };
        let since = Baseline {
            generation: patched.generation,
            ..Baseline::default()
        };
        let text = match self
            .wait(&back, since, limits, Direction::Back, None, line)
            .await
        {
            End::Done(_) => why,
            End::Overruled(text) | End::Unfinished(text) | End::Failed(text) => {
                format!("{why}; on its old images: {text}")
            }
        };
        (ChangeStatus::RolledBack, Exit::RolledBack, text)
    }

    /// Takes back what succeeded: patched in reverse order, waited for together; what went
    /// alone after all others.
    pub(super) async fn take_back_all(&self, ended: &mut [Ended]) {
        let applied = |one: &&mut Ended| one.status == ChangeStatus::Applied;
        let mut steps: Vec<_> = ended.iter_mut().rev().filter(applied).collect();
        steps.sort_by_key(|one| one.step.goes_alone());
        stream::iter(steps)
            .for_each_concurrent(None, async |one| {
                let _slot = self.slot(&one.step).await;
                let why = "another workload failed".to_owned();
                self.take_back_late(one, why).await;
            })
            .await;
    }

    /// Takes back the CronJobs whose images other workloads of this run could not pull:
    /// nothing of their own would show it before their next run.
    pub(super) async fn take_back_unpullable(&self, ended: &mut [Ended]) {
        let mut failed: BTreeMap<String, Id> = BTreeMap::new();
        for one in ended.iter() {
            for image in &one.unpullable {
                failed.entry(image.clone()).or_insert(one.step.id.clone());
            }
        }
        for one in ended.iter_mut().filter(|one| unverified(one)) {
            if let Some(why) = shared_failure(&one.step, &failed) {
                self.take_back_late(one, why).await;
            }
        }
    }

    /// Takes back a step that had succeeded by itself.
    async fn take_back_late(&self, one: &mut Ended, why: String) {
        let line = self.board.begin(&one.step.id.to_string());
        (one.status, one.exit, one.note) = self.take_back(&one.step, why, &line).await;
        one.error = error(one.exit, &one.note);
        one.after = self.health(&one.step.id);
        line.end(one.word());
        self.end(one);
    }
}

/// Changed, and nothing of its own can tell whether it runs.
pub(super) fn unverified(one: &Ended) -> bool {
    one.status == ChangeStatus::Applied && one.step.id.kind == Kind::CronJob
}

/// The image of `step` that could not be pulled, and by whom.
pub(super) fn shared_failure(step: &Step, failed: &BTreeMap<String, Id>) -> Option<String> {
    step.wanted().into_iter().find_map(|(_, image)| {
        let by = failed.get(&image)?;
        Some(format!("{by} could not pull {image}"))
    })
}
