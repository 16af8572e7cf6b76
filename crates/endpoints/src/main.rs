//! `castlink-endpoints`: PrivateLink interface endpoints to CAST AI, with their security
//! group and private DNS, so that a cluster without internet reaches its services.
//!
//! Never here: EC2 calls (`castlink-ec2` makes them), and service names (the catalogue
//! in `castlink-core` has them).

use std::process::ExitCode;

use castlink_aws::Session;
use castlink_core::{
    Context, Result,
    app::{self, Outcome},
};
use castlink_ec2::Network;

mod admit;
mod apply;
mod args;
mod choose;
mod cost;
mod destroy;
mod observe;
mod plan;
mod planner;
mod settings;
mod settle;
mod show;
mod status;
mod steps;
mod warnings;

fn main() -> ExitCode {
    app::run(run)
}

async fn run(cli: args::Cli, context: Context) -> Result<Outcome> {
    let session = Session::load(&context.config.aws, None).await?;
    let settings = settings::Settings::resolve(&context.config, session.region())?;
    let network = Network::new(&session);
    let scope = observe::scope(&network, &context.config.network).await?;
    match cli.verb {
        args::Verb::Plan(verb) => {
            show::plan_only(
                &context.printer,
                &network,
                &scope,
                &settings,
                verb.exit_code,
            )
            .await
        }
        args::Verb::Apply(_) => apply::run(&context.printer, &network, &scope, &settings).await,
        args::Verb::Status(_) => status::run(&context.printer, &network, &scope, &settings).await,
        args::Verb::Destroy(verb) => {
            destroy::run(&context.printer, &network, &scope, &settings, verb.yes).await
        }
    }
}
