//! The command line.

use std::path::PathBuf;

use castlink_core::{
    app::Command,
    cli::{AwsArgs, KubeArgs, NetworkArgs, OutputArgs},
    config::Config,
};
use clap::{Args, Parser, Subcommand};

/// Run CAST AI on EKS clusters that cannot reach the internet.
#[derive(Debug, Parser)]
#[command(
    name = "castlink",
    version,
    after_help = "castlink tag|endpoints|mirror|upgrade … runs castlink-tag and so on from beside this binary:\n\
                  `castlink mirror --help`. Exit codes: `castlink exit-codes`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Mirror every image of the cluster's CAST AI components and point the workloads at the copies
    ///
    /// Runs the single binaries one after the other, as the pipe
    /// `castlink-upgrade images | castlink-mirror copy - --to REGISTRY | castlink-upgrade apply -`
    /// would, keeps their records in a run directory, and returns the exit code of the first
    /// stage that failed. What could be mirrored is patched even when one image could not.
    /// Running it again does only what is missing.
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink run --to $ECR --plan\n\
        \x20 castlink run --to $ECR\n\
        \x20 castlink run --network --cluster prod --to $ECR"
    )]
    Run(Box<RunArgs>),
    /// Show the configuration and where each value comes from
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink config show\n\
        \x20 castlink config show --env prod")]
    Config(ConfigArgs),
    /// Print the table of exit codes (Markdown)
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink exit-codes")]
    ExitCodes,
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// `castlink run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Tag the subnets and create the endpoints first (first installation)
    #[arg(long)]
    pub(crate) network: bool,
    /// Registry to mirror to: ACCOUNT.dkr.ecr.REGION.amazonaws.com, with an optional path prefix
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) to: Option<String>,
    /// Show what every stage would do; change nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Directory for the records of this run [default: below the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) select: NetworkArgs,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
}

/// `castlink config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print every value and its origin
    Show,
}

impl Command for Cli {
    fn output(&self) -> &OutputArgs {
        &self.output
    }

    fn verb(&self) -> &'static str {
        match self.verb {
            Verb::Run(_) => "run",
            Verb::Config(_) => "config show",
            Verb::ExitCodes => "exit-codes",
            Verb::Other(_) => "",
        }
    }

    fn handles_interrupt(&self) -> bool {
        // Ends after the process it runs.
        true
    }

    fn apply(&self, config: &mut Config) {
        let Verb::Run(args) = &self.verb else { return };
        args.aws.apply(config);
        args.kube.apply(config);
        if args.to.is_some() {
            config.mirror.to.clone_from(&args.to);
        }
        args.select.apply(config);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
