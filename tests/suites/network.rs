//! The network commands against the AWS gate: what they ask for, what they leave alone,
//! and what they say when AWS refuses. Proved by the gate's journal, not by clocks.

#[path = "network/apply.rs"]
mod apply;
#[path = "network/destroy.rs"]
mod destroy;
#[path = "network/failures.rs"]
mod failures;
#[path = "network/fixture.rs"]
mod fixture;
#[path = "network/tag.rs"]
mod tag;
