//! One decision per workload, as cases.

use super::*;
use crate::{nodes::sample, workload::Kind};
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
    Mapping::of_records(items, None).expect("the cases of a test are well-formed")
}

fn seen(workloads: Vec<Workload>, pods: Vec<PodView>) -> Observed {
    Observed {
        workloads,
        pods,
        nodes: sample(&[("a", "amd64", true), ("b", "arm64", true)]),
    }
}

/// The same workload with its rollout complete.
fn complete(mut workload: Workload) -> Workload {
    workload.object.data["status"] =
        json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
    workload
}

fn trusting(trust: Trust) -> Choices {
    Choices {
        trust,
        bare_pods: false,
    }
}

fn decide_one(workload: Workload, records: &[(&str, &str, &[&str])], trust: Trust) -> String {
    let seen = seen(vec![workload], Vec::new());
    let plan = plan(&seen, &mapping(records), trusting(trust));
    match &plan.steps[0].action {
        Action::Unchanged => "unchanged".into(),
        Action::Watch { missing, .. } => format!("watch: {missing}"),
        Action::Patch(fields) => format!("patch {}", fields.len()),
        Action::Skip { reason, .. } => format!("skip: {reason}"),
        Action::Report { reason, .. } => format!("report: {reason}"),
    }
}

#[test]
fn one_decision_per_workload() {
    let both: &[&str] = &["linux/amd64", "linux/arm64/v8"];
    let deployment =
        |images: &[&str]| complete(workload(Kind::Deployment, "web", containers(images)));
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
        (
            &["${IMAGE}"],
            &[("a:1", "copied", both)],
            "skip: `${IMAGE}` is not an image reference",
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
    assert!(of(Kind::Job).starts_with("report: a Job"));
    let mut owned = workload(Kind::Deployment, "x", containers(&["a:1"]));
    owned.controller = Some("Component/agent".into());
    assert!(decide_one(owned, records, Trust::Copied).starts_with("skip: made by Component/agent"));
}

#[test]
fn the_operator_goes_first_and_a_step_can_be_taken_back() {
    let two = [
        workload(Kind::DaemonSet, "agent", containers(&["a:1"])),
        workload(Kind::Deployment, "castware-operator", containers(&["a:1"])),
    ];
    let plan = plan(
        &seen(two.into(), Vec::new()),
        &mapping(&[("a:1", "copied", &[])]),
        trusting(Trust::Copied),
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

/// A record about an image that nobody here uses.
const OTHER: &[(&str, &str, &[&str])] = &[("other:1", "copied", &[])];

/// A workload on its private reference, of generation 2.
fn in_place(kind: Kind, spec: &Value, status: &Value) -> Workload {
    let mut spec = spec.clone();
    let image = format!("{ECR}/a:1");
    spec["template"] = json!({"spec": {"containers": [{"name": "app", "image": image}]}});
    let object =
        json!({"metadata": {"name": "web", "generation": 2}, "spec": spec, "status": status});
    Workload::new(kind, serde_json::from_value(object).unwrap())
}

#[test]
fn a_rollout_that_is_not_complete_is_watched() {
    let whole = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
    let with = |changes: &[(&str, i64)]| {
        let mut status = whole.clone();
        for (name, value) in changes {
            status[*name] = json!(value);
        }
        status
    };
    let daemons = |updated: i64, available: i64| {
        json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
            "updatedNumberScheduled": updated, "numberAvailable": available})
    };
    let two = json!({"replicas": 2});
    use Kind::{CronJob, DaemonSet, Deployment, StatefulSet};
    for (kind, spec, status, want) in [
        (Deployment, two.clone(), whole.clone(), "unchanged"),
        (
            Deployment,
            two.clone(),
            with(&[("availableReplicas", 0)]),
            "watch: 0 of 2 available",
        ),
        (
            Deployment,
            two.clone(),
            with(&[("updatedReplicas", 1)]),
            "watch: 1 of 2 updated",
        ),
        (
            Deployment,
            two.clone(),
            with(&[("replicas", 3)]),
            "watch: 1 of the old revision left",
        ),
        (
            Deployment,
            two.clone(),
            with(&[("observedGeneration", 1)]),
            "watch: its controller has not seen the last change yet",
        ),
        (
            Deployment,
            json!({"replicas": 2, "paused": true}),
            with(&[("updatedReplicas", 0)]),
            "unchanged",
        ),
        (
            Deployment,
            json!({"replicas": 0}),
            json!({"observedGeneration": 2}),
            "unchanged",
        ),
        (
            StatefulSet,
            json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}),
            with(&[("updatedReplicas", 0)]),
            "unchanged",
        ),
        (
            StatefulSet,
            two.clone(),
            with(&[("updatedReplicas", 1)]),
            "watch: 1 of 2 updated",
        ),
        (DaemonSet, json!({}), daemons(2, 2), "unchanged"),
        (
            DaemonSet,
            json!({}),
            daemons(2, 1),
            "watch: 1 of 2 available",
        ),
        (
            DaemonSet,
            json!({}),
            json!({"observedGeneration": 2}),
            "unchanged",
        ),
        (CronJob, json!({}), json!({}), "unchanged"),
    ] {
        let got = decide_one(in_place(kind, &spec, &status), OTHER, Trust::Copied);
        assert_eq!(got, want, "{kind:?} {spec} {status}");
    }
}

#[test]
fn a_watched_workload_tells_what_its_pods_suffer_and_changes_nothing() {
    let web = in_place(
        Kind::DaemonSet,
        &json!({}),
        &json!({"observedGeneration": 2,
        "desiredNumberScheduled": 1, "updatedNumberScheduled": 1}),
    );
    let image = format!("{ECR}/a:1");
    let pod = PodView {
        name: "web-1".into(),
        maker: Some(("DaemonSet".into(), "web".into())),
        images: vec![(Slot::Container("app".into()), image.clone())],
        troubles: vec![crate::pods::Trouble {
            container: "app".into(),
            reason: "CrashLoopBackOff".into(),
            ..Default::default()
        }],
        ..PodView::default()
    };
    let healthy = complete(workload(Kind::Deployment, "fine", containers(&[&image])));
    let plan = plan(
        &seen(vec![web, healthy], vec![pod]),
        &mapping(OTHER),
        trusting(Trust::Copied),
    );
    assert!(!plan.is_empty() && plan.patches().count() == 0);
    let step = plan.watches().next().unwrap();
    let Action::Watch { missing, .. } = &step.action else {
        panic!("{step:?}");
    };
    assert!(
        missing.starts_with("0 of 1 available; pod web-1"),
        "{missing}"
    );
    assert!(missing.contains("CrashLoopBackOff"), "{missing}");
    assert!(step.replacements().is_empty());
    assert_eq!(step.wanted(), [(Slot::Container("app".into()), image)]);
    let change = &step.changes(ChangeStatus::Planned, None)[0];
    assert_eq!(change.to, None);
}
