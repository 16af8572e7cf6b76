//! A stream through the planner: pieces are planned on every core, and come out in order.
//! What is under way is bounded, so that memory does not grow with the stream.
//!
//! Never here: decisions.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use castlink_core::{Failure, Result};

use super::{
    edit,
    plan::{self, Depth, Planned},
    rules::Rules,
};
use castlink_manifest::stream::{Piece, Pieces};

/// More cores than this only wait for the one that reads.
const WORKERS: usize = 8;

/// A piece as it comes out.
pub struct Done {
    /// What became of it.
    pub planned: Planned,
    /// True for the first piece of a file.
    pub first: bool,
    /// The text with its edits.
    pub text: String,
}

type Job = (Piece, Sender<Done>);

/// Plans every piece and hands the results to `take`, in order.
///
/// # Errors
/// What reading the stream or `take` failed with.
pub fn run(
    mut pieces: Pieces,
    rules: &Rules,
    mut take: impl FnMut(Done) -> Result<()>,
) -> Result<()> {
    let Some(first) = pieces.next().transpose()? else {
        return Ok(());
    };
    // Most streams are one piece: not worth a thread.
    let Some(second) = pieces.next().transpose()? else {
        return take(rewrite(first, rules));
    };
    let workers = thread::available_parallelism().map_or(2, |n| n.get().min(WORKERS));
    let (jobs, queue) = sync_channel::<Job>(workers);
    let (order, results) = sync_channel::<Receiver<Done>>(2 * workers);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&queue, rules));
        }
        let known = [Ok(first), Ok(second)].into_iter();
        let reader = scope.spawn(move || feed(known.chain(pieces), &jobs, &order));
        let taken = results.iter().try_for_each(|result| match result.recv() {
            Ok(done) => take(done),
            Err(_) => Err(Failure::failed(
                "planning a piece of the stream ended early",
            )),
        });
        // Whoever waits to hand something over is let go.
        drop(results);
        let read = reader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        taken.and(read)
    })
}

/// Hands out pieces until there are no more, or nobody wants them.
fn feed(
    pieces: impl Iterator<Item = Result<Piece>>,
    jobs: &SyncSender<Job>,
    order: &SyncSender<Receiver<Done>>,
) -> Result<()> {
    for piece in pieces {
        let (reply, result) = channel();
        if jobs.send((piece?, reply)).is_err() || order.send(result).is_err() {
            break;
        }
    }
    Ok(())
}

fn work(queue: &Mutex<Receiver<Job>>, rules: &Rules) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((piece, reply)) = job else {
            return;
        };
        // Nobody waits for it any more when something failed before.
        let _ = reply.send(rewrite(piece, rules));
    }
}

fn rewrite(piece: Piece, rules: &Rules) -> Done {
    let mut planned = plan::plan(&piece, rules, Depth::Stream);
    let text = match planned.edits.is_empty() {
        true => piece.text,
        false => {
            let mut text = String::with_capacity(piece.text.len() + piece.text.len() / 8);
            edit::apply(&piece.text, &mut planned.edits, &mut text);
            text
        }
    };
    Done {
        planned,
        first: piece.first,
        text,
    }
}
