//! Decides what to do, as data: pure functions from an observation to a plan. Asks
//! nothing, prints nothing; the engine decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use castlink_core::{Failure, ImageRef};

use crate::{
    content::{Blob, Digest, Manifest, Tree},
    input::Request,
    observe::{Found, Observation, Observed, Shared},
    place::Place,
    target::{Holdings, Mounting},
};

/// What to do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The images, in the order they were asked for.
    pub(crate) images: Vec<ImageStep>,
    /// Repositories to create.
    pub(crate) repositories: BTreeSet<Place>,
    /// Blobs to move, the largest first.
    pub(crate) blobs: Vec<BlobStep>,
}

/// One image.
#[derive(Debug)]
pub(crate) struct ImageStep {
    /// What was asked for.
    pub(crate) request: Request,
    /// Its name at the target.
    pub(crate) target: ImageRef,
    /// What to do about it.
    pub(crate) action: Action,
}

/// What to do about an image.
#[derive(Debug)]
pub(crate) enum Action {
    /// Nothing: the target has it.
    Keep {
        /// What it stands for; none when the reference names the target itself.
        digest: Option<Digest>,
        /// The platforms in it, as far as known.
        platforms: Vec<String>,
    },
    /// Copy what is missing.
    Copy(Copy),
    /// Nothing: it cannot or must not be done.
    Leave(Shared),
}

/// What is missing of an image.
#[derive(Debug)]
pub(crate) struct Copy {
    /// Where it goes.
    pub(crate) place: Place,
    /// What the tag will point at.
    pub(crate) digest: Digest,
    /// The platforms in it.
    pub(crate) platforms: Vec<String>,
    /// Manifests to write by digest, children before parents. Another image of the plan may
    /// write the same ones: whoever comes first does.
    pub(crate) children: Vec<Manifest>,
    /// The manifest to write last, and the tag or digest to write it under.
    pub(crate) root: (Manifest, String),
    /// Blobs that no earlier image of the plan brings to the same repository.
    pub(crate) blobs: Vec<Blob>,
    /// What the tag points at now.
    pub(crate) replaces: Option<Digest>,
}

/// One blob, and every repository that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlobStep {
    /// What to move.
    pub(crate) blob: Blob,
    /// Where it can be read; the first is tried first.
    pub(crate) sources: Vec<Place>,
    /// Repositories to send it to, all from one download.
    pub(crate) uploads: Vec<Place>,
    /// Repositories to mount it into.
    pub(crate) mounts: Vec<Mount>,
}

/// A blob taken over from another repository of the same registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The repository that needs the blob.
    pub(crate) to: Place,
    /// The repository that has it by then.
    pub(crate) from: Place,
    /// What has to be done first.
    pub(crate) after: After,
}

/// What a mount waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Now,
    /// The uploads of the same step.
    Upload,
    /// The image at this position of the plan.
    Image(usize),
}

/// What a plan amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Images to copy.
    pub(crate) images: usize,
    /// Repositories to create.
    pub(crate) repositories: usize,
    /// Manifests to write.
    pub(crate) manifests: usize,
    /// Blobs to read, each once.
    pub(crate) blobs: usize,
    /// Bytes to read.
    pub(crate) read: u64,
    /// Bytes to send.
    pub(crate) sent: u64,
    /// Blobs to mount.
    pub(crate) mounts: usize,
    /// Requests to the target that the copy will take, without retries.
    pub(crate) requests: usize,
}

/// Plans the copies. With `create`, missing repositories are created.
pub(crate) fn plan(observation: Observation, create: bool) -> Plan {
    let mut planner = Planner {
        targets: &observation.targets,
        create,
        claimed: HashMap::new(),
        needs: BTreeMap::new(),
        plan: Plan::default(),
    };
    for (index, image) in observation.images.into_iter().enumerate() {
        planner.image(index, image);
    }
    let Planner {
        needs, mut plan, ..
    } = planner;
    let steps = needs
        .into_iter()
        .map(|(blob, need)| need.step(blob, &observation.targets, &observation.mounting));
    plan.blobs = steps.collect();
    plan.blobs
        .sort_by_key(|step| std::cmp::Reverse(step.blob.size));
    plan
}

impl Plan {
    /// True when there is nothing to do and nothing went wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.images
            .iter()
            .all(|image| matches!(image.action, Action::Keep { .. }))
    }

    /// What it amounts to.
    pub(crate) fn totals(&self) -> Totals {
        let copies = self.images.iter().filter_map(ImageStep::copy);
        let manifests = copies
            .clone()
            .flat_map(Copy::writes)
            .collect::<BTreeSet<_>>()
            .len();
        let uploads: usize = self.blobs.iter().map(|step| step.uploads.len()).sum();
        let mounts = self.blobs.iter().map(|step| step.mounts.len()).sum();
        let read = self.blobs.iter().filter(|step| !step.uploads.is_empty());
        Totals {
            images: copies.count(),
            repositories: self.repositories.len(),
            manifests,
            blobs: read.clone().count(),
            read: read.map(|step| step.blob.size).sum(),
            sent: self
                .blobs
                .iter()
                .map(|step| step.blob.size * step.uploads.len() as u64)
                .sum(),
            mounts,
            requests: self.repositories.len() + manifests + 2 * uploads + mounts,
        }
    }
}

impl ImageStep {
    /// The copy, when there is one to make.
    pub(crate) fn copy(&self) -> Option<&Copy> {
        match &self.action {
            Action::Copy(copy) => Some(copy),
            _ => None,
        }
    }
}

impl Copy {
    /// What is written where, and under which name.
    fn writes(&self) -> impl Iterator<Item = (&Place, &str)> {
        let children = self.children.iter().map(|child| child.digest.as_str());
        children
            .chain([self.root.1.as_str()])
            .map(|selector| (&self.place, selector))
    }

    /// Bytes that this image alone brings to the target.
    pub(crate) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}

type Targets = BTreeMap<Place, Result<Holdings, Shared>>;

struct Planner<'a> {
    targets: &'a Targets,
    create: bool,
    /// What a tag of the target will point at, and which source decided that.
    claimed: HashMap<(Place, String), (Digest, ImageRef)>,
    needs: BTreeMap<Blob, Need>,
    plan: Plan,
}

/// Who needs a blob, in the order of the plan.
#[derive(Default)]
struct Need {
    sources: Vec<Place>,
    places: Vec<(Place, usize)>,
}

impl Planner<'_> {
    fn image(&mut self, index: usize, image: Observed) {
        let action = match self.decide(index, &image) {
            Ok(action) => action,
            Err(failure) => Action::Leave(failure),
        };
        self.plan.images.push(ImageStep {
            request: image.request,
            target: image.target,
            action,
        });
    }

    fn decide(&mut self, index: usize, image: &Observed) -> Result<Action, Shared> {
        let found = image.found.clone()?;
        let place = Place::of(&image.target);
        let holdings = match self.targets.get(&place) {
            Some(holdings) => holdings.as_ref().map_err(Arc::clone)?,
            None => {
                return Err(Arc::new(Failure::failed(format!(
                    "{place} was not looked at"
                ))));
            }
        };
        self.claim(&place, image, &found)?;
        // Nothing below was read: the target has it.
        let Some(tree) = found.tree.clone() else {
            return Ok(keep(image, &found, holdings));
        };
        let selector = selector(image, &found, holdings)?;
        if !holdings.exists && !self.create {
            return Err(Arc::new(missing_repository(&place)));
        }
        let copy = self.copy(index, place, holdings, &found, &tree, selector);
        let complete = copy.children.is_empty()
            && copy.blobs.is_empty()
            && is_in_place(image, &found, holdings);
        Ok(if complete {
            keep(image, &found, holdings)
        } else {
            Action::Copy(copy)
        })
    }

    /// Two sources for one name at the target must be the same thing.
    fn claim(&mut self, place: &Place, image: &Observed, found: &Found) -> Result<(), Shared> {
        let Some(tag) = image.target.tag() else {
            return Ok(());
        };
        let claim = (found.digest.clone(), image.request.image.clone());
        let (digest, other) = self
            .claimed
            .entry((place.clone(), tag.to_owned()))
            .or_insert(claim);
        if *digest == found.digest {
            return Ok(());
        }
        let source = &image.request.image;
        Err(Arc::new(
            Failure::conflict(format!(
                "{source} and {other} would both become {}",
                image.target
            ))
            .hint("mirror one of them, or use `--layout full`, which keeps the names apart"),
        ))
    }

    fn copy(
        &mut self,
        index: usize,
        place: Place,
        holdings: &Holdings,
        found: &Found,
        tree: &Tree,
        selector: String,
    ) -> Copy {
        if !holdings.exists {
            self.plan.repositories.insert(place.clone());
        }
        let missing = tree
            .below
            .iter()
            .filter(|manifest| !holdings.held.manifests.contains(&manifest.digest));
        Copy {
            digest: found.digest.clone(),
            platforms: tree.root.platforms(),
            children: missing.cloned().collect(),
            root: (tree.root.clone(), selector.clone()),
            blobs: self.need(index, &place, &Place::of(&found.source), holdings, tree),
            replaces: holdings
                .held
                .tags
                .get(&selector)
                .map(|held| held.digest.clone()),
            place,
        }
    }

    fn need(
        &mut self,
        index: usize,
        place: &Place,
        source: &Place,
        holdings: &Holdings,
        tree: &Tree,
    ) -> Vec<Blob> {
        let missing = tree
            .blobs()
            .into_iter()
            .filter(|blob| !holdings.blobs.contains(&blob.digest));
        let mut first_here = Vec::new();
        for blob in missing {
            let need = self.needs.entry(blob.clone()).or_default();
            if !need.sources.contains(source) {
                need.sources.push(source.clone());
            }
            if need.places.iter().all(|(there, _)| there != place) {
                need.places.push((place.clone(), index));
                first_here.push(blob.clone());
            }
        }
        first_here
    }
}

impl Need {
    /// Sends the blob to the first repository of each registry, and mounts it into the
    /// others where the registry allows it; sends it to all of them where not. A mount that waits for
    /// an image only ever waits for an earlier one: there is no circle.
    fn step(
        self,
        blob: Blob,
        targets: &Targets,
        mounting: &BTreeMap<Arc<str>, Mounting>,
    ) -> BlobStep {
        let mut step = BlobStep {
            blob,
            sources: self.sources,
            uploads: Vec::new(),
            mounts: Vec::new(),
        };
        let mut origins: BTreeMap<Arc<str>, (Place, After)> = BTreeMap::new();
        for (place, index) in self.places {
            let after = match mounting.get(&place.registry).copied().unwrap_or_default() {
                Mounting::Never => {
                    step.uploads.push(place);
                    continue;
                }
                Mounting::AfterUpload => After::Upload,
                Mounting::AfterImage => After::Image(index),
            };
            let holder =
                holder(targets, &place, &step.blob.digest).map(|holder| (holder, After::Now));
            let origin = origins.get(&place.registry).cloned().or(holder);
            match origin {
                Some((from, after)) => step.mounts.push(Mount {
                    to: place,
                    from,
                    after,
                }),
                None => {
                    origins.insert(Arc::clone(&place.registry), (place.clone(), after));
                    step.uploads.push(place);
                }
            }
        }
        step
    }
}

/// A repository of the same registry that has the blob already.
fn holder(targets: &Targets, place: &Place, digest: &Digest) -> Option<Place> {
    let mut same = targets
        .iter()
        .filter(|(other, _)| other.registry == place.registry);
    let found = same.find(|(_, holdings)| {
        holdings
            .as_ref()
            .is_ok_and(|known| known.blobs.contains(digest))
    });
    found.map(|(other, _)| other.clone())
}

/// The tag or digest to write the root under.
fn selector(image: &Observed, found: &Found, holdings: &Holdings) -> Result<String, Shared> {
    let Some(tag) = image.target.tag() else {
        return Ok(found.digest.to_string());
    };
    if !holdings.is_taken(tag, &found.digest) {
        return Ok(tag.to_owned());
    }
    // Whoever pulls by digest does not care where the tag points.
    if image.target.digest().is_some() {
        return Ok(found.digest.to_string());
    }
    let other = &holdings.held.tags[tag].digest;
    Err(Arc::new(
        Failure::conflict(format!(
            "{} is immutable and holds {}, not {}",
            image.target,
            other.short(),
            found.digest.short()
        ))
        .hint("mirror under another tag, delete the image in ECR, or make the tag mutable"),
    ))
}

fn is_in_place(image: &Observed, found: &Found, holdings: &Holdings) -> bool {
    let by_tag = image
        .target
        .tag()
        .and_then(|tag| holdings.held.tags.get(tag));
    match image.target.digest() {
        Some(_) => holdings.held.manifests.contains(&found.digest),
        None => by_tag.is_some_and(|held| held.digest == found.digest),
    }
}

fn keep(image: &Observed, found: &Found, holdings: &Holdings) -> Action {
    let tag = image.target.tag().unwrap_or_default();
    let known = holdings
        .held
        .tags
        .get(tag)
        .map(|held| held.platforms.clone());
    let platforms = match &found.tree {
        Some(tree) => tree.root.platforms(),
        None => known.unwrap_or_default(),
    };
    Action::Keep {
        digest: Some(found.digest.clone()),
        platforms,
    }
}

fn missing_repository(place: &Place) -> Failure {
    Failure::failed(format!(
        "repository {} does not exist in {}",
        place.repository, place.registry
    ))
    .hint("create it, or let castlink do so with `--create-repos auto`")
}
