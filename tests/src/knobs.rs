//! What a suite can turn while the gates run: times, limits, and the habits of the other
//! side that AWS leaves to the account or the provider.
//!
//! The defaults are AWS's own where they can be afforded, and short times elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All of them; unnamed ones keep their default when read from JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// How long a new interface endpoint stays `pending` (AWS: minutes), in milliseconds.
    pub endpoint_pending_ms: u64,
    /// How long a modification is under way, in milliseconds.
    pub endpoint_modify_ms: u64,
    /// How long an endpoint is `deleting`, in milliseconds.
    pub endpoint_delete_ms: u64,
    /// How long it is then still listed as `deleted`, in milliseconds.
    pub endpoint_listed_ms: u64,
    /// How many Describe calls do not know a new endpoint yet.
    pub endpoint_lag: u32,
    /// How many DescribeSubnets calls do not show a tag that was just set.
    pub tag_lag: u32,
    /// Subnets that another account shares with this one: id and account.
    pub shared_subnets: BTreeMap<String, String>,
    /// The most results of a page, whatever was asked for.
    pub page_size: usize,
    /// Interface endpoints per VPC.
    pub endpoint_limit: usize,
    /// The zones (last letters) in which CAST AI's services are offered.
    pub offered_zones: String,
    /// Service ids (or name parts) whose provider accepts each connection by hand.
    pub acceptance_required: BTreeSet<String>,
    /// Service ids (or name parts) that this account is not allowed to see.
    pub hidden_services: BTreeSet<String>,
    /// Service ids (or name parts) whose private DNS name is not verified.
    pub unverified_services: BTreeSet<String>,
    /// Service ids (or name parts) whose endpoints end up `failed`.
    pub failing_services: BTreeSet<String>,
    /// Service ids (or name parts) whose endpoints EC2 does not delete.
    pub kept_services: BTreeSet<String>,
    /// CAST AI's services cannot be reached from other regions.
    pub own_region_only: bool,
    /// Services take IPv6 as well.
    pub dual_stack: bool,
    /// Life of a registry token, in seconds.
    pub token_life_s: u64,
    /// Manifest PUTs per second, and how many may come at once.
    pub put_image_rate: f64,
    /// See `put_image_rate`.
    pub put_image_burst: f64,
    /// A push that cannot be (no repository, no permission to begin it) is answered by closing
    /// the connection.
    pub hang_up: bool,
    /// Types of attached artifacts that the registry refuses, as ECR refuses some of them.
    pub refused_artifacts: BTreeSet<String>,
    /// Blob reads are answered with a redirect to the object store, as ECR's are.
    pub redirect_blobs: bool,
    /// The server and CA that `eks:DescribeCluster` names; moto's inventions when absent.
    pub cluster: Option<ClusterAccess>,
}

/// How a cluster's API server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterAccess {
    /// `https://…`
    pub endpoint: String,
    /// The CA's PEM, in base64.
    pub ca_base64: String,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            endpoint_pending_ms: 2_000,
            endpoint_modify_ms: 500,
            endpoint_delete_ms: 1_000,
            endpoint_listed_ms: 1_000,
            endpoint_lag: 0,
            tag_lag: 0,
            shared_subnets: BTreeMap::new(),
            page_size: 1_000,
            endpoint_limit: 50,
            offered_zones: "abc".to_owned(),
            acceptance_required: BTreeSet::new(),
            hidden_services: BTreeSet::new(),
            unverified_services: BTreeSet::new(),
            failing_services: BTreeSet::new(),
            kept_services: BTreeSet::new(),
            own_region_only: false,
            dual_stack: false,
            token_life_s: 12 * 60 * 60,
            put_image_rate: 10.0,
            put_image_burst: 10.0,
            hang_up: false,
            refused_artifacts: BTreeSet::new(),
            redirect_blobs: true,
            cluster: None,
        }
    }
}

impl Knobs {
    /// [`Self::endpoint_pending_ms`] as a duration.
    #[must_use]
    pub fn pending(&self) -> Duration {
        Duration::from_millis(self.endpoint_pending_ms)
    }

    /// [`Self::endpoint_modify_ms`] as a duration.
    #[must_use]
    pub fn modifying(&self) -> Duration {
        Duration::from_millis(self.endpoint_modify_ms)
    }

    /// [`Self::endpoint_delete_ms`] as a duration.
    #[must_use]
    pub fn deleting(&self) -> Duration {
        Duration::from_millis(self.endpoint_delete_ms)
    }

    /// [`Self::endpoint_listed_ms`] as a duration.
    #[must_use]
    pub fn listed(&self) -> Duration {
        Duration::from_millis(self.endpoint_listed_ms)
    }
}

/// Whether a service is named by one of `parts`.
#[must_use]
pub fn names(parts: &BTreeSet<String>, service: &str) -> bool {
    parts.iter().any(|part| service.contains(part.as_str()))
}

/// The knobs as they stand, shared by the gates.
#[derive(Default)]
pub struct Panel(Mutex<Knobs>);

impl Panel {
    /// Starts from `knobs`.
    #[must_use]
    pub fn new(knobs: Knobs) -> Self {
        Self(Mutex::new(knobs))
    }

    /// As they stand.
    #[must_use]
    pub fn get(&self) -> Knobs {
        self.guard().clone()
    }

    /// Turns some.
    pub fn set<T>(&self, turn: impl FnOnce(&mut Knobs) -> T) -> T {
        turn(&mut self.guard())
    }

    fn guard(&self) -> MutexGuard<'_, Knobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
