//! Flags that are spelled the same in every binary.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Network};
pub use crate::duration::duration;

/// What stdout carries.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Text for people.
    Text,
    /// One record per line (JSON Lines).
    Json,
}

/// When to use colour or bars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// When the stream is a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Output and configuration: every command has these.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct OutputArgs {
    /// Configuration file [default: $CASTLINK_CONFIG, else ./castlink.toml over the user's]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Section `[env.NAME]` of the configuration to lay over the rest [default: $CASTLINK_ENV]
    #[arg(long, global = true, value_name = "NAME")]
    pub env: Option<String>,
    /// What stdout carries [default: text; json for `images` and `copy` in a pipe]
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
    /// When to draw progress bars (lines otherwise)
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub progress: When,
    /// Say more (repeat for even more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but results, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// How to reach AWS.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "AWS options")]
pub struct AwsArgs {
    /// Profile of the AWS configuration files
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// AWS region
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Role to assume for every AWS call
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// Send AWS calls here (VPC endpoint, emulator)
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// PEM file with the only certificate authorities to trust for AWS
    #[arg(long, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
}

impl AwsArgs {
    /// Lays the flags that were given over the configuration.
    pub fn apply(&self, config: &mut Config) {
        let aws = &mut config.aws;
        set(&mut aws.profile, &self.profile);
        set(&mut aws.region, &self.region);
        set(&mut aws.role_arn, &self.role_arn);
        set(&mut aws.endpoint_url, &self.endpoint_url);
        set(&mut aws.ca_bundle, &self.ca_bundle);
    }
}

/// How to reach the cluster.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Kubernetes options")]
pub struct KubeArgs {
    /// Kubeconfig file [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the CAST AI components [default: castai-agent]
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

impl KubeArgs {
    /// Lays the flags that were given over the configuration.
    pub fn apply(&self, config: &mut Config) {
        set(&mut config.kube.kubeconfig, &self.kubeconfig);
        set(&mut config.kube.context, &self.context);
        if let Some(namespace) = &self.namespace {
            config.kube.namespace.clone_from(namespace);
        }
    }
}

/// Which network to work on. Any of these sets the `[network]` section of the
/// configuration aside, so that a flag never adds to what a file selects.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network options")]
pub struct NetworkArgs {
    /// EKS cluster to find the network by
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// VPC
    #[arg(long, value_name = "ID")]
    pub vpc: Option<String>,
    /// Subnet (repeat, or separate with commas)
    #[arg(long = "subnet", value_name = "ID", value_delimiter = ',')]
    pub subnets: Vec<String>,
}

impl NetworkArgs {
    /// Lays the flags that were given over the configuration.
    pub fn apply(&self, config: &mut Config) {
        if self.cluster.is_some() || self.vpc.is_some() || !self.subnets.is_empty() {
            config.network = Network {
                cluster: self.cluster.clone(),
                vpc: self.vpc.clone(),
                subnets: self.subnets.clone(),
            };
        }
    }
}

fn set<T: Clone>(slot: &mut Option<T>, given: &Option<T>) {
    if given.is_some() {
        slot.clone_from(given);
    }
}
