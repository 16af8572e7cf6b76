//! How many blobs are under way at once. More streams help where each is slow (distance, a
//! limit per connection) and only cost memory where the machine or the line is full, so
//! the number is found while the copy runs: it doubles as long as that moves more bytes.
//! A registry that resets, throttles or refuses halves it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

use super::Tally;
use crate::site::Sites;

/// Streams at the beginning: what every registry stands.
const FIRST: usize = 8;

/// What trouble leaves, however often it comes.
const FEWEST: usize = 2;

/// How long a number of streams is watched before it is judged.
const WINDOW: Duration = Duration::from_millis(250);

/// Windows that a new number has to show what it is worth: connections take round trips to open.
const PATIENCE: u32 = 3;

/// A number that moves less than this times the bytes of the half of it is not worth it.
const WORTH: f64 = 1.15;

/// Blobs without trouble that earn a stream back.
const CLEAN: u32 = 10;

/// Windows after which a settled number is questioned again: lines change over a long copy.
const REST: u32 = 40;

/// The streams of one run.
#[derive(Debug)]
pub(super) struct Streams {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    busy: usize,
    /// Every stream was busy when the window began.
    full: bool,
    pilot: Pilot,
}

/// Permission for some streams, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    streams: Arc<Streams>,
    count: usize,
}

impl Streams {
    /// Never more than `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                busy: 0,
                full: false,
                pilot: Pilot::new(most),
            }),
            freed: Notify::new(),
        }
    }

    /// Permission for `wanted` streams, or for as many as there are.
    pub(super) async fn take(self: &Arc<Self>, wanted: usize) -> Permit {
        loop {
            // Registered before looking: what is freed in between is not missed.
            let freed = self.freed.notified();
            if let Some(count) = self.state().take(wanted) {
                return Permit {
                    streams: Arc::clone(self),
                    count,
                };
            }
            freed.await;
        }
    }

    /// A blob has arrived.
    pub(super) fn arrived(&self) {
        self.change(Pilot::clean);
    }

    /// A target was in trouble: it reset a connection. What registries refuse is seen by
    /// [`Streams::watch`].
    pub(super) fn trouble(&self) {
        self.change(Pilot::trouble);
    }

    /// Watches the windows; runs until it is dropped.
    pub(super) async fn watch(&self, tally: &Tally, sites: &Sites) {
        let mut ticks = interval(WINDOW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since = ticks.tick().await;
        let (mut read, mut refused) = (0, 0);
        loop {
            let now: Instant = ticks.tick().await;
            let (read_before, refused_before) = (read, refused);
            (read, refused) = (tally.read(), sites.refusals().await);
            // Lossy above 2^53 bytes in a window.
            #[expect(clippy::cast_precision_loss)]
            let rate = (read - read_before) as f64 / (now - since).as_secs_f64();
            since = now;
            self.window(rate);
            if refused > refused_before {
                self.trouble();
            }
        }
    }

    fn window(&self, rate: f64) {
        let mut state = self.state();
        // With streams to spare, their number is not what limits.
        let full = state.full && state.busy >= state.pilot.limit;
        state.pilot.window(full.then_some(rate));
        state.full = state.busy >= state.pilot.limit;
        drop(state);
        self.freed.notify_waiters();
    }

    fn change(&self, change: impl FnOnce(&mut Pilot)) {
        change(&mut self.state().pilot);
        self.freed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, wanted: usize) -> Option<usize> {
        let count = wanted.clamp(1, self.pilot.limit);
        let fits = self.busy + count <= self.pilot.limit;
        self.busy += if fits { count } else { 0 };
        fits.then_some(count)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.streams.state();
        state.busy -= self.count;
        drop(state);
        self.streams.freed.notify_waiters();
    }
}

/// Decides the number of streams; knows no clock and no network.
#[derive(Debug)]
struct Pilot {
    most: usize,
    limit: usize,
    stage: Stage,
    /// Streams that trouble took, and blobs on the way to earn one back.
    lost: usize,
    clean: u32,
    /// Trouble has halved the number in this window.
    halved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// What does this number move?
    First,
    /// Is this number better than the one before?
    Judging {
        before: usize,
        moved: f64,
        windows: u32,
    },
    /// Nothing to find out for so many windows.
    Settled(u32),
}

impl Pilot {
    fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            limit: FIRST.min(most).max(1),
            stage: Stage::First,
            lost: 0,
            clean: 0,
            halved: false,
        }
    }

    /// A window has passed; with a rate when every stream was busy.
    fn window(&mut self, rate: Option<f64>) {
        self.halved = false;
        self.stage = match (self.stage, rate) {
            (Stage::First, Some(rate)) => self.double(rate),
            (Stage::Judging { moved, .. }, Some(rate)) if rate >= moved * WORTH => {
                self.double(rate)
            }
            (
                Stage::Judging {
                    before, windows: 1, ..
                },
                Some(_),
            ) => {
                self.limit = before;
                Stage::Settled(REST)
            }
            (
                Stage::Judging {
                    before,
                    moved,
                    windows,
                },
                Some(_),
            ) => Stage::Judging {
                before,
                moved,
                windows: windows - 1,
            },
            (Stage::Settled(0), _) => Stage::First,
            (Stage::Settled(windows), _) => Stage::Settled(windows - 1),
            (stage, None) => stage,
        };
    }

    fn double(&mut self, moved: f64) -> Stage {
        if self.limit == self.most {
            return Stage::Settled(REST);
        }
        let before = self.limit;
        self.limit = (before * 2).min(self.most);
        Stage::Judging {
            before,
            moved,
            windows: PATIENCE,
        }
    }

    /// Halves the number, once a window: one reset often meets many streams.
    fn trouble(&mut self) {
        self.clean = 0;
        if self.halved {
            return;
        }
        let left = (self.limit / 2).max(FEWEST).min(self.limit);
        self.lost += self.limit - left;
        self.limit = left;
        self.halved = true;
        self.stage = Stage::Settled(REST);
    }

    fn clean(&mut self) {
        if self.lost == 0 {
            return;
        }
        self.clean += 1;
        if self.clean == CLEAN {
            self.clean = 0;
            self.lost -= 1;
            self.limit = (self.limit + 1).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The number after `windows` on a line where one stream moves `each` and all
    /// together `line`.
    #[expect(clippy::cast_precision_loss)]
    fn found(pilot: &mut Pilot, windows: u32, each: f64, line: f64) -> usize {
        for _ in 0..windows {
            let rate = (pilot.limit as f64 * each).min(line);
            pilot.window(Some(rate));
        }
        pilot.limit
    }

    #[test]
    fn streams_double_while_that_pays() {
        for (each, line, want) in [
            (1.0, 1000.0, 64),
            (1.0, 40.0, 64),
            (1.0, 33.0, 32),
            (1.0, 16.0, 16),
            (5.0, 16.0, 8),
        ] {
            assert_eq!(found(&mut Pilot::new(64), 12, each, line), want, "{line}");
        }
        assert_eq!(found(&mut Pilot::new(3), 12, 1.0, 1000.0), 3);
    }

    #[test]
    fn what_changed_is_found_out_later() {
        let mut pilot = Pilot::new(32);
        assert_eq!(found(&mut pilot, 8, 1.0, 16.0), 16);
        assert_eq!(found(&mut pilot, REST - 8, 1.0, 1000.0), 16, "at rest");
        assert_eq!(found(&mut pilot, 12, 1.0, 1000.0), 32);
    }

    #[test]
    fn a_slow_start_is_not_held_against_a_number() {
        let mut pilot = Pilot::new(32);
        for rate in [8.0, 8.0, 9.0, 12.0] {
            pilot.window(Some(rate));
        }
        assert_eq!(pilot.limit, 32);
    }

    #[test]
    fn idle_streams_prove_nothing() {
        let mut pilot = Pilot::new(32);
        (0..100).for_each(|_| pilot.window(None));
        assert_eq!(pilot.limit, FIRST);
    }

    #[test]
    fn trouble_halves_once_a_window_and_is_earned_back() {
        let mut pilot = Pilot::new(32);
        found(&mut pilot, 8, 1.0, 1000.0);
        (0..9).for_each(|_| pilot.trouble());
        assert_eq!(pilot.limit, 16);
        pilot.window(Some(1.0));
        pilot.trouble();
        assert_eq!(pilot.limit, 8);
        (0..10 * CLEAN).for_each(|_| pilot.clean());
        assert_eq!(pilot.limit, 18);
        (0..100 * CLEAN).for_each(|_| pilot.clean());
        assert_eq!(pilot.limit, 32, "no more than was lost");
        for _ in 0..100 {
            pilot.window(None);
            pilot.trouble();
        }
        assert_eq!(pilot.limit, FEWEST);
    }

    #[tokio::test]
    async fn permits_come_back_and_wake_who_waits() {
        let streams = Arc::new(Streams::new(2));
        let (one, two) = (streams.take(1).await, streams.take(1).await);
        let third = streams.take(9);
        tokio::pin!(third);
        let soon = tokio::time::timeout(Duration::from_millis(1), &mut third);
        assert!(soon.await.is_err(), "both are taken");
        drop((one, two));
        assert_eq!(third.await.count, 2, "as many as there are");
    }
}
