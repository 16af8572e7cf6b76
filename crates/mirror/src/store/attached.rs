//! What is attached to images in a store: entries of `index.json` whose manifests name what
//! they belong to, and entries under the tags of signing tools.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use super::Store;
use crate::{attached::is_derived, content::Digest, place::Place, registry::Tag};

/// What names a subject, by that subject.
pub(super) type Referrers = BTreeMap<Digest, Vec<Digest>>;

impl Store {
    /// The tags of the repository at `place`.
    pub(crate) fn tags(&self, place: &Place) -> Vec<Tag> {
        let entries = self.entries().into_iter();
        let tags = entries.filter_map(|entry| {
            let image = entry.image.filter(|image| Place::of(image) == *place)?;
            Some(Tag {
                name: image.tag()?.to_owned(),
                digest: entry.target.ok().map(|target| target.digest),
                uploaded: None,
            })
        });
        tags.collect()
    }

    /// The manifests in the index that name `subject` as theirs.
    pub(crate) async fn referrers(self: &Arc<Self>, subject: &Digest) -> Vec<Digest> {
        let subject = subject.clone();
        let listed = move |store: &Self| store.all_referrers().get(&subject).cloned();
        self.blocking(listed).await.unwrap_or_default()
    }

    /// The digests of the entries that go with an image and are none themselves.
    pub(crate) async fn attachments(self: &Arc<Self>) -> BTreeSet<Digest> {
        let named = self.entries().into_iter().filter(|entry| {
            let tag = entry.image.as_ref().and_then(|image| image.tag());
            tag.is_some_and(is_derived)
        });
        let named: Vec<Digest> = named
            .filter_map(|entry| Some(entry.target.ok()?.digest))
            .collect();
        let referring = self.blocking(Self::all_referrers).await;
        named
            .into_iter()
            .chain(referring.values().flatten().cloned())
            .collect()
    }

    /// Read once, until the index changes.
    fn all_referrers(&self) -> Arc<Referrers> {
        let mut known = self
            .referrers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.get_or_insert_with(|| Arc::new(self.read_referrers())))
    }

    /// Forgets what refers to what: the index changes.
    pub(super) fn forget_referrers(&self) {
        *self
            .referrers
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// An entry that cannot be read is nobody's; whoever asks for it itself hears why.
    fn read_referrers(&self) -> Referrers {
        let mut referrers = Referrers::new();
        for entry in self.entries() {
            let target = entry.target.ok();
            let manifest = target.and_then(|target| self.read_manifest(&target.digest).ok());
            let Some(manifest) = manifest else { continue };
            if let Some(subject) = manifest.subject {
                referrers.entry(subject).or_default().push(manifest.digest);
            }
        }
        referrers
    }
}
