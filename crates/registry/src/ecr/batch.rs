//! Questions about a hundred things at once, where the registry protocol would take a HEAD
//! for each: which images and which layers a repository holds.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecr::types::{
    Image, ImageFailure, ImageFailureCode, ImageIdentifier, LayerAvailability,
};
use bytes::Bytes;
use castlink_core::{Failure, Result};

use super::Ecr;
use crate::content::{Digest, MANIFEST_TYPES, Manifest};

/// The most ids that BatchGetImage and BatchCheckLayerAvailability take.
const BATCH: usize = 100;

/// What to ask a repository for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// A tag.
    Tag(String),
    /// A manifest.
    Digest(Digest),
}

/// What a repository holds of what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Tags, with what they point at.
    pub tags: BTreeMap<String, Digest>,
    /// Digests of manifests.
    pub manifests: BTreeSet<Digest>,
    /// The platforms of those that are an index, where the registry showed it.
    pub platforms: BTreeMap<Digest, Vec<String>>,
}

impl Ecr {
    /// What the repository holds of `selectors`; none when the repository does not exist.
    pub async fn images(&self, repository: &str, selectors: &[Selector]) -> Result<Option<Held>> {
        let mut held = Held::default();
        for selectors in selectors.chunks(BATCH) {
            let ids = selectors.iter().map(Selector::id).collect();
            self.count();
            let answer = self
                .client
                .batch_get_image()
                .registry_id(&self.account)
                .repository_name(repository)
                .set_image_ids(Some(ids))
                .set_accepted_media_types(Some(MANIFEST_TYPES.map(str::to_owned).to_vec()))
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(err) if castlink_aws::code(&err) == Some("RepositoryNotFoundException") => {
                    return Ok(None);
                }
                Err(err) => return Err(self.failure("BatchGetImage", repository, &err)),
            };
            for failure in answer.failures() {
                self.check_missing(repository, failure)?;
            }
            answer.images().iter().for_each(|image| held.add(image));
        }
        Ok(Some(held))
    }

    /// Anything but "not found" (a lost key) is nothing to copy over. An archived image is not
    /// found, and comes back when it is pushed again.
    fn check_missing(&self, repository: &str, failure: &ImageFailure) -> Result<()> {
        let code = failure.failure_code();
        if matches!(
            code,
            Some(ImageFailureCode::ImageNotFound | ImageFailureCode::ImageInaccessible)
        ) {
            return Ok(());
        }
        let code = code.map_or("unknown failure", ImageFailureCode::as_str);
        let reason = failure.failure_reason().unwrap_or_default();
        Err(Failure::failed(format!(
            "an image of {}/{repository} cannot be read: {code} {reason}",
            self.host
        )))
    }

    /// Which of `digests` the repository can serve as blobs.
    pub async fn blobs(&self, repository: &str, digests: &[Digest]) -> Result<BTreeSet<Digest>> {
        let mut found = BTreeSet::new();
        for digests in digests.chunks(BATCH) {
            self.count();
            let answer = self
                .client
                .batch_check_layer_availability()
                .registry_id(&self.account)
                .repository_name(repository)
                .set_layer_digests(Some(digests.iter().map(ToString::to_string).collect()))
                .send()
                .await
                .map_err(|err| self.failure("BatchCheckLayerAvailability", repository, &err))?;
            let available = answer
                .layers()
                .iter()
                .filter(|layer| layer.layer_availability() == Some(&LayerAvailability::Available))
                .filter_map(|layer| Digest::parse(layer.layer_digest()?));
            found.extend(available);
        }
        Ok(found)
    }
}

impl Selector {
    /// As the registry protocol and people write it.
    pub fn text(&self) -> &str {
        match self {
            Self::Tag(tag) => tag,
            Self::Digest(digest) => digest.as_str(),
        }
    }

    fn id(&self) -> ImageIdentifier {
        let id = ImageIdentifier::builder();
        match self {
            Self::Tag(tag) => id.image_tag(tag).build(),
            Self::Digest(digest) => id.image_digest(digest.as_str()).build(),
        }
    }
}

impl Held {
    fn add(&mut self, image: &Image) {
        let Some(id) = image.image_id() else { return };
        let Some(digest) = id.image_digest().and_then(Digest::parse) else {
            return;
        };
        self.manifests.insert(digest.clone());
        self.platforms.insert(digest.clone(), platforms(image));
        if let Some(tag) = id.image_tag() {
            self.tags.insert(tag.to_owned(), digest);
        }
    }

    /// The platforms of a manifest, as far as known.
    pub fn platforms_of(&self, digest: &Digest) -> Vec<String> {
        self.platforms.get(digest).cloned().unwrap_or_default()
    }
}

fn platforms(image: &Image) -> Vec<String> {
    let text = image.image_manifest().unwrap_or_default().to_owned();
    let manifest = Manifest::parse(Bytes::from(text), image.image_manifest_media_type(), None);
    manifest
        .map(|manifest| manifest.platforms())
        .unwrap_or_default()
}
