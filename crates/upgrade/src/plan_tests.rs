//! One decision per workload, as cases.

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
    assert!(decide_one(owned, records, Trust::Copied).starts_with("skip: made by Component/agent"));
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
