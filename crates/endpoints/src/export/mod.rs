//! The plan as text that another tool carries out: Terraform, the AWS CLI, CloudFormation.
//!
//! One source: what the planner decided becomes a [`Design`], and each exporter is a pure
//! function from that to text. Never here: decisions.

mod cli;
mod cloudformation;
mod design;
mod hcl;
mod terraform;

#[cfg(test)]
mod tests;

use castlink_core::{Exit, Printer, Result, app::Outcome};
use castlink_ec2::Network;
use clap::ValueEnum;

pub(crate) use design::Design;

use crate::{
    observe::{self, Scope},
    planner,
    settings::Settings,
    show,
};

/// Who is to carry the plan out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// HCL, with import blocks for what exists
    Terraform,
    /// A bash script of `aws` calls
    AwsCli,
    /// A template in JSON of what is missing
    Cloudformation,
}

/// Writes the plan to stdout, and what it cannot hold to stderr.
pub(crate) async fn run(
    printer: &Printer,
    network: &Network,
    scope: &Scope,
    settings: &Settings,
    format: Format,
) -> Result<Outcome> {
    let world = observe::observe(network, scope, settings).await?;
    let plan = planner::plan(settings, &world);
    show::stop(printer, &plan)?;
    let design = Design::of(settings, &world, &plan);
    printer.raw(render(&design, format).trim_end());
    // A VPC that another configuration keeps is not ours to describe there.
    let elsewhere = format != Format::AwsCli;
    for attribute in plan.dns.iter().filter(|_| elsewhere) {
        printer.warn(format!(
            "{attribute} is off in {} and not part of this: run `aws ec2 modify-vpc-attribute --vpc-id {} {}` first",
            world.vpc.id,
            world.vpc.id,
            attribute.flag()
        ));
    }
    for failure in plan.blocked() {
        printer.failure(failure);
    }
    if format == Format::Cloudformation {
        for change in design.changed() {
            printer.warn(format!(
                "{} ({}) exists and is to be changed, which a template cannot do: `castlink-endpoints export aws-cli` has the call",
                change.role, change.id.as_deref().unwrap_or_default()
            ));
        }
    }
    let exit = plan
        .blocked()
        .next()
        .map_or(Exit::Done, |failure| failure.exit());
    Ok(show::counted(exit.into(), &plan))
}

fn render(design: &Design, format: Format) -> String {
    match format {
        Format::Terraform => terraform::render(design),
        Format::AwsCli => cli::render(design),
        Format::Cloudformation => cloudformation::render(design),
    }
}

/// Text as a name that every format takes: letters, digits and underscores, not a digit
/// first.
fn identifier(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = text.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("_{name}")
    } else {
        name
    }
}
