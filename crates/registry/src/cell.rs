//! The place of one token: fetched by one, awaited by all, renewed before it ends, and put
//! aside when it is refused. What a token is for, and who fetches it, is not known here.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use reqwest::header::HeaderValue;

use super::error::{Error, Result};

/// The longest that a token is believed to live, whatever its server says.
pub(super) const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long a token that replaced a refused one is not suspected: whatever is refused then is
/// refused for another reason.
const TRUSTED: Duration = Duration::from_secs(60);

/// A place for one token: fetched by one, awaited by all.
#[derive(Debug, Default)]
pub(crate) struct TokenCell {
    slot: tokio::sync::Mutex<Slot>,
    /// How many fetches have failed: who waited through one shares its end.
    failures: AtomicU64,
}

/// The last fetch.
#[derive(Debug, Default)]
struct Slot {
    token: Option<Token>,
    failure: Option<Error>,
    /// When a refusal last made us fetch another.
    replaced: Option<Instant>,
}

/// A header value and when to renew it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// The `Authorization` header, marked sensitive.
    pub header: HeaderValue,
    /// When to fetch a new one.
    pub renew_at: Instant,
}

impl Token {
    /// A token that is renewed after eleven twelfths of its life: after eleven of ECR's
    /// twelve hours. None when the text cannot be a header.
    pub(crate) fn new(text: &str, life: Duration) -> Option<Self> {
        let mut header = HeaderValue::from_str(text).ok()?;
        header.set_sensitive(true);
        Some(Self {
            header,
            renew_at: Instant::now() + life.min(MAX_LIFE) * 11 / 12,
        })
    }
}

impl TokenCell {
    /// The token, or what `fetch` brings when there is none or it is old. Many who wait
    /// for a server that is down wait for it once, not in turn.
    pub(crate) async fn get(
        &self,
        fetch: impl Future<Output = Result<Token>>,
    ) -> Result<HeaderValue> {
        let failures = self.failures.load(Relaxed);
        let mut slot = self.slot.lock().await;
        let fresh = |token: &&Token| token.renew_at > Instant::now();
        if let Some(token) = slot.token.as_ref().filter(fresh) {
            return Ok(token.header.clone());
        }
        if let Some(error) = &slot.failure
            && self.failures.load(Relaxed) != failures
        {
            return Err(error.echo());
        }
        let fetched = fetch.await;
        slot.failure = fetched.as_ref().err().map(Error::echo);
        if fetched.is_err() {
            self.failures.fetch_add(1, Relaxed);
        }
        let token = fetched?;
        let header = token.header.clone();
        slot.token = Some(token);
        Ok(header)
    }

    /// Drops the token, unless somebody has put a newer one in place of `used`.
    pub(crate) async fn drop_refused(&self, used: &HeaderValue) {
        let mut slot = self.slot.lock().await;
        if slot
            .token
            .as_ref()
            .is_some_and(|token| token.header == used)
        {
            slot.token = None;
        }
    }

    /// As [`Self::drop_refused`], where a refusal may also mean a missing permission. False
    /// when the token is not to blame: it replaced a refused one a moment ago.
    pub(crate) async fn replace_refused(&self, used: &HeaderValue) -> bool {
        let mut slot = self.slot.lock().await;
        if slot.token.as_ref().is_none_or(|token| token.header != used) {
            return true;
        }
        if slot.replaced.is_some_and(|at| at.elapsed() < TRUSTED) {
            return false;
        }
        slot.token = None;
        slot.replaced = Some(Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::atomic::AtomicUsize};

    use futures::future::join_all;

    use super::*;
    use crate::error::{Kind, Subject};

    #[tokio::test]
    async fn who_waits_for_a_fetch_shares_its_failure() {
        let (cell, fetches) = (TokenCell::default(), AtomicUsize::new(0));
        let subject = Subject {
            host: "h".into(),
            what: "w".into(),
        };
        let fetch = async || {
            fetches.fetch_add(1, Relaxed);
            // Long enough for the others to line up.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            Err(subject.error(Kind::Transport, "down"))
        };
        let all = join_all((0..8).map(|_| cell.get(fetch()))).await;
        assert!(
            all.iter()
                .all(|got| matches!(got, Err(error) if error.kind == Kind::Transport))
        );
        assert_eq!(fetches.load(Relaxed), 1);
        let later = cell.get(async { Ok(Token::new("Bearer t", MAX_LIFE).unwrap()) });
        assert_eq!(
            later.await.unwrap(),
            "Bearer t",
            "who comes later tries again"
        );
    }

    fn token(text: &str) -> Token {
        Token::new(text, Duration::from_secs(3600)).unwrap()
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once_and_then_believed() {
        let (cell, fetched) = (TokenCell::default(), Cell::new(0));
        let get = || {
            cell.get(async {
                fetched.set(fetched.get() + 1);
                Ok(token(&format!("t{}", fetched.get())))
            })
        };
        let first = get().await.unwrap();
        assert_eq!(get().await.unwrap(), first, "kept");
        assert!(cell.replace_refused(&first).await);
        assert!(cell.replace_refused(&first).await, "dropped already");
        let second = get().await.unwrap();
        assert_eq!(fetched.get(), 2);
        assert!(
            cell.replace_refused(&first).await,
            "somebody has renewed it"
        );
        assert!(!cell.replace_refused(&second).await, "it is not the token");
        assert_eq!(get().await.unwrap(), second);
    }

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let life = Duration::from_secs(12 * 3600);
        let before = Instant::now();
        let token = Token::new("t", life).unwrap();
        let ahead = (before + life).saturating_duration_since(token.renew_at);
        assert!(ahead <= Duration::from_secs(3600) && !ahead.is_zero());
        assert!(Token::new("line\nbreak", life).is_none());
    }
}
