//! `castlink-tag`: puts `cast.ai/routable=true` on the subnets that CAST AI may place
//! nodes in. Without it CAST AI takes a subnet for one that its nodes cannot reach it from.
//!
//! Never here: EC2 calls (`castlink-ec2` makes them).

use std::process::ExitCode;

use castlink_aws::Session;
use castlink_core::{
    Context, Result,
    app::{self, Outcome},
};
use castlink_ec2::Network;

mod apply;
mod args;
mod observe;
mod plan;
mod show;
mod verify;

fn main() -> ExitCode {
    app::run(run)
}

async fn run(cli: args::Cli, context: Context) -> Result<Outcome> {
    let session = Session::load(&context.config.aws, None).await?;
    let network = Network::new(&session);
    let found = observe::observe(&network, &context.config.network).await?;
    let plan = plan::plan(found, cli.policy());
    match cli.verb {
        args::Verb::Plan(verb) => Ok(show::plan_only(&context.printer, &plan, verb.exit_code)),
        args::Verb::Apply(_) => apply::run(&context.printer, &network, plan).await,
        args::Verb::Verify(_) => Ok(verify::run(&context.printer, &plan)),
    }
}
