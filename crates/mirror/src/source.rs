//! Reading the source side: what a reference stands for, and everything below it. With a
//! selection of platforms: source/selected.rs; what is attached to an image: source/attached.rs.

mod attached;
mod selected;
mod walk;

use std::collections::BTreeMap;

use castlink_core::{Failure, ImageRef, Result};

use crate::{
    content::{Digest, Manifest, Tree},
    platform::Selection,
    registry::error::Kind,
    site::Sites,
};

pub(crate) use attached::{Tags, attached};

/// Indexes within indexes: deeper than anybody nests them, shallow enough for hostile input.
const MAX_DEPTH: usize = 4;

/// The most manifests of one image that are read.
const MAX_MANIFESTS: usize = 512;

/// A reference, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Where it is read: the reference itself, or its twin.
    pub(crate) source: ImageRef,
    /// What it stands for, with the platforms that are wanted.
    pub(crate) digest: Digest,
    /// What it was made from, when that is not the source's own.
    pub(crate) origin: Option<Origin>,
    /// Manifests that need not be read any more.
    pub(crate) known: Known,
}

/// The index that a filtered one was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its digest at the source.
    pub(crate) digest: Digest,
    /// The platforms that are not wanted.
    pub(crate) left_out: Vec<String>,
}

/// Manifests that were read or made, by their digests.
pub(crate) type Known = BTreeMap<Digest, Manifest>;

/// The digest that `image` stands for when only what `selection` wants of it counts. A
/// pinned reference answers by itself when that is everything.
///
/// # Errors
/// When the registry has no such image, does not let us see it, or cannot be reached, and
/// neither does the twin. When the image lacks a platform, or is pinned to more than is wanted.
pub(crate) async fn resolve(
    sites: &Sites,
    image: &ImageRef,
    selection: &Selection,
) -> Result<Resolved> {
    let pinned = image.digest().map(|digest| {
        Digest::parse(digest).ok_or_else(|| {
            Failure::usage(format!("{image}: digest algorithms are sha256 and sha512"))
        })
    });
    match pinned.transpose()? {
        _ if !selection.is_all() => selected::resolve(sites, image, selection).await,
        Some(digest) => Ok(Resolved::whole(image, digest)),
        None => resolve_tag(sites, image).await,
    }
}

async fn resolve_tag(sites: &Sites, image: &ImageRef) -> Result<Resolved> {
    with_twin(image, async |source| {
        let site = sites.source(source.registry()).await?;
        let digest = site.resolve(source).await.map_err(Tried::of)?;
        Ok(Resolved::whole(source, digest))
    })
    .await
}

impl Resolved {
    /// The image as it is at the source.
    fn whole(source: &ImageRef, digest: Digest) -> Self {
        Self {
            source: source.clone(),
            digest,
            origin: None,
            known: Known::new(),
        }
    }
}

/// Everything below `resolved`, read by digest: a tag that moves meanwhile mixes nothing.
///
/// # Errors
/// As [`resolve`]; also when a manifest is malformed or has another digest.
pub(crate) async fn fetch(
    sites: &Sites,
    resolved: &Resolved,
    selection: &Selection,
) -> Result<(ImageRef, Tree)> {
    with_twin(&resolved.source, async |source| {
        let tree = read_tree(sites, source, resolved).await?;
        selected::check_single(sites, source, &tree.root, selection).await?;
        Ok((source.clone(), tree))
    })
    .await
}

async fn read_tree(sites: &Sites, source: &ImageRef, resolved: &Resolved) -> Result<Tree, Tried> {
    let read = async |digest: Digest| match resolved.known.get(&digest) {
        Some(manifest) => Ok(manifest.clone()),
        None => get(sites, source, digest.as_str()).await,
    };
    walk::walk(&resolved.digest, read, || too_deep(source)).await
}

async fn get(sites: &Sites, source: &ImageRef, selector: &str) -> Result<Manifest, Tried> {
    let site = sites.source(source.registry()).await?;
    let manifest = site.get_manifest(source, selector).await;
    manifest.map_err(Tried::of)
}

fn too_deep(source: &ImageRef) -> Tried {
    Tried::Final(Failure::failed(format!(
        "{source}: the index is too large or nested too deep"
    )))
}

/// How one source failed.
pub(crate) enum Tried {
    /// Another source cannot help.
    Final(Failure),
    /// Another source may have it.
    Elsewhere(Failure),
}

impl Tried {
    /// What another source can do about a failed call.
    pub(crate) fn of(error: crate::registry::error::Error) -> Self {
        let elsewhere =
            matches!(error.kind, Kind::NotFound | Kind::Denied) || error.kind.is_transient();
        let failure = error.into_failure();
        if elsewhere {
            Self::Elsewhere(failure)
        } else {
            Self::Final(failure)
        }
    }
}

impl Tried {
    fn into_failure(self) -> Failure {
        match self {
            Self::Final(failure) | Self::Elsewhere(failure) => failure,
        }
    }
}

impl From<Failure> for Tried {
    fn from(failure: Failure) -> Self {
        Self::Final(failure)
    }
}

/// Tries the twin of a CAST AI image when the image itself cannot be had; the first
/// failure is the one to report.
pub(crate) async fn with_twin<T>(
    image: &ImageRef,
    attempt: impl AsyncFn(&ImageRef) -> Result<T, Tried>,
) -> Result<T> {
    let first = match attempt(image).await {
        Ok(value) => return Ok(value),
        Err(Tried::Final(failure)) => return Err(failure),
        Err(Tried::Elsewhere(failure)) => failure,
    };
    match image.twin() {
        Some(twin) => attempt(&twin).await.map_err(|_| first),
        None => Err(first),
    }
}
