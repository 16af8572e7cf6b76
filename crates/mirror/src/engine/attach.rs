//! What is attached to an image: written after the image and before its tag. Best effort: a
//! registry may refuse any of it, and the image is there all the same.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use castlink_core::Result;
use futures::future::join_all;
use tokio::sync::Mutex;

use super::{Engine, locked};
use crate::{
    attached::Trouble,
    content::{Digest, Manifest},
    observe::Shared,
    place::Place,
    plan::{Attach, Copy},
    registry::{error::Error, fallback_tag},
};

/// What became of the things attached to an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parity {
    /// Found at the source.
    pub(crate) found: usize,
    /// Brought by this run.
    pub(crate) copied: usize,
    /// There already.
    pub(crate) present: usize,
    /// What stayed behind.
    pub(crate) troubles: Vec<Trouble>,
}

/// Manifests that the registry does not list by itself, by what they are attached to.
type Unlisted<'a> = BTreeMap<&'a Digest, Vec<&'a Manifest>>;

/// What is known while the attachments of one image are written.
#[derive(Default)]
struct Tidings<'a> {
    parity: Parity,
    failed: HashSet<&'a Digest>,
    unlisted: Unlisted<'a>,
}

impl<'a> Tidings<'a> {
    fn learn(&mut self, step: &'a Attach, result: Result<bool, Shared>) {
        let listed = match result {
            Ok(listed) => listed,
            Err(failure) => return self.leave(step, failure.one_line()),
        };
        match step.missing {
            true => self.parity.copied += 1,
            false => self.parity.present += 1,
        }
        if !listed {
            let unlisted = self.unlisted.entry(&step.subject).or_default();
            unlisted.push(&step.manifest);
        }
    }

    fn leave(&mut self, step: &'a Attach, why: impl Into<String>) {
        self.failed.insert(&step.manifest.digest);
        let trouble = Trouble::new(&step.selector, why);
        self.parity.troubles.push(trouble);
    }
}

impl Engine {
    /// Writes what is attached to the image: nothing before what it belongs to.
    pub(super) async fn attach(&self, copy: &Copy) -> Parity {
        let attachments = &copy.attachments;
        let mut tidings = Tidings::default();
        tidings.parity.found = attachments.found;
        tidings.parity.troubles.clone_from(&attachments.troubles);
        let steps = &attachments.steps;
        for level in steps.chunk_by(|one, next| one.depth == next.depth) {
            let baseless = |step: &&Attach| tidings.failed.contains(&step.subject);
            let (baseless, level): (Vec<_>, Vec<_>) = level.iter().partition(baseless);
            for step in baseless {
                tidings.leave(step, "what it belongs to is not there");
            }
            let written = level.iter().map(|step| self.attach_one(&copy.place, step));
            let results = join_all(written).await;
            for (step, result) in level.into_iter().zip(results) {
                tidings.learn(step, result);
            }
        }
        let Tidings {
            mut parity,
            unlisted,
            ..
        } = tidings;
        self.list_all(&copy.place, unlisted, &mut parity).await;
        parity
    }

    /// Writes one; true when it need not be listed any more.
    async fn attach_one(&self, place: &Place, step: &Attach) -> Result<bool, Shared> {
        if !step.missing {
            return Ok(!step.is_referrer() || self.is_listed(place, step).await.map_err(Arc::new)?);
        }
        for child in &step.children {
            self.write_child(place, child).await?;
        }
        self.blobs_of(place, &step.manifest).await?;
        let listed = self.write(place, &step.selector, &step.manifest).await?;
        Ok(listed || !step.is_referrer())
    }

    /// Whether the registry lists what has been there before this run.
    async fn is_listed(&self, place: &Place, step: &Attach) -> Result<bool> {
        let site = self.target(place).await?;
        if site.ecr().is_some() {
            return Ok(true);
        }
        let listed = site.referrers(&place.repository, &step.subject).await;
        listed
            .map(|listed| listed.is_some())
            .map_err(Error::into_failure)
    }

    async fn list_all(&self, place: &Place, unlisted: Unlisted<'_>, parity: &mut Parity) {
        for (subject, manifests) in unlisted {
            if let Err(failure) = self.list(place, subject, &manifests).await {
                let what = format!("the list of what refers to {}", subject.short());
                parity.troubles.push(Trouble::new(what, failure.one_line()));
            }
        }
    }

    /// Lists the manifests under the tag that stands in for the registry's list; one writer
    /// at a time.
    async fn list(&self, place: &Place, subject: &Digest, manifests: &[&Manifest]) -> Result<()> {
        let turn = self.listing(place, subject);
        let _turn = turn.lock().await;
        let site = self.target(place).await?;
        let added = site
            .add_referrers(&place.repository, subject, manifests)
            .await;
        added.map_err(Error::into_failure)
    }

    fn listing(&self, place: &Place, subject: &Digest) -> Arc<Mutex<()>> {
        let key = (place.clone(), fallback_tag(subject));
        Arc::clone(locked(&self.lists).entry(key).or_default())
    }
}
