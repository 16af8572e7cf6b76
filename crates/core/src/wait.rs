//! Waiting for a predicate over freshly read state, with a deadline. The only
//! place in the products that sleeps.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What one look at the world found.
pub enum Poll<T> {
    /// What was waited for.
    Ready(T),
    /// Not yet; the text says what is still missing.
    Pending(String),
}

/// Looks every `interval` until `look` is ready or `deadline` has passed since the call.
///
/// # Errors
/// What `look` returns as an error, at once. When the deadline passes: `Ok(Err(text))`
/// with the last pending text, so that the caller can say what was missing.
pub async fn until<T, E>(
    deadline: Duration,
    interval: Duration,
    mut look: impl AsyncFnMut() -> Result<Poll<T>, E>,
) -> Result<Result<T, String>, E> {
    let end = Instant::now() + deadline;
    loop {
        match look().await? {
            Poll::Ready(value) => return Ok(Ok(value)),
            Poll::Pending(missing) if Instant::now() >= end => return Ok(Err(missing)),
            Poll::Pending(_) => sleep_until((Instant::now() + interval).min(end)).await,
        }
    }
}

/// Waits `duration`: for retry back-off and rate limits, never to synchronise.
pub async fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_returns_what_was_missing_at_the_last_look() {
        let mut looks = 0;
        let got = until(
            Duration::from_millis(20),
            Duration::from_millis(5),
            async || {
                looks += 1;
                Ok::<_, ()>(Poll::<()>::Pending(format!("look {looks}")))
            },
        )
        .await;
        assert!(looks > 1);
        assert_eq!(got, Ok(Err(format!("look {looks}"))));
    }
}
