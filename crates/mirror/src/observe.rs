//! Looks at both sides: what every reference stands for, and what the target holds of it.
//! Reads only, and as little as will do: an image that the target has under the same tag
//! and digest costs one request at the source and a share of a batch at the target; a
//! reference that names the target itself costs that share alone.

mod below;
mod destination;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use castlink_core::{Exit, Failure, ImageRef, Result};
use futures::{StreamExt as _, stream};

use crate::{
    attached::Attached,
    content::{Digest, Tree},
    ecr::{Drift, Selector, Settings, Template},
    input::Request,
    place::{Address, Place},
    platform::Selection,
    site::Sites,
    source::{self, Known, Origin, Resolved, Tags},
    target::{self, Holdings, Mounting},
    upkeep,
};

/// Images and repositories looked at together; the registries' own limits bound the requests.
const AT_ONCE: usize = 64;

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// How closely.
    pub(crate) depth: Depth,
    /// The platforms that count.
    pub(crate) platforms: &'a Selection,
    /// Whether what is attached to the images counts.
    pub(crate) attachments: bool,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Below the root only where the target has another digest: for copying.
    Changed,
    /// Everything: for verifying.
    All,
}

pub(crate) use destination::Destination;

/// A failure that several images may share.
pub(crate) type Shared = Arc<Failure>;

/// The world as the planner sees it.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    /// The images, in the order they were asked for.
    pub(crate) images: Vec<Observed>,
    /// References that name the target themselves: there is no source to copy from, they
    /// have to be there.
    pub(crate) standing: Vec<Request>,
    /// The repositories they go to.
    pub(crate) targets: BTreeMap<Place, Result<Holdings, Shared>>,
    /// How the target registries mount.
    pub(crate) mounting: BTreeMap<Arc<str>, Mounting>,
    /// By which templates pushes create repositories there; asked when one is missing.
    pub(crate) templates: BTreeMap<Arc<str>, Result<Vec<Template>, Shared>>,
    /// How repositories are to look.
    pub(crate) settings: Arc<Settings>,
    /// Repositories that do not look so, or could not be compared; where that was asked.
    pub(crate) drift: BTreeMap<Place, Result<Drift, Shared>>,
}

/// One image.
#[derive(Debug)]
pub(crate) struct Observed {
    /// What was asked for.
    pub(crate) request: Request,
    /// Its name at the target.
    pub(crate) target: Address,
    /// What was found at the source.
    pub(crate) found: Result<Found, Shared>,
    /// What is attached to it there, when it was looked for.
    pub(crate) attached: Arc<Attached>,
}

/// An image at its source.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where it can be read: the reference itself, or its twin.
    pub(crate) source: ImageRef,
    /// What the reference stands for: what the target is to have.
    pub(crate) digest: Digest,
    /// What it was made from, when that is not what the source has.
    pub(crate) origin: Option<Origin>,
    /// Manifests that were read on the way.
    pub(crate) known: Known,
    /// Everything below it; none when nothing below is of interest.
    pub(crate) tree: Option<Arc<Tree>>,
}

/// Looks at everything that `requests` are about, at the sources and at every target.
///
/// # Errors
/// Exit 2 when a target name cannot be formed. What fails for one image or repository is
/// part of the observation.
pub(crate) async fn observe(
    sites: &Sites,
    to: &[Destination],
    requests: Vec<Request>,
    scope: Scope<'_>,
) -> Result<Observation> {
    let Named { copies, standing } = name(to, requests)?;
    let targets = copies.iter().map(|(_, target)| target.clone());
    let standing_at = standing.iter().map(|request| Address::of(&request.image));
    let asked = roots(targets.chain(standing_at));
    let sources = copies.iter().map(|(request, _)| request.source()).collect();
    let (found, targets) = tokio::join!(
        resolve_all(sites, sources, scope.platforms),
        hold_all(sites, asked)
    );
    let images = copies.into_iter().map(|(request, target)| Observed {
        found: found[request.source()].clone(),
        request,
        target,
        attached: Arc::default(),
    });
    let mut observation = Observation {
        images: images.collect(),
        standing,
        targets,
        ..Observation::default()
    };
    observation.read_trees(sites, scope).await;
    let missing = match scope.depth {
        Depth::Changed => upkeep::missing(&observation),
        Depth::All => BTreeSet::new(),
    };
    let images = &observation.images;
    let (mounting, templates, found, ()) = tokio::join!(
        below::mounting(sites, images),
        upkeep::templates(sites, missing),
        find_attached(sites, images, scope.attachments),
        below::trees(sites, images, &mut observation.targets),
    );
    observation.mounting = mounting;
    observation.templates = templates;
    for (image, attached) in observation.images.iter_mut().zip(found) {
        image.attached = match attached.found.is_empty() {
            true => attached,
            false => Arc::new(attached.called(|tag| image.target.sibling(tag))),
        };
    }
    below::attached(sites, &observation.images, &mut observation.targets).await;
    Ok(observation)
}

/// What is to be copied, with its name at a target, and what names a target itself.
#[derive(Default)]
struct Named {
    copies: Vec<(Request, Address)>,
    standing: Vec<Request>,
}

fn name(to: &[Destination], requests: Vec<Request>) -> Result<Named> {
    let mut named = Named::default();
    for request in requests {
        for to in to {
            if to.is_named_by(&request.image) {
                named.standing.push(request.clone());
            } else {
                let target = to.address(&request.image)?;
                named.copies.push((request.clone(), target));
            }
        }
    }
    Ok(named)
}

/// What is attached to the images that were read, each looked for once however many
/// targets it has.
async fn find_attached(sites: &Sites, images: &[Observed], wanted: bool) -> Vec<Arc<Attached>> {
    let tags = Tags::default();
    let read = images
        .iter()
        .filter(|image| wanted && image.tree().is_some());
    let sources: HashMap<&ImageRef, &Found> = read
        .filter_map(|image| Some((image.request.source(), image.found.as_ref().ok()?)))
        .collect();
    let tags = &tags;
    let search = sources.into_iter().map(|(image, found)| async move {
        let tree = found.tree.as_deref()?;
        // Nobody has signed an index that is made here.
        let made = found.origin.as_ref().map(|_| &found.digest);
        let attached = source::attached(sites, tags, &found.source, tree, made).await;
        Some((image, Arc::new(attached)))
    });
    let found: Vec<_> = stream::iter(search)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let found: HashMap<_, _> = found.into_iter().flatten().collect();
    let of = |image: &Observed| found.get(image.request.source()).cloned();
    images
        .iter()
        .map(|image| of(image).unwrap_or_default())
        .collect()
}

type Asked = BTreeMap<Place, BTreeSet<Selector>>;

/// What the tags and pinned digests of the images are at the target.
fn roots(targets: impl Iterator<Item = Address>) -> Asked {
    let mut asked = Asked::new();
    for target in targets {
        let selectors = asked.entry(target.place).or_default();
        selectors.extend(target.tag.map(Selector::Tag));
        selectors.extend(target.digest.map(Selector::Digest));
    }
    asked
}

/// What the images are at their sources, each asked for once however many targets it has.
async fn resolve_all(
    sites: &Sites,
    images: HashSet<&ImageRef>,
    platforms: &Selection,
) -> HashMap<ImageRef, Result<Found, Shared>> {
    let resolve = |image: ImageRef| async move {
        let resolved = source::resolve(sites, &image, platforms).await;
        (image, resolved.map(Found::from).map_err(Arc::new))
    };
    stream::iter(images.into_iter().cloned().map(resolve))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn hold_all(sites: &Sites, asked: Asked) -> BTreeMap<Place, Result<Holdings, Shared>> {
    let ask = |(place, selectors): (Place, BTreeSet<Selector>)| async move {
        let holdings = hold(sites, &place, selectors).await.map_err(Arc::new);
        (place, holdings)
    };
    stream::iter(asked.into_iter().map(ask))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn hold(sites: &Sites, place: &Place, selectors: BTreeSet<Selector>) -> Result<Holdings> {
    let site = sites.target(&place.registry).await?;
    let held = target::manifests(&site, &place.repository, selectors.into_iter().collect()).await?;
    Ok(Holdings {
        exists: held.is_some(),
        held: held.unwrap_or_default(),
        ..Holdings::default()
    })
}

impl From<Resolved> for Found {
    fn from(resolved: Resolved) -> Self {
        Self {
            source: resolved.source,
            digest: resolved.digest,
            origin: resolved.origin,
            known: resolved.known,
            tree: None,
        }
    }
}

impl Observation {
    async fn read_trees(&mut self, sites: &Sites, scope: Scope<'_>) {
        let targets = &self.targets;
        let wanted = |image: &&mut Observed| scope.depth == Depth::All || image.differs(targets);
        let mut images: Vec<_> = self.images.iter_mut().filter(wanted).collect();
        let trees: HashMap<ImageRef, Resolved> = images
            .iter()
            .filter_map(|image| Some((image.request.image.clone(), image.resolved()?)))
            .collect();
        let read = trees.into_iter().map(|(image, resolved)| async move {
            (
                image,
                source::fetch(sites, &resolved, scope.platforms).await,
            )
        });
        let read: HashMap<_, _> = stream::iter(read)
            .buffer_unordered(AT_ONCE)
            .map(|(image, read)| (image, read.map_err(Arc::new).map(share)))
            .collect()
            .await;
        for image in &mut images {
            if let Some(read) = read.get(&image.request.image) {
                image.learn(read);
            }
        }
    }
}

impl Observed {
    fn differs(&self, targets: &BTreeMap<Place, Result<Holdings, Shared>>) -> bool {
        let (Ok(found), Some(Ok(holdings))) = (&self.found, targets.get(&self.target.place)) else {
            return false;
        };
        match self.target.digest {
            Some(_) => !holdings.held.manifests.contains(&found.digest),
            None => {
                let tag = self.target.tag.as_deref().unwrap_or_default();
                holdings
                    .held
                    .tags
                    .get(tag)
                    .is_none_or(|held| *held != found.digest)
            }
        }
    }

    fn resolved(&self) -> Option<Resolved> {
        let found = self.found.as_ref().ok()?;
        Some(Resolved {
            source: found.source.clone(),
            digest: found.digest.clone(),
            origin: found.origin.clone(),
            known: found.known.clone(),
        })
    }

    fn learn(&mut self, read: &Result<(ImageRef, Arc<Tree>), Shared>) {
        let Ok(found) = &mut self.found else { return };
        match read {
            Ok((source, tree)) => {
                found.source = source.clone();
                found.tree = Some(Arc::clone(tree));
            }
            Err(failure) if self.request.locked.is_some() => {
                self.found = Err(Arc::new(lost(self.request.source(), failure)));
            }
            Err(failure) => self.found = Err(Arc::clone(failure)),
        }
    }

    /// The tree and where it goes, when it was read.
    fn tree(&self) -> Option<(Place, &Tree)> {
        let tree = self.found.as_ref().ok()?.tree.as_deref()?;
        Some((self.target.place.clone(), tree))
    }
}

/// What is locked cannot be had.
fn lost(locked: &ImageRef, failure: &Shared) -> Failure {
    let hint = match failure.exit() {
        Exit::Failed => Some("lock what the reference stands for now: castlink-mirror lock"),
        _ => failure.hint_text(),
    };
    let lost = Failure::new(
        failure.exit(),
        format!("{locked} is locked and cannot be read"),
    )
    .because(Arc::clone(failure));
    match hint {
        Some(hint) => lost.hint(hint),
        None => lost,
    }
}

/// One tree for all targets.
fn share((source, tree): (ImageRef, Tree)) -> (ImageRef, Arc<Tree>) {
    (source, Arc::new(tree))
}
