//! Flags of `rbac`.

use std::str::FromStr;

use castlink_core::{Failure, Result, cli::KubeArgs};
use clap::{Args, ValueEnum};

/// What the rights are for, and whose they are to be.
#[derive(Debug, Args)]
pub(crate) struct RbacArgs {
    /// What it is to be used for (repeat, or separate with commas)
    #[arg(
        long = "for",
        value_enum,
        value_name = "USE",
        value_delimiter = ',',
        default_values_t = [Use::Apply, Use::Rollback]
    )]
    pub(crate) uses: Vec<Use>,
    /// Name of the Role and its binding; the ClusterRole for nodes adds the namespace
    #[arg(long, value_name = "NAME", default_value = "castlink-upgrade")]
    pub(crate) name: String,
    /// Bind to this ServiceAccount: NAME, or NAMESPACE:NAME of another namespace (repeatable)
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) service_account: Vec<Account>,
    /// Bind to this user, as the API server names it (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Vec<String>,
    /// Bind to this group, as an EKS access entry or aws-auth names it (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// Also for `apply --bare-pods`
    #[arg(long)]
    pub(crate) bare_pods: bool,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
}

/// What the rights are to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Use {
    /// `images`, `plan`, `status` and `drift`
    Read,
    /// `apply`
    Apply,
    /// `rollback`
    Rollback,
}

/// `NAME` or `NAMESPACE:NAME`, as kubectl writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl FromStr for Account {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let (namespace, name) = match text.split_once(':') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let all = namespace.into_iter().chain([name]);
        if all.into_iter().any(|part| !is_label(part)) {
            return Err(Failure::usage("write NAME or NAMESPACE:NAME"));
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

/// Letters, digits, dashes and dots: what names of accounts and roles are made of.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !text.is_empty() && text.chars().all(inner)
}
