//! HTTP for the SDK: time limits, retries, and a client that trusts a private
//! certificate authority. The SDK reads neither `AWS_CA_BUNDLE` nor a CA setting.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use aws_config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use castlink_core::{Failure, Result};

/// Long enough for a VPN, short enough to fail within a coffee sip.
const CONNECT: Duration = Duration::from_secs(5);
/// The SDK itself would wait for ever for a server that accepts and never answers.
const ATTEMPT: Duration = Duration::from_secs(20);
/// All attempts and pauses of one call.
const OPERATION: Duration = Duration::from_secs(60);
/// Three retries: EC2 throttling seldom lasts longer than their back-off.
const ATTEMPTS: u32 = 4;

pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build()
}

pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// The CA bundle that is asked for: the setting, else `AWS_CA_BUNDLE` as the AWS CLI reads it.
pub(crate) fn ca_bundle(setting: Option<&Path>) -> Option<PathBuf> {
    setting.map(Path::to_path_buf).or_else(|| {
        std::env::var_os("AWS_CA_BUNDLE")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    })
}

/// A client that trusts only the authorities in the PEM file, and honours the proxy
/// environment as the SDK's own client does.
///
/// # Errors
/// Exit 2 when the file cannot be read or holds no certificate.
pub(crate) fn client(bundle: &Path) -> Result<SharedHttpClient> {
    let tls = context(bundle)?;
    Ok(
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(tls.clone())
                .proxy_config(ProxyConfig::from_env());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            connector.build()
        }),
    )
}

fn context(bundle: &Path) -> Result<TlsContext> {
    let name = format!("CA bundle {}", bundle.display());
    let pem = std::fs::read(bundle).map_err(|err| Failure::usage(name.clone()).because(err))?;
    // rustls would panic on the first connection instead.
    if !holds_certificates(&pem) {
        return Err(Failure::usage(format!("{name} holds no PEM certificate"))
            .hint("the file must contain -----BEGIN CERTIFICATE----- blocks"));
    }
    TlsContext::builder()
        .with_trust_store(TrustStore::empty().with_pem_certificate(pem))
        .build()
        .map_err(|err| Failure::usage(name).because(err))
}

fn holds_certificates(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let begins = text.matches("-----BEGIN CERTIFICATE-----").count();
    begins > 0 && begins == text.matches("-----END CERTIFICATE-----").count()
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit;

    use super::*;

    #[test]
    fn a_bundle_that_is_none_is_a_usage_error() {
        let dir = std::env::temp_dir().join(format!("castlink-ca-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let empty = dir.join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        for file in [dir.join("missing.pem"), empty] {
            let err = client(&file).expect_err("not a bundle");
            assert_eq!(err.exit(), Exit::Usage, "{err:?}");
            assert!(err.to_string().contains("CA bundle"), "{err}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
