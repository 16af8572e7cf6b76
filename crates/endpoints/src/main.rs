//! `castlink-endpoints`: PrivateLink interface endpoints to CAST AI, with their security
//! group and private DNS, so that a cluster without internet reaches its services.
//!
//! Never here: EC2 calls (`castlink-ec2` makes them), and service names (the catalogue
//! in `castlink-core` has them).

use std::process::ExitCode;

use castlink_aws::Session;
use castlink_core::{
    Context, Exit, Result,
    app::{self, Outcome},
};
use castlink_ec2::Network;

mod admit;
mod apply;
mod args;
mod aws;
mod catalogue;
mod choose;
mod cost;
mod destroy;
mod export;
mod gateway;
mod hurdles;
mod iam;
mod observe;
mod picture;
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
    match &cli.verb {
        args::Verb::Catalogue(verb) => {
            let all = settings::catalogue(&context.config.endpoints)?;
            return catalogue::run(&context.printer, &all, verb.region.as_deref());
        }
        args::Verb::IamPolicy(verb) => return iam_policy(&context, verb.verb).await,
        _ => {}
    }
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
        args::Verb::Status(args::StatusArgs {
            picture: Some(format),
            ..
        }) => picture::run(&context.printer, &network, &scope, &settings, format).await,
        args::Verb::Status(_) => status::run(&context.printer, &network, &scope, &settings).await,
        args::Verb::Export(verb) => {
            export::run(&context.printer, &network, &scope, &settings, verb.format).await
        }
        args::Verb::Catalogue(_) | args::Verb::IamPolicy(_) => Ok(Exit::Done.into()),
        args::Verb::Destroy(verb) => {
            destroy::run(&context.printer, &network, &scope, &settings, verb.yes).await
        }
    }
}

/// Needs no credentials, only a region.
async fn iam_policy(context: &Context, verb: iam::For) -> Result<Outcome> {
    let region = castlink_aws::region_of(&context.config.aws).await?;
    let settings = settings::Settings::resolve(&context.config, &region)?;
    let network = &context.config.network;
    let scope = iam::Scope {
        vpc: network.vpc.as_deref(),
        cluster: network.cluster.as_deref(),
        subnets: !network.subnets.is_empty(),
    };
    let policy = iam::policy(verb, &scope, &settings);
    context.printer.raw(format!("{policy:#}"));
    Ok(Exit::Done.into())
}
