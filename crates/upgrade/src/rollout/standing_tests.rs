//! Nodes that are not ready, image ids, and how far a rollout has come, as cases.

use std::collections::BTreeSet;

use castlink_core::config::NotReadyNodes;
use serde_json::{Value, json};

use super::{
    counts::{Standing, standing},
    verdict::stuck,
    verdict_tests::{Case, NEW, OLD, check, complete, deployment, on, pod, terminating},
};
use crate::{
    pods::PodView,
    workload::{Kind, Slot},
};

fn daemon_set(not_ready: NotReadyNodes, updated: i64, pods: Vec<PodView>) -> Case {
    Case {
        kind: Kind::DaemonSet,
        spec: json!({}),
        status: json!({"observedGeneration": 2, "desiredNumberScheduled": 3,
            "updatedNumberScheduled": updated, "numberAvailable": 2, "numberReady": 2}),
        pods,
        not_ready,
        wanted: NEW.into(),
        older: BTreeSet::new(),
    }
}

#[test]
fn nodes_that_are_not_ready_are_ignored_or_waited_for() {
    use NotReadyNodes::{Ignore, Wait};
    let dead = || terminating(on("dead", pod("c", OLD, false)));
    let updated = || vec![pod("a", NEW, true), pod("b", NEW, true), dead()];
    let old = || vec![pod("a", OLD, true), pod("b", OLD, true), dead()];
    let half = || vec![pod("a", NEW, false), pod("b", OLD, true), dead()];
    check(vec![
        (
            daemon_set(Ignore, 2, updated()),
            "done",
            "follow later: dead",
        ),
        (daemon_set(Wait, 2, updated()), "blocked", "not ready: dead"),
        (
            daemon_set(Ignore, 0, old()),
            "blocked",
            "0 of 3 updated; blocked by a node",
        ),
        (
            daemon_set(Ignore, 1, half()),
            "node",
            "1 of 3 updated; not ready: node dead",
        ),
    ]);
}

fn running(name: &str, image: &str, id: &str) -> PodView {
    PodView {
        started_from: vec![(Slot::Container("app".into()), id.into())],
        ..pod(name, image, true)
    }
}

/// As [`check`], where no text means that nothing may be said.
fn told(case: &Case, word: &str, text: &str) {
    let got = case.verdict();
    assert!(
        got.0 == word && got.1.contains(text) && got.1.is_empty() == text.is_empty(),
        "wanted {word} `{text}`, got {got:?}"
    );
}

#[test]
fn a_tag_that_was_moved_is_told() {
    let of = |ids: [&str; 2]| {
        let pods = vec![running("a", NEW, ids[0]), running("b", NEW, ids[1])];
        deployment(json!({"replicas": 2}), complete(), pods)
    };
    let first = "r/app@sha256:0123456789abcdef";
    told(&of([first, first]), "done", "");
    told(
        &of([first, "r/app@sha256:fedcba9876543210"]),
        "done",
        "sha256:fedcba987654 on node good",
    );
    // A copy of the same image may have come from there.
    told(
        &of([first, "ghcr.io/app@sha256:fedcba9876543210"]),
        "done",
        "",
    );
}

/// A pod that is ready on the pinned reference is done, whatever its node calls the image;
/// one that is ready on another reference is not, whatever its image id.
#[test]
fn an_image_id_is_a_note_and_the_reference_is_what_counts() {
    let pinned = format!("{NEW}@sha256:0123456789abcdef");
    let of = |image: &str, id: &str| {
        let pods = vec![running("a", image, id)];
        let mut case = deployment(json!({"replicas": 1}), complete(), pods);
        case.wanted.clone_from(&pinned);
        case
    };
    told(&of(&pinned, "r/app@sha256:0123456789abcdef"), "done", "");
    told(
        &of(&pinned, "ghcr.io/app@sha256:fedcba9876543210"),
        "done",
        "container app of pod a is pinned to sha256:0123456789ab, and its node shows ghcr.io/app@sha256:fedcba9876543210",
    );
    told(
        &of(NEW, "r/app@sha256:0123456789abcdef"),
        "progress",
        "0 of 1 pods seen ready",
    );
}

#[test]
fn the_standing_is_of_the_new_generation() {
    let of = |observed: i64| {
        let mut status = complete();
        status["observedGeneration"] = json!(observed);
        deployment(json!({"replicas": 2}), status, Vec::new()).with(standing)
    };
    let at = |updated| {
        Some(Standing {
            updated,
            ready: 2,
            desired: 2,
        })
    };
    assert_eq!((of(1), of(2)), (at(0), at(2)));
}

#[test]
fn broken_pods_of_an_ordered_stateful_set_are_pushed() {
    let revision = |name: &str, revision: &str, ready| PodView {
        revision: Some(revision.into()),
        ..pod(name, OLD, ready)
    };
    let of = |spec: Value, observed: i64| Case {
        kind: Kind::StatefulSet,
        spec,
        status: json!({"observedGeneration": observed, "updateRevision": "new"}),
        pods: vec![
            revision("x-0", "old", true),
            revision("x-1", "old", false),
            revision("x-2", "new", false),
        ],
        not_ready: NotReadyNodes::Ignore,
        wanted: NEW.into(),
        older: BTreeSet::new(),
    };
    let names = |case: &Case| {
        case.with(|look| {
            stuck(look)
                .iter()
                .map(|pod| pod.name.clone())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(names(&of(json!({"replicas": 3}), 2)), ["x-1"]);
    assert!(
        names(&of(json!({"replicas": 3}), 1)).is_empty(),
        "not before the new revision is known"
    );
    assert!(
        names(&of(
            json!({"replicas": 3, "podManagementPolicy": "Parallel"}),
            2
        ))
        .is_empty()
    );
    let partition = json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}});
    assert!(
        names(&of(partition, 2)).is_empty(),
        "below the partition the old revision is meant to stay"
    );
}
