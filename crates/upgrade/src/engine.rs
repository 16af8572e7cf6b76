//! Carries out one step: patch, wait for the rollout, put back what failed. It decides
//! nothing but what the state of the rollout decides.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use castlink_core::{
    Exit,
    progress::{Item, Progress},
    record::{Change, ChangeStatus, ErrorInfo},
};
use futures::{StreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    args::Rollback,
    client::Cluster,
    ended::{Direction, Ended, Health, error, partial, refused},
    journal::{Journal, unfinished},
    patch::Mode,
    plan::Step,
    rollout::{
        End, Limits,
        cause::Pulls,
        wait_for,
        watch::{Goal, World},
    },
    workload::{Id, Kind},
};

/// How long a restored workload is watched: it ran on these images before, or it did not.
const SETTLE: Duration = Duration::from_secs(60);

/// Runs steps against one cluster.
pub(crate) struct Engine<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) world: &'a World,
    pub(crate) limits: Limits,
    /// Rollouts under way at once. A complete one that is only watched holds no slot.
    pub(crate) slots: Semaphore,
    pub(crate) rollback: Rollback,
    pub(crate) direction: Direction,
    pub(crate) progress: &'a Progress,
    /// Hears of every patch and of every ending at once; absent when nothing is patched.
    pub(crate) journal: Option<Mutex<Journal>>,
}

/// What became of a step, what it asks the process to return, and a note for people.
type Ending = (ChangeStatus, Exit, String);

impl Engine<'_> {
    /// Runs all `steps`: as many rollouts at once as there are slots, started in order.
    pub(crate) async fn run(&self, steps: Vec<Step>) -> Vec<Ended> {
        let count = steps.len();
        let mut ended: Vec<Ended> = stream::iter(steps)
            .map(|step| self.step(step))
            .buffer_unordered(count)
            .collect()
            .await;
        let failed = ended
            .iter()
            .any(|one| matches!(one.status, ChangeStatus::Failed | ChangeStatus::RolledBack));
        match self.rollback {
            Rollback::All if failed => self.take_back_all(&mut ended).await,
            Rollback::All | Rollback::Failed => self.take_back_unpullable(&mut ended).await,
            Rollback::None => {}
        }
        ended.sort_by(|a, b| a.step.id.cmp(&b.step.id));
        ended
    }

    async fn step(&self, step: Step) -> Ended {
        let slot = self.slots.acquire().await.ok();
        let item = self.progress.item(&step.id.to_string(), 1);
        let start = Instant::now();
        let before = self.health(&step.id);
        let mut unpullable = Vec::new();
        let (status, exit, note) = self.forward(&step, slot, &item, &mut unpullable).await;
        item.advance(1);
        let ended = Ended {
            error: error(exit, &note),
            after: self.health(&step.id),
            took: start.elapsed(),
            before,
            step,
            status,
            exit,
            note,
            direction: self.direction,
            unpullable,
        };
        self.note(&ended.step, ended.status, ended.error.as_ref());
        drop(item);
        self.progress.finished(&ended);
        ended
    }

    /// Writes a line into the journal. A disk that does not take it is told at the end,
    /// when all endings are written again.
    fn note(&self, step: &Step, status: ChangeStatus, error: Option<&ErrorInfo>) {
        if let Some(journal) = self.journal.as_ref().filter(|_| !step.is_watch()) {
            let changes: Vec<Change> = step.changes(status, error);
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            let _told_later = journal.write(changes);
        }
    }

    /// `unpullable` gets the images that pods could not pull, before a rollback hides them.
    async fn forward(
        &self,
        step: &Step,
        slot: Option<SemaphorePermit<'_>>,
        item: &Item,
        unpullable: &mut Vec<String>,
    ) -> Ending {
        if step.is_watch() {
            return self.watch_only(step, 0, slot, item, unpullable).await;
        }
        let patched = self
            .cluster
            .patch(&step.id, step.replacements(), Mode::Real)
            .await;
        let patched = match patched {
            Ok(patched) => patched,
            Err(failure) => return refused(&failure),
        };
        if !patched.changed {
            let generation = patched.generation;
            return self
                .in_place(step, generation, slot, item, unpullable)
                .await;
        }
        self.note(step, ChangeStatus::Applied, Some(&unfinished()));
        let end = self
            .wait(
                step,
                patched.generation,
                self.limits,
                self.direction,
                slot,
                item,
            )
            .await;
        *unpullable = self.unpullable(step, &end);
        match end {
            End::Done(note) => (ChangeStatus::Applied, Exit::Done, note.unwrap_or_default()),
            End::Unfinished(text) => (ChangeStatus::Failed, Exit::Partial, text),
            End::Overruled(text) => (ChangeStatus::Failed, Exit::Conflict, text),
            End::Failed(text) if self.direction == Direction::Back => (
                ChangeStatus::Applied,
                Exit::Partial,
                format!("it does not run on its old images: {text}"),
            ),
            End::Failed(text) if self.rollback == Rollback::None => {
                (ChangeStatus::Failed, Exit::Partial, text)
            }
            End::Failed(text) => self.take_back(step, text, item).await,
        }
    }

    /// Somebody else, perhaps another run, made the change first.
    async fn in_place(
        &self,
        step: &Step,
        generation: i64,
        slot: Option<SemaphorePermit<'_>>,
        item: &Item,
        unpullable: &mut Vec<String>,
    ) -> Ending {
        if self.direction == Direction::Back || !step.id.kind.rolls() {
            let note = "in place already".into();
            return (ChangeStatus::Unchanged, Exit::Done, note);
        }
        self.watch_only(step, generation, slot, item, unpullable)
            .await
    }

    /// Waits for a rollout that this run did not start, and so does not take back.
    async fn watch_only(
        &self,
        step: &Step,
        generation: i64,
        slot: Option<SemaphorePermit<'_>>,
        item: &Item,
        unpullable: &mut Vec<String>,
    ) -> Ending {
        let end = self
            .wait(step, generation, self.limits, self.direction, slot, item)
            .await;
        *unpullable = self.unpullable(step, &end);
        match end {
            End::Done(note) => (
                ChangeStatus::Unchanged,
                Exit::Done,
                note.unwrap_or_default(),
            ),
            End::Overruled(text) => (ChangeStatus::Failed, Exit::Conflict, text),
            End::Unfinished(text) => (ChangeStatus::Failed, Exit::Partial, text),
            End::Failed(text) => (
                ChangeStatus::Failed,
                Exit::Partial,
                format!("{text}; not rolled back: this run changed nothing here"),
            ),
        }
    }

    /// The wanted images that the pods of a failed step could not pull.
    fn unpullable(&self, step: &Step, end: &End) -> Vec<String> {
        if !matches!(end, End::Failed(_)) {
            return Vec::new();
        }
        let wanted = step.wanted();
        self.world.look(&goal(&step.id), |look| {
            let troubles = look.pods.iter().flat_map(|pod| &pod.troubles);
            troubles
                .filter(|one| matches!(&*one.reason, "ErrImagePull" | "ImagePullBackOff"))
                .map(|one| one.image.clone())
                .filter(|image| wanted.iter().any(|(_, to)| to == image))
                .collect()
        })
    }

    async fn wait(
        &self,
        step: &Step,
        generation: i64,
        limits: Limits,
        direction: Direction,
        slot: Option<SemaphorePermit<'_>>,
        item: &Item,
    ) -> End {
        if !step.id.kind.rolls() {
            let note =
                (self.direction == Direction::Forward).then(|| "from its next run on".into());
            return End::Done(note);
        }
        let goal = Goal {
            id: step.id.clone(),
            generation,
            wanted: step.wanted(),
            pulls: if direction == Direction::Back {
                Pulls::Any
            } else {
                Pulls::Refused
            },
        };
        wait_for(self.cluster, self.world, &goal, limits, slot, |text| {
            item.say(text)
        })
        .await
    }

    /// Restores the references of one workload, where they are still ours.
    async fn take_back(&self, step: &Step, why: String, item: &Item) -> Ending {
        item.say(format!("rolling back: {why}"));
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
            timeout: SETTLE.min(self.limits.timeout),
            soak: Duration::ZERO,
        };
        let text = match self
            .wait(
                &back,
                patched.generation,
                limits,
                Direction::Back,
                None,
                item,
            )
            .await
        {
            End::Done(_) => why,
            End::Overruled(text) | End::Unfinished(text) | End::Failed(text) => {
                format!("{why}; on its old images: {text}")
            }
        };
        (ChangeStatus::RolledBack, Exit::RolledBack, text)
    }

    /// Takes back what succeeded, last first.
    async fn take_back_all(&self, ended: &mut [Ended]) {
        for one in ended
            .iter_mut()
            .rev()
            .filter(|one| one.status == ChangeStatus::Applied)
        {
            let why = "another workload failed".to_owned();
            self.take_back_late(one, why).await;
        }
    }

    /// Takes back the CronJobs whose images other workloads of this run could not pull:
    /// nothing of their own would show it before their next run.
    async fn take_back_unpullable(&self, ended: &mut [Ended]) {
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
        let item = self.progress.item(&one.step.id.to_string(), 0);
        (one.status, one.exit, one.note) = self.take_back(&one.step, why, &item).await;
        one.error = error(one.exit, &one.note);
        one.after = self.health(&one.step.id);
        self.note(&one.step, one.status, one.error.as_ref());
    }

    fn health(&self, id: &Id) -> Health {
        self.world.look(&goal(id), Health::of)
    }
}

/// A look at a workload, whatever it runs.
fn goal(id: &Id) -> Goal {
    Goal {
        id: id.clone(),
        generation: 0,
        wanted: Vec::new(),
        pulls: Pulls::Refused,
    }
}

/// Changed, and nothing of its own can tell whether it runs.
fn unverified(one: &Ended) -> bool {
    one.status == ChangeStatus::Applied && one.step.id.kind == Kind::CronJob
}

/// The image of `step` that could not be pulled, and by whom.
fn shared_failure(step: &Step, failed: &BTreeMap<String, Id>) -> Option<String> {
    step.wanted().into_iter().find_map(|(_, image)| {
        let by = failed.get(&image)?;
        Some(format!("{by} could not pull {image}"))
    })
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
