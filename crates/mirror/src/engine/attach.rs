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

impl Engine {
    /// Writes what is attached to the image.
    pub(super) async fn attach(&self, copy: &Copy) -> Parity {
        let attachments = &copy.attachments;
        let mut parity = Parity {
            found: attachments.found,
            troubles: attachments.troubles.clone(),
            ..Parity::default()
        };
        let mut failed = HashSet::new();
        let mut unlisted = Unlisted::new();
        for level in attachments
            .steps
            .chunk_by(|one, next| one.depth == next.depth)
        {
            let (left, level): (Vec<_>, Vec<_>) = level
                .iter()
                .partition(|step| failed.contains(&step.subject));
            for step in left {
                failed.insert(&step.manifest.digest);
                let why = "what it belongs to is not there";
                parity.troubles.push(Trouble::new(&step.selector, why));
            }
            let written = level.iter().map(|step| self.attach_one(&copy.place, step));
            for (step, result) in level.iter().zip(join_all(written).await) {
                match result {
                    Ok(listed) => {
                        let count = if step.missing {
                            &mut parity.copied
                        } else {
                            &mut parity.present
                        };
                        *count += 1;
                        if !listed {
                            unlisted
                                .entry(&step.subject)
                                .or_default()
                                .push(&step.manifest);
                        }
                    }
                    Err(failure) => {
                        failed.insert(&step.manifest.digest);
                        parity
                            .troubles
                            .push(Trouble::new(&step.selector, failure.one_line()));
                    }
                }
            }
        }
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
        let registry = self.registry(place).await?;
        if registry.ecr().is_some() {
            return Ok(true);
        }
        let listed = registry.referrers(&place.repository, &step.subject).await;
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
        let registry = self.registry(place).await?;
        let added = registry
            .add_referrers(&place.repository, subject, manifests)
            .await;
        added.map_err(Error::into_failure)
    }

    fn listing(&self, place: &Place, subject: &Digest) -> Arc<Mutex<()>> {
        let key = (place.clone(), fallback_tag(subject));
        Arc::clone(locked(&self.lists).entry(key).or_default())
    }
}
