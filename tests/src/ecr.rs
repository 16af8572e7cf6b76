//! What both planes of the private registry know: repositories, tags, manifests, tokens.
//!
//! ECR is a database of manifests and tags over an object store of layers. Here the
//! database is this state, the object store a real registry process ([`crate::registry`]),
//! whose upload protocol, digest checks and range reads are thus real. The API
//! ([`crate::aws_gate`]) and the data plane ([`crate::ecr_gate`]) can only agree: they
//! share it. Nothing here speaks HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::iam::{Need, Policy};
use crate::knobs::{Knobs, Panel};

mod image;
mod templates;

pub use image::{Image, Parts};
pub use templates::Template;

/// The registry's database.
#[derive(Default)]
pub struct Database {
    /// By name.
    pub repositories: BTreeMap<String, Repository>,
    /// `BLOB_MOUNTING` of the account.
    pub blob_mounting: bool,
    /// Repository creation templates.
    pub templates: Vec<Template>,
    tokens: BTreeMap<String, Timestamp>,
    budget: Budget,
}

/// One repository.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Full name, without the registry.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// `MUTABLE`, `IMMUTABLE`, or one of them `_WITH_EXCLUSION`.
    pub mutability: String,
    /// Wildcard patterns that the mutability does not apply to.
    pub exclusions: Vec<String>,
    /// `imageScanningConfiguration.scanOnPush`
    pub scan_on_push: bool,
    /// `encryptionConfiguration` as given at creation.
    pub encryption: Value,
    /// Lifecycle policy text.
    pub lifecycle: Option<String>,
    /// Repository policy text.
    pub policy: Option<String>,
    /// AWS tags.
    pub labels: BTreeMap<String, String>,
    /// Image tags to digests.
    pub tags: BTreeMap<String, String>,
    /// Manifests by digest.
    pub images: BTreeMap<String, Image>,
    /// Blobs by digest, with their sizes.
    pub blobs: BTreeMap<String, u64>,
}

impl Repository {
    /// An empty one with ECR's own defaults.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            created: Timestamp::now(),
            mutability: "MUTABLE".to_owned(),
            exclusions: Vec::new(),
            scan_on_push: false,
            encryption: json!({"encryptionType": "AES256"}),
            lifecycle: None,
            policy: None,
            labels: BTreeMap::new(),
            tags: BTreeMap::new(),
            images: BTreeMap::new(),
            blobs: BTreeMap::new(),
        }
    }

    /// The image that a tag or a digest names, unless it is archived.
    #[must_use]
    pub fn find(&self, reference: &str) -> Option<&Image> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        self.images.get(digest).filter(|image| !image.archived)
    }

    /// Moves everything to the archive.
    pub fn archive(&mut self) {
        self.images
            .values_mut()
            .for_each(|image| image.archived = true);
    }

    /// Whether a blob is there, and only archived images refer to it.
    #[must_use]
    pub fn is_archived(&self, blob: &str) -> bool {
        let refers = |image: &&Image| image.parts.blobs.iter().any(|(one, _)| one == blob);
        let mut users = self.images.values().filter(refers).peekable();
        users.peek().is_some() && users.all(|image| image.archived)
    }

    /// The tags of one image.
    #[must_use]
    pub fn tags_of(&self, digest: &str) -> Vec<&str> {
        let tags = self.tags.iter().filter(|(_, target)| *target == digest);
        tags.map(|(tag, _)| tag.as_str()).collect()
    }

    /// Whether a tag, once given, stays.
    #[must_use]
    pub fn immutable(&self, tag: &str) -> bool {
        let excluded = self
            .exclusions
            .iter()
            .any(|pattern| crate::aws_gate::matches(pattern, tag));
        match self.mutability.as_str() {
            "IMMUTABLE" => true,
            "IMMUTABLE_WITH_EXCLUSION" => !excluded,
            "MUTABLE_WITH_EXCLUSION" => excluded,
            _ => false,
        }
    }

    /// Whether some manifest refers to a blob: only then may others mount it.
    #[must_use]
    pub fn refers_to(&self, blob: &str) -> bool {
        self.images
            .values()
            .any(|image| image.parts.blobs.iter().any(|(one, _)| one == blob))
    }

    /// The blobs (or, for an index, the manifests) that an image needs and that are not
    /// here.
    #[must_use]
    pub fn missing(&self, parts: &Parts) -> (Vec<String>, Vec<String>) {
        let blobs = parts.blobs.iter().map(|(digest, _)| digest);
        let blobs = blobs
            .filter(|digest| !self.blobs.contains_key(*digest))
            .cloned()
            .collect();
        let children = parts
            .children
            .iter()
            .filter(|digest| !self.images.contains_key(*digest));
        (blobs, children.cloned().collect())
    }

    /// Removes a tag, or an image with all its tags. True when there was such a thing.
    pub fn remove(&mut self, reference: &str) -> bool {
        if self.images.remove(reference).is_some() {
            self.tags.retain(|_, digest| digest != reference);
            return true;
        }
        self.tags.remove(reference).is_some()
    }
}

/// A token bucket for manifest PUTs.
#[derive(Default)]
struct Budget {
    level: f64,
    at: Option<Instant>,
}

impl Budget {
    fn take(&mut self, rate: f64, burst: f64) -> bool {
        let now = Instant::now();
        let passed = self.at.map_or(f64::INFINITY, |at| (now - at).as_secs_f64());
        self.level = (self.level + passed * rate).min(burst);
        self.at = Some(now);
        let granted = self.level >= 1.0;
        if granted {
            self.level -= 1.0;
        }
        granted
    }
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Good until its time.
    Valid,
    /// Was good.
    Expired,
    /// Never given out.
    Unknown,
}

/// The registry: its identity and its database.
pub struct Ecr {
    /// The twelve digits.
    pub account: String,
    /// Its region.
    pub region: String,
    panel: Arc<Panel>,
    database: Mutex<Database>,
    policy: Mutex<Option<Arc<Policy>>>,
}

impl Ecr {
    /// An empty registry.
    #[must_use]
    pub fn new(account: &str, region: &str, panel: Arc<Panel>) -> Self {
        let (account, region) = (account.to_owned(), region.to_owned());
        Self {
            account,
            region,
            panel,
            database: Mutex::default(),
            policy: Mutex::default(),
        }
    }

    /// From now on allows only what `policy` does.
    pub fn enforce(&self, policy: Arc<Policy>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(policy);
    }

    /// Whether the caller may do `action` (without its prefix) on `resource`; always, as long
    /// as no policy is enforced.
    ///
    /// # Errors
    /// With AWS's own sentence.
    pub fn permit(&self, action: &str, resource: &str) -> Result<(), String> {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let need = Need {
            action: format!("ecr:{action}"),
            resource: resource.to_owned(),
        };
        match policy.as_ref().is_none_or(|policy| policy.allows(&need)) {
            true => Ok(()),
            false => Err(format!(
                "User: arn:aws:iam::{}:user/sandbox is not authorized to perform: {} on resource: {resource} because no identity-based policy allows the {} action",
                self.account, need.action, need.action
            )),
        }
    }

    /// The ARN of a repository.
    #[must_use]
    pub fn arn(&self, repository: &str) -> String {
        format!(
            "arn:aws:ecr:{}:{}:repository/{repository}",
            self.region, self.account
        )
    }

    /// `ACCOUNT.dkr.ecr.REGION.amazonaws.com`
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.dkr.ecr.{}.amazonaws.com", self.account, self.region)
    }

    /// The database, for as long as the guard lives. Never held across an await.
    pub fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The knobs as they stand.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.panel.get()
    }

    /// A new token and when it ends.
    #[must_use]
    pub fn issue_token(&self) -> (String, Timestamp) {
        let ends = Timestamp::now() + Duration::from_secs(self.knobs().token_life_s);
        let mut database = self.database();
        let seed = format!("{}/{}/{ends}", self.account, database.tokens.len());
        let token = hex::encode(Sha256::digest(seed.as_bytes()));
        database.tokens.insert(token.clone(), ends);
        (token, ends)
    }

    /// How a token stands now.
    #[must_use]
    pub fn standing(&self, token: &str) -> Standing {
        match self.database().tokens.get(token) {
            None => Standing::Unknown,
            Some(ends) if *ends <= Timestamp::now() => Standing::Expired,
            Some(_) => Standing::Valid,
        }
    }

    /// Ends every token that has been given out.
    pub fn expire_tokens(&self) {
        let now = Timestamp::now();
        self.database()
            .tokens
            .values_mut()
            .for_each(|ends| *ends = now);
    }

    /// Takes one manifest PUT from the budget.
    #[must_use]
    pub fn may_put_image(&self) -> bool {
        let knobs = self.knobs();
        self.database()
            .budget
            .take(knobs.put_image_rate, knobs.put_image_burst)
    }

    /// Every image by repository and tag: what a suite compares with.
    #[must_use]
    pub fn tagged(&self) -> BTreeSet<(String, String, String)> {
        let database = self.database();
        let of = |repository: &Repository| {
            let name = repository.name.clone();
            let tags = repository.tags.clone();
            tags.into_iter()
                .map(move |(tag, digest)| (name.clone(), tag, digest))
        };
        database.repositories.values().flat_map(of).collect()
    }
}

/// `sha256:…` of `bytes`.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_lets_a_burst_through_and_then_its_rate() {
        let mut budget = Budget::default();
        let granted = (0..20).filter(|_| budget.take(0.001, 5.0)).count();
        assert_eq!(granted, 5);
    }
}
