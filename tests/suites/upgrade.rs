//! `castlink-upgrade` against a real control plane whose nodes pull nothing but what the
//! ECR serves: whole runs of the binary, judged by what is in the cluster afterwards.

#[path = "upgrade/access.rs"]
mod access;
#[path = "upgrade/available.rs"]
mod available;
#[path = "upgrade/deadlines.rs"]
mod deadlines;
#[path = "upgrade/drift.rs"]
mod drift;
#[path = "upgrade/harness.rs"]
mod harness;
#[path = "upgrade/interrupted.rs"]
mod interrupted;
#[path = "upgrade/kinds.rs"]
mod kinds;
#[path = "upgrade/nodes.rs"]
mod nodes;
#[path = "upgrade/notes.rs"]
mod notes;
#[path = "upgrade/places.rs"]
mod places;
#[path = "upgrade/pods.rs"]
mod pods;
#[path = "upgrade/presence.rs"]
mod presence;
#[path = "upgrade/races.rs"]
mod races;
#[path = "upgrade/refusals.rs"]
mod refusals;
#[path = "upgrade/rewritten.rs"]
mod rewritten;
#[path = "upgrade/rollbacks.rs"]
mod rollbacks;
#[path = "upgrade/rollouts.rs"]
mod rollouts;
#[path = "upgrade/scanners.rs"]
mod scanners;
#[path = "upgrade/standstill.rs"]
mod standstill;
#[path = "upgrade/values.rs"]
mod values;
#[path = "upgrade/waiting.rs"]
mod waiting;
#[path = "upgrade/watches.rs"]
mod watches;
