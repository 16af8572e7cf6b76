//! Carries out one step: patch, wait for the rollout, put back what failed. It decides
//! nothing but what the state of the rollout decides.

mod back;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use castlink_core::{
    Exit,
    config::NotReadyNodes,
    progress::{Board, Line},
    record::{ChangeStatus, ErrorInfo},
};
use futures::{StreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    args::{Rollback, RolloutArgs},
    client::Cluster,
    ended::{Direction, Ended, Health, error, refused},
    interrupt::Stop,
    journal::unfinished,
    notes::Notes,
    patch::Mode,
    plan::Step,
    report,
    rollout::{
        End, Limits,
        cause::Pulls,
        rewritten, wait_for,
        watch::{Baseline, Goal, World},
    },
    session::Session,
    workload::Id,
};

/// How a plan is carried out.
pub(crate) struct Execution<'a> {
    pub(crate) verb: &'static str,
    pub(crate) direction: Direction,
    pub(crate) rollout: &'a RolloutArgs,
    pub(crate) rollback: Rollback,
    pub(crate) stop: &'a Stop,
    /// Look once more, so long after the last rollout.
    pub(crate) drift_after: Option<Duration>,
}

/// Runs steps against one cluster.
pub(crate) struct Engine<'a> {
    cluster: &'a Cluster,
    world: &'a World,
    board: &'a Board,
    /// Hears of every patch and of every ending at once; absent when nothing is patched.
    notes: Option<&'a Notes>,
    limits: Limits,
    rollback_timeout: Duration,
    not_ready: NotReadyNodes,
    /// Rollouts under way at once. A complete one that is only watched holds no slot.
    slots: Semaphore,
    parallel: u32,
    rollback: Rollback,
    direction: Direction,
    /// How far each step has come, for the case that the run is interrupted.
    reached: Mutex<BTreeMap<Id, Reached>>,
}

/// How far a step has come.
enum Reached {
    /// The patch may be made or not.
    Patching,
    Patched,
    Ended(Box<Ended>),
}

/// What became of a step, what it asks the process to return, and a note for people.
type Ending = (ChangeStatus, Exit, String);

impl<'a> Engine<'a> {
    pub(crate) fn new(
        session: &'a Session<'_>,
        world: &'a World,
        board: &'a Board,
        notes: Option<&'a Notes>,
        how: &Execution<'_>,
    ) -> Self {
        let settings = &session.context.config.upgrade;
        let parallel = settings.parallel.clamp(1, 1000);
        Self {
            cluster: &session.cluster,
            world,
            board,
            notes,
            limits: Limits::of(settings),
            rollback_timeout: Duration::from_secs(settings.rollback_timeout),
            not_ready: settings.not_ready_nodes,
            slots: Semaphore::new(parallel),
            parallel: u32::try_from(parallel).unwrap_or(1),
            rollback: how.rollback,
            direction: how.direction,
            reached: Mutex::default(),
        }
    }

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

    /// What is known of `steps` when the run is interrupted.
    pub(crate) fn so_far(&self, steps: &[Step]) -> Vec<Ended> {
        let reached = self.reached();
        let mut ended: Vec<Ended> = steps
            .iter()
            .map(|step| match reached.get(&step.id) {
                Some(Reached::Ended(ended)) => (**ended).clone(),
                other => self.interrupted(step, other),
            })
            .collect();
        ended.sort_by(|a, b| a.step.id.cmp(&b.step.id));
        ended
    }

    fn interrupted(&self, step: &Step, reached: Option<&Reached>) -> Ended {
        let (status, note) = match reached {
            _ if step.is_watch() => (ChangeStatus::Unchanged, "its rollout goes on by itself"),
            None => (ChangeStatus::Planned, ""),
            Some(Reached::Patching) => (ChangeStatus::Planned, "or perhaps it was, just now"),
            Some(_) => (ChangeStatus::Applied, "its rollout goes on by itself"),
        };
        let health = self.health(&step.id);
        Ended {
            step: step.clone(),
            status,
            exit: Exit::Interrupted,
            error: Some(unfinished()),
            note: note.into(),
            took: Duration::ZERO,
            before: Health::default(),
            after: health,
            direction: self.direction,
            unpullable: Vec::new(),
        }
    }

    fn reached(&self) -> MutexGuard<'_, BTreeMap<Id, Reached>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, id: &Id, reached: Reached) {
        self.reached().insert(id.clone(), reached);
    }

    /// A slot; a step that goes alone takes all of them: it waits until the rollouts before it
    /// are complete, and those after it wait for its own.
    async fn slot(&self, step: &Step) -> Option<SemaphorePermit<'_>> {
        let wide = if step.goes_alone() { self.parallel } else { 1 };
        self.slots.acquire_many(wide).await.ok()
    }

    async fn step(&self, step: Step) -> Ended {
        let slot = self.slot(&step).await;
        let line = self.board.begin(&step.id.to_string());
        let start = Instant::now();
        let before = self.health(&step.id);
        let mut unpullable = Vec::new();
        let (status, exit, note) = self.forward(&step, slot, &line, &mut unpullable).await;
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
        line.end(ended.word());
        self.end(&ended);
        self.board.finished(&ended);
        ended
    }

    /// Notes an ending.
    fn end(&self, ended: &Ended) {
        self.note(&ended.step, ended.status, ended.error.as_ref());
        self.mark(&ended.step.id, Reached::Ended(Box::new(ended.clone())));
    }

    fn note(&self, step: &Step, status: ChangeStatus, error: Option<&ErrorInfo>) {
        if let Some(notes) = self.notes {
            notes.add(step, status, error);
        }
    }

    /// `unpullable` gets the images that pods could not pull, before a rollback hides them.
    async fn forward(
        &self,
        step: &Step,
        slot: Option<SemaphorePermit<'_>>,
        line: &Line,
        unpullable: &mut Vec<String>,
    ) -> Ending {
        if step.is_watch() {
            return self.watch_only(step, 0, slot, line, unpullable).await;
        }
        line.say("patching");
        self.mark(&step.id, Reached::Patching);
        let revisions = self.world.look(&goal(&step.id), rewritten::revisions);
        let patched = self
            .cluster
            .patch(&step.id, step.replacements(), Mode::Real)
            .await;
        let patched = match patched {
            Ok(patched) => patched,
            Err(failure) => return refused(&failure),
        };
        self.mark(&step.id, Reached::Patched);
        if !patched.changed {
            let generation = patched.generation;
            return self
                .in_place(step, generation, slot, line, unpullable)
                .await;
        }
        self.note(step, ChangeStatus::Applied, Some(&unfinished()));
        let since = Baseline {
            generation: patched.generation,
            revisions,
        };
        let end = self
            .wait(step, since, self.limits, self.direction, slot, line)
            .await;
        *unpullable = self.unpullable(step, &end);
        match end {
            End::Done(note) => (ChangeStatus::Applied, Exit::Done, note.unwrap_or_default()),
            End::Unfinished(text) => (ChangeStatus::Failed, Exit::Partial, text),
            End::Overruled(text) => (ChangeStatus::Failed, Exit::Conflict, text),
            End::Failed(text) if self.direction == Direction::Back => {
                (ChangeStatus::Applied, Exit::Partial, on_old_images(&text))
            }
            End::Failed(text) if self.rollback == Rollback::None => {
                (ChangeStatus::Failed, Exit::Partial, text)
            }
            End::Failed(text) => self.take_back(step, text, line).await,
        }
    }

    /// Somebody else, perhaps another run, made the change first.
    async fn in_place(
        &self,
        step: &Step,
        generation: i64,
        slot: Option<SemaphorePermit<'_>>,
        line: &Line,
        unpullable: &mut Vec<String>,
    ) -> Ending {
        if self.direction == Direction::Back || !step.id.kind.rolls() {
            let note = "in place already".into();
            return (ChangeStatus::Unchanged, Exit::Done, note);
        }
        self.watch_only(step, generation, slot, line, unpullable)
            .await
    }

    /// Waits for a rollout that this run did not start, and so does not take back.
    async fn watch_only(
        &self,
        step: &Step,
        generation: i64,
        slot: Option<SemaphorePermit<'_>>,
        line: &Line,
        unpullable: &mut Vec<String>,
    ) -> Ending {
        let since = Baseline {
            generation,
            ..Baseline::default()
        };
        let end = self
            .wait(step, since, self.limits, self.direction, slot, line)
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
            End::Failed(text) if self.direction == Direction::Back => {
                (ChangeStatus::Unchanged, Exit::Partial, on_old_images(&text))
            }
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
        since: Baseline,
        limits: Limits,
        direction: Direction,
        slot: Option<SemaphorePermit<'_>>,
        line: &Line,
    ) -> End {
        if !step.id.kind.is_followed() {
            let note =
                (self.direction == Direction::Forward).then(|| step.id.kind.follows().into());
            return End::Done(note);
        }
        let goal = Goal {
            id: step.id.clone(),
            since,
            wanted: step.wanted(),
            pulls: if direction == Direction::Back {
                Pulls::Any
            } else {
                Pulls::Refused
            },
            not_ready: self.not_ready,
        };
        wait_for(self.cluster, self.world, &goal, limits, slot, |text, at| {
            report::show(line, text, at);
        })
        .await
    }

    fn health(&self, id: &Id) -> Health {
        self.world.look(&goal(id), Health::of)
    }
}

/// A look at a workload, whatever it runs.
fn goal(id: &Id) -> Goal {
    Goal {
        id: id.clone(),
        since: Baseline::default(),
        wanted: Vec::new(),
        pulls: Pulls::Refused,
        not_ready: NotReadyNodes::default(),
    }
}

fn on_old_images(why: &str) -> String {
    format!("it does not run on its old images: {why}")
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
