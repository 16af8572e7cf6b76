//! The planner: from what was observed and what was mirrored to one step per workload.
//! Pure; it prints nothing and calls nothing.

use castlink_core::{
    Exit,
    record::{Change, ChangeStatus, ErrorInfo},
};

use crate::{
    cluster::Observed,
    controllers, fixed, lagging,
    mapping::{Mapping, Target},
    nodes::Nodes,
    pods::PodView,
    rollout::verdict::pending,
    scanners,
    workload::{Id, ImageField, Slot, Workload},
};

/// The workload that installs others; it goes first, so that it acts on its own new image.
const OPERATOR: &str = "castware-operator";

/// What is to be done, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
}

/// What is to be done with one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) id: Id,
    /// Who else manages it: `helm:castai-agent`.
    pub(crate) owner: Option<String>,
    /// Its pods are replaced in order, so that a broken one can block the others.
    pub(crate) ordered: bool,
    pub(crate) action: Action,
}

/// The decision for one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Every reference is private already, and runs.
    Unchanged,
    /// Every reference is private already, but the rollout is not complete: an earlier run
    /// was interrupted, or failed. Nothing is patched; `from` and `to` are the same.
    Watch {
        fields: Vec<Replacement>,
        missing: String,
    },
    /// All replacements together, in one patch.
    Patch(Vec<Replacement>),
    /// Left alone as a whole, because one of its images cannot be used.
    Skip {
        fields: Vec<Replacement>,
        reason: String,
        exit: Exit,
    },
    /// Nothing that could be patched; told, and no failure.
    Report {
        fields: Vec<Replacement>,
        reason: String,
    },
}

/// One reference and its new text; `to` is `from` where no target is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replacement {
    pub(crate) slot: Slot,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Plan {
    /// The steps that patch something.
    pub(crate) fn patches(&self) -> impl Iterator<Item = &Step> {
        self.steps
            .iter()
            .filter(|step| matches!(step.action, Action::Patch(_)))
    }

    /// The steps that only wait for a rollout that is under way.
    pub(crate) fn watches(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_watch())
    }

    /// True when nothing is to be patched and nothing to be waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.patches().chain(self.watches()).next().is_none()
    }
}

impl Step {
    /// What is replaced; empty unless this step patches.
    pub(crate) fn replacements(&self) -> &[Replacement] {
        match &self.action {
            Action::Patch(replacements) => replacements,
            _ => &[],
        }
    }

    /// True when it changes nothing and only waits.
    pub(crate) fn is_watch(&self) -> bool {
        matches!(self.action, Action::Watch { .. })
    }

    /// True for a workload that installs others: it is rolled out before they are touched, and
    /// taken back after them, so that neither of its versions finds them half way.
    pub(crate) fn goes_alone(&self) -> bool {
        self.id.name.starts_with(OPERATOR)
    }

    /// The references wanted, by slot.
    pub(crate) fn wanted(&self) -> Vec<(Slot, String)> {
        let fields = match &self.action {
            Action::Watch { fields, .. } => fields,
            _ => self.replacements(),
        };
        fields
            .iter()
            .map(|one| (one.slot.clone(), one.to.clone()))
            .collect()
    }

    /// The step that takes this one back.
    pub(crate) fn reversed(&self) -> Self {
        let back = |one: &Replacement| Replacement {
            slot: one.slot.clone(),
            from: one.to.clone(),
            to: one.from.clone(),
        };
        Self {
            action: Action::Patch(self.replacements().iter().map(back).collect()),
            ..self.clone()
        }
    }

    /// One record per field, all with the same ending.
    pub(crate) fn changes(&self, status: ChangeStatus, error: Option<&ErrorInfo>) -> Vec<Change> {
        let fields = match &self.action {
            Action::Unchanged => &[][..],
            Action::Patch(fields)
            | Action::Watch { fields, .. }
            | Action::Skip { fields, .. }
            | Action::Report { fields, .. } => fields,
        };
        fields
            .iter()
            .map(|one| Change {
                resource: self.id.to_string(),
                field: one.slot.field(),
                from: Some(one.from.clone()),
                to: (one.to != one.from).then(|| one.to.clone()),
                owner: self.owner.clone(),
                status,
                error: error.cloned(),
            })
            .collect()
    }

    /// The reason a step without a patch gives.
    pub(crate) fn reason(&self) -> Option<&str> {
        match &self.action {
            Action::Skip { reason, .. } | Action::Report { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// What counts as a usable target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Only images that are at their target.
    Copied,
    /// Also those that would be copied: to show a whole sequence before any of it runs.
    Planned,
}

/// What the user decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choices {
    pub(crate) trust: Trust,
    /// Change pods that nobody would make anew.
    pub(crate) bare_pods: bool,
}

/// Decides what to do with each workload.
pub(crate) fn plan(seen: &Observed, mapping: &Mapping, choices: Choices) -> Plan {
    let mut steps: Vec<Step> = seen
        .workloads
        .iter()
        .filter(|workload| !workload.is_revision())
        .map(|workload| Step {
            id: workload.id.clone(),
            owner: workload.owner.clone(),
            ordered: workload.ordered,
            action: action(workload, seen, mapping, choices),
        })
        .collect();
    steps.sort_by_key(|step| (!step.goes_alone(), step.id.clone()));
    Plan { steps }
}

fn action(workload: &Workload, seen: &Observed, mapping: &Mapping, choices: Choices) -> Action {
    let mut fields = Vec::new();
    let mut obstacle = None;
    for field in &workload.fields {
        match decide(field, workload, &seen.nodes, mapping, choices.trust) {
            Decision::Keep => {}
            Decision::Replace(to) => fields.push(replacement(field, to)),
            Decision::Obstacle(reason) => {
                fields.push(replacement(field, field.literal.clone()));
                obstacle.get_or_insert(reason);
            }
        }
    }
    if fields.is_empty() {
        return in_place(workload, seen);
    }
    let slots = fields.iter().map(|one| &one.slot);
    match (fixed::reason(workload, slots, choices.bare_pods), obstacle) {
        (Some((reason, Exit::Done)), _) => Action::Report { fields, reason },
        (Some((reason, exit)), _) => Action::Skip {
            fields,
            reason,
            exit,
        },
        (None, Some(reason)) => Action::Skip {
            fields,
            reason,
            exit: Exit::Partial,
        },
        (None, None) => Action::Patch(fields),
    }
}

/// Nothing to patch; do the references run as well?
pub(crate) fn in_place(workload: &Workload, seen: &Observed) -> Action {
    let pods: Vec<&PodView> = seen
        .pods
        .iter()
        .filter(|pod| pod.belongs_to(&workload.id))
        .collect();
    let fields = || {
        let fields = workload.fields.iter();
        fields
            .map(|field| replacement(field, field.literal.clone()))
            .collect()
    };
    if let Some(missing) = pending(workload, &pods, &seen.nodes) {
        let fields = fields();
        return Action::Watch { fields, missing };
    }
    match lagging::reason(workload, &pods) {
        None => Action::Unchanged,
        Some(why) => Action::Report {
            fields: fields(),
            reason: format!("it is in place, its pods are not: {why}"),
        },
    }
}

enum Decision {
    Keep,
    Replace(String),
    Obstacle(String),
}

fn decide(
    field: &ImageField,
    workload: &Workload,
    nodes: &Nodes,
    mapping: &Mapping,
    trust: Trust,
) -> Decision {
    match mapping.target(&field.literal) {
        Target::Private => Decision::Keep,
        Target::Mirrored { to, .. } if to == field.literal => Decision::Keep,
        Target::Mirrored { to, platforms } => match uncovered(workload, nodes, &platforms) {
            Some(missing) => {
                Decision::Obstacle(format!("{to} has no {missing}, and there are such nodes"))
            }
            None => replace(field, workload, to, mapping),
        },
        Target::Planned { to } if trust == Trust::Planned => replace(field, workload, to, mapping),
        Target::Planned { .. } => Decision::Obstacle(format!(
            "{} is not mirrored yet, only planned",
            field.literal
        )),
        Target::Failed { reason } => Decision::Obstacle(reason),
        Target::Invalid => {
            Decision::Obstacle(format!("`{}` is not an image reference", field.literal))
        }
        Target::Unknown => Decision::Obstacle(format!(
            "no record says where {} was mirrored to",
            field.literal
        )),
    }
}

/// `to`, unless kvisor could not start its Jobs under that name.
fn replace(field: &ImageField, workload: &Workload, to: String, mapping: &Mapping) -> Decision {
    let trouble = controllers::published(workload, field)
        .and_then(|_| scanners::trouble(&field.literal, &to, mapping));
    match trouble.filter(|trouble| trouble.certain) {
        Some(trouble) => Decision::Obstacle(trouble.text),
        None => Decision::Replace(to),
    }
}

/// The platforms its pods can land on that the image lacks; none when either is unknown.
fn uncovered(workload: &Workload, nodes: &Nodes, platforms: &[String]) -> Option<String> {
    let has = |wanted: &String| {
        platforms.iter().any(|have| {
            have == wanted
                || have
                    .strip_prefix(wanted)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    };
    if platforms.is_empty() {
        return None;
    }
    let missing: Vec<String> = workload
        .placement
        .platforms(nodes)
        .into_iter()
        .filter(|wanted| !has(wanted))
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn replacement(field: &ImageField, to: String) -> Replacement {
    Replacement {
        slot: field.slot.clone(),
        from: field.literal.clone(),
        to,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
