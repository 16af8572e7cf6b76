//! What to do, as data: made by plan/decide.rs, carried out by the engine, shown by the
//! report.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    attached::Trouble,
    content::{Blob, Digest, Manifest, Tree},
    ecr::{Drift, Settings},
    input::Request,
    observe::Shared,
    place::{self, Address, Place},
    source::Origin,
};

mod attach;
mod decide;
mod refusal;
#[cfg(test)]
mod tests;

pub(crate) use decide::plan;

/// What to do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The images, in the order they were asked for.
    pub(crate) images: Vec<ImageStep>,
    /// Repositories to create.
    pub(crate) repositories: BTreeSet<Place>,
    /// How they look.
    pub(crate) settings: Arc<Settings>,
    /// Repositories that the first push creates, with the prefix of the template it does so by.
    pub(crate) on_push: BTreeMap<Place, String>,
    /// Repositories that are not as configured, or could not be compared.
    pub(crate) drift: BTreeMap<Place, Result<Drift, Shared>>,
    /// Blobs to move, the largest first.
    pub(crate) blobs: Vec<BlobStep>,
}

/// One image.
#[derive(Debug)]
pub(crate) struct ImageStep {
    /// What was asked for.
    pub(crate) request: Request,
    /// Its name at the target.
    pub(crate) target: Address,
    /// What its index is made from, when it is not the source's own.
    pub(crate) origin: Option<Origin>,
    /// What to do about it.
    pub(crate) action: Action,
}

/// What to do about an image.
#[derive(Debug)]
pub(crate) enum Action {
    /// Nothing: the target has it.
    Keep {
        /// What it stands for.
        digest: Digest,
        /// The platforms in it, as far as known.
        platforms: Vec<String>,
    },
    /// Copy what is missing.
    Copy(Box<Copy>),
    /// Nothing by itself: the reference names the target, and another image of the plan is
    /// copied to that very name.
    Brought {
        /// That image's position in the plan.
        by: usize,
    },
    /// Nothing: the reference names the target, which does not have it.
    Absent(Shared),
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
    /// All of it, missing or not.
    pub(crate) tree: Arc<Tree>,
    /// What the tag points at now.
    pub(crate) replaces: Option<Digest>,
    /// What is attached to it: written after all but the tag, best effort.
    pub(crate) attachments: Attachments,
}

/// What is attached to an image.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    /// How many were found.
    pub(crate) found: usize,
    /// What to do, nothing before what it belongs to.
    pub(crate) steps: Vec<Attach>,
    /// What stays behind.
    pub(crate) troubles: Vec<Trouble>,
}

/// One thing that is attached to an image.
#[derive(Debug)]
pub(crate) struct Attach {
    /// Manifests below its own that are missing.
    pub(crate) children: Vec<Manifest>,
    /// Its manifest.
    pub(crate) manifest: Manifest,
    /// The tag or digest it is known by.
    pub(crate) selector: String,
    /// The manifest it belongs to.
    pub(crate) subject: Digest,
    /// 0 for what belongs to the image, 1 for what belongs to that.
    pub(crate) depth: usize,
    /// False when the target has it.
    pub(crate) missing: bool,
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
    /// Bytes of the same images that their repositories have already.
    pub(crate) reused: u64,
    /// Blobs to mount.
    pub(crate) mounts: usize,
    /// Requests to the target that the copy will take, without retries.
    pub(crate) requests: usize,
}

impl Plan {
    /// True when the images go to a store, which is asked nothing.
    fn is_pull(&self) -> bool {
        let mut copies = self.images.iter().filter_map(ImageStep::copy);
        copies.any(|copy| place::is_store(&copy.place.registry))
    }

    /// True when there is nothing to do and nothing went wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.images
            .iter()
            .all(|image| matches!(image.action, Action::Keep { .. }))
    }

    /// The copy that decides about an image: its own, or the one that brings it.
    pub(crate) fn copy_of(&self, index: usize) -> Option<&Copy> {
        match self.images[index].action {
            Action::Brought { by } => self.images[by].copy(),
            _ => self.images[index].copy(),
        }
    }

    /// The images that the copy at `index` brings along.
    pub(crate) fn brought_by(&self, index: usize) -> impl Iterator<Item = usize> {
        let brought =
            move |action: &Action| matches!(action, Action::Brought { by } if *by == index);
        let images = self.images.iter().enumerate();
        images
            .filter(move |(_, image)| brought(&image.action))
            .map(|(brought, _)| brought)
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
            read: sum(read.map(|step| step.blob.size)),
            sent: sum(self.blobs.iter().map(BlobStep::sent)),
            reused: self.reused(),
            mounts,
            requests: match self.is_pull() {
                true => 0,
                false => {
                    let settings = self.repositories.len() * self.settings.calls();
                    settings + manifests + 2 * uploads + mounts
                }
            },
        }
    }
}

impl Plan {
    /// What is in the trees of the copies and need not be moved, counted once a repository.
    fn reused(&self) -> u64 {
        let copies = self.images.iter().filter_map(ImageStep::copy);
        let needed: BTreeSet<(&Place, &Blob)> = copies
            .flat_map(|copy| {
                copy.tree
                    .blobs()
                    .into_iter()
                    .map(|blob| (&copy.place, blob))
            })
            .collect();
        // What is attached to the images is no part of their trees.
        let moved = self.blobs.iter().flat_map(|step| {
            let mounts = step.mounts.iter().map(|mount| &mount.to);
            let places = step.uploads.iter().chain(mounts);
            places.map(move |place| (place, &step.blob))
        });
        let moved = moved.filter(|key| needed.contains(key));
        let moved: u64 = moved.map(|(_, blob)| blob.size).sum();
        let needed: u64 = needed.iter().map(|(_, blob)| blob.size).sum();
        needed.saturating_sub(moved)
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
            .chain(self.attachments.writes())
            .map(|selector| (&self.place, selector))
    }

    /// Bytes that this image alone brings to the target.
    pub(crate) fn bytes(&self) -> u64 {
        sum(self.blobs.iter().map(|blob| blob.size))
    }
}

impl Attachments {
    fn writes(&self) -> impl Iterator<Item = &str> {
        let missing = self.steps.iter().filter(|step| step.missing);
        missing.flat_map(|step| {
            let children = step.children.iter().map(|child| child.digest.as_str());
            children.chain([step.selector.as_str()])
        })
    }
}

impl Attach {
    /// True for what names its subject itself and has to be listed with it; cosign's tags
    /// are found by their names.
    pub(crate) fn is_referrer(&self) -> bool {
        self.selector == self.manifest.digest.as_str()
    }
}

impl BlobStep {
    fn sent(&self) -> u64 {
        self.blob.size.saturating_mul(self.uploads.len() as u64)
    }
}

/// Sizes are what manifests say: they may be beyond all bounds.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
