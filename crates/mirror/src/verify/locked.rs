//! `verify --lock`: is the target what is locked? The source is not asked, so that this works
//! where it cannot be reached.

use std::collections::BTreeSet;

use castlink_core::{Exit, Failure, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Finding,
    gaps::{self, Gaps, Part},
};
use crate::{
    apply::World,
    content::{Blob, Digest, Manifest},
    ecr::Selector,
    input::Request,
    place::Address,
    registry::error::Error,
    site::{Site, Sites},
    target,
};

/// Images looked at together; the registries' own limits bound the requests.
const AT_ONCE: usize = 16;

/// Manifests of one image that are read together.
const MANIFESTS_AT_ONCE: usize = 16;

/// Indexes within indexes that are followed, and manifests of one image: as at the source.
const MAX_DEPTH: usize = 4;
const MAX_MANIFESTS: usize = 512;

/// Looks at every target of every locked image.
///
/// # Errors
/// Exit 2 when a target name cannot be formed.
pub(super) async fn findings(world: &World) -> Result<Vec<Finding>> {
    let mut looks = Vec::new();
    for request in &world.requests {
        for to in &world.to {
            let target = to.address(&request.image)?;
            looks.push(look(&world.sites, request, target));
        }
    }
    Ok(stream::iter(looks).buffered(AT_ONCE).collect().await)
}

async fn look(sites: &Sites, request: &Request, target: Address) -> Finding {
    let state = match request.source().digest().and_then(Digest::parse) {
        Some(digest) => state(sites, &target, &digest)
            .await
            .map(|state| (state, digest)),
        None => Err(Failure::usage(format!(
            "{}: digest algorithms are sha256 and sha512",
            request.image
        ))),
    };
    match state {
        Ok((State::Same, digest)) => {
            Finding::good(&request.image, &target, format!("as locked, {digest}"))
        }
        Ok((state, digest)) => Finding::bad(&request.image, &target, state.detail(&digest))
            .hint("copy what is locked: castlink-mirror copy --lock FILE"),
        Err(failure) => Finding::failed(&request.image, &target, &failure, failure.exit()),
    }
}

/// What the target has under the name.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// What is locked, all of it.
    Same,
    /// Nothing.
    Nothing,
    /// Something else.
    Other(Digest),
    /// What is locked, not all of it.
    Incomplete(Gaps),
}

impl State {
    fn detail(&self, locked: &Digest) -> String {
        match self {
            Self::Same => String::new(),
            Self::Nothing => "not at the target".into(),
            Self::Other(digest) => format!(
                "the target has {} instead of {}",
                digest.short(),
                locked.short()
            ),
            Self::Incomplete(gaps) => format!("incomplete at the target: {gaps}"),
        }
    }
}

async fn state(sites: &Sites, target: &Address, locked: &Digest) -> Result<State> {
    let site = sites.target(&target.place.registry).await?;
    let repository = &target.place.repository;
    let selector = match target.tag.as_ref().filter(|_| target.digest.is_none()) {
        Some(tag) => Selector::Tag(tag.clone()),
        None => Selector::Digest(locked.clone()),
    };
    let held = target::manifests(&site, repository, vec![selector]).await?;
    let held = target::Holdings {
        held: held.unwrap_or_default(),
        ..target::Holdings::default()
    };
    match held.digest_of(target) {
        None => Ok(State::Nothing),
        Some(other) if other != *locked => Ok(State::Other(other)),
        Some(_) => {
            let gaps = gaps(&site, repository, locked).await?;
            Ok(if gaps.is_empty() {
                State::Same
            } else {
                State::Incomplete(gaps)
            })
        }
    }
}

/// What the target itself says is below the image, and does not have.
async fn gaps(site: &Site, repository: &str, root: &Digest) -> Result<Gaps> {
    let tree = read(site, repository, root).await?;
    let there: Vec<&Manifest> = tree
        .iter()
        .filter_map(|(_, found)| found.as_ref())
        .collect();
    let blobs = there.iter().flat_map(|manifest| manifest.blobs());
    let blobs: BTreeSet<&Blob> = blobs.collect();
    let asked = blobs.iter().map(|&blob| blob.clone()).collect();
    let held = target::blobs(site, repository, asked).await?;
    let missing = blobs
        .into_iter()
        .map(|blob| &blob.digest)
        .filter(|digest| !held.contains(digest))
        .collect();
    let names = gaps::names(&there);
    let parts = tree.iter().map(|(digest, found)| Part {
        name: gaps::name(&names, digest),
        blobs: found.as_ref().map(Manifest::blobs),
    });
    Ok(Gaps::of(parts, &missing))
}

type Read = (Digest, Option<Manifest>);

/// The manifest and all below it, level by level; those that are not there without content.
async fn read(site: &Site, repository: &str, root: &Digest) -> Result<Vec<Read>> {
    let mut tree: Vec<Read> = Vec::new();
    let mut level = vec![root.clone()];
    for _ in 0..=MAX_DEPTH {
        let read = read_level(site, repository, level).await?;
        let children = read.iter().filter_map(|(_, found)| found.as_ref());
        let children = children.flat_map(Manifest::children);
        let below: BTreeSet<Digest> = children.map(|child| child.digest.clone()).collect();
        tree.extend(read);
        level = below
            .into_iter()
            .filter(|digest| tree.iter().all(|(known, _)| known != digest))
            .collect();
        if level.is_empty() {
            return Ok(tree);
        }
        if tree.len() + level.len() > MAX_MANIFESTS {
            break;
        }
    }
    Err(Failure::new(
        Exit::Failed,
        format!(
            "{repository} at the target: the index of {} is too large or nested too deep",
            root.short()
        ),
    ))
}

async fn read_level(site: &Site, repository: &str, level: Vec<Digest>) -> Result<Vec<Read>> {
    let selectors = level.iter().cloned().map(Selector::Digest).collect();
    let held = target::manifests(site, repository, selectors).await?;
    let held = held.unwrap_or_default().manifests;
    let read = level.into_iter().map(|digest| {
        let there = held.contains(&digest);
        async move {
            let manifest = match there {
                true => Some(site.get_by_digest(repository, &digest).await?),
                false => None,
            };
            Ok::<_, Error>((digest, manifest))
        }
    });
    stream::iter(read)
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await
        .map_err(Error::into_failure)
}
