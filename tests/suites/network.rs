//! The network commands against the AWS gate: what they ask for, what they leave alone,
//! and what they say when AWS refuses. Proved by the gate's journal, not by clocks.
#![expect(clippy::unwrap_used, reason = "a test fails where it is surprised")]
#![expect(
    clippy::print_stderr,
    reason = "set-up that takes minutes must not be silent"
)]

#[path = "network/apply.rs"]
mod apply;
#[path = "network/aws_services.rs"]
mod aws_services;
#[path = "network/crash.rs"]
mod crash;
#[path = "network/destroy.rs"]
mod destroy;
#[path = "network/export.rs"]
mod export;
#[path = "network/failures.rs"]
mod failures;
#[path = "network/fixture.rs"]
mod fixture;
#[path = "network/hurdles.rs"]
mod hurdles;
#[path = "network/policy.rs"]
mod policy;
#[path = "network/reach.rs"]
mod reach;
#[path = "network/refusals.rs"]
mod refusals;
#[path = "network/tag.rs"]
mod tag;
#[path = "network/tag_nodes.rs"]
mod tag_nodes;
#[path = "network/tag_remove.rs"]
mod tag_remove;
