//! Configuration: defaults < user's `castlink.toml` < the project's < `CASTLINK_*` < flags.
//!
//! One schema for all binaries, so that one file serves a whole sequence. Unknown keys
//! are errors with a suggestion. Secrets are never values here: only the names of files
//! and environment variables that hold them.

mod load;
mod mistake;
mod repository;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};

pub use load::{Loaded, nearest, state_dir};
pub use repository::{Encryption, Repository};

use crate::{duration::duration, reference::Layout};

/// Everything that can be configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How to reach AWS.
    pub aws: Aws,
    /// How to reach the cluster.
    pub kube: Kube,
    /// Which network to prepare.
    pub network: Network,
    /// Endpoints to CAST AI.
    pub endpoints: Endpoints,
    /// Copying images.
    pub mirror: Mirror,
    /// Pointing workloads at the copies.
    pub upgrade: Upgrade,
    /// How to reach single registries, by host.
    pub registries: BTreeMap<String, Registry>,
    /// Named sections laid over the rest with `--env NAME`.
    pub env: BTreeMap<String, toml::Table>,
}

/// How to reach AWS. Unset values come from the usual AWS environment and files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aws {
    /// Profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Role to assume.
    pub role_arn: Option<String>,
    /// External id to pass when assuming the role.
    pub external_id: Option<String>,
    /// Where to send AWS calls.
    pub endpoint_url: Option<String>,
    /// PEM file with the only certificate authorities to trust.
    pub ca_bundle: Option<PathBuf>,
}

/// How to reach the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kube {
    /// Kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    pub context: Option<String>,
    /// Namespace of the CAST AI components.
    pub namespace: String,
}

/// Which network to prepare: subnets, a VPC, or a cluster to find them by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// EKS cluster name.
    pub cluster: Option<String>,
    /// VPC id.
    pub vpc: Option<String>,
    /// Subnet ids.
    pub subnets: Vec<String>,
}

/// Endpoints to CAST AI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoints {
    /// A file with more regions or services, laid over the built-in catalogue.
    pub catalogue: Option<PathBuf>,
    /// Services to connect, by role; empty = all of the region.
    pub services: Vec<String>,
    /// Security groups to use instead of creating one.
    pub security_groups: Vec<String>,
    /// Private DNS names on.
    pub private_dns: bool,
    /// How long to wait until every endpoint is available, in seconds or as `10m`.
    #[serde(deserialize_with = "seconds")]
    pub timeout: u64,
    /// Tags for what is created.
    pub tags: BTreeMap<String, String>,
    /// AWS's own services that a closed cluster needs: their names, or `all`; `check` only
    /// reports which endpoints are missing. Empty = none.
    pub aws_services: Vec<String>,
    /// The region of CAST AI's services, when it is another than the VPC's.
    pub service_region: Option<String>,
    /// IPv6 addresses as well, where the service and the subnets have them.
    pub dual_stack: bool,
    /// Switch DNS attributes of the VPC on that private DNS needs.
    pub enable_vpc_dns: bool,
    /// Wait until the provider accepts endpoints, as long as for everything else.
    pub wait_acceptance: bool,
}

/// Copying images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    /// The target registry, with an optional path prefix: the one that workloads pull from.
    pub to: Option<String>,
    /// Further registries (other regions, other accounts) that get the same images.
    pub also_to: Vec<String>,
    /// How target names are built.
    pub layout: Layout,
    /// Create missing ECR repositories.
    pub create_repos: bool,
    /// Platforms to take, as os/arch[/variant]; empty = all, byte for byte.
    pub platforms: Vec<String>,
    /// Take signatures, attestations and other artifacts attached to the images along.
    pub attachments: bool,
    /// Settings of ECR repositories.
    pub repository: Repository,
    /// The most blobs under way at once; how many pay is found while copying.
    #[serde(deserialize_with = "at_least_one")]
    pub concurrency: usize,
    /// Seconds without a byte after which a transfer is cut and resumed.
    #[serde(deserialize_with = "seconds")]
    pub stall: u64,
    /// Attempts for one request or blob before its image is given up.
    #[serde(deserialize_with = "at_least_one")]
    pub attempts: u32,
}

/// Pointing workloads at mirrored images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upgrade {
    /// How long one rollout may take, in seconds or as `10m`.
    #[serde(deserialize_with = "seconds")]
    pub timeout: u64,
    /// Rollouts under way at once.
    #[serde(deserialize_with = "at_least_one")]
    pub parallel: usize,
    /// Seconds a finished rollout is watched for crashes.
    #[serde(deserialize_with = "seconds")]
    pub soak: u64,
    /// How long a workload that was taken back may need to settle: a budget of its own,
    /// whatever the rollout before it used up.
    #[serde(deserialize_with = "seconds")]
    pub rollback_timeout: u64,
    /// What nodes that are not ready mean for a rollout.
    pub not_ready_nodes: NotReadyNodes,
    /// Runs to remember for `rollback`, per cluster and namespace.
    #[serde(deserialize_with = "at_least_one")]
    pub keep_runs: usize,
}

/// What nodes that are not ready mean for a rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum NotReadyNodes {
    /// A rollout is complete without their pods, which follow when the nodes are back
    #[default]
    Ignore,
    /// A rollout waits for them, until its time is up
    Wait,
}

/// How to reach one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// Where it is really asked: `https://harbor.corp/ghcr-proxy`. The path is a
    /// repository prefix, as proxy projects have.
    pub endpoint: Option<String>,
    /// PEM file with certificate authorities to trust in addition to the system's.
    pub ca: Option<PathBuf>,
    /// HTTP proxy to reach it through (`http://proxy.corp:3128`), or `direct` for none.
    /// Unset: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` decide.
    pub proxy: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// File that holds the password or token.
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password or token.
    pub password_env: Option<String>,
    /// ECR in another account: profile of the AWS configuration files.
    pub profile: Option<String>,
    /// ECR in another account: role to assume.
    pub role_arn: Option<String>,
    /// External id to pass when assuming that role.
    pub external_id: Option<String>,
}

impl Default for Kube {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: "castai-agent".into(),
        }
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            catalogue: None,
            services: Vec::new(),
            security_groups: Vec::new(),
            private_dns: true,
            timeout: 600,
            tags: BTreeMap::new(),
            aws_services: Vec::new(),
            service_region: None,
            dual_stack: false,
            enable_vpc_dns: false,
            wait_acceptance: false,
        }
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            to: None,
            also_to: Vec::new(),
            layout: Layout::Full,
            create_repos: true,
            platforms: Vec::new(),
            attachments: true,
            repository: Repository::default(),
            concurrency: 32,
            stall: 30,
            attempts: 6,
        }
    }
}

impl Default for Upgrade {
    fn default() -> Self {
        Self {
            timeout: 600,
            parallel: 16,
            soak: 10,
            rollback_timeout: 120,
            not_ready_nodes: NotReadyNodes::default(),
            keep_runs: 20,
        }
    }
}

impl Endpoints {
    /// The wait deadline.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Seconds as a number, or a duration as flags take it (`90`, `10m`, `1h30m`).
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Number(u64),
        Text(String),
    }
    match Given::deserialize(from)? {
        Given::Number(seconds) => Ok(seconds),
        Given::Text(text) => duration(&text)
            .map(|span| span.as_secs())
            .map_err(de::Error::custom),
    }
}

fn at_least_one<'de, D: Deserializer<'de>, N>(from: D) -> Result<N, D::Error>
where
    N: Deserialize<'de> + PartialEq + Default,
{
    let number = N::deserialize(from)?;
    if number == N::default() {
        return Err(de::Error::custom("must be at least 1"));
    }
    Ok(number)
}
