//! `castlink-upgrade` against a real control plane whose nodes pull nothing but what the
//! ECR serves: whole runs of the binary, judged by what is in the cluster afterwards.

#[path = "upgrade/harness.rs"]
mod harness;
#[path = "upgrade/refusals.rs"]
mod refusals;
#[path = "upgrade/rollbacks.rs"]
mod rollbacks;
#[path = "upgrade/rollouts.rs"]
mod rollouts;
