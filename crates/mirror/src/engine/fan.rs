//! One download, any number of uploads: bytes go from the source to every target as they
//! come, hashed on the way, with nothing kept but a few frames.
//!
//! The last frame is held back until the digest is known. A server sees the end of a blob
//! only when the blob is right, and an upload of wrong bytes is cut before it completes;
//! checking after the last byte would be too late, because nobody polls a request body
//! that has its full length.

use std::time::Duration;

use bytes::Bytes;
use castlink_core::progress::Item;
use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::Tally;
use crate::{
    content::Blob,
    registry::error::{Error, Kind, Result, Subject},
    site::{Download, Upload},
};

/// Frames waiting for one target. A frame is what one read of the source brought, up to 400 kB on a
/// fast network: with the one held back and the one being written this bounds what a
/// transfer keeps in memory, however large the blob. More would only smooth what the
/// sockets' own buffers smooth already.
const FRAMES: usize = 1;

/// The slowest that a site puts away what it has received, in bytes a second.
const STORING: u64 = 20_000_000;

/// Who hears of bytes as they come.
pub(super) struct Meter<'a> {
    /// The blob's progress.
    pub(super) item: &'a Item,
    /// The run's counters.
    pub(super) tally: &'a Tally,
}

/// The feeding end of a branch.
struct Feed {
    frames: mpsc::Sender<Bytes>,
    stop: oneshot::Sender<Error>,
}

/// Sends the blob of `download` to all branches. The outer error is the source's: no branch got it.
/// Otherwise one result per branch, in their order; the slowest branch sets the pace, and
/// one that stalls is left behind.
pub(super) async fn out(
    download: &mut Download<'_>,
    branches: Vec<Upload>,
    stall: Duration,
    meter: &Meter<'_>,
) -> Result<Vec<Result<()>>> {
    let blob = download.blob();
    let mut feeds = Vec::new();
    let mut uploads = Vec::new();
    for branch in branches {
        let (frames, receiver) = mpsc::channel(FRAMES);
        let (stop, stopped) = oneshot::channel();
        feeds.push(Feed { frames, stop });
        uploads.push(upload(branch, blob, receiver, stopped, stall));
    }
    let feeding = feed(download, feeds, stall, meter);
    let (fed, results) = tokio::join!(feeding, join_all(uploads));
    fed.map(|()| results)
}

async fn upload(
    branch: Upload,
    blob: &Blob,
    frames: mpsc::Receiver<Bytes>,
    stopped: oneshot::Receiver<Error>,
    stall: Duration,
) -> Result<()> {
    let subject = branch.subject().clone();
    let request = branch.finish(blob, frames);
    tokio::pin!(request);
    tokio::select! {
        // First, so that nothing of a blob that is known to be wrong is sent.
        biased;
        stop = stopped => match stop {
            // Dropping the request closes its connection: the server never sees an end.
            Ok(error) => Err(error),
            Err(_) => finished(request, blob, stall, &subject).await,
        },
        result = &mut request => result,
    }
}

/// Waits for the answer to an upload whose last byte is on its way: no stall timer watches it
/// any more. A registry has ten stalls' time to store it, and longer when it is large.
async fn finished(
    request: impl Future<Output = Result<()>>,
    blob: &Blob,
    stall: Duration,
    subject: &Subject,
) -> Result<()> {
    let limit = stall * 10 + Duration::from_secs(blob.size / STORING);
    let answer = tokio::time::timeout(limit, request).await;
    answer.unwrap_or_else(|_| Err(subject.stalled(limit)))
}

async fn feed(
    download: &mut Download<'_>,
    mut feeds: Vec<Feed>,
    stall: Duration,
    meter: &Meter<'_>,
) -> Result<()> {
    let subject = download.subject().clone();
    let pumped = pump(download, &mut feeds, stall, meter).await;
    if pumped.is_err() {
        for feed in feeds {
            // The branch may be gone already.
            let _ = feed.stop.send(cut(&subject));
        }
    }
    pumped
}

async fn pump(
    download: &mut Download<'_>,
    feeds: &mut Vec<Feed>,
    stall: Duration,
    meter: &Meter<'_>,
) -> Result<()> {
    let subject = download.subject().clone();
    let blob = download.blob();
    let mut hasher = download.hasher();
    let mut held: Option<Bytes> = None;
    while let Some(bytes) = download.next().await? {
        hasher.update(&bytes);
        meter.count(bytes.len());
        if let Some(frame) = held.replace(bytes) {
            give(feeds, frame, stall, &subject).await;
        }
        if feeds.is_empty() {
            return Ok(());
        }
    }
    let got = hasher.finish();
    if got != blob.digest {
        return Err(subject.error(Kind::Corrupt, format!("the content has digest {got}")));
    }
    if let Some(frame) = held {
        give(feeds, frame, stall, &subject).await;
    }
    Ok(())
}

/// Hands a frame to every branch; those that are gone or take nothing are left behind.
async fn give(feeds: &mut Vec<Feed>, frame: Bytes, stall: Duration, subject: &Subject) {
    let mut lost = Vec::new();
    for (index, feed) in feeds.iter().enumerate() {
        match tokio::time::timeout(stall, feed.frames.send(frame.clone())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => lost.push((index, false)),
            Err(_) => lost.push((index, true)),
        }
    }
    for (index, stalled) in lost.into_iter().rev() {
        let feed = feeds.swap_remove(index);
        if stalled {
            let _ = feed.stop.send(subject.stalled(stall));
        }
    }
}

impl Meter<'_> {
    fn count(&self, bytes: usize) {
        self.item.advance(bytes as u64);
        self.tally.received(bytes as u64);
    }
}

fn cut(subject: &Subject) -> Error {
    subject.error(Kind::Transport, "the source failed")
}
