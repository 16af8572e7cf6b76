//! `castlink-mirror`: copies container images from public registries into a private ECR,
//! byte for byte, and only what is missing.
//!
//! observe (source.rs, target.rs) -> plan (plan.rs, data) -> engine/ -> report. The wire is in
//! castlink-registry. Never here: Kubernetes; which images are wanted comes in by
//! arguments and records.

// The layouts of the engine's futures are nested through both crates.
#![recursion_limit = "256"]

use std::process::ExitCode;

use castlink_core::{
    Context, Result,
    app::{self, Outcome},
};
use castlink_registry::{self as registry, content, digest, ecr, place};

mod apply;
mod args;
mod attached;
mod engine;
mod filter;
mod iam;
mod input;
mod lock;
mod memory;
mod observe;
mod plan;
mod platform;
mod pull;
mod push;
mod report;
mod site;
mod source;
mod store;
mod tags;
mod target;
mod upkeep;
mod verify;

/// The registry that lies, from the tests of the crate that talks to registries.
#[cfg(test)]
#[path = "../../registry/src/liar/mod.rs"]
mod liar;

fn main() -> ExitCode {
    memory::one_arena();
    app::run(run)
}

async fn run(cli: args::Cli, context: Context) -> Result<Outcome> {
    match cli.verb {
        args::Verb::Plan(plan) => apply::plan_only(&plan, context).await,
        args::Verb::Copy(copy) => apply::copy(&copy.images, copy.reconcile, context).await,
        args::Verb::Pull(pull) => pull::run(&pull, context).await,
        args::Verb::Push(push) => push::run(&push, context).await,
        args::Verb::Verify(images) => verify::run(&images, context).await,
        args::Verb::Lock(args) => lock::run(&args, context).await,
        args::Verb::Tags(args) => tags::run(&args, context).await,
        args::Verb::IamPolicy(policy) => iam::run(policy.reconcile, &context),
    }
}
