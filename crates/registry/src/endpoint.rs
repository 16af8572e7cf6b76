//! Where a registry is really asked: its own host, or the mirror, proxy or loopback
//! server that the configuration names.

use std::path::Path;

use castlink_core::{Failure, Result, config};
use url::Url;

/// Where Docker Hub's API lives; `docker.io` itself serves web pages.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// The place a registry is asked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme, host and port.
    base: Url,
    /// Put in front of every repository, with a final slash; empty without one.
    prefix: String,
}

impl Endpoint {
    /// The endpoint of `host`, with the settings that are made for it. That they hold no
    /// credentials was seen to when they were read.
    ///
    /// # Errors
    /// Exit 2 when the configured endpoint is not an http(s) URL.
    pub(crate) fn of(host: &str, settings: Option<&config::Registry>) -> Result<Self> {
        match settings.and_then(|settings| settings.endpoint.as_deref()) {
            Some(text) => Self::configured(host, text),
            None => Self::natural(host),
        }
    }

    fn configured(host: &str, text: &str) -> Result<Self> {
        let malformed = || {
            Failure::usage(format!("endpoint `{text}` of registry {host} is not a URL"))
                .hint("write https://HOST[:PORT][/PREFIX]")
        };
        let url = Url::parse(text).map_err(|err| malformed().because(err))?;
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() || url.query().is_some() {
            return Err(malformed());
        }
        let path = url.path().trim_matches('/');
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut base = url;
        base.set_path("/");
        Ok(Self { base, prefix })
    }

    fn natural(host: &str) -> Result<Self> {
        let scheme = if is_loopback(host) { "http" } else { "https" };
        let name = if host == "docker.io" {
            DOCKER_HUB
        } else {
            host
        };
        let base = Url::parse(&format!("{scheme}://{name}/")).map_err(|err| {
            Failure::usage(format!("registry `{host}` is not a host name")).because(err)
        })?;
        Ok(Self {
            base,
            prefix: String::new(),
        })
    }

    /// The repository's name as the server knows it.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// `/v2/<repository>/<rest>`.
    pub(crate) fn url(&self, repository: &str, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}{repository}/{rest}", self.prefix));
        url
    }

    /// True when `url` is on the server that our credentials are for.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }
}

/// True for the hosts that are spoken to without TLS, as every container tool does.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

/// Reads the certificates to trust in addition to the system's.
///
/// # Errors
/// Exit 2 when the file cannot be read or holds no PEM certificate.
pub(crate) fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>> {
    let unusable = || {
        Failure::usage(format!(
            "{} is not a usable file of certificates",
            file.display()
        ))
    };
    let pem = std::fs::read(file).map_err(|err| unusable().because(err))?;
    let found =
        reqwest::Certificate::from_pem_bundle(&pem).map_err(|err| unusable().because(err))?;
    if found.is_empty() {
        return Err(unusable().hint("it must hold certificates in PEM form"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str, endpoint: Option<&str>) -> String {
        let settings = config::Registry {
            endpoint: endpoint.map(Into::into),
            ..config::Registry::default()
        };
        let endpoint = Endpoint::of(host, Some(&settings)).unwrap();
        endpoint.url("library/busybox", "manifests/1").into()
    }

    #[test]
    fn hosts_proxies_and_loopback() {
        for (host, endpoint, want) in [
            (
                "ghcr.io",
                None,
                "https://ghcr.io/v2/library/busybox/manifests/1",
            ),
            (
                "docker.io",
                None,
                "https://registry-1.docker.io/v2/library/busybox/manifests/1",
            ),
            (
                "localhost:5000",
                None,
                "http://localhost:5000/v2/library/busybox/manifests/1",
            ),
            (
                "127.0.0.1:5000",
                None,
                "http://127.0.0.1:5000/v2/library/busybox/manifests/1",
            ),
            (
                "docker.io",
                Some("https://harbor.corp:8443/hub-proxy/"),
                "https://harbor.corp:8443/v2/hub-proxy/library/busybox/manifests/1",
            ),
            (
                "ghcr.io",
                Some("http://10.0.0.1"),
                "http://10.0.0.1/v2/library/busybox/manifests/1",
            ),
        ] {
            assert_eq!(url(host, endpoint), want);
        }
    }

    #[test]
    fn credentials_belong_to_one_origin() {
        let endpoint = Endpoint::of("ghcr.io", None).unwrap();
        assert!(endpoint.owns(&Url::parse("https://ghcr.io/v2/x").unwrap()));
        for other in [
            "http://ghcr.io/v2/x",
            "https://ghcr.io:8443/",
            "https://evil.example/",
        ] {
            assert!(!endpoint.owns(&Url::parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn endpoints_that_are_no_urls_are_usage_errors() {
        for text in ["harbor.corp", "ftp://x", "https://x?y=1"] {
            let settings = config::Registry {
                endpoint: Some(text.into()),
                ..config::Registry::default()
            };
            let err = Endpoint::of("ghcr.io", Some(&settings)).unwrap_err();
            assert_eq!(err.exit(), castlink_core::Exit::Usage, "{text}");
        }
    }
}
