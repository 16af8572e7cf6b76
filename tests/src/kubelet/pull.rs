//! Pulling an image the way a node does: really asking the registry.
//!
//! A node reaches only the registries it has an endpoint for; every other host times out,
//! as behind a VPC without a way out. The reference is resolved with a token from ECR's
//! `GetAuthorizationToken`, the entry for the node's platform is picked from the index, and
//! the image counts as pulled only when its manifest, config and every layer are served.
//! Failures read as containerd writes them, because that text is what users and tools see.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;
use tokio::sync::Mutex as AsyncMutex;

use crate::mirrored;

mod error;

pub(crate) use self::error::Name;
pub use self::error::PullError;

/// Every manifest type containerd accepts.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
/// A token is renewed when less than this is left of it.
const TOKEN_MARGIN: Duration = Duration::from_secs(1);
/// One request, at most: the registry is on loopback.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// What lies within a node's reach.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Registry host as references name it -> base URL that really serves it.
    pub registries: BTreeMap<String, String>,
    /// Base URL of the AWS APIs.
    pub aws: String,
    /// The nodes' region.
    pub region: String,
    /// The nodes' access key id and secret.
    pub credentials: (String, String),
}

/// What one node has pulled so far.
#[derive(Debug)]
pub(crate) struct NodeStore {
    /// Image as pods name it -> image id.
    images: Mutex<HashMap<String, String>>,
    /// Digests of manifests and blobs.
    content: Mutex<HashSet<String>>,
}

impl NodeStore {
    /// A store that holds these images (as pods name them -> image id) from the start.
    #[must_use]
    pub(crate) fn with_images(images: &BTreeMap<String, String>) -> Self {
        let images = images.iter().map(|(image, id)| (image.clone(), id.clone()));
        Self {
            images: Mutex::new(images.collect()),
            content: Mutex::default(),
        }
    }

    /// The id of an image the node already has.
    #[must_use]
    pub(crate) fn image(&self, image: &str) -> Option<String> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.get(image).cloned()
    }

    fn has(&self, digest: &str) -> bool {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.contains(digest)
    }

    fn keep(&self, digest: &str) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.insert(digest.to_owned());
    }

    fn keep_image(&self, image: &str, id: &str) {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(image.to_owned(), id.to_owned());
    }
}

/// Pulls for every node; holds the registry token they share.
pub(crate) struct Puller {
    http: reqwest::Client,
    ecr: aws_sdk_ecr::Client,
    registries: BTreeMap<String, String>,
    token: AsyncMutex<Option<Token>>,
}

struct Token {
    basic: String,
    expires: SystemTime,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

/// Platform of an index entry, and the part of an image config that says the same.
#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Platform {
    fn runs_on(&self, arch: &str) -> bool {
        self.os == "linux" && self.architecture == arch
    }
}

/// One image on its way to one node.
struct Transfer<'a> {
    puller: &'a Puller,
    store: &'a NodeStore,
    name: &'a Name,
    base: String,
    token: Option<String>,
}

impl Puller {
    /// A puller for nodes with this reach.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(reach: Reach) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(REQUEST_TIMEOUT);
        Ok(Self {
            http: http
                .build()
                .context("cannot set up the kubelets' HTTP client")?,
            ecr: mirrored::ecr_client(&reach.aws, &reach.region, reach.credentials),
            registries: reach.registries,
            token: AsyncMutex::new(None),
        })
    }

    /// Pulls `name` (called `image` in the pod) onto the node with this store; its id.
    ///
    /// # Errors
    /// A [`PullError`] that says what a kubelet would.
    pub(crate) async fn pull(
        &self,
        store: &NodeStore,
        name: &Name,
        image: &str,
        arch: &str,
    ) -> Result<String, PullError> {
        let host = name.registry();
        let Some(base) = self.registries.get(host) else {
            return Err(PullError::Unreachable(name.clone()));
        };
        let transfer = Transfer {
            puller: self,
            store,
            name,
            base: format!("{}/v2/{}", base.trim_end_matches('/'), name.repository()),
            token: self.token().await,
        };
        let digest = match transfer.resolve().await {
            Err(error) if error.refused() => {
                *self.token.lock().await = None; // the next attempt asks for another one
                return Err(error);
            }
            other => other?,
        };
        transfer.fetch(&digest, arch).await?;
        let id = name.id(&digest);
        store.keep_image(image, &id);
        Ok(id)
    }

    /// A registry token that is still good; none when AWS does not give one, which leaves
    /// the registry to refuse the request, as on a node without the right role.
    async fn token(&self) -> Option<String> {
        let mut held = self.token.lock().await;
        let fresh = |token: &&Token| token.expires > SystemTime::now() + TOKEN_MARGIN;
        if let Some(token) = held.as_ref().filter(fresh) {
            return Some(token.basic.clone());
        }
        let answer = self.ecr.get_authorization_token().send().await.ok()?;
        let data = answer.authorization_data().first()?;
        let token = held.insert(Token {
            basic: data.authorization_token()?.to_owned(),
            expires: SystemTime::try_from(*data.expires_at()?).ok()?,
        });
        Some(token.basic.clone())
    }
}

impl Transfer<'_> {
    /// The digest the reference stands for now.
    async fn resolve(&self) -> Result<String, PullError> {
        let path = format!("manifests/{}", self.name.version());
        let answer = self.ask(Method::HEAD, &path).await?;
        let digest = answer.headers().get("docker-content-digest");
        let digest = digest.and_then(|value| value.to_str().ok());
        let digest = digest.or_else(|| self.name.digest());
        digest
            .map(ToOwned::to_owned)
            .ok_or_else(|| PullError::NotFound(self.name.clone()))
    }

    /// Fetches everything the node needs to run the image at `digest`.
    async fn fetch(&self, digest: &str, arch: &str) -> Result<(), PullError> {
        let top: Manifest = self.json("manifests", digest).await?;
        if top.manifests.is_empty() {
            return self.unpack(top, arch).await;
        }
        let mut entries = top.manifests.iter();
        let matches =
            |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|p| p.runs_on(arch));
        let Some(entry) = entries.find(matches) else {
            return Err(PullError::NoPlatform(self.name.clone()));
        };
        let image: Manifest = self.json("manifests", &entry.digest).await?;
        self.unpack(image, arch).await
    }

    async fn unpack(&self, image: Manifest, arch: &str) -> Result<(), PullError> {
        let Some(config) = image.config else {
            return Err(PullError::NoPlatform(self.name.clone()));
        };
        let platform: Platform = self.json("blobs", &config.digest).await?;
        if !platform.runs_on(arch) {
            return Err(PullError::NoPlatform(self.name.clone()));
        }
        try_join_all(image.layers.iter().map(|layer| self.blob(&layer.digest))).await?;
        Ok(())
    }

    async fn blob(&self, digest: &str) -> Result<(), PullError> {
        if !self.store.has(digest) {
            self.part(Method::HEAD, "blobs", digest).await?;
            self.store.keep(digest);
        }
        Ok(())
    }

    async fn json<T: for<'a> Deserialize<'a>>(
        &self,
        kind: &str,
        digest: &str,
    ) -> Result<T, PullError> {
        let answer = self.part(Method::GET, kind, digest).await?;
        let incomplete = |_| PullError::Incomplete(self.name.clone(), digest.to_owned());
        answer.json().await.map_err(incomplete)
    }

    /// Asks for something the image consists of; its absence is the image's fault.
    async fn part(&self, method: Method, kind: &str, digest: &str) -> Result<Response, PullError> {
        let answer = self.ask(method, &format!("{kind}/{digest}")).await;
        answer.map_err(|error| match error {
            PullError::NotFound(name) => PullError::Incomplete(name, digest.to_owned()),
            other => other,
        })
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Response, PullError> {
        let http = &self.puller.http;
        let mut request = http.request(method.clone(), format!("{}/{path}", self.base));
        request = request.header(header::ACCEPT, ACCEPT);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Basic {token}"));
        }
        let mut answer = self.send(request).await?;
        if let Some(location) = redirect(&answer) {
            // To the object store, which takes no second credential beside the link's own.
            answer = self.send(http.request(method, location)).await?;
        }
        let name = || self.name.clone();
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND => Err(PullError::NotFound(name())),
            StatusCode::UNAUTHORIZED => Err(PullError::Unauthorized(name())),
            status => Err(PullError::Status(name(), status.as_u16())),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, PullError> {
        let answer = request.send().await;
        answer.map_err(|_| PullError::Unreachable(self.name.clone()))
    }
}

/// Where an answer sends us, when it does.
fn redirect(answer: &Response) -> Option<Url> {
    let location = answer.headers().get(header::LOCATION)?.to_str().ok()?;
    let target = answer.url().join(location).ok()?;
    answer.status().is_redirection().then_some(target)
}
