//! When bytes arrive on the other side: the arithmetic of one direction of a connection.

use std::time::{Duration, Instant};

/// One direction: bytes leave one after the other at the line's rate and arrive half a
/// round trip later.
#[derive(Debug)]
pub(super) struct Lane {
    delay: Duration,
    /// Bytes per second.
    rate: Option<u64>,
    /// When the line is free again.
    free: Instant,
}

impl Lane {
    /// A line that nothing is on at `now`.
    pub(super) fn new(delay: Duration, rate: Option<u64>, now: Instant) -> Self {
        let free = now;
        Self { delay, rate, free }
    }

    /// When the last of `length` bytes arrives that are given to the line at `now`.
    pub(super) fn arrival(&mut self, now: Instant, length: usize) -> Instant {
        let takes = self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(length as f64 / rate as f64)
        });
        self.free = self.free.max(now) + takes;
        self.free + self.delay
    }

    /// How many bytes are on their way at most: what the line holds, and some to spare so
    /// that a late timer does not slow it down.
    pub(super) fn window(&self) -> usize {
        const SPARE: usize = 1 << 20;
        let seconds = 2.0 * self.delay.as_secs_f64();
        let held = self.rate.map_or(0.0, |rate| rate as f64 * seconds);
        held as usize + SPARE
    }

    /// Whether bytes need not wait at all.
    pub(super) fn is_free(&self) -> bool {
        self.delay.is_zero() && self.rate.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn bytes_arrive_after_the_delay_and_one_after_the_other() {
        let start = Instant::now();
        let mut lane = Lane::new(MS(10), Some(1_000_000), start);
        assert_eq!(lane.arrival(start, 1_000), start + MS(11));
        // Given at once, they wait for the line; given late, the line waited for them.
        assert_eq!(lane.arrival(start, 2_000), start + MS(13));
        assert_eq!(lane.arrival(start + MS(50), 1_000), start + MS(61));
    }

    #[test]
    fn a_line_without_a_rate_only_delays() {
        let start = Instant::now();
        let mut lane = Lane::new(MS(40), None, start);
        assert_eq!(lane.arrival(start, 1 << 30), start + MS(40));
        assert!(!lane.is_free());
        assert!(Lane::new(Duration::ZERO, None, start).is_free());
    }

    #[test]
    fn the_window_never_limits_the_rate() {
        let lane = Lane::new(MS(40), Some(15_000_000), Instant::now());
        assert!(lane.window() > 15_000_000 * 80 / 1_000);
    }
}
