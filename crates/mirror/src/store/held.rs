//! What a store holds of what is asked for. A name counts only when everything below it is
//! there: a store that lost a layer on its way gets that layer again, and nothing else.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::Store;
use crate::{
    content::{Blob, Digest, Manifest},
    ecr::{Held, Selector},
};

/// The most manifests below one name that are looked at.
const MAX_MANIFESTS: usize = 512;

impl Store {
    /// Which of `selectors` are here, names with what they stand for.
    pub(crate) async fn held(self: &Arc<Self>, selectors: Vec<Selector>) -> Held {
        self.blocking(move |store| store.look_for(&selectors)).await
    }

    /// Which of `blobs` are here in their full size.
    pub(crate) async fn blobs_held(self: &Arc<Self>, blobs: Vec<Blob>) -> BTreeSet<Digest> {
        let held = move |store: &Self| {
            let there = blobs.into_iter().filter(|blob| store.has(blob));
            there.map(|blob| blob.digest).collect()
        };
        self.blocking(held).await
    }

    fn look_for(&self, selectors: &[Selector]) -> Held {
        let mut held = Held::default();
        for selector in selectors {
            match selector {
                Selector::Tag(name) => self.look_for_name(name, &mut held),
                Selector::Digest(digest) => {
                    held.manifests
                        .extend(self.read_manifest(digest).ok().map(|found| found.digest));
                }
            }
        }
        held
    }

    fn look_for_name(&self, name: &str, held: &mut Held) {
        let target = self
            .index()
            .labelled(name)
            .map(|entry| entry.target.clone());
        let Some(Ok(target)) = target else { return };
        let Some(root) = self.whole(&target.digest, &mut HashSet::new()) else {
            return;
        };
        held.manifests.insert(target.digest.clone());
        held.platforms
            .insert(target.digest.clone(), root.platforms());
        held.tags.insert(name.to_owned(), target.digest);
    }

    /// The manifest, when it and all below it are here. Manifests in `seen` are known to be.
    fn whole(&self, digest: &Digest, seen: &mut HashSet<Digest>) -> Option<Manifest> {
        let manifest = self.read_manifest(digest).ok()?;
        seen.insert(digest.clone());
        for child in manifest.children() {
            if seen.len() >= MAX_MANIFESTS {
                return None;
            }
            if !seen.contains(&child.digest) {
                self.whole(&child.digest, seen)?;
            }
        }
        let blobs = manifest.blobs();
        blobs.iter().all(|blob| self.has(blob)).then_some(manifest)
    }
}
