//! A session: identity, region, and how to reach AWS, resolved once per command.

use std::error::Error;

use aws_config::{
    AppName, BehaviorVersion, ConfigLoader, SdkConfig, profile::ProfileFileCredentialsProvider,
    sts::AssumeRoleProvider,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::service_config::ServiceConfigKey;
use castlink_core::{Failure, Result, config::Aws};

use crate::{SdkError, error::explain, http, region};

/// How to reach AWS, and as whom. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {
    config: SdkConfig,
    region: String,
    profile: Option<String>,
}

/// Who the credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Account id, twelve digits.
    pub account: String,
    /// ARN of the user or assumed role.
    pub arn: String,
}

impl Session {
    /// Resolves the settings. `region_override` wins over all other sources of the region.
    /// Credentials are only looked for by the first call that needs them.
    ///
    /// # Errors
    /// Exit 2: no region is set, the endpoint is not a URL, the CA bundle is not one.
    pub async fn load(settings: &Aws, region_override: Option<&str>) -> Result<Self> {
        let profile = settings.profile.as_deref();
        let region =
            region::resolve(region_override.or(settings.region.as_deref()), profile).await?;
        let name = region.as_ref().to_owned();
        let config = loader(settings)?.region(region).load().await;
        Ok(Self {
            config: assume(settings, config).await,
            region: name,
            profile: settings.profile.clone().or_else(profile_of_environment),
        })
    }

    /// The configuration every service client is made from.
    #[must_use]
    pub fn sdk_config(&self) -> &SdkConfig {
        &self.config
    }

    /// True when an endpoint was set for `service` (`ECR`), or for all: by the configuration,
    /// the environment or the profile.
    #[must_use]
    pub fn has_endpoint(&self, service: &'static str) -> bool {
        let own = || {
            let key = ServiceConfigKey::builder()
                .service_id(service)
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url")
                .build();
            self.config.service_config()?.load_config(key.ok()?)
        };
        self.config.endpoint_url().is_some() || own().is_some()
    }

    /// The region, `us-east-1`.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Who the credentials belong to, as STS sees it.
    ///
    /// # Errors
    /// Exit 7 without usable credentials, 8 when STS cannot be reached.
    pub async fn identity(&self) -> Result<Identity> {
        let answer = aws_sdk_sts::Client::new(&self.config)
            .get_caller_identity()
            .send()
            .await
            .map_err(|err| self.failure("sts:GetCallerIdentity", "the caller", &err))?;
        Ok(Identity {
            account: answer.account.unwrap_or_default(),
            arn: answer.arn.unwrap_or_default(),
        })
    }

    /// As [`crate::failure`], with hints that know the profile in use.
    pub fn failure<E>(&self, action: &str, subject: &str, err: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        explain(self.profile.as_deref(), action, subject, err)
    }
}

fn loader(settings: &Aws) -> Result<ConfigLoader> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .app_name(AppName::new("castlink").expect("a constant of allowed characters"))
        .timeout_config(http::timeouts())
        .retry_config(http::retries());
    if let Some(profile) = &settings.profile {
        // A profile that is asked for by name wins over keys in the environment, as with
        // the aws CLI; the default chain would take the keys.
        let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile);
        loader = loader
            .profile_name(profile)
            .credentials_provider(credentials.build());
    }
    if let Some(url) = &settings.endpoint_url {
        loader = loader.endpoint_url(checked_url(url)?);
    }
    if let Some(bundle) = http::ca_bundle(settings.ca_bundle.as_deref()) {
        loader = loader.http_client(http::client(&bundle)?);
    }
    Ok(loader)
}

/// Puts the role, if one is set, between the credentials and everything else.
async fn assume(settings: &Aws, config: SdkConfig) -> SdkConfig {
    let Some(role) = &settings.role_arn else {
        return config;
    };
    let mut builder = AssumeRoleProvider::builder(role)
        .session_name("castlink")
        .configure(&config);
    if let Some(id) = &settings.external_id {
        builder = builder.external_id(id);
    }
    let provider = SharedCredentialsProvider::new(builder.build().await);
    config.into_builder().credentials_provider(provider).build()
}

fn checked_url(url: &str) -> Result<&str> {
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err(Failure::usage(format!("endpoint `{url}` is not a URL"))
            .hint("write https://HOST or http://HOST:PORT")),
    }
}

/// Only for hints: the SDK reads it by itself.
fn profile_of_environment() -> Option<String> {
    std::env::var("AWS_PROFILE")
        .ok()
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit;

    use super::*;

    fn settings() -> Aws {
        Aws {
            region: Some("us-east-2".into()),
            endpoint_url: Some("http://127.0.0.1:9".into()),
            ..Aws::default()
        }
    }

    #[tokio::test]
    async fn the_override_wins_and_limits_are_set() {
        let session = Session::load(&settings(), Some("ap-south-1"))
            .await
            .unwrap();
        assert_eq!(session.region(), "ap-south-1");
        let limits = session.sdk_config().timeout_config().unwrap();
        assert!(
            limits.operation_attempt_timeout().is_some() && limits.operation_timeout().is_some()
        );
        assert_eq!(
            session.sdk_config().retry_config().unwrap().max_attempts(),
            4
        );
        assert_eq!(
            Session::load(&settings(), None).await.unwrap().region(),
            "us-east-2"
        );
    }

    #[tokio::test]
    async fn an_endpoint_that_is_no_url_is_a_usage_error() {
        for url in ["localhost:5000", "https://", ""] {
            let settings = Aws {
                endpoint_url: Some(url.into()),
                ..settings()
            };
            let err = Session::load(&settings, None).await.unwrap_err();
            assert_eq!(err.exit(), Exit::Usage, "{url}");
        }
    }
}
