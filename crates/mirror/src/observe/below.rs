//! What the target holds below the tags: manifests and blobs of the trees that were read, and
//! of what is attached to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use castlink_core::Result;
use futures::future::join_all;

use super::{Observed, Shared};
use crate::{
    content::{Blob, Digest, Tree},
    ecr::Selector,
    place::Place,
    site::Sites,
    target::{self, Holdings, Mounting},
};

type Targets = BTreeMap<Place, Result<Holdings, Shared>>;

/// Asks the repositories that exist what they hold of the trees, and which of their tags
/// can be moved when one would have to be.
pub(super) async fn trees(sites: &Sites, images: &[Observed], targets: &mut Targets) {
    let mut wanted: BTreeMap<Place, Wanted> = BTreeMap::new();
    for (place, tree) in images.iter().filter_map(Observed::tree) {
        wanted.entry(place).or_default().add(tree);
    }
    ask(sites, wanted, targets).await;
}

/// The same for what is attached to the images; nothing where nothing is.
pub(super) async fn attached(sites: &Sites, images: &[Observed], targets: &mut Targets) {
    let mut wanted: BTreeMap<Place, Wanted> = BTreeMap::new();
    for image in images {
        for attachment in &image.attached.found {
            let wanted = wanted.entry(image.target.place.clone()).or_default();
            wanted.add(&attachment.tree);
            wanted
                .manifests
                .extend(attachment.tag.clone().map(Selector::Tag));
        }
    }
    ask(sites, wanted, targets).await;
}

async fn ask(sites: &Sites, mut wanted: BTreeMap<Place, Wanted>, targets: &mut Targets) {
    let moved = join_all(targets.iter_mut().filter_map(|(place, holdings)| {
        let known = holdings.as_ref().ok().filter(|known| known.exists)?;
        let wanted = wanted.remove(place)?;
        let known = known.clone();
        Some(async move {
            *holdings = wanted.ask(sites, place, known).await.map_err(Arc::new);
        })
    }));
    moved.await;
}

/// What trees need in one repository.
#[derive(Debug, Default)]
struct Wanted {
    manifests: BTreeSet<Selector>,
    blobs: BTreeSet<Blob>,
}

impl Wanted {
    fn add(&mut self, tree: &Tree) {
        self.manifests.extend(
            tree.manifests()
                .map(|manifest| Selector::Digest(manifest.digest.clone())),
        );
        self.blobs.extend(tree.blobs().into_iter().cloned());
    }

    async fn ask(self, sites: &Sites, place: &Place, mut known: Holdings) -> Result<Holdings> {
        let site = sites.target(&place.registry).await?;
        let tags_in_use = !known.held.tags.is_empty() && known.mutability.is_none();
        let (held, blobs, mutability) = tokio::try_join!(
            target::manifests(
                &site,
                &place.repository,
                self.manifests.into_iter().collect()
            ),
            target::blobs(&site, &place.repository, self.blobs.into_iter().collect()),
            target::mutability(&site, &place.repository, tags_in_use),
        )?;
        let held = held.unwrap_or_default();
        known.held.manifests.extend(held.manifests);
        known.held.tags.extend(held.tags);
        known.blobs.extend(blobs);
        known.mutability = known.mutability.or(mutability);
        Ok(known)
    }
}

/// Whether blobs can be mounted. Asked only where a blob goes to two repositories of one registry.
pub(super) async fn mounting(sites: &Sites, images: &[Observed]) -> BTreeMap<Arc<str>, Mounting> {
    let mut users: BTreeMap<(Arc<str>, &Digest), BTreeSet<Arc<str>>> = BTreeMap::new();
    for (place, tree) in images.iter().filter_map(Observed::tree) {
        for blob in tree.blobs() {
            let key = (Arc::clone(&place.registry), &blob.digest);
            users
                .entry(key)
                .or_default()
                .insert(Arc::clone(&place.repository));
        }
    }
    let shared = users
        .into_iter()
        .filter(|(_, repositories)| repositories.len() > 1);
    let hosts: BTreeSet<Arc<str>> = shared.map(|((host, _), _)| host).collect();
    let asked = hosts.into_iter().map(|host| async move {
        let site = sites.target(&host).await.ok()?;
        Some((host, target::mounting(&site).await))
    });
    join_all(asked).await.into_iter().flatten().collect()
}
