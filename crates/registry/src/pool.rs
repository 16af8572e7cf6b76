//! The registries of one run, opened when first used.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use castlink_core::{
    Failure, Result,
    config::{self, Config},
    reference::EcrHost,
};
use reqwest::{Client, Proxy, redirect};
use tokio::sync::{Mutex, OnceCell, Semaphore};
use url::Url;

use super::{
    auth::{Auth, Identity},
    client::{Registry, read_limited},
    credentials,
    endpoint::{Endpoint, certificates},
    error::{Error, Subject},
    retry::Retry,
};
use crate::ecr::Ecr;

/// A host that does not accept a connection in this time is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Small requests under way at once, at one registry. Apart from the blobs, so that a
/// manifest never waits behind a layer.
const SMALL_REQUESTS: usize = 32;

/// The value of `proxy` that means none, whatever the environment says.
const DIRECT: &str = "direct";

/// The longest a whole file may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hops from a blob's address to its bytes.
const REDIRECTS: usize = 10;

/// What bounds every transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Time without a byte after which a transfer is cut.
    pub stall: Duration,
    /// Tries of one thing.
    pub attempts: u32,
}

/// All registries of a run.
#[derive(Debug)]
pub struct Registries {
    config: Config,
    limits: Limits,
    open: Mutex<HashMap<String, Arc<Registry>>>,
    clients: Mutex<BTreeMap<Line, Client>>,
}

/// What decides how a registry is connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    ca: Option<PathBuf>,
    proxy: Option<String>,
}

impl Registries {
    /// No registry is asked anything before it is used.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            limits: Limits {
                stall: Duration::from_secs(config.mirror.stall.max(1)),
                attempts: config.mirror.attempts,
            },
            open: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// The registry that references call `host`.
    ///
    /// # Errors
    /// Exit 2 for unusable settings, 7 for credentials that are named and not there.
    pub async fn get(&self, host: &str) -> Result<Arc<Registry>> {
        let mut open = self.open.lock().await;
        if let Some(registry) = open.get(host) {
            return Ok(Arc::clone(registry));
        }
        let registry = Arc::new(self.connect(host).await?);
        open.insert(host.to_owned(), Arc::clone(&registry));
        Ok(registry)
    }

    /// Requests sent so far, to all of them.
    pub async fn requests(&self) -> u64 {
        self.open
            .lock()
            .await
            .values()
            .map(|registry| registry.requests())
            .sum()
    }

    /// The same, apart for the registries that are called so, and for all others.
    pub async fn requests_apart(&self, hosts: &BTreeSet<&str>) -> (u64, u64) {
        let open = self.open.lock().await;
        let counted = open.values().map(|registry| {
            let there = hosts.contains(registry.host());
            (there, registry.requests())
        });
        counted.fold(
            (0, 0),
            |(there, others), (is_there, number)| match is_there {
                true => (there + number, others),
                false => (there, others + number),
            },
        )
    }

    /// How often any of them has said that it is too much.
    pub async fn refusals(&self) -> u64 {
        let open = self.open.lock().await;
        open.values()
            .map(|registry| registry.retry.refusals())
            .sum()
    }

    /// A file from a web server, reached as the registry of that host would be: with the
    /// authorities and the proxy that are configured for it.
    ///
    /// # Errors
    /// Exit 2 for an address that is none, 8 when it cannot be had, 1 when the server
    /// refuses or sends more than `limit` bytes.
    pub async fn fetch(&self, address: &str, limit: usize) -> Result<Bytes> {
        let unusable = || Failure::usage(format!("`{address}` is not a web address"));
        let url = Url::parse(address).map_err(|err| unusable().because(err))?;
        let host = url.host_str().ok_or_else(unusable)?.to_owned();
        let line = Line::of(self.config.registries.get(&host));
        let client = self.client(line).await?;
        let subject = Subject {
            what: address.to_owned(),
            host,
        };
        let get = async || {
            let sent = client.get(url.clone()).timeout(PATIENCE).send().await;
            let response = sent.map_err(|err| subject.transport(err))?;
            match response.status().is_success() {
                true => read_limited(response, limit, &subject).await,
                false => Err(subject.answer(response).await),
            }
        };
        let tried = Retry::new(self.limits.attempts).run(get).await;
        tried.map_err(Error::into_failure)
    }

    async fn connect(&self, host: &str) -> Result<Registry> {
        let settings = self.config.registries.get(host);
        let ecr = match EcrHost::parse(host) {
            Some(parts) => Some(Arc::new(
                Ecr::open(host, &parts, &self.aws(settings)).await?,
            )),
            None => None,
        };
        let identity = match &ecr {
            Some(ecr) => Identity::Ecr(Arc::clone(ecr)),
            None => Identity::Stored(credentials::find(host, settings).await?),
        };
        Ok(Registry {
            host: host.to_owned(),
            endpoint: Endpoint::of(host, settings)?,
            http: self.client(Line::of(settings)).await?,
            auth: Auth::new(identity),
            retry: Retry::new(self.limits.attempts),
            stall: self.limits.stall,
            small: Arc::new(Semaphore::new(SMALL_REQUESTS)),
            ecr,
            requests: AtomicU64::new(0),
            lists_referrers: OnceCell::new(),
        })
    }

    /// How to reach AWS for a registry: another account may want another profile or role.
    fn aws(&self, settings: Option<&config::Registry>) -> config::Aws {
        let mut aws = self.config.aws.clone();
        let Some(own) = settings else { return aws };
        if own.profile.is_some() {
            aws.profile.clone_from(&own.profile);
        }
        if own.role_arn.is_some() {
            aws.role_arn.clone_from(&own.role_arn);
            aws.external_id.clone_from(&own.external_id);
        }
        aws
    }

    /// One HTTP client for all registries on the same line: they share its pool.
    async fn client(&self, line: Line) -> Result<Client> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&line) {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .user_agent(concat!("castlink/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(SMALL_REQUESTS)
            // Many connections beat many streams of one: no head-of-line blocking, no windows.
            .http1_only()
            // A digest is of the bytes as they are stored, whatever features the client
            // library is built with.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            // A referer would carry signed URLs.
            .referer(false)
            .redirect(redirect::Policy::custom(follow));
        if let Some(file) = &line.ca {
            builder = builder.tls_certs_merge(certificates(file)?);
        }
        builder = match line.proxy.as_deref() {
            None => builder,
            Some(DIRECT) => builder.no_proxy(),
            Some(url) => builder.proxy(proxy(url)?),
        };
        let client = builder
            .build()
            .map_err(|err| Failure::failed("setting up the HTTP client").because(err))?;
        clients.insert(line, client.clone());
        Ok(client)
    }
}

impl Line {
    fn of(settings: Option<&config::Registry>) -> Self {
        let settings = settings.cloned().unwrap_or_default();
        Self {
            ca: settings.ca,
            proxy: settings.proxy,
        }
    }
}

fn proxy(url: &str) -> Result<Proxy> {
    let unusable = || {
        Failure::usage(format!("proxy `{url}` is not a URL"))
            .hint("write http://HOST:PORT, or `direct` for none")
    };
    let parsed = Url::parse(url).map_err(|err| unusable().because(err))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(unusable());
    }
    Proxy::all(parsed).map_err(|err| unusable().because(err))
}

/// Credentials are dropped across hosts by the client itself; encryption is not given up.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let was_secure = attempt
        .previous()
        .last()
        .is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("too many redirects");
    }
    if !matches!(attempt.url().scheme(), "http" | "https") {
        return attempt.error("redirected to something that is no web server");
    }
    if was_secure && attempt.url().scheme() != "https" {
        return attempt.error("redirected to an address without encryption");
    }
    attempt.follow()
}
