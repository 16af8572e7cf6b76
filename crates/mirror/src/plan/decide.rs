//! Decides what to do: pure functions from an observation to a plan. Asks nothing, prints
//! nothing; the engine decides nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use castlink_core::{Failure, ImageRef};

use super::{
    Action, After, Attachments, BlobStep, Copy, ImageStep, Mount, Plan, attach,
    refusal::{absent, check_pinned, unlocked},
};
use crate::{
    content::{Blob, Digest, Tree},
    ecr::{Template, missing, template_of},
    input::Request,
    observe::{Found, Observation, Observed, Shared},
    place::{Address, Place},
    target::{Holdings, Mounting},
};

/// Plans the copies. With `create`, missing repositories are created.
pub(crate) fn plan(observation: Observation, create: bool) -> Plan {
    let mut planner = Planner {
        targets: &observation.targets,
        templates: &observation.templates,
        create,
        claimed: HashMap::new(),
        needs: BTreeMap::new(),
        plan: Plan {
            settings: observation.settings,
            drift: observation.drift,
            ..Plan::default()
        },
    };
    for (index, image) in observation.images.into_iter().enumerate() {
        planner.image(index, image);
    }
    // Behind the others: positions in the plan are what its steps refer to each other by.
    for request in observation.standing {
        planner.standing(request);
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

type Targets = BTreeMap<Place, Result<Holdings, Shared>>;

type Templates = BTreeMap<Arc<str>, Result<Vec<Template>, Shared>>;

struct Planner<'a> {
    targets: &'a Targets,
    templates: &'a Templates,
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
    /// The other public homes of the same images: asked when no source has it.
    twins: Vec<Place>,
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
            origin: image.found.ok().and_then(|found| found.origin),
            action,
        });
    }

    fn decide(&mut self, index: usize, image: &Observed) -> Result<Action, Shared> {
        let found = image.found.clone()?;
        let place = image.target.place.clone();
        let holdings = match self.targets.get(&place) {
            Some(holdings) => holdings.as_ref().map_err(Arc::clone)?,
            None => {
                return Err(Arc::new(Failure::failed(format!(
                    "{place} was not looked at"
                ))));
            }
        };
        check_pinned(image, &found)?;
        self.claim(&place, image, &found)?;
        // Nothing below was read: the target has it.
        let Some(tree) = found.tree.clone() else {
            return Ok(keep(&found, holdings));
        };
        let selector = selector(image, &found, holdings)?;
        if !holdings.exists {
            self.creation(&place)?;
        }
        let mut copy = self.copy(index, place, holdings, &found, &tree, selector);
        self.attach(index, &mut copy, image, &found, holdings);
        let complete = copy.children.is_empty()
            && copy.blobs.is_empty()
            && is_in_place(image, &found, holdings);
        Ok(if complete {
            keep(&found, holdings)
        } else {
            Action::Copy(Box::new(copy))
        })
    }

    /// A reference that names the target: it is there, another image of this plan brings
    /// it, or it is missed.
    fn standing(&mut self, request: Request) {
        let target = Address::of(&request.image);
        let action = match self.targets.get(&target.place) {
            Some(Ok(holdings)) => self.look_for(&request, &target, holdings),
            Some(Err(failure)) => Action::Leave(Arc::clone(failure)),
            None => Action::Absent(Arc::new(absent(&target))),
        };
        self.plan.images.push(ImageStep {
            target,
            request,
            origin: None,
            action,
        });
    }

    fn look_for(&self, request: &Request, image: &Address, holdings: &Holdings) -> Action {
        let mut others = self.plan.images.iter();
        let bringing = others.position(|other| other.copy().is_some() && other.target == *image);
        if let Some(by) = bringing {
            return Action::Brought { by };
        }
        match holdings.digest_of(image) {
            Some(digest) if !request.allows(&digest) => Action::Absent(Arc::new(unlocked(image))),
            Some(digest) => Action::Keep {
                platforms: holdings.held.platforms_of(&digest),
                digest,
            },
            None => Action::Absent(Arc::new(absent(image))),
        }
    }

    /// Two sources for one name at the target must be the same thing.
    fn claim(&mut self, place: &Place, image: &Observed, found: &Found) -> Result<(), Shared> {
        let Some(tag) = &image.target.tag else {
            return Ok(());
        };
        let claim = (found.digest.clone(), image.request.image.clone());
        let (digest, other) = self
            .claimed
            .entry((place.clone(), tag.clone()))
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

    /// Plans how a missing repository comes to be. A template goes first: the organisation
    /// has said how repositories look.
    fn creation(&mut self, place: &Place) -> Result<(), Shared> {
        let templates = match self.templates.get(&place.registry) {
            Some(Ok(templates)) => templates.as_slice(),
            Some(Err(failure)) => return Err(Arc::clone(failure)),
            None => &[],
        };
        if let Some(template) = template_of(templates, &place.repository) {
            let prefix = template.prefix.clone();
            self.plan.on_push.insert(place.clone(), prefix);
            return Ok(());
        }
        if !self.create {
            return Err(Arc::new(missing(&place.registry, &place.repository)));
        }
        self.plan.repositories.insert(place.clone());
        Ok(())
    }

    fn copy(
        &mut self,
        index: usize,
        place: Place,
        holdings: &Holdings,
        found: &Found,
        tree: &Arc<Tree>,
        selector: String,
    ) -> Copy {
        let missing = tree.below.iter();
        let missing = missing.filter(|manifest| !holdings.is_whole(manifest));
        Copy {
            digest: found.digest.clone(),
            platforms: tree.root.platforms(),
            children: missing.cloned().collect(),
            root: (tree.root.clone(), selector.clone()),
            blobs: self.need(index, &place, &found.source, holdings, tree),
            tree: Arc::clone(tree),
            replaces: holdings.held.tags.get(&selector).cloned(),
            place,
            attachments: Attachments::default(),
        }
    }

    /// Adds what is attached to the image. It comes between the image and its tag: who finds
    /// the tag finds the signatures, and a run that was interrupted finds no tag.
    fn attach(
        &mut self,
        index: usize,
        copy: &mut Copy,
        image: &Observed,
        found: &Found,
        holdings: &Holdings,
    ) {
        copy.attachments = attach::plan(&image.attached, holdings);
        let source = &found.source;
        let steps = &copy.attachments.steps;
        for attachment in &image.attached.found {
            let selector = attachment.selector();
            if steps
                .iter()
                .any(|step| step.missing && step.selector == selector)
            {
                let blobs = self.need(index, &copy.place, source, holdings, &attachment.tree);
                copy.blobs.extend(blobs);
            }
        }
        let (root, selector) = &copy.root;
        let by_tag = *selector != root.digest.as_str();
        if !steps.is_empty() && by_tag && !holdings.held.manifests.contains(&root.digest) {
            copy.children.push(root.clone());
        }
    }

    fn need(
        &mut self,
        index: usize,
        place: &Place,
        source: &ImageRef,
        holdings: &Holdings,
        tree: &Tree,
    ) -> Vec<Blob> {
        let twin = source.twin().map(|twin| Place::of(&twin));
        let source = Place::of(source);
        let missing = tree
            .blobs()
            .into_iter()
            .filter(|blob| !holdings.blobs.contains(&blob.digest));
        let mut first_here = Vec::new();
        for blob in missing {
            let need = self.needs.entry(blob.clone()).or_default();
            if !need.sources.contains(&source) {
                need.sources.push(source.clone());
            }
            need.twins.extend(twin.clone());
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
        let mut sources = self.sources;
        for twin in self.twins {
            if !sources.contains(&twin) {
                sources.push(twin);
            }
        }
        let mut step = BlobStep {
            blob,
            sources,
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
    let Some(tag) = &image.target.tag else {
        return Ok(found.digest.to_string());
    };
    if !holdings.is_taken(tag, &found.digest) {
        return Ok(tag.to_owned());
    }
    // Whoever pulls by digest does not care where the tag points.
    if image.target.digest.is_some() {
        return Ok(found.digest.to_string());
    }
    let other = &holdings.held.tags[tag];
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
        .tag
        .as_ref()
        .and_then(|tag| holdings.held.tags.get(tag));
    match image.target.digest {
        Some(_) => holdings.held.manifests.contains(&found.digest),
        None => by_tag.is_some_and(|held| *held == found.digest),
    }
}

fn keep(found: &Found, holdings: &Holdings) -> Action {
    let platforms = match &found.tree {
        Some(tree) => tree.root.platforms(),
        None => holdings.held.platforms_of(&found.digest),
    };
    Action::Keep {
        digest: found.digest.clone(),
        platforms,
    }
}
