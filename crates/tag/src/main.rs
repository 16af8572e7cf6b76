//! `castlink-tag`: puts `cast.ai/routable=true` on the subnets that CAST AI may place
//! nodes in. Without it CAST AI takes a subnet for one that its nodes cannot reach it from.
//!
//! Never here: EC2 calls (`castlink-ec2` makes them).

use std::process::ExitCode;

use castlink_aws::Session;
use castlink_core::{
    Context, Exit, Result,
    app::{self, Outcome},
};
use castlink_ec2::Network;

mod apply;
mod args;
mod discover;
mod nodes;
mod observe;
mod plan;
mod policy;
mod show;
mod verify;

fn main() -> ExitCode {
    app::run(run)
}

async fn run(cli: args::Cli, context: Context) -> Result<Outcome> {
    let (config, printer) = (&context.config, &context.printer);
    if let args::Verb::IamPolicy(verb) = &cli.verb {
        printer.raw(policy::text(config.aws.region.as_deref(), verb.read_only));
        return Ok(Exit::Done.into());
    }
    let nodes = cli.nodes().map(nodes::read).transpose()?;
    let session = Session::load(&config.aws, None).await?;
    let network = Network::new(&session);
    let world = observe::observe(&network, &config.network, nodes.as_ref()).await?;
    for warning in &world.warnings {
        printer.warn(warning);
    }
    let plan = plan::plan(world.candidates, cli.policy());
    match cli.verb {
        args::Verb::Plan(verb) => Ok(show::plan_only(printer, &plan, verb.exit_code)),
        args::Verb::Apply(_) => apply::run(printer, &network, plan).await,
        args::Verb::Remove(verb) => apply::remove(printer, &network, plan, verb.yes).await,
        args::Verb::Verify(_) | args::Verb::IamPolicy(_) => Ok(verify::run(printer, &plan)),
    }
}
