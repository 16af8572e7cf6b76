//! The end of an image: its manifests, when their blobs are there. Children by digest, then
//! what is attached to it (attach.rs), the root last, under its tag. Nothing is written
//! twice, and nothing refers to what is not there yet.

use std::sync::Arc;

use castlink_core::Result;
use futures::future::try_join_all;

use super::{Delivered, Engine, Parity, Written, abandoned, locked};
use crate::{
    content::{Content, Manifest},
    observe::Shared,
    place::Place,
    plan::Copy,
    registry::error::{Error, Kind},
};

impl Engine {
    /// Writes what is missing of an image, and what is attached to it.
    pub(super) async fn publish(&self, copy: &Copy) -> Result<Parity, Shared> {
        self.ready(&copy.place).await?;
        let (images, indexes): (Vec<_>, Vec<_>) = copy
            .children
            .iter()
            .partition(|child| matches!(child.content, Content::Image(_)));
        try_join_all(
            images
                .into_iter()
                .map(|child| self.write_child(&copy.place, child)),
        )
        .await?;
        // Indexes below the root are rare, and each may refer to the one before.
        for index in indexes {
            self.write_child(&copy.place, index).await?;
        }
        let (root, selector) = &copy.root;
        self.blobs_of(&copy.place, root).await?;
        let parity = self.attach(copy).await;
        self.write(&copy.place, selector, root).await?;
        Ok(parity)
    }

    /// Writes a manifest under its digest.
    pub(super) async fn write_child(&self, place: &Place, child: &Manifest) -> Delivered {
        self.blobs_of(place, child).await?;
        self.write(place, child.digest.as_str(), child)
            .await
            .map(drop)
    }

    /// Waits for the blobs that this run brings; the others are there.
    pub(super) async fn blobs_of(&self, place: &Place, manifest: &Manifest) -> Delivered {
        for blob in manifest.blobs() {
            if let Some(slot) = self.blobs.get(&(place.clone(), blob.digest.clone())) {
                slot.wait().await.unwrap_or_else(abandoned)?;
            }
        }
        Ok(())
    }

    /// Writes a manifest once, however many images ask for it. A failure is not kept: the next
    /// image tries again. True when the registry lists it with what it is attached to.
    pub(super) async fn write(
        &self,
        place: &Place,
        selector: &str,
        manifest: &Manifest,
    ) -> Result<bool, Shared> {
        let cell = self.cell(place, selector);
        let write = || async { self.put(place, selector, manifest).await.map_err(Arc::new) };
        cell.get_or_try_init(write).await.copied()
    }

    fn cell(&self, place: &Place, selector: &str) -> Written {
        let mut cells = locked(&self.manifests);
        Arc::clone(
            cells
                .entry((place.clone(), selector.to_owned()))
                .or_default(),
        )
    }

    async fn put(&self, place: &Place, selector: &str, manifest: &Manifest) -> Result<bool> {
        let site = self.target(place).await?;
        if site.ecr().is_some() {
            self.pace(place).turn().await;
        }
        let put = site
            .put_manifest(&place.repository, selector, manifest)
            .await;
        match put {
            Ok(listed) => {
                self.tally.manifest();
                Ok(listed)
            }
            // Somebody else has put it there in the meantime: as good as ours, if it is the same.
            Err(error) if error.kind == Kind::Conflict => {
                match site.is_there(place, selector, &manifest.digest).await {
                    true => Ok(false),
                    false => Err(error.into_failure()),
                }
            }
            Err(error) => Err(Error::into_failure(error)),
        }
    }
}
