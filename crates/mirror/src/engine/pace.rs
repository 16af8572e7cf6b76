//! A pace: so many at once, then one per interval. Bouncing off a server's limit costs a
//! request and a wait; keeping below it costs the wait alone.

use std::time::Duration;

use castlink_core::wait;
use tokio::{sync::Mutex, time::Instant};

/// A token bucket, served in the order of asking.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    burst: u32,
    /// When the bucket is (or was) full.
    full_at: Mutex<Instant>,
}

impl Pace {
    /// `burst` at once, and one more every `interval`.
    pub(super) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            interval,
            burst,
            full_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the next turn.
    pub(super) async fn turn(&self) {
        // Held while waiting, so that turns come in order.
        let mut full_at = self.full_at.lock().await;
        let now = Instant::now();
        let (ready, full) = self.reserve(*full_at, now);
        wait::pause(ready - now).await;
        *full_at = full;
    }

    /// When the next turn may begin, and when the bucket is full again after it.
    fn reserve(&self, full_at: Instant, now: Instant) -> (Instant, Instant) {
        let full = full_at.max(now) + self.interval;
        let ready = full.checked_sub(self.interval * self.burst).unwrap_or(now);
        (ready.max(now), full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_per_interval() {
        let interval = Duration::from_millis(100);
        let pace = Pace::new(10, interval);
        let start = Instant::now();
        let (mut now, mut full_at) = (start, start);
        for turn in 0..30 {
            let ready;
            (ready, full_at) = pace.reserve(full_at, now);
            now = ready;
            let waited = interval * (turn.max(9) - 9);
            assert_eq!(now - start, waited, "turn {turn}");
        }
        let (ready, _) = pace.reserve(full_at, now + interval * 20);
        assert_eq!(ready, now + interval * 20, "full again after a rest");
    }
}
