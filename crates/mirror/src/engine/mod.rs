//! The copy engine: one work graph over all images of a plan. Every distinct blob is read
//! once, the largest first; manifests follow when their blobs are there, children before
//! indexes, the tag last.
//!
//! Decides nothing: what goes where stands in the plan.

mod attach;
mod blob;
mod fan;
mod pace;
mod publish;
mod slot;
mod streams;
mod tally;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use castlink_core::{Result, config, progress::Progress};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
};

use self::{
    pace::Pace,
    slot::{Setter, Slot, slot},
    streams::Streams,
};
use crate::{
    content::Digest,
    ecr::Settings,
    observe::Shared,
    place::Place,
    plan::{BlobStep, Plan},
    site::{Site, Sites},
};

pub(crate) use attach::Parity;
pub(crate) use tally::Tally;

/// ECR's default quota of PutImage is ten a second, with a burst of ten, for the whole account
/// and region. Two of the burst are left: requests are not counted in the rhythm in which they
/// are sent, and each that comes early costs another one.
const PUT_IMAGE: (u32, Duration) = (8, Duration::from_millis(100));

/// Repositories created at once.
const CREATING: usize = 8;

/// What became of a blob in one repository.
type Delivered = Result<(), Shared>;

/// Held by whoever is changing a list that others may want to change.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// A manifest that is written once, however many images ask for it.
type Written = Arc<OnceCell<bool>>;

/// The running copy.
pub(crate) struct Engine {
    sites: Arc<Sites>,
    settings: config::Mirror,
    /// How repositories that are created look.
    repository: Arc<Settings>,
    progress: Arc<Progress>,
    /// What was moved.
    tally: Tally,
    streams: Arc<Streams>,
    creating: Semaphore,
    paces: Mutex<HashMap<Arc<str>, Arc<Pace>>>,
    repositories: HashMap<Place, Slot<Delivered>>,
    blobs: HashMap<(Place, Digest), Slot<Delivered>>,
    images: Vec<Slot<bool>>,
    manifests: Mutex<HashMap<(Place, String), Written>>,
    /// Who may write to a list that stands in for a registry's own.
    lists: Mutex<HashMap<(Place, String), Turn>>,
    refused_mounts: Mutex<HashMap<Arc<str>, u32>>,
}

/// The rights to set the engine's slots, by what they are for.
#[derive(Default)]
struct Setters {
    repositories: Vec<(Place, Setter<Delivered>)>,
    blobs: HashMap<(Place, Digest), Setter<Delivered>>,
    images: Vec<Setter<bool>>,
}

/// Carries out `plan`; `done` hears of each image as soon as it is there or has failed.
/// Returns what was moved.
pub(crate) async fn run(
    sites: Arc<Sites>,
    settings: &config::Mirror,
    plan: &Plan,
    progress: Arc<Progress>,
    mut done: impl FnMut(usize, Result<Parity, Shared>),
) -> Tally {
    let (engine, setters) = Engine::prepare(sites, settings, plan, progress);
    let engine = Arc::new(engine);
    let mut tasks = JoinSet::new();
    for (place, setter) in setters.repositories {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move { setter.set(engine.create(&place).await.map_err(Arc::new)) });
    }
    let watched = Arc::clone(&engine);
    tasks.spawn(async move {
        let Engine { streams, tally, .. } = &*watched;
        streams.watch(tally, &watched.sites).await;
    });
    tasks.spawn(dispatch(
        Arc::clone(&engine),
        plan.blobs.clone(),
        setters.blobs,
    ));
    let copies = plan.images.iter().zip(setters.images).enumerate();
    let mut images: FuturesUnordered<_> = copies
        .filter_map(|(index, (image, setter))| Some((index, image.copy()?, setter)))
        .map(|(index, copy, setter)| {
            let engine = &engine;
            async move {
                let result = engine.publish(copy).await;
                setter.set(result.is_ok());
                (index, result)
            }
        })
        .collect();
    while let Some((index, result)) = images.next().await {
        done(index, result);
    }
    drop(images);
    // What is still under way serves only images that have failed.
    tasks.shutdown().await;
    engine.tally.clone()
}

/// Starts the blobs in the order of the plan, as streams become free.
async fn dispatch(
    engine: Arc<Engine>,
    steps: Vec<BlobStep>,
    mut setters: HashMap<(Place, Digest), Setter<Delivered>>,
) {
    let mut tasks = JoinSet::new();
    for step in steps {
        let places = step.places();
        let own = places
            .filter_map(|place| setters.remove_entry(&(place.clone(), step.blob.digest.clone())));
        let own = own.map(|((place, _), setter)| (place, setter)).collect();
        let permit = engine.streams.take(step.uploads.len()).await;
        tasks.spawn(blob::run(Arc::clone(&engine), step, own, permit));
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

impl Engine {
    fn prepare(
        sites: Arc<Sites>,
        settings: &config::Mirror,
        plan: &Plan,
        progress: Arc<Progress>,
    ) -> (Self, Setters) {
        let mut setters = Setters::default();
        let mut engine = Self {
            sites,
            settings: settings.clone(),
            repository: Arc::clone(&plan.settings),
            progress,
            tally: Tally::default(),
            streams: Arc::new(Streams::new(settings.concurrency)),
            creating: Semaphore::new(CREATING),
            paces: Mutex::default(),
            repositories: HashMap::new(),
            blobs: HashMap::new(),
            images: Vec::new(),
            manifests: Mutex::default(),
            lists: Mutex::default(),
            refused_mounts: Mutex::default(),
        };
        for place in &plan.repositories {
            let (setter, slot) = slot();
            engine.repositories.insert(place.clone(), slot);
            setters.repositories.push((place.clone(), setter));
        }
        for (step, place) in plan
            .blobs
            .iter()
            .flat_map(|step| step.places().map(move |place| (step, place)))
        {
            let (setter, slot) = slot();
            let key = (place.clone(), step.blob.digest.clone());
            engine.blobs.insert(key.clone(), slot);
            setters.blobs.insert(key, setter);
        }
        (engine.images, setters.images) = plan
            .images
            .iter()
            .map(|_| slot())
            .map(|(setter, slot)| (slot, setter))
            .unzip();
        (engine, setters)
    }

    async fn create(&self, place: &Place) -> Result<()> {
        let _permit = self
            .creating
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let site = self.target(place).await?;
        // Other registries create a repository with the first thing that is pushed into it.
        let Some(ecr) = site.ecr() else {
            return Ok(());
        };
        ecr.create(&place.repository, &self.repository).await?;
        self.tally.repository();
        Ok(())
    }

    /// Waits until the repository is there.
    async fn ready(&self, place: &Place) -> Delivered {
        match self.repositories.get(place) {
            Some(slot) => slot.wait().await.unwrap_or_else(abandoned),
            None => Ok(()),
        }
    }

    async fn source(&self, place: &Place) -> Result<Site> {
        self.sites.source(&place.registry).await
    }

    async fn target(&self, place: &Place) -> Result<Site> {
        self.sites.target(&place.registry).await
    }

    /// The pace of writing manifests to an ECR registry: its quota is its own.
    fn pace(&self, place: &Place) -> Arc<Pace> {
        let mut paces = locked(&self.paces);
        let new = || Arc::new(Pace::new(PUT_IMAGE.0, PUT_IMAGE.1));
        Arc::clone(paces.entry(Arc::clone(&place.registry)).or_insert_with(new))
    }

    fn stall(&self) -> Duration {
        Duration::from_secs(self.settings.stall.max(1))
    }
}

impl BlobStep {
    /// Every repository that the step brings the blob to.
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.uploads
            .iter()
            .chain(self.mounts.iter().map(|mount| &mount.to))
    }

    /// Leaves mounting aside: everything is uploaded.
    fn without_mounts(mut self) -> Self {
        self.uploads
            .extend(self.mounts.drain(..).map(|mount| mount.to));
        self
    }
}

/// A lock that somebody has died with guards counters and cells: they are still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task that should have said is gone: the run is being interrupted.
fn abandoned<T>() -> Result<T, Shared> {
    Err(Arc::new(castlink_core::Failure::failed(
        "the transfer was abandoned",
    )))
}
