//! Configuration: defaults < user's `castlink.toml` < the project's < `CASTLINK_*` < flags.
//!
//! One schema for all binaries, so that one file serves a whole sequence. Unknown keys
//! are errors with a suggestion. Secrets are never values here: only the names of files
//! and environment variables that hold them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::{Failure, Result, reference::Layout};

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
    /// How long to wait until every endpoint is available, in seconds.
    pub timeout: u64,
    /// Tags for what is created.
    pub tags: BTreeMap<String, String>,
}

/// Copying images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    /// The target registry, with an optional path prefix.
    pub to: Option<String>,
    /// How target names are built.
    pub layout: Layout,
    /// Create missing ECR repositories.
    pub create_repos: bool,
    /// Settings of repositories that are created.
    pub repository: Repository,
    /// Blobs under way at once.
    pub concurrency: usize,
    /// Seconds without a byte after which a transfer is cut and resumed.
    pub stall: u64,
    /// Attempts for one request or blob before its image is given up.
    pub attempts: u32,
}

/// Settings of ECR repositories that castlink creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repository {
    /// Tags cannot be moved once pushed.
    pub immutable: bool,
    /// Scan on push.
    pub scan_on_push: bool,
    /// KMS key for encryption; AES256 when unset.
    pub kms_key: Option<String>,
    /// Tags of the repository.
    pub tags: BTreeMap<String, String>,
}

/// Pointing workloads at mirrored images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upgrade {
    /// How long one rollout may take, in seconds.
    pub timeout: u64,
    /// Rollouts under way at once.
    pub parallel: usize,
    /// Seconds a finished rollout is watched for crashes.
    pub soak: u64,
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
    /// User name.
    pub username: Option<String>,
    /// File that holds the password or token.
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password or token.
    pub password_env: Option<String>,
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
        }
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            to: None,
            layout: Layout::Full,
            create_repos: true,
            repository: Repository::default(),
            concurrency: 8,
            stall: 30,
            attempts: 6,
        }
    }
}

impl Default for Repository {
    fn default() -> Self {
        Self {
            immutable: true,
            scan_on_push: true,
            kms_key: None,
            tags: BTreeMap::new(),
        }
    }
}

impl Default for Upgrade {
    fn default() -> Self {
        Self {
            timeout: 600,
            parallel: 8,
            soak: 5,
        }
    }
}

/// A configuration and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The merged values, before flags.
    pub config: Config,
    figment: Figment,
}

impl Loaded {
    /// Reads `file` (or the usual files) and the environment, and lays the section
    /// `[env.NAME]` over them.
    ///
    /// # Errors
    /// Exit 2: a named file is missing, a value has the wrong type, a key is unknown,
    /// or `--env` names a section that does not exist.
    pub fn read(file: Option<&Path>, env: Option<&str>) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        for file in files(file)? {
            figment = figment.merge(Toml::file_exact(file));
        }
        // `CASTLINK_AWS__REGION`: two underscores between levels, one within a name. Without
        // two it is a variable of something else (CASTLINK_CONFIG, CASTLINK_CACHE).
        figment = figment.merge(
            Env::prefixed("CASTLINK_")
                .filter(|key| key.as_str().contains("__"))
                .split("__"),
        );
        let base: Config = figment.extract().map_err(|err| explain(&err))?;
        if let Some(name) = env {
            let section = base
                .env
                .get(name)
                .ok_or_else(|| no_section(name, &base.env))?;
            figment = figment.merge(Serialized::defaults(section));
        }
        let mut config: Config = figment.extract().map_err(|err| explain(&err))?;
        config.env.clear();
        Ok(Self { config, figment })
    }

    /// Where the value at `key` (`aws.region`) came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> String {
        self.figment.find_metadata(key).map_or_else(
            || "default".into(),
            |meta| match meta.source.as_ref() {
                Some(figment::Source::File(path)) => path.display().to_string(),
                _ if meta.name.contains("environment") => "environment".into(),
                _ if meta.name.contains("BTreeMap") || meta.name.contains("Table") => {
                    "env section".into()
                }
                _ => "default".into(),
            },
        )
    }
}

impl Endpoints {
    /// The wait deadline.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn files(given: Option<&Path>) -> Result<Vec<PathBuf>> {
    if let Some(file) = given {
        return if file.is_file() {
            Ok(vec![file.to_owned()])
        } else {
            Err(Failure::usage(format!(
                "configuration file {} does not exist",
                file.display()
            )))
        };
    }
    let project = Path::new("castlink.toml").to_path_buf();
    Ok([user_file(), Some(project)]
        .into_iter()
        .flatten()
        .filter(|file| file.is_file())
        .collect())
}

fn user_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(base.join("castlink").join("castlink.toml"))
}

/// Where journals and records of runs are kept: `$XDG_STATE_HOME/castlink`, else
/// `~/.local/state/castlink`.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(base.join("castlink"))
}

fn no_section(name: &str, sections: &BTreeMap<String, toml::Table>) -> Failure {
    let known: Vec<&str> = sections.keys().map(String::as_str).collect();
    let failure = Failure::usage(format!("the configuration has no section [env.{name}]"));
    match nearest(name, &known) {
        Some(near) => failure.hint(format!("did you mean `--env {near}`?")),
        None => failure,
    }
}

fn explain(err: &figment::Error) -> Failure {
    let first = err
        .clone()
        .into_iter()
        .next()
        .unwrap_or_else(|| err.clone());
    let at = first
        .metadata
        .as_ref()
        .and_then(|meta| meta.source.as_ref())
        .map_or_else(
            || "the configuration".to_owned(),
            |source| match source {
                figment::Source::File(path) => path.display().to_string(),
                other => other.to_string(),
            },
        );
    let key = first.path.join(".");
    match &first.kind {
        figment::error::Kind::UnknownField(field, known) => {
            let failure = Failure::usage(format!("unknown key `{field}` in {at}"));
            match nearest(field, known) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(format!("known keys here: {}", known.join(", "))),
            }
        }
        kind => Failure::usage(format!("`{key}` in {at}: {kind}")),
    }
}

/// The closest of `known` to `word`, when one is close enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, env: Option<&str>) -> Result<Config> {
        let dir =
            std::env::temp_dir().join(format!("castlink-config-{:?}", std::thread::current().id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("castlink.toml");
        std::fs::write(&file, text).unwrap();
        let loaded = Loaded::read(Some(&file), env);
        std::fs::remove_dir_all(&dir).unwrap();
        loaded.map(|loaded| loaded.config)
    }

    const FILE: &str = r#"
        [aws]
        region = "us-east-1"
        [mirror]
        concurrency = 4
        [registries."ghcr.io"]
        endpoint = "https://harbor.corp/ghcr-proxy"
        [env.prod.aws]
        region = "ap-south-1"
    "#;

    #[test]
    fn defaults_file_and_named_section() {
        let plain = read(FILE, None).unwrap();
        assert_eq!(plain.aws.region.as_deref(), Some("us-east-1"));
        assert_eq!(plain.mirror.concurrency, 4);
        assert_eq!(plain.mirror.attempts, Mirror::default().attempts);
        assert_eq!(
            plain.registries["ghcr.io"].endpoint.as_deref(),
            Some("https://harbor.corp/ghcr-proxy")
        );
        let prod = read(FILE, Some("prod")).unwrap();
        assert_eq!(prod.aws.region.as_deref(), Some("ap-south-1"));
        assert_eq!(prod.mirror.concurrency, 4);
    }

    #[test]
    fn mistakes_name_the_key_and_the_fix() {
        for (text, env, message, hint) in [
            (
                "[aws]\nregoin = 'x'",
                None,
                "unknown key `regoin`",
                "did you mean `region`?",
            ),
            (
                "[mirror]\nconcurrency = 'x'",
                None,
                "`mirror.concurrency`",
                "",
            ),
            (FILE, Some("prd"), "[env.prd]", "--env prod"),
        ] {
            let err = read(text, env).unwrap_err();
            assert_eq!(err.exit(), crate::Exit::Usage);
            assert!(err.to_string().contains(message), "{err}");
            assert!(
                err.hint_text().unwrap_or_default().contains(hint),
                "{err:?}"
            );
        }
    }
}
