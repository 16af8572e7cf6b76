//! Fetching a bearer token from the server that a registry names: in the form of the
//! distribution specification, or as OAuth2 with an identity token.

use std::time::Duration;

use reqwest::{
    Client,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use url::Url;

use super::{
    auth::Scope,
    cell::{MAX_LIFE, Token},
    client::read_limited,
    credentials::Credentials,
    error::{Kind, Result, Subject},
};

/// The life of a token that does not say how long it lives (the token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// A token request is small; a server that takes longer is down.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer of a token server that is read; real ones take a few kilobytes.
const MAX_ANSWER: usize = 1 << 20;

/// A request for one token.
pub(super) struct TokenRequest<'a> {
    pub(super) http: &'a Client,
    pub(super) realm: Url,
    pub(super) service: String,
    /// True when credentials may be sent to the realm.
    pub(super) safe: bool,
    pub(super) scope: &'a Scope,
    /// What the token is for.
    pub(super) subject: &'a Subject,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds; a number of any kind, as servers differ.
    expires_in: Option<f64>,
}

impl TokenAnswer {
    fn token(self) -> Option<Token> {
        let life = self.expires_in.map_or(DEFAULT_LIFE, |seconds| {
            Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_LIFE.as_secs_f64()))
                .unwrap_or_default()
        });
        let given = |text: &String| !text.is_empty();
        let text = self.token.filter(given).or(self.access_token)?;
        Token::new(&format!("Bearer {text}"), life)
    }
}

impl TokenRequest<'_> {
    /// Sends it, with `credentials` if there are any.
    pub(super) async fn send(&self, credentials: Option<&Credentials>) -> Result<Token> {
        let server = self.realm.host_str().unwrap_or_default();
        let sent = self.ask(credentials).await;
        sent.map_err(|error| error.of_token_server(server))
    }

    async fn ask(&self, credentials: Option<&Credentials>) -> Result<Token> {
        let request = match credentials {
            Some(Credentials::Identity(secret)) => self.exchange(secret),
            Some(Credentials::Password { username, password }) => self
                .plain()
                .header(AUTHORIZATION, Credentials::basic(username, password)),
            None => self.plain(),
        };
        if credentials.is_some() && !self.safe {
            return Err(self
                .subject
                .error(Kind::Denied, "it is not encrypted: no credentials are sent"));
        }
        let response = request
            .timeout(TIMEOUT)
            .send()
            .await
            .map_err(|err| self.subject.transport(err))?;
        if !response.status().is_success() {
            return Err(self.subject.answer(response).await);
        }
        let body = read_limited(response, MAX_ANSWER, self.subject).await?;
        // The parser's error could quote the token: it is dropped.
        let answer = serde_json::from_slice::<TokenAnswer>(&body).ok();
        let token = answer.and_then(TokenAnswer::token);
        token.ok_or_else(|| self.subject.nonsense("there is none in the answer"))
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
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
    }
}
