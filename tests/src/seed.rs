//! Realistic images for any reference, in the upstream registry.
//!
//! An image is a function of its reference alone: seeding it again finds it there, and its
//! digest can be told before it exists (fixtures pin by digest). The registry stands for
//! every public host: a host is the first part of the repository's path, as in a proxy
//! cache.

mod attach;
mod defaults;
mod gone;
mod image;
mod layer;
mod push;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use oci_client::Reference;
use tokio::sync::Mutex as AsyncMutex;

pub use attach::Via;
pub use defaults::{LIBRARY, MIRROR, defaults};
pub use image::{Image, Stack};
pub use layer::{Layer, Layers};

/// Images that are under way at once; two of one repository take turns.
const CONCURRENT: usize = 12;

/// What images are made like.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Multiplies layer sizes; 1.0 makes an image of about 2 MB per platform.
    pub scale: f64,
    /// `os/architecture` of each platform.
    pub platforms: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scale: 1.0,
            platforms: ["linux/amd64", "linux/arm64"].map(String::from).to_vec(),
        }
    }
}

/// What seeding one reference came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// As it was given.
    pub reference: String,
    /// The digest of its index.
    pub digest: String,
    /// Whether it was there already.
    pub present: bool,
}

/// Makes images and pushes them to one registry.
pub struct Seeder {
    url: String,
    http: reqwest::Client,
    options: Options,
    layers: Layers,
    gone: Option<gone::Gone>,
    /// A repository that has the blob, by digest: the source of mounts.
    homes: Mutex<BTreeMap<String, String>>,
    /// One writer per repository: the registry's driver truncates a link file before it
    /// writes it, so two writers of one blob there can trip over each other.
    turns: Mutex<BTreeMap<String, Arc<AsyncMutex<()>>>>,
}

impl Seeder {
    /// For the registry at `url`, which `http` trusts.
    #[must_use]
    pub fn new(url: &str, http: reqwest::Client, options: Options) -> Self {
        let layers = Layers::new(options.scale);
        Self {
            url: url.to_owned(),
            http,
            options,
            layers,
            gone: None,
            homes: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Remembers in `file` what was taken away on purpose, for [`Self::on_demand`].
    #[must_use]
    pub fn remembering(mut self, file: &Path) -> Self {
        self.gone = Some(gone::Gone::new(file));
        self
    }

    /// Makes the image somebody asks for by `repository` (host first) and tag; false when
    /// it was taken away on purpose.
    ///
    /// # Errors
    /// As [`Self::seed`].
    pub async fn on_demand(&self, repository: &str, tag: &str) -> Result<bool> {
        let reference = format!("{repository}:{tag}");
        match &self.gone {
            Some(gone) if gone.has(&key(&parse(&reference)?))? => Ok(false),
            _ => self.seed(&reference).await.map(|_| true),
        }
    }

    /// Makes the image for `reference` and pushes what is not there.
    ///
    /// # Errors
    /// When the reference is malformed or pins another digest than the image has, or the
    /// registry refuses.
    pub async fn seed(&self, reference: &str) -> Result<Seeded> {
        let parsed = parse(reference)?;
        let image = self.image(&parsed)?;
        if let Some(pinned) = parsed
            .digest()
            .filter(|pinned| *pinned != image.index.digest)
        {
            bail!("cannot seed {reference}: an image with the digest {pinned} cannot be made");
        }
        let digest = image.index.digest.clone();
        if let Some(gone) = &self.gone {
            gone.remove(&key(&parsed))?;
        }
        let tag = parsed.tag().unwrap_or("latest");
        let present = self.push(&repository(&parsed), tag, &image).await;
        let present = present.with_context(|| format!("cannot seed {reference}"))?;
        Ok(Seeded {
            reference: reference.to_owned(),
            digest,
            present,
        })
    }

    /// Pushes an image that was made elsewhere; true when it was there already.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> Result<bool> {
        let turn = self.turn(repository);
        let _held = turn.lock().await;
        push::image(self, repository, tag, image).await
    }

    /// Pushes a blob whose bytes are in a file, before the image that has it is pushed.
    ///
    /// # Errors
    /// When the file cannot be read or the registry refuses.
    pub async fn push_file(&self, repository: &str, digest: &str, path: &Path) -> Result<()> {
        push::file(self, repository, digest, path).await
    }

    /// Seeds many, several at once; in the order given.
    ///
    /// # Errors
    /// The first failure.
    pub async fn seed_all<R: AsRef<str>>(
        &self,
        references: impl IntoIterator<Item = R>,
    ) -> Result<Vec<Seeded>> {
        let jobs = references
            .into_iter()
            .map(|reference| async move { self.seed(reference.as_ref()).await });
        stream::iter(jobs).buffered(CONCURRENT).try_collect().await
    }

    /// Takes an image away again (its manifest, hence every tag of it in that repository).
    /// False when it was not there.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn unseed(&self, reference: &str) -> Result<bool> {
        let parsed = parse(reference)?;
        if let Some(gone) = &self.gone {
            gone.add(&key(&parsed))?;
        }
        let removed = push::remove(self, &parsed).await;
        removed.with_context(|| format!("cannot unseed {reference}"))
    }

    /// The digest that `reference` has once it is seeded.
    ///
    /// # Errors
    /// When the reference is malformed.
    pub fn digest_of(&self, reference: &str) -> Result<String> {
        Ok(self.image(&parse(reference)?)?.index.digest)
    }

    /// `reference` with its digest: `busybox:1` to `busybox:1@sha256:…`.
    ///
    /// # Errors
    /// When the reference is malformed.
    pub fn pinned(&self, reference: &str) -> Result<String> {
        Ok(format!("{reference}@{}", self.digest_of(reference)?))
    }

    fn turn(&self, repository: &str) -> Arc<AsyncMutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(repository.to_owned()).or_default())
    }

    fn image(&self, reference: &Reference) -> Result<Image> {
        image::make(reference, &self.options, &self.layers)
    }
}

fn parse(reference: &str) -> Result<Reference> {
    reference
        .parse()
        .with_context(|| format!("malformed image reference '{reference}'"))
}

/// An image's name in the list of those that are gone.
fn key(reference: &Reference) -> String {
    let tag = reference.tag().unwrap_or("latest");
    format!("{}:{tag}", repository(reference))
}

/// Where an image is kept: its host is the first part of the repository.
fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(reference: &str) -> String {
        let options = Options {
            scale: 0.02,
            ..Options::default()
        };
        let seeder = Seeder::new("http://127.0.0.1:1", reqwest::Client::new(), options);
        seeder.digest_of(reference).unwrap()
    }

    #[test]
    fn an_image_depends_on_its_reference_alone() {
        assert_eq!(digest("busybox:1"), digest("docker.io/library/busybox:1"));
        assert_ne!(digest("busybox:1"), digest("busybox:2"));
        assert_ne!(digest("busybox:1"), digest("quay.io/library/busybox:1"));
    }

    #[test]
    fn the_two_homes_of_a_component_hold_one_image() {
        let (library, mirror) = (format!("{LIBRARY}agent:v1"), format!("{MIRROR}agent:v1"));
        assert_eq!(digest(&library), digest(&mirror));
    }
}
