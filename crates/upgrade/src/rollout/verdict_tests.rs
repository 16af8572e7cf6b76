//! Verdicts, as cases: states that real controllers and kubelets produce.

use std::collections::BTreeSet;

use castlink_core::config::NotReadyNodes;
use serde_json::{Value, json};

use super::{
    cause::Pulls,
    stale::Stale,
    verdict::{Blame, Look, Verdict, judge},
};
use crate::{
    nodes::{Nodes, sample},
    pods::{PodView, Trouble},
    workload::{Id, Kind, Slot},
};

pub(super) const OLD: &str = "ghcr.io/x/app:1";
pub(super) const NEW: &str = "r/ghcr.io/x/app:1";

fn object(case: &Case) -> kube::api::DynamicObject {
    let mut spec = case.spec.clone();
    spec["template"] = json!({"spec": {"containers": [{"name": "app", "image": case.wanted}]}});
    let object = json!({"apiVersion": "apps/v1", "kind": case.kind.name(),
        "metadata": {"name": "x", "generation": 2}, "spec": spec, "status": case.status});
    serde_json::from_value(object).unwrap()
}

pub(super) fn pod(name: &str, image: &str, ready: bool) -> PodView {
    PodView {
        name: name.into(),
        uid: name.into(),
        ready,
        node: Some("good".into()),
        images: vec![(Slot::Container("app".into()), image.into())],
        ..PodView::default()
    }
}

pub(super) fn troubled(name: &str, image: &str, reason: &str, message: &str) -> PodView {
    let trouble = Trouble {
        container: "app".into(),
        image: image.into(),
        reason: reason.into(),
        message: message.into(),
        restarts: 0,
    };
    PodView {
        troubles: vec![trouble],
        ..pod(name, image, false)
    }
}

pub(super) fn on(node: &str, pod: PodView) -> PodView {
    PodView {
        node: Some(node.into()),
        ..pod
    }
}

pub(super) fn terminating(pod: PodView) -> PodView {
    PodView {
        terminating: true,
        ..pod
    }
}

fn nodes() -> Nodes {
    sample(&[("good", "amd64", true), ("dead", "arm64", false)])
}

pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) spec: Value,
    pub(super) status: Value,
    pub(super) pods: Vec<PodView>,
    pub(super) not_ready: NotReadyNodes,
    pub(super) wanted: String,
    pub(super) older: BTreeSet<String>,
}

impl Case {
    pub(super) fn with<T>(&self, see: impl FnOnce(&Look<'_>) -> T) -> T {
        let id = Id {
            kind: self.kind,
            name: "x".into(),
        };
        let object = object(self);
        see(&Look {
            id: &id,
            object: Some(&object),
            generation: 2,
            older: &self.older,
            wanted: &[(Slot::Container("app".into()), self.wanted.clone())],
            pulls: Pulls::Refused,
            not_ready: self.not_ready,
            pods: self.pods.iter().collect(),
            nodes: &nodes(),
        })
    }

    /// The verdict in one word, and its text.
    pub(super) fn verdict(&self) -> (&'static str, String) {
        match self.with(|look| judge(look, &Stale::default())) {
            Verdict::Done(note) => ("done", note.unwrap_or_default()),
            Verdict::Progress {
                missing,
                blame: Blame::Rollout,
            } => ("progress", missing),
            Verdict::Progress {
                missing,
                blame: Blame::Node { stuck },
            } => (if stuck { "blocked" } else { "node" }, missing),
            Verdict::Progress {
                missing,
                blame: Blame::Ending,
            } => ("ending", missing),
            Verdict::Failing(cause) => ("failing", cause.text),
            Verdict::Overruled(text) => ("overruled", text),
        }
    }
}

pub(super) fn deployment(spec: Value, status: Value, pods: Vec<PodView>) -> Case {
    Case {
        kind: Kind::Deployment,
        spec,
        status,
        pods,
        not_ready: NotReadyNodes::Ignore,
        wanted: NEW.into(),
        older: BTreeSet::new(),
    }
}

pub(super) fn complete() -> Value {
    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2})
}

pub(super) fn check(cases: Vec<(Case, &str, &str)>) {
    for (case, word, text) in cases {
        let got = case.verdict();
        assert!(
            got.0 == word && got.1.contains(text),
            "wanted {word} `{text}`, got {got:?}"
        );
    }
}

#[test]
fn deployments() {
    let two = || json!({"replicas": 2});
    let good = || vec![pod("a", NEW, true), pod("b", NEW, true)];
    let mut stale = complete();
    stale["observedGeneration"] = json!(1);
    let mut surplus = complete();
    surplus["replicas"] = json!(3);
    let with = |extra: PodView| good().into_iter().chain([extra]).collect::<Vec<_>>();
    check(vec![
        (deployment(two(), complete(), good()), "done", ""),
        (
            deployment(two(), stale, good()),
            "progress",
            "not seen the change",
        ),
        (
            deployment(two(), surplus, good()),
            "progress",
            "1 of the old revision",
        ),
        (
            deployment(two(), complete(), vec![pod("a", NEW, true)]),
            "progress",
            "1 of 2 pods seen ready",
        ),
        (
            deployment(two(), complete(), with(pod("c", OLD, true))),
            "progress",
            "pod c still runs the old",
        ),
        (
            deployment(two(), complete(), with(terminating(pod("c", OLD, true)))),
            "ending",
            "pod c",
        ),
        (
            deployment(
                two(),
                complete(),
                with(terminating(on("dead", pod("c", OLD, false)))),
            ),
            "done",
            "dead",
        ),
        (
            deployment(json!({"replicas": 2, "paused": true}), complete(), good()),
            "done",
            "paused",
        ),
        (
            deployment(
                json!({"replicas": 0}),
                json!({"observedGeneration": 2}),
                vec![],
            ),
            "done",
            "scaled to 0",
        ),
    ]);
}

#[test]
fn only_pods_of_the_new_revision_can_fail_it() {
    let rolling = || json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1});
    let of = |pods| deployment(json!({"replicas": 1}), rolling(), pods);
    let denied = |image| troubled("p", image, "ImagePullBackOff", "not found");
    let timeout = troubled("p", NEW, "ErrImagePull", "dial tcp: i/o timeout");
    check(vec![
        (
            of(vec![denied(NEW)]),
            "failing",
            "pod p on node good (amd64): container app: ImagePullBackOff: r/ghcr.io/x/app:1: not found",
        ),
        (of(vec![denied(OLD)]), "progress", "old revision"),
        (of(vec![terminating(denied(NEW))]), "progress", ""),
        (
            of(vec![on("dead", denied(NEW))]),
            "node",
            "not ready: node dead",
        ),
        (of(vec![timeout]), "progress", "i/o timeout"),
    ]);
}

#[test]
fn a_trouble_older_than_the_change_counts_once_it_comes_again() {
    let rolling = || json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1});
    let of = |restarts, reason: &str| {
        let mut pod = troubled("p", NEW, reason, "back-off");
        pod.troubles[0].restarts = restarts;
        deployment(json!({"replicas": 1}), rolling(), vec![pod])
    };
    let mut stale = Stale::default();
    let mut fails = |case: &Case| {
        case.with(|look| {
            stale.see(&look.pods);
            matches!(judge(look, &stale), Verdict::Failing(_))
        })
    };
    assert!(!fails(&of(4, "CrashLoopBackOff")), "from before");
    assert!(!fails(&of(4, "CrashLoopBackOff")), "still the same");
    assert!(fails(&of(5, "CrashLoopBackOff")), "it crashed again");
    assert!(fails(&of(4, "CrashLoopBackOff")), "and is never old again");
}

#[test]
fn daemon_sets() {
    let of = |desired: i64, updated: i64, available: i64, pods| Case {
        kind: Kind::DaemonSet,
        spec: json!({}),
        status: json!({"observedGeneration": 2, "desiredNumberScheduled": desired,
            "updatedNumberScheduled": updated, "numberAvailable": available}),
        pods,
        not_ready: NotReadyNodes::Ignore,
        wanted: NEW.into(),
        older: BTreeSet::new(),
    };
    check(vec![
        (of(1, 1, 1, vec![pod("a", NEW, true)]), "done", ""),
        (of(0, 0, 0, vec![]), "done", "no node matches"),
        (
            of(2, 1, 1, vec![pod("a", NEW, true), pod("b", OLD, true)]),
            "progress",
            "1 of 2 updated",
        ),
        // The pod of the dead node is taken first and uses up maxUnavailable.
        (
            of(
                2,
                0,
                1,
                vec![
                    pod("a", OLD, true),
                    terminating(on("dead", pod("b", OLD, false))),
                ],
            ),
            "blocked",
            "not ready: dead",
        ),
        (
            of(
                2,
                1,
                1,
                vec![pod("a", NEW, true), on("dead", pod("b", OLD, false))],
            ),
            "done",
            "dead",
        ),
    ]);
}

#[test]
fn stateful_sets() {
    let of = |spec: Value, updated: i64, available: i64, pods| Case {
        kind: Kind::StatefulSet,
        spec,
        status: json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": updated,
            "readyReplicas": available, "availableReplicas": available, "updateRevision": "new"}),
        pods,
        not_ready: NotReadyNodes::Ignore,
        wanted: NEW.into(),
        older: BTreeSet::new(),
    };
    let two = || json!({"replicas": 2});
    let partition = json!({"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}});
    let manual = json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}});
    check(vec![
        (
            of(
                two(),
                2,
                2,
                vec![pod("x-0", NEW, true), pod("x-1", NEW, true)],
            ),
            "done",
            "",
        ),
        (
            of(
                two(),
                1,
                2,
                vec![pod("x-0", OLD, true), pod("x-1", NEW, true)],
            ),
            "progress",
            "1 of 2 updated",
        ),
        (
            of(
                partition,
                1,
                2,
                vec![pod("x-0", OLD, true), pod("x-1", NEW, true)],
            ),
            "done",
            "",
        ),
        (of(manual, 0, 2, vec![]), "done", "OnDelete"),
    ]);
}

#[test]
fn a_foreign_change_overrules() {
    let case = deployment(json!({"replicas": 2}), complete(), vec![]);
    let verdict = case.with(|look| {
        let foreign = [(Slot::Container("app".into()), "r/other:2".to_owned())];
        judge(
            &Look {
                wanted: &foreign,
                pods: Vec::new(),
                ..*look
            },
            &Stale::default(),
        )
    });
    assert!(matches!(verdict, Verdict::Overruled(text) if text.contains("container app")));
    let gone = case.with(|look| {
        judge(
            &Look {
                object: None,
                pods: Vec::new(),
                ..*look
            },
            &Stale::default(),
        )
    });
    assert!(matches!(gone, Verdict::Overruled(text) if text.contains("deleted")));
}
