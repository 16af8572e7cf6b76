//! The token of the data plane: one for all repositories of the registry.

use std::time::{Duration, SystemTime};

use castlink_core::{Failure, Result};
use reqwest::header::HeaderValue;

use super::Ecr;
use crate::{
    cell::Token,
    error::{self, Subject},
};

/// What a token is believed to live when ECR does not say.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

impl Ecr {
    /// The `Authorization` header of the data plane, fetched once however many wait for it,
    /// and again before it ends.
    pub async fn token(&self, subject: &Subject) -> error::Result<HeaderValue> {
        let fetch = async {
            self.fetch_token()
                .await
                .map_err(|failure| subject.fatal(failure))
        };
        self.token.get(fetch).await
    }

    /// Puts a token aside that the data plane refused. False when another one will not help:
    /// ECR says 403 DENIED of a token that has ended and of a missing permission alike, but a
    /// token that replaced another a moment ago has not ended.
    pub async fn renew(&self, refused: &HeaderValue) -> bool {
        self.token.replace_refused(refused).await
    }

    async fn fetch_token(&self) -> Result<Token> {
        self.count();
        let answer = self.client.get_authorization_token().send().await;
        let answer = answer.map_err(|err| self.failure("GetAuthorizationToken", "", &err))?;
        let data = answer
            .authorization_data
            .unwrap_or_default()
            .into_iter()
            .next();
        let life = data
            .as_ref()
            .and_then(|data| SystemTime::try_from(*data.expires_at()?).ok())
            .map_or(TOKEN_LIFE, |end| {
                end.duration_since(SystemTime::now()).unwrap_or_default()
            });
        data.and_then(|data| Token::new(&format!("Basic {}", data.authorization_token()?), life))
            .ok_or_else(|| {
                Failure::failed(format!("{} handed out no authorization token", self.host))
            })
    }
}
