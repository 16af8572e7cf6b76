//! One blob on its way: read once, sent to the repositories that take it, mounted into the
//! others, with what fails on one way tried on the other.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use castlink_core::{Failure, Result, progress::Item};
use futures::future::join_all;

use super::{Delivered, Engine, fan, slot::Setter, streams::Permit};
use crate::{
    content::Blob,
    observe::Shared,
    place::Place,
    plan::{After, BlobStep, Mount},
    registry::error::{Error, Kind},
    site::{Download, Site, Started, Upload},
};

/// Mounts a registry may refuse before it is not asked any more.
const REFUSALS: u32 = 2;

/// A repository to send to, with the session that a refused mount left open.
struct Target {
    place: Place,
    session: Option<Upload>,
}

/// The rights to say what became of the blob, by repository.
pub(super) type Setters = HashMap<Place, Setter<Delivered>>;

/// Brings the blob of `step` to all its repositories, and says so in their slots.
pub(super) async fn run(engine: Arc<Engine>, step: BlobStep, setters: Setters, permit: Permit) {
    let step = if engine.mounts_refused(&step) {
        step.without_mounts()
    } else {
        step
    };
    let mut job = Job {
        engine: &engine,
        blob: &step.blob,
        sources: &step.sources,
        setters,
        denied: HashSet::new(),
    };
    let targets = step.uploads.iter().map(|place| Target {
        place: place.clone(),
        session: None,
    });
    let uploaded = job.deliver(targets.collect()).await;
    drop(permit);
    let refused = job.mount(&step.mounts, uploaded).await;
    if !refused.is_empty() {
        let _permit = engine.streams.take(refused.len()).await;
        engine.progress.expect(step.blob.size);
        job.deliver(refused).await;
    }
}

struct Job<'a> {
    engine: &'a Engine,
    blob: &'a Blob,
    sources: &'a [Place],
    setters: Setters,
    /// Repositories that have refused the data once.
    denied: HashSet<Place>,
}

impl Job<'_> {
    fn settle(&mut self, place: &Place, result: Delivered) {
        if let Some(setter) = self.setters.remove(place) {
            setter.set(result);
        }
    }

    /// Sends the blob to `targets`, from the first source that has it. True when all got it.
    async fn deliver(&mut self, targets: Vec<Target>) -> bool {
        let mut left = self.ready(targets).await;
        let mut first: Option<Failure> = None;
        for source in self.sources {
            if left.is_empty() {
                break;
            }
            match self.read_from(source, &mut left).await {
                Ok(()) => {}
                // The first source is the one that was asked for: its failure is the one to report.
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        let all = left.is_empty();
        if let Some(failure) = first {
            self.give_up(&mut left, failure);
        }
        all
    }

    /// The targets whose repository is there; the others are settled.
    async fn ready(&mut self, targets: Vec<Target>) -> Vec<Target> {
        let mut ready = Vec::new();
        for target in targets {
            match self.engine.ready(&target.place).await {
                Ok(()) => ready.push(target),
                Err(failure) => self.settle(&target.place, Err(failure)),
            }
        }
        ready
    }

    /// Tries until every target in `left` has the blob or has failed for good; what stays in
    /// `left` is for another source.
    async fn read_from(&mut self, source: &Place, left: &mut Vec<Target>) -> Result<()> {
        let Some(first) = left.first() else {
            return Ok(());
        };
        let target = self.engine.target(&first.place).await?;
        let mut backoff = target.retry().start();
        let origin = self.engine.source(source).await?;
        let item = self
            .engine
            .progress
            .item(&label(source, self.blob), self.blob.size);
        while !left.is_empty() {
            let mut download = origin.download(&source.repository, self.blob);
            let resumed = self.resume(&mut download, &target, left.len(), &item).await;
            // Both ends at once: on a long line each costs as much as a megabyte.
            let opening = self.open(std::mem::take(left));
            let (opened, ()) = tokio::join!(opening, download.start());
            let (places, branches): (Vec<Place>, Vec<Upload>) = opened.into_iter().unzip();
            if branches.is_empty() {
                break;
            }
            let meter = fan::Meter {
                item: &item,
                tally: &self.engine.tally,
            };
            let results = fan::out(&mut download, branches, self.engine.stall(), &meter).await;
            let again = match results {
                Ok(results) => self.sort(places, results, left),
                Err(error) => {
                    item.rewind(download.taken());
                    left.extend(places.into_iter().map(Target::fresh));
                    // What was there before may be what is wrong: once more, without it.
                    if resumed && error.kind == Kind::Corrupt {
                        continue;
                    }
                    return Err(error.into_failure());
                }
            };
            if !left.is_empty() {
                item.rewind(download.taken());
            }
            if let Some(error) = again
                && let Err(error) = backoff.after(error).await
            {
                self.give_up(left, error.into_failure());
            }
        }
        Ok(())
    }

    /// Goes on with what the target has of the blob, when it is the only one: several would
    /// have to have the same. True when there is something.
    async fn resume(
        &self,
        download: &mut Download<'_>,
        target: &Site,
        targets: usize,
        item: &Item,
    ) -> bool {
        if targets > 1 {
            return false;
        }
        let Some(begun) = target.begun(self.blob).await else {
            return false;
        };
        item.advance(begun.taken);
        download.resume(begun);
        true
    }

    fn give_up(&mut self, left: &mut Vec<Target>, failure: Failure) {
        let failure = Arc::new(failure);
        for target in left.drain(..) {
            self.settle(&target.place, Err(Arc::clone(&failure)));
        }
    }

    /// Settles what is final, leaves in `left` what may succeed later, and returns one of the
    /// errors to wait for.
    fn sort(
        &mut self,
        places: Vec<Place>,
        results: Vec<Result<(), Error>>,
        left: &mut Vec<Target>,
    ) -> Option<Error> {
        let mut again = None;
        for (place, result) in places.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    self.engine.streams.arrived();
                    self.engine.tally.upload(self.blob.size);
                    self.settle(&place, Ok(()));
                }
                Err(error) if error.kind.is_transient() => {
                    self.engine.streams.trouble();
                    again = Some(error);
                    left.push(Target::fresh(place));
                }
                // Once, for a token that ended between the session and its data.
                Err(error) if error.kind == Kind::Denied && self.denied.insert(place.clone()) => {
                    left.push(Target::fresh(place));
                }
                Err(error) => self.settle(&place, Err(Arc::new(error.into_failure()))),
            }
        }
        again
    }

    /// Opens the sessions that are not open yet; what fails is settled.
    async fn open(&mut self, targets: Vec<Target>) -> Vec<(Place, Upload)> {
        let (engine, blob) = (self.engine, self.blob);
        let opened = targets.into_iter().map(|target| async move {
            let branch = open(engine, blob, target.session, &target.place).await;
            (target.place, branch)
        });
        let mut branches = Vec::new();
        for (place, branch) in join_all(opened).await {
            match branch {
                Ok(branch) => branches.push((place, branch)),
                Err(failure) => self.settle(&place, Err(Arc::new(failure))),
            }
        }
        branches
    }

    /// Mounts; returns the repositories for which that was refused or not possible.
    async fn mount(&mut self, mounts: &[Mount], uploaded: bool) -> Vec<Target> {
        let (engine, blob) = (self.engine, self.blob);
        let tried = join_all(mounts.iter().map(|mount| async move {
            let result = try_mount(engine, blob, mount, uploaded).await;
            (mount.to.clone(), result)
        }));
        let mut refused = Vec::new();
        for (place, result) in tried.await {
            match result {
                Ok(None) => self.settle(&place, Ok(())),
                Ok(Some(session)) => refused.push(Target { place, session }),
                Err(failure) => self.settle(&place, Err(failure)),
            }
        }
        refused
    }
}

impl Target {
    fn fresh(place: Place) -> Self {
        Self {
            place,
            session: None,
        }
    }
}

async fn open(
    engine: &Engine,
    blob: &Blob,
    session: Option<Upload>,
    place: &Place,
) -> Result<Upload> {
    let site = engine.target(place).await?;
    match session {
        Some(session) => Ok(session),
        None => match site
            .start_upload(&place.repository, blob, None)
            .await
            .map_err(Error::into_failure)?
        {
            Started::Session(upload) => Ok(upload),
            Started::Mounted => Err(Failure::failed(format!(
                "{place} mounted a blob that it was not asked to"
            ))),
        },
    }
}

/// None when the blob was mounted; otherwise it has to be sent, into the session that the
/// refusal opened if there is one.
async fn try_mount(
    engine: &Engine,
    blob: &Blob,
    mount: &Mount,
    uploaded: bool,
) -> Result<Option<Option<Upload>>, Shared> {
    engine.ready(&mount.to).await?;
    let possible = match mount.after {
        After::Now => true,
        After::Upload => uploaded,
        After::Image(index) => engine.images[index].wait().await.unwrap_or(false),
    };
    if !possible || engine.refusals(&mount.to) >= REFUSALS {
        return Ok(Some(None));
    }
    let site = engine.target(&mount.to).await.map_err(Arc::new)?;
    let started = site
        .start_upload(&mount.to.repository, blob, Some(&mount.from.repository))
        .await;
    match started {
        Ok(Started::Mounted) => {
            engine.tally.mount(blob.size);
            Ok(None)
        }
        Ok(Started::Session(upload)) => {
            engine.count_refusal(&mount.to);
            Ok(Some(Some(upload)))
        }
        // Some registries answer a mount with an error where they should open a session.
        Err(error) if matches!(error.kind, Kind::Refused | Kind::NotFound | Kind::Denied) => {
            engine.count_refusal(&mount.to);
            Ok(Some(None))
        }
        Err(error) => Err(Arc::new(error.into_failure())),
    }
}

impl Engine {
    fn refusals(&self, place: &Place) -> u32 {
        let refused = self
            .refused_mounts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.get(&place.registry).copied().unwrap_or(0)
    }

    fn count_refusal(&self, place: &Place) {
        let mut refused = self
            .refused_mounts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *refused.entry(Arc::clone(&place.registry)).or_default() += 1;
    }

    /// True when the registry of this step is known to refuse mounts.
    fn mounts_refused(&self, step: &BlobStep) -> bool {
        step.mounts
            .iter()
            .any(|mount| self.refusals(&mount.to) >= REFUSALS)
    }
}

/// `agent 0123456789ab`: what a blob is called while it moves.
fn label(source: &Place, blob: &Blob) -> String {
    let image = source.repository.rsplit('/').next().unwrap_or_default();
    let digits = blob.digest.short().rsplit(':').next().unwrap_or_default();
    format!("{image} {digits}")
}
