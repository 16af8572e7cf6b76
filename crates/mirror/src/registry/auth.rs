//! How requests to one registry are authorised: not at all, with Basic credentials, with
//! bearer tokens per repository, or with the token that ECR hands out.
//!
//! What a registry wants is learnt from its first 401. Tokens are fetched once however
//! many requests wait for them, renewed before they end, and dropped when refused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use reqwest::{
    Client, Response, StatusCode,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use url::Url;

use super::{
    credentials::Credentials,
    error::{Error, Result, Subject},
    token::TokenRequest,
};
use crate::ecr::Ecr;

/// The longest that a token is believed to live, whatever its server says.
pub(super) const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long a token that replaced a refused one is not suspected: whatever is refused then is
/// refused for another reason.
const TRUSTED: Duration = Duration::from_secs(60);

/// What a request needs permission for: `repository:castai-hub/library/agent:pull`, several
/// of them separated by spaces.
pub(crate) type Scope = str;

/// The authorisation at one registry.
#[derive(Debug)]
pub(crate) struct Auth {
    identity: Identity,
    scheme: RwLock<Scheme>,
    tokens: Mutex<HashMap<String, Arc<TokenCell>>>,
}

/// Who we are.
#[derive(Debug)]
pub(crate) enum Identity {
    /// An ECR registry: AWS says.
    Ecr(Arc<Ecr>),
    /// Any other: stored credentials, or nobody.
    Stored(Option<Credentials>),
}

/// What the registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Nothing yet: perhaps never.
    Open,
    Basic,
    Bearer {
        realm: Url,
        service: String,
        /// True when credentials may be sent to the realm.
        safe: bool,
    },
}

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
    pub(crate) header: HeaderValue,
    /// When to fetch a new one.
    pub(crate) renew_at: Instant,
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

impl Auth {
    /// Authorisation for `identity`.
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            scheme: RwLock::new(Scheme::Open),
            tokens: Mutex::default(),
        }
    }

    /// The `Authorization` header for a request that needs `scope`, if one is wanted.
    pub(crate) async fn header(
        &self,
        http: &Client,
        scope: &Scope,
        subject: &Subject,
    ) -> Result<Option<HeaderValue>> {
        let credentials = match &self.identity {
            Identity::Ecr(ecr) => return ecr.token(subject).await.map(Some),
            Identity::Stored(credentials) => credentials.as_ref(),
        };
        match self.scheme() {
            Scheme::Open => Ok(None),
            Scheme::Basic => Ok(credentials.and_then(basic)),
            Scheme::Bearer {
                realm,
                service,
                safe,
            } => {
                let request = TokenRequest {
                    http,
                    realm,
                    service,
                    safe,
                    scope,
                    subject,
                };
                self.cell(scope)
                    .get(request.send(credentials))
                    .await
                    .map(Some)
            }
        }
    }

    /// Learns from a refusal. True when the request is worth repeating: with a first
    /// token, or a new one.
    pub(crate) async fn learn(
        &self,
        refusal: &Response,
        used: Option<&HeaderValue>,
        scope: &Scope,
    ) -> bool {
        match &self.identity {
            // ECR says 403 DENIED of an expired token, as it does of a missing permission.
            Identity::Ecr(ecr) => match used {
                Some(used) => ecr.renew(used).await,
                None => false,
            },
            Identity::Stored(credentials) if refusal.status() == StatusCode::UNAUTHORIZED => {
                let wanted = challenge(refusal);
                if let Some(scheme) = &wanted {
                    *self.scheme.write().unwrap_or_else(PoisonError::into_inner) = scheme.clone();
                }
                match (wanted, used) {
                    (Some(Scheme::Bearer { .. }), None) => true,
                    (_, Some(used)) if used.as_bytes().starts_with(b"Bearer ") => {
                        self.cell(scope).drop_refused(used).await;
                        true
                    }
                    (Some(Scheme::Basic), None) => credentials.is_some(),
                    _ => false,
                }
            }
            Identity::Stored(_) => false,
        }
    }

    fn scheme(&self) -> Scheme {
        self.scheme
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn cell(&self, scope: &Scope) -> Arc<TokenCell> {
        let mut cells = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(scope.to_owned()).or_default())
    }
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let Credentials::Password { username, password } = credentials else {
        return None;
    };
    let mut header = HeaderValue::from_str(&Credentials::basic(username, password)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The strongest scheme that the refusal offers and we can do.
fn challenge(refusal: &Response) -> Option<Scheme> {
    let headers = refusal.headers().get_all(WWW_AUTHENTICATE);
    let offers: Vec<Scheme> = headers
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|text| offers(text, refusal.url()))
        .collect();
    let bearer = offers
        .iter()
        .find(|offer| matches!(offer, Scheme::Bearer { .. }));
    bearer.or(offers.first()).cloned()
}

/// What one `WWW-Authenticate` header of an answer from `asked` offers.
pub(super) fn offers(text: &str, asked: &Url) -> Vec<Scheme> {
    let challenges = http_auth::parse_challenges(text).unwrap_or_default();
    let offers = challenges.iter().filter_map(|one| offer(one, asked));
    offers.collect()
}

fn offer(challenge: &http_auth::ChallengeRef<'_>, asked: &Url) -> Option<Scheme> {
    if challenge.scheme.eq_ignore_ascii_case("basic") {
        return Some(Scheme::Basic);
    }
    if !challenge.scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let value = |name: &str| {
        let found = challenge
            .params
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    let realm = asked.join(&value("realm")?).ok()?;
    // What the address itself carries would be sent as credentials.
    let plain = realm.username().is_empty() && realm.password().is_none();
    (plain && matches!(realm.scheme(), "http" | "https") && realm.has_host()).then(|| {
        Scheme::Bearer {
            safe: realm.scheme() == "https" || is_as_near(asked, &realm),
            realm,
            service: value("service").unwrap_or_default(),
        }
    })
}

/// True when an unencrypted token server is as near as its unencrypted registry: the
/// same host, or both on this machine.
fn is_as_near(asked: &Url, realm: &Url) -> bool {
    asked.scheme() == "http"
        && (asked.host() == realm.host() || (is_local(asked) && is_local(realm)))
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::atomic::AtomicUsize};

    use futures::future::join_all;

    use super::*;
    use crate::registry::error::Kind;

    #[test]
    fn credentials_go_where_the_registry_may_send_them() {
        for (asked, realm, want) in [
            // (scheme, host) of the realm, and whether credentials may go there.
            ("https://ghcr.io", "https://ghcr.io/token", Some(true)),
            ("https://ghcr.io", "/token", Some(true)),
            (
                "https://docker.io",
                "https://auth.docker.io/token",
                Some(true),
            ),
            ("https://ghcr.io", "http://ghcr.io/token", Some(false)),
            ("https://ghcr.io", "http://127.0.0.1/token", Some(false)),
            ("http://10.0.0.1", "http://10.0.0.1:81/token", Some(true)),
            ("http://10.0.0.1", "http://10.0.0.2/token", Some(false)),
            ("http://10.0.0.1", "http://localhost/token", Some(false)),
            ("http://127.0.0.1:1", "http://localhost:2/token", Some(true)),
            (
                "http://127.0.0.1:1",
                "https://auth.example/token",
                Some(true),
            ),
            ("https://ghcr.io", "ftp://ghcr.io/token", None),
            ("https://ghcr.io", "file:///etc/passwd", None),
            ("https://ghcr.io", "https://me:pw@ghcr.io/token", None),
            ("https://ghcr.io", "https://", None),
        ] {
            let asked = Url::parse(asked).unwrap();
            let found = offers(&format!(r#"Bearer realm="{realm}""#), &asked);
            let safe = found.first().map(|offer| match offer {
                Scheme::Bearer { safe, .. } => *safe,
                other => panic!("{other:?}"),
            });
            assert_eq!(safe, want, "{realm} of {asked}");
        }
    }

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
