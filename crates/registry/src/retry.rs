//! Trying again: how long to wait, how often, and when to stop altogether. The one layer
//! that retries registry calls.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use castlink_core::wait;

use super::error::{Error, Kind, LONGEST_WAIT, Result};

/// The first wait is at most this; it doubles from try to try.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// No wait without a `Retry-After` is longer.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Retries a registry may cost before everything fails at once: a registry that is down
/// must not hold a run of hundreds of images for hours. Every success gives one back.
const BUDGET: i64 = 200;

/// How often one thing is tried, and what is left of the budget.
#[derive(Debug)]
pub struct Retry {
    attempts: u32,
    budget: AtomicI64,
    refusals: AtomicU64,
}

/// The tries of one thing.
#[derive(Debug)]
pub struct Backoff<'a> {
    retry: &'a Retry,
    failed: u32,
}

impl Retry {
    /// `attempts` tries for each thing, at least one.
    pub fn new(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            budget: AtomicI64::new(BUDGET),
            refusals: AtomicU64::new(0),
        }
    }

    /// How often the registry has said that it is too much: throttled, or unavailable.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }

    /// Takes one from the budget. What is used up stays so until something succeeds, and
    /// is not owed.
    fn spend(&self) -> bool {
        let take = |left: i64| (left > 0).then(|| left - 1);
        self.budget.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// The tries of a new thing.
    pub fn start(&self) -> Backoff<'_> {
        Backoff {
            retry: self,
            failed: 0,
        }
    }

    /// Runs `call` until it succeeds or trying again makes no sense.
    pub async fn run<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut backoff = self.start();
        loop {
            match call().await {
                Ok(value) => {
                    backoff.succeeded();
                    return Ok(value);
                }
                Err(error) => backoff.after(error).await?,
            }
        }
    }
}

impl Backoff<'_> {
    /// Gives the budget back what a success is worth, and forgets earlier failures.
    pub fn succeeded(&mut self) {
        self.failed = 0;
        let _ = self
            .retry
            .budget
            .fetch_update(Relaxed, Relaxed, |left| (left < BUDGET).then_some(left + 1));
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `error` itself when it is final, or the tries are used up.
    pub async fn after(&mut self, error: Error) -> Result<()> {
        if matches!(error.kind, Kind::Throttled | Kind::Unavailable) {
            self.retry.refusals.fetch_add(1, Relaxed);
        }
        match self.next_wait(&error) {
            Some(time) => wait::pause(time).await,
            None => return Err(error),
        }
        Ok(())
    }

    /// How long to wait before the next try; none when there is none.
    fn next_wait(&mut self, error: &Error) -> Option<Duration> {
        self.failed += 1;
        let asked = error.retry_after.unwrap_or_default();
        let give_up = !error.kind.is_transient()
            || self.failed >= self.retry.attempts
            || asked > LONGEST_WAIT;
        if give_up || !self.retry.spend() {
            return None;
        }
        Some(asked + wait_after(error.kind, self.failed))
    }
}

/// Full jitter: anything up to the doubled wait, so that many clients do not come back in
/// step. A registry that throttles is left alone for half of it at least: whoever comes back
/// at once is refused again, and may use up its tries within a second.
fn wait_after(kind: Kind, failed: u32) -> Duration {
    let most = FIRST_WAIT
        .saturating_mul(1 << failed.saturating_sub(1).min(10))
        .min(MAX_WAIT);
    let least = match kind {
        Kind::Throttled => most / 2,
        _ => Duration::ZERO,
    };
    least + (most - least).mul_f64(rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::{super::error::*, *};

    fn error(kind: Kind) -> Error {
        let subject = Subject {
            host: "h".into(),
            what: "w".into(),
        };
        subject.error(kind, "")
    }

    fn tries(retry: &Retry, kind: Kind) -> u32 {
        let mut backoff = retry.start();
        let waits = std::iter::from_fn(|| backoff.next_wait(&error(kind)));
        u32::try_from(waits.count()).unwrap() + 1
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let retry = Retry::new(4);
        for (kind, want) in [
            (Kind::Transport, 4),
            (Kind::Throttled, 4),
            (Kind::Unavailable, 4),
            (Kind::NotFound, 1),
            (Kind::Denied, 1),
            (Kind::Corrupt, 1),
        ] {
            assert_eq!(tries(&retry, kind), want, "{kind:?}");
        }
    }

    #[test]
    fn a_dead_registry_uses_up_the_budget() {
        let retry = Retry::new(10);
        let total: i64 = (0..BUDGET)
            .map(|_| i64::from(tries(&retry, Kind::Transport)))
            .sum();
        assert_eq!(total, BUDGET + BUDGET, "one try each, and the budget");
        retry.start().succeeded();
        assert_eq!(
            tries(&retry, Kind::Transport),
            2,
            "what a success gave back"
        );
    }

    #[test]
    fn a_registry_that_throttles_is_given_time() {
        let retry = Retry::new(4);
        let mut backoff = retry.start();
        let waits = std::iter::from_fn(|| backoff.next_wait(&error(Kind::Throttled)));
        let all: Duration = waits.sum();
        assert!(all >= FIRST_WAIT * 7 / 2 && all <= FIRST_WAIT * 7);
    }

    #[test]
    fn waits_grow_and_the_server_has_its_say() {
        let retry = Retry::new(20);
        let mut backoff = retry.start();
        let waits: Vec<Duration> =
            std::iter::from_fn(|| backoff.next_wait(&error(Kind::Unavailable))).collect();
        assert_eq!(waits.len(), 19);
        assert!(waits[0] <= FIRST_WAIT && waits.iter().all(|wait| *wait <= MAX_WAIT));
        let mut asked = error(Kind::Throttled);
        asked.retry_after = Some(Duration::from_secs(7));
        assert!(retry.start().next_wait(&asked).unwrap() >= Duration::from_secs(7));
        asked.retry_after = Some(LONGEST_WAIT * 2);
        assert_eq!(retry.start().next_wait(&asked), None);
    }
}
