//! The planner: from what was observed and what was mirrored to one step per workload.
//! Pure; it prints nothing and calls nothing.

use castlink_core::{
    Exit, ImageRef,
    record::{Change, ChangeStatus, ErrorInfo},
};

use crate::{
    mapping::{Mapping, Target},
    nodes::Nodes,
    workload::{Id, ImageField, Kind, Slot, Workload},
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
    /// Every reference is private already.
    Unchanged,
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

    /// True when nothing is to be patched.
    pub(crate) fn is_empty(&self) -> bool {
        self.patches().next().is_none()
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

    /// The references wanted, by slot.
    pub(crate) fn wanted(&self) -> Vec<(Slot, String)> {
        self.replacements()
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
            Action::Patch(fields) | Action::Skip { fields, .. } | Action::Report { fields, .. } => {
                fields
            }
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

/// Decides what to do with each workload.
pub(crate) fn plan(workloads: &[Workload], nodes: &Nodes, mapping: &Mapping, trust: Trust) -> Plan {
    let mut steps: Vec<Step> = workloads
        .iter()
        .filter(|workload| !(workload.id.kind == Kind::Job && workload.controller.is_some()))
        .map(|workload| Step {
            id: workload.id.clone(),
            owner: workload.owner.clone(),
            ordered: workload.ordered,
            action: action(workload, nodes, mapping, trust),
        })
        .collect();
    steps.sort_by_key(|step| (!step.id.name.starts_with(OPERATOR), step.id.clone()));
    Plan { steps }
}

fn action(workload: &Workload, nodes: &Nodes, mapping: &Mapping, trust: Trust) -> Action {
    let mut fields = Vec::new();
    let mut obstacle = None;
    for field in &workload.fields {
        match decide(field, workload, nodes, mapping, trust) {
            Decision::Keep => {}
            Decision::Replace(to) => fields.push(replacement(field, to)),
            Decision::Obstacle(reason) => {
                fields.push(replacement(field, field.literal.clone()));
                obstacle.get_or_insert(reason);
            }
        }
    }
    if fields.is_empty() {
        return Action::Unchanged;
    }
    if let Some(reason) = unpatchable(workload) {
        return reason(fields);
    }
    match obstacle {
        Some(reason) => Action::Skip {
            fields,
            reason,
            exit: Exit::Partial,
        },
        None => Action::Patch(fields),
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
            None => Decision::Replace(to),
        },
        Target::Planned { to } if trust == Trust::Planned => Decision::Replace(to),
        Target::Planned { .. } => Decision::Obstacle(format!(
            "{} is not mirrored yet, only planned",
            field.literal
        )),
        Target::Failed { reason } => Decision::Obstacle(reason),
        Target::Unknown => Decision::Obstacle(format!(
            "no record says where {} was mirrored to",
            field.literal
        )),
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

fn unpatchable(workload: &Workload) -> Option<impl FnOnce(Vec<Replacement>) -> Action + use<>> {
    let (reason, exit) = match (&workload.controller, workload.id.kind) {
        (Some(maker), _) => (
            format!("made by {maker}, which would put a change back: change it there"),
            Exit::Partial,
        ),
        (None, Kind::Job) => (
            "a Job is immutable; Helm makes a hook Job anew at the next release".to_owned(),
            Exit::Done,
        ),
        (None, Kind::Pod) => (
            "a bare pod: make it anew from a changed manifest".to_owned(),
            Exit::Done,
        ),
        (None, _) => return None,
    };
    Some(move |fields| match exit {
        Exit::Done => Action::Report { fields, reason },
        _ => Action::Skip {
            fields,
            reason,
            exit,
        },
    })
}

/// True when `literal` names an image outside the private registry. A text that is no
/// reference is not: it was not an image to begin with.
pub(crate) fn is_public(literal: &str, registry: Option<&str>) -> bool {
    literal
        .parse::<ImageRef>()
        .is_ok_and(|image| !crate::mapping::is_private(&image, registry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::sample;
    use castlink_core::record::Record;
    use serde_json::{Value, json};

    const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn workload(kind: Kind, name: &str, containers: Value) -> Workload {
        let template = json!({"template": {"spec": {"containers": containers}}});
        let object = match kind {
            Kind::CronJob => {
                json!({"metadata": {"name": name}, "spec": {"jobTemplate": {"spec": template}}})
            }
            _ => json!({"metadata": {"name": name}, "spec": template}),
        };
        Workload::new(kind, serde_json::from_value(object).unwrap())
    }

    fn containers(images: &[&str]) -> Value {
        let list = images.iter().enumerate();
        list.map(|(index, image)| json!({"name": format!("c{index}"), "image": image}))
            .collect()
    }

    /// Records as `source status platforms`.
    fn mapping(records: &[(&str, &str, &[&str])]) -> Mapping {
        let lines: Vec<String> = records
            .iter()
            .map(|(source, status, platforms)| {
                json!({"castlink": 1, "kind": "mirrored", "source": source, "target": format!("{ECR}/{source}"),
                    "status": status, "platforms": platforms})
                .to_string()
            })
            .collect();
        let items = castlink_core::input::read(lines.join("\n").as_bytes()).unwrap();
        Mapping::from_items(items)
    }

    fn decide_one(workload: Workload, records: &[(&str, &str, &[&str])], trust: Trust) -> String {
        let nodes = sample(&[("a", "amd64", true), ("b", "arm64", true)]);
        let plan = plan(&[workload], &nodes, &mapping(records), trust);
        match &plan.steps[0].action {
            Action::Unchanged => "unchanged".into(),
            Action::Patch(fields) => format!("patch {}", fields.len()),
            Action::Skip { reason, .. } => format!("skip: {reason}"),
            Action::Report { reason, .. } => format!("report: {reason}"),
        }
    }

    #[test]
    fn one_decision_per_workload() {
        let both: &[&str] = &["linux/amd64", "linux/arm64/v8"];
        let deployment = |images: &[&str]| workload(Kind::Deployment, "web", containers(images));
        let private = format!("{ECR}/a:1");
        for (images, records, want) in [
            (
                &["a:1", "a:1"][..],
                &[("a:1", "copied", both)][..],
                "patch 2",
            ),
            (&["a:1", &private], &[("a:1", "present", &[])], "patch 1"),
            (&[&private], &[("a:1", "present", both)], "unchanged"),
            (
                &["a:1", "b:1"],
                &[("a:1", "copied", both), ("b:1", "failed", &[])],
                "skip: b:1 was not mirrored",
            ),
            (
                &["a:1"],
                &[("b:1", "copied", both)],
                "skip: no record says where a:1",
            ),
            (
                &["a:1"],
                &[("a:1", "planned", both)],
                "skip: a:1 is not mirrored yet",
            ),
            (
                &["a:1"],
                &[("a:1", "copied", &["linux/amd64"])],
                "has no linux/arm64",
            ),
        ] {
            let got = decide_one(deployment(images), records, Trust::Copied);
            assert!(got.contains(want), "{images:?}: {got}");
        }
        assert_eq!(
            decide_one(
                deployment(&["a:1"]),
                &[("a:1", "planned", both)],
                Trust::Planned
            ),
            "patch 1"
        );
    }

    #[test]
    fn kinds_that_cannot_be_patched_are_told() {
        let records: &[(&str, &str, &[&str])] = &[("a:1", "copied", &[])];
        let of = |kind| {
            decide_one(
                workload(kind, "x", containers(&["a:1"])),
                records,
                Trust::Copied,
            )
        };
        assert_eq!(of(Kind::CronJob), "patch 1");
        assert!(of(Kind::Job).starts_with("report: a Job is immutable"));
        let mut owned = workload(Kind::Deployment, "x", containers(&["a:1"]));
        owned.controller = Some("Component/agent".into());
        assert!(
            decide_one(owned, records, Trust::Copied).starts_with("skip: made by Component/agent")
        );
    }

    #[test]
    fn the_operator_goes_first_and_a_step_can_be_taken_back() {
        let two = [
            workload(Kind::DaemonSet, "agent", containers(&["a:1"])),
            workload(Kind::Deployment, "castware-operator", containers(&["a:1"])),
        ];
        let plan = plan(
            &two,
            &None,
            &mapping(&[("a:1", "copied", &[])]),
            Trust::Copied,
        );
        assert_eq!(plan.steps[0].id.name, "castware-operator");
        let step = &plan.steps[1];
        assert_eq!(step.reversed().reversed(), *step);
        assert_eq!(step.reversed().wanted()[0].1, "a:1");
        let record = Record::Change(step.changes(ChangeStatus::Planned, None)[0].clone());
        assert!(
            record
                .to_line()
                .contains(r#""field":"container c0 image","from":"a:1""#),
            "{}",
            record.to_line()
        );
    }
}
