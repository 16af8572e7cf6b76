//! How requests to one registry are authorised: not at all, with Basic credentials, with
//! bearer tokens per repository, or with the token that ECR hands out.
//!
//! What a registry wants is learnt from its first 401. Tokens are fetched once however
//! many requests wait for them, renewed before they end, and dropped when refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use reqwest::{
    Client, Response, StatusCode,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use url::Url;

use super::{
    cell::TokenCell,
    credentials::Credentials,
    error::{Result, Subject},
    token::TokenRequest,
};
use crate::ecr::Ecr;

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
    use super::*;

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
}
