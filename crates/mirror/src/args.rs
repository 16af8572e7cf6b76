//! The command line, and how it is laid over the configuration.

use castlink_core::{
    app::Command,
    cli::{AwsArgs, OutputArgs},
    config::{self, Config},
    reference::Layout,
};
use clap::{Args, Parser, Subcommand, ValueEnum};

mod lock;
mod store;
mod tags;

pub(crate) use lock::{LockArgs, Locked};
pub(crate) use store::{PullArgs, PushArgs};
pub(crate) use tags::TagsArgs;

/// Copies container images from public registries into a private Amazon ECR.
///
/// Multi-architecture images travel byte for byte: the digest at the target is the digest
/// at the source. What the target has already is not copied again, so running it twice is
/// how an interrupted run is continued.
#[derive(Debug, Parser)]
#[command(name = "castlink-mirror", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show what `copy` would do; nothing is written
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-mirror plan busybox:1.37.0-musl --to $ECR\n\
        \x20 castlink-upgrade images | castlink-mirror plan - --to $ECR --exit-code"
    )]
    Plan(PlanArgs),
    /// Copy what is missing
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-mirror copy ghcr.io/castai/images/agent:v0.161.1 --to $ECR\n\
        \x20 castlink-upgrade images | castlink-mirror copy - | castlink-upgrade apply -\n\
        \x20 castlink-mirror copy --lock castlink.lock --to $ECR"
    )]
    Copy(CopyArgs),
    /// Copy into a directory, to carry the images to where no internet is
    ///
    /// The directory is an OCI image layout, which skopeo, crane and oras read too. It can be
    /// pulled into again and again: what it has already is not fetched.
    #[command(after_help = "Examples:\n\
        \x20 castlink-mirror pull ghcr.io/castai/images/agent:v0.161.1 --store carry\n\
        \x20 castlink-upgrade images | castlink-mirror pull - --store carry\n\
        \x20 castlink-mirror pull --lock castlink.lock --store carry")]
    Pull(PullArgs),
    /// Copy out of a directory that `pull` or another tool wrote
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-mirror push --store carry --to $ECR\n\
        \x20 castlink-mirror push --store by-skopeo --name v1=ghcr.io/castai/images/agent:v1 --to $ECR"
    )]
    Push(PushArgs),
    /// Compare the target with the source or a lock file, digest for digest
    ///
    /// With a lock file the source is not asked. Exits with 3 when something differs, and says for
    /// which platforms something is missing.
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-upgrade images | castlink-mirror verify - --to $ECR\n\
        \x20 castlink-mirror verify --lock castlink.lock --to $ECR"
    )]
    Verify(Images),
    /// Write down what references stand for, in a file for review
    ///
    /// The file holds exactly the references that are given, each with its digest, or without any
    /// the ones that are in it, looked at again. It is written whole or not at all.
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-upgrade images | castlink-mirror lock -\n\
        \x20 castlink-mirror lock --check\n\
        \x20 castlink-mirror lock busybox:1.37.0-musl --lock -")]
    Lock(LockArgs),
    /// List the tags of repositories, newest first
    ///
    /// Versions come first, in their order; then other tags by age, where the registry knows it,
    /// and by name. Tags of signatures and referrers are left out. Exits with 3 when no tag is
    /// wanted.
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com:\n\
        \x20 castlink-mirror tags ghcr.io/castai/images/agent --newest 3\n\
        \x20 castlink-mirror tags busybox --semver '~1.37' --match musl --prerelease\n\
        \x20 castlink-mirror tags busybox --newest 1 | castlink-mirror copy - --to $ECR"
    )]
    Tags(TagsArgs),
    /// Print the IAM policy that the target needs, and no more
    ///
    /// It is made of the calls that are really made, limited to the target's repositories; flags and
    /// the settings below [mirror.repository] change it. `-v` says what each permission is for.
    #[command(
        after_help = "Examples, with ECR=123456789012.dkr.ecr.eu-west-1.amazonaws.com:\n\
        \x20 castlink-mirror iam-policy --to $ECR/team\n\
        \x20 castlink-mirror iam-policy --to $ECR --create-repos never\n\
        \x20 castlink-mirror iam-policy --to $ECR --reconcile > policy.json"
    )]
    IamPolicy(IamPolicyArgs),
}

/// `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) images: Images,
    /// Exit with 3 when there is something to copy
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Plan for `copy --reconcile`: settings of existing repositories count as changes
    #[arg(long)]
    pub(crate) reconcile: bool,
}

/// `copy`.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) images: Images,
    /// Also set on existing ECR repositories what [mirror.repository] says
    #[arg(long)]
    pub(crate) reconcile: bool,
}

/// `iam-policy`.
#[derive(Debug, Args)]
pub(crate) struct IamPolicyArgs {
    #[command(flatten)]
    target: Target,
    /// For `copy --reconcile` too
    #[arg(long)]
    pub(crate) reconcile: bool,
}

/// Which images, and where they go.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Image references, as they are written in manifests; `-` reads references or records from stdin
    #[arg(value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
    #[command(flatten)]
    pub(crate) locked: Locked,
    #[command(flatten)]
    target: Target,
    /// How names at the target are built [default: full]
    #[arg(long, value_enum, value_name = "LAYOUT")]
    layout: Option<Layout>,
    #[command(flatten)]
    transfer: Transfer,
}

/// How to copy, whatever goes where.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
    /// The most blobs under way at once; how many pay is found on the way [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: Option<u16>,
    #[command(flatten)]
    travel: Travel,
    #[command(flatten)]
    aws: AwsArgs,
}

/// The target registries, and what may be done to them.
#[derive(Debug, Args)]
struct Target {
    /// Target registry, with an optional path prefix; more of them (regions, accounts) are fed
    /// from the same read [default: `mirror.to` and `mirror.also_to` of the configuration]
    #[arg(long, value_name = "REGISTRY[/PREFIX]")]
    to: Vec<String>,
    /// Create missing ECR repositories [default: auto]
    #[arg(long, value_enum, value_name = "WHEN")]
    create_repos: Option<CreateRepos>,
}

/// What of an image travels.
#[derive(Debug, Args)]
pub(crate) struct Travel {
    /// Platforms to take, as os/arch[/variant]; an index of more is filtered and gets another digest [default: all]
    #[arg(long = "platform", value_name = "LIST", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Take signatures, attestations and other artifacts attached to the images along [default: auto]
    #[arg(long, value_enum, value_name = "WHEN")]
    attachments: Option<Attachments>,
}

/// When to take along what is attached to images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Attachments {
    /// Whatever is found and the target accepts
    Auto,
    /// Never: they are not looked for
    Never,
}

/// When to create repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CreateRepos {
    /// When they are missing
    Auto,
    /// Never: something else owns them
    Never,
}

impl Cli {
    fn images(&self) -> Option<&Images> {
        match &self.verb {
            Verb::Plan(PlanArgs { images, .. })
            | Verb::Copy(CopyArgs { images, .. })
            | Verb::Push(PushArgs { images, .. })
            | Verb::Verify(images) => Some(images),
            Verb::Pull(_) | Verb::Lock(_) | Verb::Tags(_) | Verb::IamPolicy(_) => None,
        }
    }

    fn transfer(&self) -> Option<&Transfer> {
        match &self.verb {
            Verb::Pull(pull) => Some(&pull.transfer),
            _ => self.images().map(|images| &images.transfer),
        }
    }

    fn target(&self) -> Option<&Target> {
        match &self.verb {
            Verb::IamPolicy(policy) => Some(&policy.target),
            _ => self.images().map(|images| &images.target),
        }
    }

    fn aws(&self) -> Option<&AwsArgs> {
        match &self.verb {
            Verb::Lock(args) => Some(&args.aws),
            Verb::Tags(args) => Some(&args.aws),
            _ => self.transfer().map(|transfer| &transfer.aws),
        }
    }
}

impl Target {
    fn apply(&self, mirror: &mut config::Mirror) {
        if let Some((to, also)) = self.to.split_first() {
            mirror.to = Some(to.clone());
            mirror.also_to = also.to_vec();
        }
        if let Some(create) = self.create_repos {
            mirror.create_repos = create == CreateRepos::Auto;
        }
    }
}

impl Images {
    fn apply(&self, mirror: &mut config::Mirror) {
        if let Some(layout) = self.layout {
            mirror.layout = layout;
        }
    }
}

impl Transfer {
    fn apply(&self, mirror: &mut config::Mirror) {
        if let Some(concurrency) = self.concurrency {
            mirror.concurrency = concurrency.into();
        }
        self.travel.apply(mirror);
    }
}

impl Travel {
    /// Lays the flags over the configuration.
    pub(crate) fn apply(&self, mirror: &mut config::Mirror) {
        if !self.platforms.is_empty() {
            mirror.platforms.clone_from(&self.platforms);
        }
        if let Some(attachments) = self.attachments {
            mirror.attachments = attachments == Attachments::Auto;
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
            Verb::Copy(_) => "copy",
            Verb::Pull(_) => "pull",
            Verb::Push(_) => "push",
            Verb::Verify(_) => "verify",
            Verb::Lock(_) => "lock",
            Verb::Tags(_) => "tags",
            Verb::IamPolicy(_) => "iam-policy",
        }
    }

    fn is_stage(&self) -> bool {
        matches!(self.verb, Verb::Copy(_) | Verb::Push(_))
    }

    fn apply(&self, config: &mut Config) {
        if let Some(aws) = self.aws() {
            aws.apply(config);
        }
        if let Some(target) = self.target() {
            target.apply(&mut config.mirror);
        }
        if let Some(images) = self.images() {
            images.apply(&mut config.mirror);
        }
        if let Some(transfer) = self.transfer() {
            transfer.apply(&mut config.mirror);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_lie_over_the_configuration() {
        let cli = Cli::parse_from([
            "castlink-mirror",
            "copy",
            "busybox",
            "--to",
            "r.example/team",
            "--to",
            "far.example",
            "--create-repos",
            "never",
            "--concurrency",
            "3",
            "--platform",
            "linux/amd64,linux/arm64",
            "--platform",
            "windows/amd64",
            "--attachments",
            "never",
            "--region",
            "eu-west-1",
        ]);
        let mut config = Config::default();
        cli.apply(&mut config);
        assert_eq!(config.mirror.to.as_deref(), Some("r.example/team"));
        assert_eq!(config.mirror.also_to, ["far.example"]);
        assert_eq!(config.mirror.layout, Layout::Full);
        assert!(!config.mirror.create_repos);
        assert_eq!(config.mirror.concurrency, 3);
        let platforms = ["linux/amd64", "linux/arm64", "windows/amd64"];
        assert_eq!(config.mirror.platforms, platforms);
        assert!(!config.mirror.attachments);
        assert_eq!(config.aws.region.as_deref(), Some("eu-west-1"));
    }
}
