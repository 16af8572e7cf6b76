//! How requests to one registry are authorised: not at all, with Basic credentials, with
//! bearer tokens per repository, or with the token that ECR hands out.
//!
//! What a registry wants is learnt from its first 401. Tokens are fetched once however
//! many requests wait for them, renewed before they end, and dropped when refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use reqwest::{
    Client, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use url::Url;

use super::{
    credentials::Credentials,
    error::{Kind, Result, Subject},
};
use crate::ecr::Ecr;

/// The life of a token that does not say how long it lives (the token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// A token request is small; a server that takes longer is down.
const TIMEOUT: Duration = Duration::from_secs(30);

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
enum Scheme {
    /// Nothing yet: perhaps never.
    Open,
    Basic,
    Bearer {
        realm: Url,
        service: String,
    },
}

/// A place for one token: fetched by one, awaited by all.
#[derive(Debug, Default)]
pub(crate) struct TokenCell(tokio::sync::Mutex<Option<Token>>);

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
            renew_at: Instant::now() + life * 11 / 12,
        })
    }
}

impl TokenCell {
    /// The token, or what `fetch` brings when there is none or it is old.
    pub(crate) async fn get(
        &self,
        fetch: impl Future<Output = Result<Token>>,
    ) -> Result<HeaderValue> {
        let mut slot = self.0.lock().await;
        if let Some(token) = slot
            .as_ref()
            .filter(|token| token.renew_at > Instant::now())
        {
            return Ok(token.header.clone());
        }
        let token = fetch.await?;
        let header = token.header.clone();
        *slot = Some(token);
        Ok(header)
    }

    /// Drops the token, unless somebody has put a newer one in place of `used`.
    pub(crate) async fn drop_refused(&self, used: &HeaderValue) {
        let mut slot = self.0.lock().await;
        if slot.as_ref().is_some_and(|token| token.header == used) {
            *slot = None;
        }
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
            Scheme::Bearer { realm, service } => {
                let request = TokenRequest {
                    http,
                    realm,
                    service,
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
            Identity::Ecr(ecr) => {
                if let Some(used) = used {
                    ecr.drop_refused(used).await;
                }
                used.is_some()
            }
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
        .filter_map(|text| http_auth::parse_challenges(text).ok())
        .flatten()
        .filter_map(|challenge| offer(&challenge, refusal.url()))
        .collect();
    let bearer = offers
        .iter()
        .find(|offer| matches!(offer, Scheme::Bearer { .. }));
    bearer.or(offers.first()).cloned()
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
    Some(Scheme::Bearer {
        realm: asked.join(&value("realm")?).ok()?,
        service: value("service").unwrap_or_default(),
    })
}

struct TokenRequest<'a> {
    http: &'a Client,
    realm: Url,
    service: String,
    scope: &'a Scope,
    subject: &'a Subject,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    async fn send(&self, credentials: Option<&Credentials>) -> Result<Token> {
        let request = match credentials {
            Some(Credentials::Identity(secret)) => self.exchange(secret),
            Some(Credentials::Password { username, password }) => self
                .plain()
                .header(AUTHORIZATION, Credentials::basic(username, password)),
            None => self.plain(),
        };
        if credentials.is_some() && self.realm.scheme() == "http" && !is_local(&self.realm) {
            return Err(self.subject.error(
                Kind::Denied,
                "the token server is not encrypted: no credentials sent",
            ));
        }
        let response = request
            .timeout(TIMEOUT)
            .send()
            .await
            .map_err(|err| self.subject.transport(err))?;
        if !response.status().is_success() {
            return Err(self.subject.answer(response).await);
        }
        let answer: TokenAnswer = response
            .json()
            .await
            .map_err(|err| self.subject.transport(err))?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
        answer
            .token
            .or(answer.access_token)
            .and_then(|text| Token::new(&format!("Bearer {text}"), life))
            .ok_or_else(|| {
                self.subject
                    .nonsense("the token server answered without a token")
            })
    }

    fn plain(&self) -> reqwest::RequestBuilder {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("service", &self.service);
            for scope in self.scope.split(' ') {
                query.append_pair("scope", scope);
            }
        }
        self.http.get(url)
    }

    /// The OAuth2 form: an identity token for an access token.
    fn exchange(&self, secret: &str) -> reqwest::RequestBuilder {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "castlink")
            .append_pair("service", &self.service)
            .append_pair("scope", self.scope)
            .append_pair("refresh_token", secret)
            .finish();
        self.http
            .post(self.realm.clone())
            .header(
                reqwest::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(body)
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
