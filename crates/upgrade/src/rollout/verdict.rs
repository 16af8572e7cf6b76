//! Is a rollout done, under way, or failing? A pure function of what was seen: the
//! workload, its pods, the nodes, and what is wanted.
//!
//! Stricter than `kubectl rollout status`: the controller's counters must be of our
//! generation, and each pod must really run the wanted references. What a pod of the old
//! revision suffers is not ours, and a node that is not ready is not the image's fault.

use std::collections::BTreeSet;

use castlink_core::config::NotReadyNodes;
use kube::api::DynamicObject;
use serde_json::Value;

use super::{
    cause::{self, Cause, Pulls},
    contents,
    counts::{Counts, number},
    deadline, in_place, rewritten,
    stale::Stale,
};
use crate::{
    json::text,
    nodes::{self, Nodes},
    pods::PodView,
    workload::{Id, Kind, Slot, Workload, generation, image_fields},
};

/// What is known about one rollout at one moment.
pub(crate) struct Look<'a> {
    pub(crate) id: &'a Id,
    /// `None` when it was deleted.
    pub(crate) object: Option<&'a DynamicObject>,
    /// The generation that our patch made; of a pod, what [`in_place::starts`] says.
    pub(crate) generation: i64,
    /// The revisions that had pods before it; empty when they are not known.
    pub(crate) older: &'a BTreeSet<String>,
    pub(crate) wanted: &'a [(Slot, String)],
    pub(crate) pulls: Pulls,
    pub(crate) not_ready: NotReadyNodes,
    /// The pods of this workload that are not finished.
    pub(crate) pods: Vec<&'a PodView>,
    pub(crate) nodes: &'a Nodes,
}

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Complete; the note says what is unusual about it.
    Done(Option<String>),
    /// Not complete.
    Progress { missing: String, blame: Blame },
    /// A pod of the new revision cannot start.
    Failing(Cause),
    /// Somebody else changed what we wrote.
    Overruled(String),
}

/// What a rollout waits for, and so what its end of time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The new revision itself.
    Rollout,
    /// A node that is not ready. Stuck: until it is back nothing moves.
    Node { stuck: bool },
    /// Old pods that take their time to end.
    Ending,
}

/// Judges one rollout. What `stale` covers is not held against it.
pub(crate) fn judge(look: &Look<'_>, stale: &Stale) -> Verdict {
    if look.id.kind == Kind::Pod {
        return in_place::judge(look, stale);
    }
    let Some(object) = look.object else {
        return Verdict::Overruled(format!("{} was deleted", look.id));
    };
    let observed = number(&object.data, "/status/observedGeneration");
    if generation(object) < look.generation || observed < look.generation {
        return waiting("its controller has not seen the change yet", Blame::Rollout);
    }
    if let Some(foreign) = foreign(look, object) {
        return Verdict::Overruled(foreign);
    }
    if let Some(note) = standstill(look.id.kind, &object.data) {
        return Verdict::Done(Some(note));
    }
    if let Some(cause) = failing(look, object, stale) {
        return Verdict::Failing(cause);
    }
    // On the way back it is how the old references have always been admitted.
    let rewritten = rewritten::told(look).filter(|_| look.pulls == Pulls::Refused);
    match (unfinished(look, &object.data), rewritten) {
        // It runs, and what it ran before would be rewritten as well: nothing to take back.
        (
            None
            | Some(Verdict::Progress {
                blame: Blame::Ending,
                ..
            }),
            Some(rewritten),
        ) => Verdict::Overruled(rewritten),
        (Some(verdict), _) => verdict,
        (None, None) => Verdict::Done(notes(look)),
    }
}

/// What is unusual about a rollout that is complete.
fn notes(look: &Look<'_>) -> Option<String> {
    let all = [
        dead_note(look),
        rewritten::told(look),
        contents::renamed(look),
        contents::mixed(look),
    ];
    let notes: Vec<String> = all.into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn waiting(missing: impl Into<String>, blame: Blame) -> Verdict {
    Verdict::Progress {
        missing: missing.into(),
        blame,
    }
}

/// A template that no longer holds what we wrote.
fn foreign(look: &Look<'_>, object: &DynamicObject) -> Option<String> {
    let fields = image_fields(look.id.kind, &object.data);
    look.wanted.iter().find_map(|(slot, image)| {
        match fields.iter().find(|field| field.slot == *slot) {
            None => Some(format!(
                "{slot} of {} was removed during the rollout",
                look.id
            )),
            Some(field) if field.literal != *image => Some(format!(
                "{slot} of {} was changed to {} during the rollout",
                look.id, field.literal
            )),
            Some(_) => None,
        }
    })
}

/// Workloads that accept a new template and start nothing.
pub(crate) fn standstill(kind: Kind, data: &Value) -> Option<String> {
    if data.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return Some("paused: nothing rolls until it is resumed".into());
    }
    if text(data, "/spec/updateStrategy/type") == Some("OnDelete") {
        return Some("strategy OnDelete: pods change when they are deleted".into());
    }
    match kind {
        Kind::DaemonSet if number(data, "/status/desiredNumberScheduled") == 0 => {
            Some("no node matches it".into())
        }
        Kind::Deployment | Kind::StatefulSet if Counts::of(kind, data).desired == 0 => {
            Some("scaled to 0".into())
        }
        _ => None,
    }
}

fn failing(look: &Look<'_>, object: &DynamicObject, stale: &Stale) -> Option<Cause> {
    let new = || {
        look.pods
            .iter()
            .filter(|pod| is_new(look, pod) && !on_dead_node(look, pod))
    };
    new()
        .flat_map(|pod| pod.troubles.iter().map(move |trouble| (pod, trouble)))
        // On the way back the pods' old troubles are all there is to learn.
        .filter(|(pod, trouble)| look.pulls == Pulls::Any || !stale.covers(pod, trouble))
        .filter_map(|(pod, trouble)| {
            // Where admission sent a pod was nobody's plan: that pull is not waited for.
            let pulls = match rewritten::is(look, pod) {
                true => Pulls::Any,
                false => look.pulls,
            };
            let cause = cause::of_container(pod, trouble, look.nodes, pulls)?;
            Some(rewritten::explain(look, pod, cause))
        })
        .max_by_key(|cause| cause.certain)
        .or_else(|| cause::of_creation(&object.data))
        .or_else(|| deadline::passed(look, object, stale))
}

/// A pod of the new revision. Its references tell: at least one of them is new.
pub(super) fn is_new(look: &Look<'_>, pod: &PodView) -> bool {
    !pod.terminating && (pod.runs(look.wanted) || rewritten::is(look, pod))
}

pub(super) fn on_dead_node(look: &Look<'_>, pod: &PodView) -> bool {
    pod.node
        .as_ref()
        .is_some_and(|node| nodes::is_down(look.nodes, node))
}

/// What the counters and the pods still lack.
fn unfinished(look: &Look<'_>, data: &Value) -> Option<Verdict> {
    let counts = Counts::of(look.id.kind, data);
    let dead = dead_nodes(look);
    let spared = spared(look, &dead);
    let missing = counts
        .missing(spared)
        .or_else(|| pods_missing(look, &counts, spared));
    if let Some(missing) = missing {
        return Some(match dead.as_slice() {
            [] => waiting(explained(look, missing), Blame::Rollout),
            nodes => blocked(look, &missing, nodes),
        });
    }
    let ending = look
        .pods
        .iter()
        .find(|pod| pod.terminating && !on_dead_node(look, pod))?;
    Some(waiting(
        format!("old pod {} is still ending", ending.name),
        Blame::Ending,
    ))
}

/// A rollout that nodes which are not ready keep from completing. A DaemonSet deletes the pod
/// on such a node first, and it counts against `maxUnavailable` until the node is back; a
/// StatefulSet waits for each pod in turn.
fn blocked(look: &Look<'_>, missing: &str, nodes: &[String]) -> Verdict {
    let moving = look
        .pods
        .iter()
        .any(|pod| is_new(look, pod) && !pod.ready && !on_dead_node(look, pod));
    let stuck = look.id.kind != Kind::Deployment && !moving;
    let nodes = nodes.join(", ");
    let text = match stuck {
        true => format!("{missing}; blocked by a node that is not ready: {nodes}"),
        false => format!("{missing}; not ready: node {nodes}"),
    };
    waiting(text, Blame::Node { stuck })
}

/// The controller says it is complete; do the pods agree? On the way back it alone is asked:
/// what its pods run is what admission makes of the old references.
fn pods_missing(look: &Look<'_>, counts: &Counts, spared: i64) -> Option<String> {
    if look.pulls == Pulls::Any {
        return None;
    }
    let ready = look
        .pods
        .iter()
        .filter(|pod| is_new(look, pod) && pod.ready && !on_dead_node(look, pod))
        .count();
    let goal = counts.goal - spared;
    if i64::try_from(ready).unwrap_or(i64::MAX) < goal {
        return Some(format!(
            "{ready} of {goal} pods seen ready on the new references"
        ));
    }
    let old = look
        .pods
        .iter()
        .find(|pod| !pod.terminating && !is_new(look, pod) && !on_dead_node(look, pod));
    old.filter(|_| counts.goal == counts.desired)
        .map(|pod| format!("pod {} still runs the old references", pod.name))
}

/// Adds the first thing that keeps a new pod from being ready.
fn explained(look: &Look<'_>, missing: String) -> String {
    let late = look.pods.iter().find(|pod| is_new(look, pod) && !pod.ready);
    let why = late.and_then(|pod| cause::of_pod(pod, look.nodes));
    let parts = [Some(missing), why, rewritten::told(look)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn dead_nodes(look: &Look<'_>) -> Vec<String> {
    let mut names: Vec<String> = look
        .pods
        .iter()
        .filter(|pod| on_dead_node(look, pod))
        .filter_map(|pod| pod.node.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn dead_note(look: &Look<'_>) -> Option<String> {
    let dead = dead_nodes(look);
    (!dead.is_empty()).then(|| {
        format!(
            "its pods on nodes that are not ready follow later: {}",
            dead.join(", ")
        )
    })
}

/// What the rollout of a workload that is not to be changed still lacks; none when it is
/// complete, or when nothing rolls. The counters decide alone: a webhook may have given the
/// pods other references than the template's.
pub(crate) fn pending(workload: &Workload, pods: &[&PodView], nodes: &Nodes) -> Option<String> {
    let data = &workload.object.data;
    let kind = workload.id.kind;
    if !kind.rolls() || workload.fields.is_empty() || standstill(kind, data).is_some() {
        return None;
    }
    let generation = generation(&workload.object);
    if number(data, "/status/observedGeneration") < generation {
        return Some("its controller has not seen the last change yet".into());
    }
    let wanted: Vec<(Slot, String)> = workload
        .fields
        .iter()
        .map(|field| (field.slot.clone(), field.literal.clone()))
        .collect();
    let look = Look {
        id: &workload.id,
        object: Some(&workload.object),
        generation,
        older: &BTreeSet::new(),
        wanted: &wanted,
        pulls: Pulls::Refused,
        not_ready: NotReadyNodes::Ignore,
        pods: pods.to_vec(),
        nodes,
    };
    let missing = Counts::of(kind, data).missing(spared(&look, &dead_nodes(&look)))?;
    Some(explained(&look, missing))
}

/// The pods that a DaemonSet cannot have now and is not held to: those on nodes that are
/// not ready.
fn spared(look: &Look<'_>, dead: &[String]) -> i64 {
    if look.id.kind == Kind::DaemonSet && look.not_ready == NotReadyNodes::Ignore {
        i64::try_from(dead.len()).unwrap_or(0)
    } else {
        0
    }
}

/// The pods of the old revision that block a StatefulSet: with `OrderedReady` its
/// controller never replaces a pod that is not ready, neither forward nor back, so
/// somebody has to delete it once the new revision is known.
pub(crate) fn stuck<'a>(look: &Look<'a>) -> Vec<&'a PodView> {
    let Some(object) = look.object.filter(|_| look.id.kind == Kind::StatefulSet) else {
        return Vec::new();
    };
    let data = &object.data;
    let update = text(data, "/status/updateRevision");
    let seen = generation(object) >= look.generation
        && number(data, "/status/observedGeneration") >= look.generation;
    if !seen || update.is_none() || standstill(look.id.kind, data).is_some() || is_parallel(data) {
        return Vec::new();
    }
    let partition = number(data, "/spec/updateStrategy/rollingUpdate/partition");
    let blocks = |pod: &PodView| {
        pod.revision.as_deref() != update
            && !pod.ready
            && !pod.terminating
            && ordinal(&pod.name) >= partition
    };
    look.pods
        .iter()
        .copied()
        .filter(|pod| blocks(pod) && !on_dead_node(look, pod))
        .collect()
}

fn is_parallel(data: &Value) -> bool {
    text(data, "/spec/podManagementPolicy") == Some("Parallel")
}

fn ordinal(pod: &str) -> i64 {
    pod.rsplit('-')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
