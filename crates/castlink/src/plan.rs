//! What `castlink run` runs: the sequence as data.

use castlink_core::cli::OutputArgs;

use crate::args::RunArgs;

/// One process of the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// What it is called in the summary.
    pub(crate) name: &'static str,
    /// `castlink-PROGRAM`.
    pub(crate) program: &'static str,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// The stage whose records it reads on stdin.
    pub(crate) reads: Option<&'static str>,
}

/// The stages of a run, in order.
pub(crate) fn stages(args: &RunArgs, output: &OutputArgs, to: &str, run_dir: &str) -> Vec<Stage> {
    let verb = |apply: &'static str| if args.plan { "plan" } else { apply };
    let mut stages = Vec::new();
    if args.network {
        for program in ["tag", "endpoints"] {
            let mut words = vec![verb("apply").to_owned()];
            words.extend(network_flags(args));
            words.extend(aws_flags(args));
            stages.push(stage(program, program, words, None));
        }
    }
    let mut images = vec!["images".to_owned()];
    images.extend(kube_flags(args));
    stages.push(stage("pull", "upgrade", images, None));

    let mut copy = vec![
        verb("copy").to_owned(),
        "-".into(),
        "--to".into(),
        to.into(),
    ];
    copy.extend(aws_flags(args));
    stages.push(stage("push", "mirror", copy, Some("pull")));

    let mut patch = vec![verb("apply").to_owned(), "-".into()];
    if !args.plan {
        patch.extend(["--run-dir".into(), run_dir.into()]);
    }
    patch.extend(kube_flags(args));
    stages.push(stage("patch", "upgrade", patch, Some("push")));

    for stage in &mut stages {
        stage.args.extend(["--output".into(), "json".into()]);
        stage.args.extend(common_flags(output));
    }
    stages
}

fn stage(
    name: &'static str,
    program: &'static str,
    args: Vec<String>,
    reads: Option<&'static str>,
) -> Stage {
    Stage {
        name,
        program,
        args,
        reads,
    }
}

fn common_flags(output: &OutputArgs) -> Vec<String> {
    let config = output
        .config
        .as_ref()
        .map(|path| path.display().to_string());
    let mut words = flags([("--config", config), ("--env", output.env.clone())]);
    words.extend(std::iter::repeat_n(
        "--verbose".to_owned(),
        output.verbose.into(),
    ));
    if output.quiet {
        words.push("--quiet".into());
    }
    words
}

fn network_flags(args: &RunArgs) -> Vec<String> {
    let select = &args.select;
    let mut words = flags([
        ("--cluster", select.cluster.clone()),
        ("--vpc", select.vpc.clone()),
    ]);
    words.extend(
        select
            .subnets
            .iter()
            .flat_map(|id| ["--subnet".to_owned(), id.clone()]),
    );
    words
}

fn aws_flags(args: &RunArgs) -> Vec<String> {
    let aws = &args.aws;
    flags([
        ("--profile", aws.profile.clone()),
        ("--region", aws.region.clone()),
        ("--role-arn", aws.role_arn.clone()),
        ("--endpoint-url", aws.endpoint_url.clone()),
        (
            "--ca-bundle",
            aws.ca_bundle
                .as_ref()
                .map(|path| path.display().to_string()),
        ),
    ])
}

fn kube_flags(args: &RunArgs) -> Vec<String> {
    let kube = &args.kube;
    flags([
        (
            "--kubeconfig",
            kube.kubeconfig
                .as_ref()
                .map(|path| path.display().to_string()),
        ),
        ("--context", kube.context.clone()),
        ("--namespace", kube.namespace.clone()),
    ])
}

fn flags<const N: usize>(pairs: [(&str, Option<String>); N]) -> Vec<String> {
    pairs
        .into_iter()
        .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Verb};

    fn lines(words: &[&str]) -> Vec<String> {
        let cli = Cli::parse_from(["castlink", "run"].iter().chain(words));
        let Verb::Run(args) = cli.verb else {
            unreachable!()
        };
        stages(&args, &cli.output, "ECR", "/run")
            .into_iter()
            .map(|stage| {
                format!(
                    "{}: castlink-{} {}",
                    stage.name,
                    stage.program,
                    stage.args.join(" ")
                )
            })
            .collect()
    }

    #[test]
    fn pull_push_patch() {
        assert_eq!(
            lines(&["--context", "prod", "--profile", "p"]),
            [
                "pull: castlink-upgrade images --context prod --output json",
                "push: castlink-mirror copy - --to ECR --profile p --output json",
                "patch: castlink-upgrade apply - --run-dir /run --context prod --output json",
            ]
        );
    }

    #[test]
    fn the_network_comes_first() {
        let lines = lines(&["--network", "--cluster", "c", "--plan", "-v"]);
        assert_eq!(
            lines[0],
            "tag: castlink-tag plan --cluster c --output json --verbose"
        );
        assert_eq!(
            lines[1],
            "endpoints: castlink-endpoints plan --cluster c --output json --verbose"
        );
        assert_eq!(
            lines[4],
            "patch: castlink-upgrade plan - --output json --verbose"
        );
    }
}
