//! The command line of `castlink-tag`, and how its flags lay over the configuration.

use castlink_core::{
    app::Command,
    cli::{AwsArgs, NetworkArgs, OutputArgs},
    config::Config,
};
use clap::{Args, Parser, Subcommand};

use crate::plan::Policy;

/// Tags the subnets that CAST AI may place nodes in: cast.ai/routable=true
///
/// Subnets are named with --subnet, taken from a VPC with --vpc, or found by an EKS cluster with
/// --cluster: those of its control plane and of its managed node groups. Without any of these the
/// [network] section of castlink.toml decides. Subnets that route to an internet gateway are left
/// out unless they are named, or --include-public is given.
#[derive(Debug, Parser)]
#[command(name = "castlink-tag", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show which subnets would be tagged
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-tag plan --cluster prod --region us-east-1\n\
        \x20 castlink-tag plan --vpc vpc-0a1b2c3d4e5f60718 --exit-code")]
    Plan(PlanArgs),
    /// Tag them, and wait until EC2 shows the tags
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-tag apply --cluster prod\n\
        \x20 castlink-tag apply --subnet subnet-0a1b2c3d4e5f60718,subnet-0f1e2d3c4b5a69788")]
    Apply(ApplyArgs),
    /// Check that every subnet has its tag (exit 3 when not)
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-tag verify --cluster prod -o json")]
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Exit 3 when there is something to change
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    what: What,
    /// Replace the tag where it has another value
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    what: What,
    /// Replace the tag where it has another value
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    what: What,
}

/// Which subnets, and how to reach them.
#[derive(Debug, Args)]
struct What {
    /// Also tag subnets that route to an internet gateway
    #[arg(long)]
    include_public: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    aws: AwsArgs,
}

impl Cli {
    fn what(&self) -> &What {
        match &self.verb {
            Verb::Plan(verb) => &verb.what,
            Verb::Apply(verb) => &verb.what,
            Verb::Verify(verb) => &verb.what,
        }
    }

    /// What the planner may do.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            include_public: self.what().include_public,
            overwrite: match &self.verb {
                Verb::Plan(verb) => verb.overwrite,
                Verb::Apply(verb) => verb.overwrite,
                Verb::Verify(_) => false,
            },
        }
    }
}

impl Command for Cli {
    fn output(&self) -> &OutputArgs {
        &self.output
    }

    fn verb(&self) -> &'static str {
        match self.verb {
            Verb::Plan(_) => "plan",
            Verb::Apply(_) => "apply",
            Verb::Verify(_) => "verify",
        }
    }

    fn apply(&self, config: &mut Config) {
        self.what().network.apply(config);
        self.what().aws.apply(config);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
