//! The command line of `castlink-upgrade`, and how its flags lay over the configuration.

use std::{path::PathBuf, time::Duration};

use castlink_core::{
    Result,
    app::Command,
    cli::{self, KubeArgs, OutputArgs},
    config::{Config, NotReadyNodes},
    input,
    reference::Layout,
};
use castlink_rewrite::mapping::Mapping;
use clap::{Args, Parser, Subcommand, ValueEnum};

mod available;
mod check;
mod drift;
mod rbac;
mod rewrite;
mod values;

pub(crate) use available::{AvailableArgs, IndexFrom};
pub(crate) use check::ImageArgs;
pub(crate) use drift::DriftArgs;
#[cfg(test)]
pub(crate) use rbac::Account;
pub(crate) use rbac::{RbacArgs, Use, is_label};
pub(crate) use rewrite::{OnUnmapped, RewriteArgs};
pub(crate) use values::ValuesArgs;

/// Points live workloads at mirrored images, watches the rollouts, rolls back
#[derive(Debug, Parser)]
#[command(name = "castlink-upgrade", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List every image reference of the namespace and who uses it
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-upgrade images -n castai-agent\n\
        \x20 castlink-upgrade images | castlink-mirror copy - --to $ECR\n\
        \x20 helm template castai-helm/castai-agent | castlink-upgrade images -f - | castlink-mirror lock -\n\
        \x20 castlink-upgrade images --values values.yaml\n\
        \x20 castlink-upgrade images --available\n\
        \x20 castlink-upgrade images --available --index ./index.yaml"
    )]
    Images(ImagesArgs),
    /// Point the manifests of a stream at mirrored images; nothing else in it changes
    #[command(after_help = "\
        Whatever is wrong in any document, nothing is written. Comments, order and style stay.\n\n\
        Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-upgrade rewrite --images castlink.lock --to $ECR agent.yaml\n\
        \x20 curl https://api.cast.ai/v1/agent.yaml | castlink-upgrade rewrite | kubectl apply -f -\n\
        \x20 helm upgrade castai-agent castai-helm/castai-agent --post-renderer castlink-upgrade --post-renderer-args rewrite\n\
        \x20 castlink-upgrade rewrite --check --to $ECR rendered.yaml")]
    Rewrite(RewriteArgs),
    /// Show which references would change
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-upgrade plan --to $ECR --exit-code"
    )]
    Plan(PlanArgs),
    /// Patch the workloads, watch their rollouts, take back what fails
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-upgrade images | castlink-mirror copy - | castlink-upgrade apply -\n\
        \x20 castlink-upgrade apply --to $ECR --rollback all --timeout 15m\n\
        \x20 castlink-upgrade apply --to $ECR --require-images --pin-digest"
    )]
    Apply(ApplyArgs),
    /// Is any public reference left, in templates or in running pods?
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-upgrade status --to $ECR"
    )]
    Status(StatusArgs),
    /// Print the Helm values that make the next release keep the private images
    #[command(after_help = "\
        One document per release. Comments name what no value can change.\n\n\
        Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-upgrade values --to $ECR --release castai-agent > castai-agent.yaml\n\
        \x20 castlink-upgrade values --to $ECR --release castai-kvisor --tags")]
    Values(ValuesArgs),
    /// Put back what a run changed, where nobody has changed it since
    ///
    /// Runs are remembered on the host that made them and in the namespace (ConfigMap
    /// castlink-runs), so that any host can put them back.
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-upgrade rollback\n\
        \x20 castlink-upgrade rollback last")]
    Rollback(RollbackArgs),
    /// Are the images still those that our runs wrote, and who put others back?
    #[command(after_help = "Examples:\n\
        \x20 castlink-upgrade drift\n\
        \x20 castlink-upgrade drift --after 5m")]
    Drift(DriftArgs),
    /// Print the least Role that the other verbs need, for kubectl apply
    #[command(after_help = "Examples:\n\
        \x20 castlink-upgrade rbac --service-account tools:castlink | kubectl apply -f -\n\
        \x20 castlink-upgrade rbac --for read --group castlink-viewers\n\
        \x20 castlink-upgrade rbac -v")]
    Rbac(RbacArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Manifests to list instead of a namespace; `-` is stdin (repeatable)
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Helm values to list instead of a namespace (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// List manifests within ConfigMaps of FILE too
    #[arg(long, requires = "files")]
    pub(crate) configmaps: bool,
    #[command(flatten)]
    pub(crate) available: AvailableArgs,
    #[command(flatten)]
    kube: KubeArgs,
}

/// Where targets come from: records on stdin, or a rule.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// `-`: read `mirrored` records from stdin, as `castlink-mirror copy` writes them
    #[arg(value_name = "-", value_parser = ["-"])]
    pub(crate) input: Option<String>,
    /// Target registry. Without `-`, every reference is taken to be mirrored there
    /// [default: `to` below `[mirror]` in castlink.toml]; with `-`, only records of this
    /// registry count
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) to: Option<String>,
    /// How target names are built from the reference, with --to alone
    #[arg(long, value_enum, value_name = "LAYOUT")]
    pub(crate) layout: Option<Layout>,
}

impl SourceArgs {
    /// Reads the records, or takes the rule of `--to`.
    ///
    /// # Errors
    /// As [`Mapping::of_records`] and [`Mapping::by_rule`].
    pub(crate) async fn mapping(&self, config: &Config) -> Result<Mapping> {
        match self.input {
            Some(_) => Mapping::of_records(input::stdin().await?, self.to.clone()),
            None => Mapping::by_rule(self.to.as_deref(), self.layout, config),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Exit 3 when there is something to change
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Change pods that no controller made as well: their containers restart in place
    #[arg(long)]
    pub(crate) bare_pods: bool,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    #[command(flatten)]
    kube: KubeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Look once more after this time whether somebody has put old images back
    #[arg(long, value_parser = cli::duration, value_name = "DURATION")]
    pub(crate) drift_after: Option<Duration>,
    /// Change pods that no controller made as well: their containers restart in place
    #[arg(long)]
    pub(crate) bare_pods: bool,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    #[command(flatten)]
    kube: KubeArgs,
}

/// How rollouts are run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rollout options")]
pub(crate) struct RolloutArgs {
    /// What to put back when a rollout fails
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) rollback: Rollback,
    /// How long one rollout may take [default: 10m]
    #[arg(long, value_parser = cli::duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Rollouts under way at once [default: 16]
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// How long a finished rollout is watched for crashes [default: 10s]
    #[arg(long, value_parser = cli::duration, value_name = "DURATION")]
    soak: Option<Duration>,
    /// How long a workload that is put back may need to settle [default: 2m]
    #[arg(long, value_parser = cli::duration, value_name = "DURATION")]
    rollback_timeout: Option<Duration>,
    /// What nodes that are not ready mean for a rollout [default: ignore]
    #[arg(long, value_enum, value_name = "POLICY")]
    not_ready_nodes: Option<NotReadyNodes>,
    /// Where the journal of this run goes [default: a new directory below
    /// $XDG_STATE_HOME/castlink/runs]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
}

/// What is put back when a rollout fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rollback {
    /// The workloads that failed
    #[default]
    Failed,
    /// Everything that this run changed
    All,
    /// Nothing
    None,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The private registry; any other is public [default: `to` below `[mirror]` in
    /// castlink.toml, and every ECR registry]
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    kube: KubeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The run: its name, its directory, or `last`; without it, the runs are listed
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    kube: KubeArgs,
}

impl RolloutArgs {
    fn apply(&self, config: &mut Config) {
        let upgrade = &mut config.upgrade;
        if let Some(timeout) = self.timeout {
            upgrade.timeout = timeout.as_secs();
        }
        if let Some(parallel) = self.parallel {
            upgrade.parallel = parallel;
        }
        if let Some(soak) = self.soak {
            upgrade.soak = soak.as_secs();
        }
        if let Some(timeout) = self.rollback_timeout {
            upgrade.rollback_timeout = timeout.as_secs();
        }
        if let Some(policy) = self.not_ready_nodes {
            upgrade.not_ready_nodes = policy;
        }
    }
}

impl Command for Cli {
    fn output(&self) -> &OutputArgs {
        &self.output
    }

    fn verb(&self) -> &'static str {
        match self.verb {
            Verb::Images(_) => "images",
            Verb::Rewrite(_) => "rewrite",
            Verb::Plan(_) => "plan",
            Verb::Apply(_) => "apply",
            Verb::Status(_) => "status",
            Verb::Values(_) => "values",
            Verb::Rollback(_) => "rollback",
            Verb::Rbac(_) => "rbac",
            Verb::Drift(_) => "drift",
        }
    }

    fn is_stage(&self) -> bool {
        matches!(self.verb, Verb::Images(_))
    }

    fn writes_documents(&self) -> bool {
        matches!(&self.verb, Verb::Rewrite(verb) if !verb.check)
    }

    fn apply(&self, config: &mut Config) {
        match &self.verb {
            Verb::Images(verb) => {
                verb.kube.apply(config);
                verb.available.apply(config);
            }
            Verb::Rewrite(_) => {}
            Verb::Plan(verb) => {
                verb.kube.apply(config);
                verb.images.apply(config);
            }
            Verb::Status(verb) => verb.kube.apply(config),
            Verb::Rbac(verb) => verb.kube.apply(config),
            Verb::Drift(verb) => verb.kube.apply(config),
            Verb::Values(verb) => verb.apply(config),
            Verb::Apply(verb) => {
                verb.kube.apply(config);
                verb.images.apply(config);
                verb.rollout.apply(config);
            }
            Verb::Rollback(verb) => {
                verb.kube.apply(config);
                verb.rollout.apply(config);
            }
        }
    }

    fn handles_interrupt(&self) -> bool {
        matches!(self.verb, Verb::Apply(_) | Verb::Rollback(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn targets_come_from_records_or_a_rule() {
        for (line, ok) in [
            ("plan -", true),
            ("plan --to r.example", true),
            ("apply - --to r.example", true),
            ("apply", true),
            ("apply records.json", false),
        ] {
            let words = std::iter::once("castlink-upgrade").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), ok, "{line}");
        }
    }
}
