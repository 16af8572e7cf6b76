//! Reading the target side: what a repository holds already. ECR is asked in batches; any
//! other registry with one HEAD per thing.

use std::collections::BTreeSet;

use castlink_core::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    content::{Blob, Digest, Manifest},
    ecr::{Held, Mutability, Selector},
    place::Address,
    registry::{
        Registry,
        error::{Error, Kind},
    },
    site::Site,
};

/// HEAD requests prepared at once; the registry's own limit decides how many are under way.
const AT_ONCE: usize = 32;

/// One repository at the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// False when the repository has to be created first (only ECR knows).
    pub(crate) exists: bool,
    /// Tags and manifests, of those that were asked for.
    pub(crate) held: Held,
    /// Blobs, of those that were asked for.
    pub(crate) blobs: BTreeSet<Digest>,
    /// Which tags can be moved; none when nobody asked, or the registry cannot say.
    pub(crate) mutability: Option<Mutability>,
}

/// How a registry lets blobs be mounted from one repository into another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mounting {
    /// Not at all.
    #[default]
    Never,
    /// As soon as the blob is there.
    AfterUpload,
    /// ECR: once a manifest in the source repository refers to the blob.
    AfterImage,
}

/// Which of `selectors` the repository holds; none when it does not exist.
pub(crate) async fn manifests(
    site: &Site,
    repository: &str,
    selectors: Vec<Selector>,
) -> Result<Option<Held>> {
    let registry = match site {
        Site::Store(store) => return Ok(Some(store.held(selectors).await)),
        Site::Registry(registry) => registry,
    };
    match registry.ecr() {
        Some(ecr) => ecr.images(repository, &selectors).await,
        None => heads(registry, repository, selectors)
            .await
            .map(Some)
            .map_err(Error::into_failure),
    }
}

/// Which of `blobs` the repository can serve.
pub(crate) async fn blobs(
    site: &Site,
    repository: &str,
    blobs: Vec<Blob>,
) -> Result<BTreeSet<Digest>> {
    let registry = match site {
        Site::Store(store) => return Ok(store.blobs_held(blobs).await),
        Site::Registry(registry) => registry,
    };
    let digests: Vec<Digest> = blobs.into_iter().map(|blob| blob.digest).collect();
    if let Some(ecr) = registry.ecr() {
        return ecr.blobs(repository, &digests).await;
    }
    let asked = digests.into_iter().map(|digest| async move {
        let there = registry.has_blob(repository, &digest).await?;
        Ok::<_, Error>(there.then_some(digest))
    });
    let found: Vec<Option<Digest>> = stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .map_err(Error::into_failure)?;
    Ok(found.into_iter().flatten().collect())
}

/// Which tags of the repository can be moved, where `asked`; none when the registry cannot
/// say.
pub(crate) async fn mutability(
    site: &Site,
    repository: &str,
    asked: bool,
) -> Result<Option<Mutability>> {
    match site.ecr().filter(|_| asked) {
        Some(ecr) => ecr.mutability(repository).await,
        None => Ok(None),
    }
}

/// How the registry mounts.
pub(crate) async fn mounting(site: &Site) -> Mounting {
    match site.ecr() {
        // A store has each blob once anyway.
        None if matches!(site, Site::Store(_)) => Mounting::Never,
        None => Mounting::AfterUpload,
        Some(ecr) if ecr.mounting().await => Mounting::AfterImage,
        Some(_) => Mounting::Never,
    }
}

async fn heads(
    registry: &Registry,
    repository: &str,
    selectors: Vec<Selector>,
) -> Result<Held, Error> {
    let asked = selectors.into_iter().map(|selector| async move {
        let digest = match registry.head_manifest(repository, selector.text()).await {
            Ok(Some(digest)) => Some(digest),
            Ok(None) => Some(
                registry
                    .get_manifest(repository, selector.text())
                    .await?
                    .digest,
            ),
            Err(error) if error.kind == Kind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok((selector, digest))
    });
    let answers: Vec<_> = stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut held = Held::default();
    for (selector, digest) in answers {
        let Some(digest) = digest else { continue };
        held.manifests.insert(digest.clone());
        if let Selector::Tag(tag) = selector {
            held.tags.insert(tag, digest);
        }
    }
    Ok(held)
}

impl Holdings {
    /// The digest that `image`, a name in this repository, has here.
    pub(crate) fn digest_of(&self, image: &Address) -> Option<Digest> {
        match &image.digest {
            Some(pinned) => self.held.manifests.get(pinned).cloned(),
            None => self.held.tags.get(image.tag.as_ref()?).cloned(),
        }
    }

    /// True when the manifest is here with all its blobs. One that lost some is written
    /// again, after them: what is written is what a copy waits for.
    pub(crate) fn is_whole(&self, manifest: &Manifest) -> bool {
        let mut blobs = manifest.blobs().iter();
        self.held.manifests.contains(&manifest.digest)
            && blobs.all(|blob| self.blobs.contains(&blob.digest))
    }

    /// True when `tag` points at something else and cannot be moved.
    pub(crate) fn is_taken(&self, tag: &str, digest: &Digest) -> bool {
        let other = self.held.tags.get(tag).is_some_and(|held| held != digest);
        other
            && self
                .mutability
                .as_ref()
                .is_some_and(|rule| rule.is_immutable(tag))
    }
}
