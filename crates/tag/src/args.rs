//! The command line of `castlink-tag`, and how its flags lay over the configuration.

use std::path::{Path, PathBuf};

use castlink_core::{
    app::Command,
    cli::{AwsArgs, NetworkArgs, OutputArgs},
    config::{self, Config},
};
use clap::{Args, Parser, Subcommand};

use crate::plan::{Goal, Policy};

/// Tags the subnets that CAST AI may place nodes in: cast.ai/routable=true
///
/// Subnets are named with --subnet, taken from a VPC with --vpc, found by an EKS cluster with
/// --cluster, or by the nodes that kubectl lists with --nodes. A cluster's subnets are those of its
/// control plane, node groups and Fargate profiles, those that its instances are in, and those tagged
/// for Karpenter; each is shown with the reason. Without any of these the [network] section of
/// castlink.toml decides. Subnets that route to an internet gateway are left out unless they are
/// named, or --include-public is given.
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
    /// Take the tag off again, where it has the value that castlink sets
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-tag remove --cluster prod\n\
        \x20 castlink-tag remove --subnet subnet-0a1b2c3d4e5f60718 --yes")]
    Remove(RemoveArgs),
    /// Print the IAM policy that these commands need
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-tag iam-policy\n\
        \x20 castlink-tag iam-policy --read-only")]
    IamPolicy(IamPolicyArgs),
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

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
pub(crate) struct IamPolicyArgs {
    /// Without the actions that change something
    #[arg(long)]
    pub(crate) read_only: bool,
    #[command(flatten)]
    aws: AwsArgs,
}

/// Which subnets, and how to reach them.
#[derive(Debug, Args)]
struct What {
    /// Also tag subnets that route to an internet gateway
    #[arg(long)]
    include_public: bool,
    /// Nodes whose subnets are meant: what `kubectl get nodes -o json` prints, or instance ids; - reads stdin
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    aws: AwsArgs,
}

impl Cli {
    fn what(&self) -> Option<&What> {
        match &self.verb {
            Verb::Plan(verb) => Some(&verb.what),
            Verb::Apply(verb) => Some(&verb.what),
            Verb::Verify(verb) => Some(&verb.what),
            Verb::Remove(verb) => Some(&verb.what),
            Verb::IamPolicy(_) => None,
        }
    }

    /// Where to read nodes from.
    pub(crate) fn nodes(&self) -> Option<&Path> {
        self.what()?.nodes.as_deref()
    }

    /// What the planner may do.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            goal: match &self.verb {
                Verb::Remove(_) => Goal::Untagged,
                _ => Goal::Tagged,
            },
            include_public: self.what().is_some_and(|what| what.include_public),
            overwrite: match &self.verb {
                Verb::Plan(verb) => verb.overwrite,
                Verb::Apply(verb) => verb.overwrite,
                Verb::Verify(_) | Verb::Remove(_) | Verb::IamPolicy(_) => false,
            },
        }
    }
}

impl What {
    fn apply(&self, config: &mut Config) {
        if self.nodes.is_some() {
            // As every flag that selects: it never adds to what a file selects.
            config.network = config::Network::default();
        }
        self.network.apply(config);
        self.aws.apply(config);
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
            Verb::Remove(_) => "remove",
            Verb::IamPolicy(_) => "iam-policy",
        }
    }

    fn apply(&self, config: &mut Config) {
        match &self.verb {
            Verb::IamPolicy(verb) => verb.aws.apply(config),
            _ => self.what().into_iter().for_each(|what| what.apply(config)),
        }
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
