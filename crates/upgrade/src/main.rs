//! `castlink-upgrade`: finds every image reference of a namespace, points live workloads
//! at mirrored images, watches the rollouts, and takes back what fails.
//!
//! Never here: anything written to a registry. What can be pulled is known from the records
//! on stdin, and asked before anything moves.

use std::process::ExitCode;

use castlink_core::{
    Context, Result,
    app::{self, Outcome},
};
use castlink_rewrite::{answers, mapping, scanners};

mod apply;
mod args;
mod available;
mod charts;
mod client;
mod cluster;
mod components;
mod controllers;
mod drift;
mod ended;
mod engine;
mod fixed;
mod identity;
mod images;
mod interrupt;
mod journal;
mod json;
mod lagging;
mod ledger;
mod listed;
mod lock;
mod nodes;
mod notes;
mod owner;
mod patch;
mod plan;
mod pods;
mod preflight;
mod presence;
mod rbac;
mod recall;
mod report;
mod rewrite;
mod rights;
mod rollback;
mod rollout;
mod runs;
mod session;
mod status;
mod taints;
mod upgraders;
mod values;
mod workload;
mod writers;

/// musl's, which a released binary would have, lets one thread in at a time: with it
/// `rewrite` is no faster on two cores than on one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    app::run(run)
}

async fn run(cli: args::Cli, context: Context) -> Result<Outcome> {
    match cli.verb {
        args::Verb::Images(verb) if listed::wanted(&verb) => listed::run(verb, context).await,
        args::Verb::Images(verb) => images::run(&verb.available, &context).await,
        args::Verb::Rewrite(verb) => rewrite::run(verb, context).await,
        args::Verb::Plan(verb) => apply::plan_only(verb, &context).await,
        args::Verb::Apply(verb) => apply::run(verb, &context).await,
        args::Verb::Status(verb) => status::run(verb, &context).await,
        args::Verb::Drift(verb) => drift::run(verb, &context).await,
        args::Verb::Rbac(verb) => rbac::run(&verb, &context),
        args::Verb::Values(verb) => values::run(verb, &context).await,
        args::Verb::Rollback(verb) => rollback::run(verb, &context).await,
    }
}
