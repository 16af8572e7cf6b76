//! Every request that is made of the API server, as one table: what a run needs is asked
//! for before it begins (preflight.rs), and printed as a Role (rbac.rs).
//!
//! Never here: requests. Whoever adds one elsewhere adds its line here; a test compares
//! the printed Role with what the API server's audit log saw.

use std::collections::BTreeSet;

use crate::{
    components, ledger,
    plan::{Plan, Step},
    workload::Kind,
};

/// What requests are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Looking at the namespace and the nodes: every verb begins with it.
    Look,
    /// Changing a workload.
    Patch,
    /// Following its rollout.
    Follow,
    /// Deleting the broken pods that keep a StatefulSet from replacing the others.
    Unblock,
    /// Reading which runs there were.
    Recall,
    /// Noting a run, so that other hosts know of it. Who may not works without.
    Note,
}

/// A kind of object, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    Workload(Kind),
    /// The namespace itself.
    Namespace,
    /// What castware-operator is told to install.
    Components,
    /// Outside any namespace.
    Nodes,
    /// The ConfigMap that remembers the runs.
    Runs,
    /// Any ConfigMap: no rule about creating one can name it.
    ConfigMaps,
}

impl On {
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::Workload(kind) => kind.group(),
            Self::Components => components::GROUP,
            Self::Namespace | Self::Nodes | Self::Runs | Self::ConfigMaps => "",
        }
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Workload(kind) => kind.plural(),
            Self::Namespace => "namespaces",
            Self::Components => components::PLURAL,
            Self::Nodes => "nodes",
            Self::Runs | Self::ConfigMaps => "configmaps",
        }
    }

    /// The one object it is about, in `namespace`.
    pub(crate) fn name(self, namespace: &str) -> Option<&str> {
        match self {
            Self::Namespace => Some(namespace),
            Self::Runs => Some(ledger::NAME),
            Self::Workload(_) | Self::Components | Self::Nodes | Self::ConfigMaps => None,
        }
    }

    /// `deployments.apps`, as `kubectl auth can-i` takes it.
    pub(crate) fn full_name(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) stage: Stage,
    pub(crate) verb: &'static str,
    pub(crate) on: &'static [On],
    pub(crate) why: &'static str,
}

const DEPLOYMENT: On = On::Workload(Kind::Deployment);
const DAEMON_SET: On = On::Workload(Kind::DaemonSet);
const STATEFUL_SET: On = On::Workload(Kind::StatefulSet);
const REPLICA_SET: On = On::Workload(Kind::ReplicaSet);
const CONTROLLER: On = On::Workload(Kind::ReplicationController);
const CRON_JOB: On = On::Workload(Kind::CronJob);
const JOB: On = On::Workload(Kind::Job);
const POD: On = On::Workload(Kind::Pod);

/// Whatever holds references that can be changed.
const CHANGEABLE: &[On] = &[
    DEPLOYMENT,
    DAEMON_SET,
    STATEFUL_SET,
    REPLICA_SET,
    CONTROLLER,
    CRON_JOB,
    POD,
];

/// The table.
pub(crate) const GRANTS: [Grant; 13] = [
    Grant {
        stage: Stage::Look,
        verb: "list",
        on: &[
            DEPLOYMENT,
            DAEMON_SET,
            STATEFUL_SET,
            REPLICA_SET,
            CONTROLLER,
            CRON_JOB,
            JOB,
            POD,
        ],
        why: "find every image reference",
    },
    Grant {
        stage: Stage::Look,
        verb: "get",
        on: &[On::Namespace],
        why: "tell a mistyped namespace from an empty one",
    },
    Grant {
        stage: Stage::Look,
        verb: "list",
        on: &[On::Components],
        why: "find the images that castware-operator installs next (images, values)",
    },
    Grant {
        stage: Stage::Look,
        verb: "list",
        on: &[On::Nodes],
        why: "compare the images' platforms with the nodes'",
    },
    Grant {
        stage: Stage::Patch,
        verb: "get",
        on: CHANGEABLE,
        why: "build each patch on the freshest state",
    },
    Grant {
        stage: Stage::Patch,
        verb: "patch",
        on: CHANGEABLE,
        why: "change references, and put them back",
    },
    Grant {
        stage: Stage::Follow,
        verb: "list",
        on: &[DEPLOYMENT, DAEMON_SET, STATEFUL_SET, POD],
        why: "begin the watches of a rollout",
    },
    Grant {
        stage: Stage::Follow,
        verb: "watch",
        on: &[DEPLOYMENT, DAEMON_SET, STATEFUL_SET, POD],
        why: "follow rollouts without polling",
    },
    Grant {
        stage: Stage::Follow,
        verb: "watch",
        on: &[On::Nodes],
        why: "tell a node that is not ready from a bad image",
    },
    Grant {
        stage: Stage::Unblock,
        verb: "delete",
        on: &[POD],
        why: "delete broken pods that block a StatefulSet",
    },
    Grant {
        stage: Stage::Recall,
        verb: "get",
        on: &[On::Runs],
        why: "know the runs that other hosts made",
    },
    Grant {
        stage: Stage::Note,
        verb: "patch",
        on: &[On::Runs],
        why: "note a run before it changes anything, and keep others away meanwhile",
    },
    Grant {
        stage: Stage::Note,
        verb: "create",
        on: &[On::ConfigMaps],
        why: "note the first run",
    },
];

/// One right in the namespace: a verb, and on what.
pub(crate) type Right = (&'static str, On);

/// What `plan` needs in the namespace, for the kinds that it touches. Nodes are left out:
/// who may not see them is told so, and goes on without.
pub(crate) fn needed(plan: &Plan) -> Vec<Right> {
    let mut all = BTreeSet::new();
    for step in plan.patches() {
        all.extend(of(Stage::Patch, step.id.kind));
    }
    for step in plan.patches().chain(plan.watches()) {
        all.extend(following(step));
    }
    all.into_iter().collect()
}

fn following(step: &Step) -> impl Iterator<Item = Right> {
    let kind = step.id.kind;
    let pods = of(Stage::Follow, Kind::Pod);
    let own = of(Stage::Follow, kind);
    let unblock = of(Stage::Unblock, Kind::Pod).filter(move |_| step.ordered);
    own.chain(pods).chain(unblock)
}

/// The rights that a stage needs on one kind.
fn of(stage: Stage, kind: Kind) -> impl Iterator<Item = Right> {
    GRANTS
        .iter()
        .filter(move |grant| grant.stage == stage && grant.on.contains(&On::Workload(kind)))
        .map(move |grant| (grant.verb, On::Workload(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Replacement};

    fn step(id: &str, ordered: bool, action: Action) -> Step {
        Step {
            id: id.parse().unwrap(),
            owner: None,
            ordered,
            action,
        }
    }

    fn check(steps: Vec<Step>, want: &str) {
        let rights = needed(&Plan { steps });
        let names: Vec<String> = rights
            .iter()
            .map(|(verb, on)| format!("{verb} {}", on.full_name()))
            .collect();
        assert_eq!(names.join(", "), want);
    }

    #[test]
    fn only_what_the_plan_touches_is_needed() {
        let patch = || Action::Patch(Vec::<Replacement>::new());
        let watch = Action::Watch {
            fields: Vec::new(),
            missing: "pods".into(),
        };
        check(vec![step("Deployment/a", false, Action::Unchanged)], "");
        check(
            vec![step("CronJob/a", false, patch())],
            "get cronjobs.batch, list pods, patch cronjobs.batch, watch pods",
        );
        check(
            vec![step("Deployment/a", false, watch)],
            "list deployments.apps, list pods, watch deployments.apps, watch pods",
        );
        check(
            vec![step("StatefulSet/a", true, patch())],
            "delete pods, get statefulsets.apps, list statefulsets.apps, list pods, \
             patch statefulsets.apps, watch statefulsets.apps, watch pods",
        );
    }
}
