//! `castlink-mirror`: copies container images from public registries into a private ECR,
//! byte for byte, and only what is missing.
//!
//! observe (source.rs, target.rs) -> plan (plan.rs, data) -> engine/ -> report. The wire is in
//! registry/ and ecr/. Never here: Kubernetes; which images are wanted comes in by
//! arguments and records.

use std::process::ExitCode;

use castlink_core::{
    Context, Result,
    app::{self, Outcome},
};

mod apply;
mod args;
mod attached;
mod content;
mod digest;
mod ecr;
mod engine;
mod filter;
mod iam;
mod input;
mod lock;
mod observe;
mod place;
mod plan;
mod platform;
mod pull;
mod push;
mod registry;
mod report;
mod site;
mod source;
mod store;
mod tags;
mod target;
mod upkeep;
mod verify;

fn main() -> ExitCode {
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
