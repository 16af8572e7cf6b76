//! Waits for one rollout: looks at every change, gives up early when it cannot succeed,
//! and keeps looking for a while after it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use castlink_core::{
    config::{self, NotReadyNodes},
    wait,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::sync::SemaphorePermit;

pub(crate) mod cause;
mod contents;
pub(crate) mod counts;
mod deadline;
pub(crate) mod in_place;
pub(crate) mod rewritten;
pub(crate) mod stale;
#[cfg(test)]
mod standing_tests;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;
#[cfg(test)]
mod verdict_tests;
pub(crate) mod watch;

use crate::client::Cluster;
use counts::{Standing, standing};
use stale::Stale;
use verdict::{Blame, Verdict, judge, stuck};
use watch::{Goal, World};

/// How long a failure must last to count: a pull that fails once may succeed next.
const GRACE: Duration = Duration::from_secs(5);

/// How long nothing may move because of a node that is not ready: such nodes often come back.
const NODE_GRACE: Duration = Duration::from_secs(20);

/// How long old pods may take to end, once the new ones are ready: what Kubernetes gives a
/// pod that asks for nothing else.
const ENDING_GRACE: Duration = Duration::from_secs(30);

/// How long one rollout may take, and how long it is watched afterwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) soak: Duration,
}

impl Limits {
    pub(crate) fn of(settings: &config::Upgrade) -> Self {
        Self {
            timeout: Duration::from_secs(settings.timeout),
            soak: Duration::from_secs(settings.soak),
        }
    }
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Complete, or nothing rolls; the note says what is unusual.
    Done(Option<String>),
    /// Not complete, and not the image's fault: it completes by itself.
    Unfinished(String),
    /// It cannot succeed, or did not in time.
    Failed(String),
    /// Somebody else changed the references meanwhile.
    Overruled(String),
}

/// Waits until the rollout of `goal` has ended. `say` hears what it waits for and how far it
/// has come; `slot` is given back as soon as the rollout is complete and only watched.
pub(crate) async fn wait_for(
    cluster: &Cluster,
    world: &World,
    goal: &Goal,
    limits: Limits,
    mut slot: Option<SemaphorePermit<'_>>,
    say: impl Fn(&str, Option<Standing>),
) -> End {
    let mut rollout = Rollout::new(limits, goal.not_ready);
    let mut stale = Stale::default();
    let mut bell = world.bell();
    loop {
        bell.mark_unchanged();
        unblock(cluster, world, goal, &mut rollout).await;
        let (verdict, restarts, at) = world.look(goal, |look| {
            stale.see(&look.pods);
            (judge(look, &stale), restarts(look), standing(look))
        });
        let now = Instant::now();
        match rollout.step(verdict, &restarts, now) {
            Step::End(End::Failed(text)) => return End::Failed(with_silence(text, world)),
            Step::End(end) => return end,
            Step::Wait(until, text) => {
                say(&text, at);
                if rollout.complete.is_some() {
                    drop(slot.take());
                }
                tokio::select! {
                    // An error means that the watches ended, and the deadline decides.
                    Ok(()) = bell.changed() => {}
                    () = wait::pause(until.saturating_duration_since(now)) => {}
                }
            }
        }
    }
}

/// Adds why nothing was heard, when that is so.
fn with_silence(text: String, world: &World) -> String {
    match world.broken() {
        Some(error) => format!("{text} (the watch is broken: {error})"),
        None => text,
    }
}

/// Container starts by pod.
type Restarts = BTreeMap<String, i32>;

fn restarts(look: &verdict::Look<'_>) -> Restarts {
    let new = look.pods.iter().filter(|pod| verdict::is_new(look, pod));
    new.map(|pod| (pod.name.clone(), pod.restarts)).collect()
}

/// What is remembered between two looks at one rollout.
struct Rollout {
    limits: Limits,
    not_ready: NotReadyNodes,
    start: Instant,
    /// Since when nothing has moved because of a node, and what was missing then.
    blocked: Option<(Instant, String)>,
    /// Since when it has been failing without a break.
    failing: Option<Instant>,
    /// Since when it has been complete, and how often its containers had started by then.
    complete: Option<(Instant, Restarts)>,
    /// Pods that were deleted to unblock it.
    deleted: BTreeSet<String>,
    /// Why a blocking pod could not be deleted.
    refused: Option<String>,
}

enum Step {
    End(End),
    Wait(Instant, String),
}

impl Rollout {
    fn new(limits: Limits, not_ready: NotReadyNodes) -> Self {
        Self {
            limits,
            not_ready,
            start: Instant::now(),
            blocked: None,
            failing: None,
            complete: None,
            deleted: BTreeSet::new(),
            refused: None,
        }
    }

    fn deadline(&self) -> Instant {
        self.start + self.limits.timeout
    }

    fn step(&mut self, verdict: Verdict, restarts: &Restarts, now: Instant) -> Step {
        if !matches!(verdict, Verdict::Failing(_)) {
            self.failing = None;
        }
        match verdict {
            Verdict::Done(Some(note)) if restarts.is_empty() => Step::End(End::Done(Some(note))),
            Verdict::Done(note) => self.soak(note, restarts, now),
            Verdict::Overruled(text) => Step::End(End::Overruled(text)),
            Verdict::Failing(cause) => {
                let since = *self.failing.get_or_insert(now);
                if cause.certain || now >= since + GRACE || now >= self.deadline() {
                    return Step::End(End::Failed(cause.text));
                }
                Step::Wait((since + GRACE).min(self.deadline()), cause.text)
            }
            Verdict::Progress { missing, blame } => self.progress(missing, blame, restarts, now),
        }
    }

    fn progress(
        &mut self,
        missing: String,
        blame: Blame,
        restarts: &Restarts,
        now: Instant,
    ) -> Step {
        if let Some(crash) = self.crashed(restarts) {
            return Step::End(End::Failed(crash));
        }
        let missing = match &self.refused {
            Some(refused) => format!("{missing}; {refused}"),
            None => missing,
        };
        let until = match blame {
            Blame::Ending => self.ending(restarts, now),
            Blame::Rollout | Blame::Node { .. } => self.until(blame, &missing, now),
        };
        if now < until {
            return Step::Wait(until, missing);
        }
        let seconds = self.limits.timeout.as_secs();
        Step::End(match blame {
            Blame::Rollout => End::Failed(format!("not complete after {seconds} s: {missing}")),
            Blame::Node { .. } if now < self.deadline() => End::Unfinished(format!(
                "{missing}; it goes on by itself when the node is back or deleted"
            )),
            Blame::Node { .. } => {
                End::Unfinished(format!("not complete after {seconds} s: {missing}"))
            }
            Blame::Ending => End::Done(Some(missing)),
        })
    }

    /// When to stop waiting for old pods. The new revision is complete, and watched from the
    /// first such moment on.
    fn ending(&mut self, restarts: &Restarts, now: Instant) -> Instant {
        let (since, _) = self.complete.get_or_insert_with(|| (now, restarts.clone()));
        (*since + self.limits.soak.max(ENDING_GRACE)).min(self.deadline())
    }

    /// When to give up waiting for `missing`.
    fn until(&mut self, blame: Blame, missing: &str, now: Instant) -> Instant {
        let stuck = blame == (Blame::Node { stuck: true });
        if !stuck || self.not_ready == NotReadyNodes::Wait {
            self.blocked = None;
            return self.deadline();
        }
        let (since, text) = self
            .blocked
            .get_or_insert_with(|| (now, missing.to_owned()));
        if text != missing {
            (*since, *text) = (now, missing.to_owned());
        }
        (*since + NODE_GRACE).min(self.deadline())
    }

    /// Complete: still so, without a restart, when the soak time is over?
    fn soak(&mut self, note: Option<String>, restarts: &Restarts, now: Instant) -> Step {
        if let Some(crash) = self.crashed(restarts) {
            return Step::End(End::Failed(crash));
        }
        let (since, _) = self.complete.get_or_insert_with(|| (now, restarts.clone()));
        let until = *since + self.limits.soak;
        if now >= until {
            return Step::End(End::Done(note));
        }
        Step::Wait(until, "complete; watching for crashes".into())
    }

    /// A container that started again after the rollout was complete. A pod that came
    /// later must not have restarted at all.
    fn crashed(&self, restarts: &Restarts) -> Option<String> {
        let (_, before) = self.complete.as_ref()?;
        let again = restarts
            .iter()
            .find(|(pod, count)| **count > before.get(*pod).copied().unwrap_or(0))?;
        Some(format!(
            "pod {} became ready and crashed within {} s",
            again.0,
            self.limits.soak.as_secs()
        ))
    }
}

/// Deletes the pods that keep a StatefulSet from moving, each once.
async fn unblock(cluster: &Cluster, world: &World, goal: &Goal, rollout: &mut Rollout) {
    let pods: Vec<(String, String)> = world.look(goal, |look| {
        stuck(look)
            .iter()
            .map(|pod| (pod.name.clone(), pod.uid.clone()))
            .collect()
    });
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    for (name, uid) in pods {
        if !rollout.deleted.insert(uid.clone()) {
            continue;
        }
        let same = Preconditions {
            uid: Some(uid),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(same),
            ..DeleteParams::default()
        };
        if let Err(err) = api.delete(&name, &params).await
            && !matches!(&err, kube::Error::Api(status) if matches!(status.code, 404 | 409))
        {
            let failure = cluster.explain(
                err,
                &format!("deleting pod {name}, which blocks the rollout,"),
            );
            rollout.refused = Some(failure.one_line());
        }
    }
}
