//! One registry: requests with authorisation, retries and a limit, and the reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::{
    auth::Auth,
    endpoint::Endpoint,
    error::{self, Kind, Result, Subject},
    retry::Retry,
};
use crate::{
    content::{self, Digest, MAX_MANIFEST_PUSH, MAX_MANIFEST_READ, Malformed, Manifest},
    ecr::Ecr,
};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// In the answer to a manifest with a subject: the registry lists it there.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A registry, by its name in references.
#[derive(Debug)]
pub struct Registry {
    pub(super) host: String,
    pub(super) endpoint: Endpoint,
    pub(super) http: Client,
    pub(super) auth: Auth,
    pub(super) retry: Retry,
    pub(super) stall: Duration,
    pub(super) small: Arc<Semaphore>,
    pub(super) ecr: Option<Arc<Ecr>>,
    pub(super) requests: AtomicU64,
    /// Whether it lists what is attached to a manifest; learnt from the first question.
    pub(super) lists_referrers: OnceCell<bool>,
}

/// A request that can be sent again as it is.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) scope: String,
    pub(super) subject: &'a Subject,
}

impl Registry {
    /// The name in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How often things are tried here.
    pub fn retry(&self) -> &Retry {
        &self.retry
    }

    /// ECR's API, when this is an ECR registry.
    pub fn ecr(&self) -> Option<&Arc<Ecr>> {
        self.ecr.as_ref()
    }

    /// Requests sent so far, those to ECR's API included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed) + self.ecr.as_ref().map_or(0, |ecr| ecr.calls())
    }

    /// The digest a tag or digest stands for, without counting as a pull. None when the
    /// registry does not say.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such manifest.
    pub async fn head_manifest(&self, repository: &str, selector: &str) -> Result<Option<Digest>> {
        let subject = self.manifest_subject(repository, selector);
        let ask = self.manifest_ask(Method::HEAD, repository, selector, &subject);
        let response = self.small(&ask).await?;
        let said = content_digest(response.headers());
        match (Digest::parse(selector), said) {
            // Of another algorithm it may be the same manifest: asked for, it is believed.
            (Some(asked), Some(said)) if !asked.is_like(&said) => Ok(Some(asked)),
            (Some(asked), Some(said)) if asked != said => {
                Err(subject.error(Kind::Corrupt, format!("the registry answers for {said}")))
            }
            (_, said) => Ok(said),
        }
    }

    /// A manifest, checked against the digest it was asked by and the one announced.
    pub async fn get_manifest(&self, repository: &str, selector: &str) -> Result<Manifest> {
        let subject = self.manifest_subject(repository, selector);
        let ask = self.manifest_ask(Method::GET, repository, selector, &subject);
        let (headers, body) = self.read(&ask, MAX_MANIFEST_READ).await?;
        let want = Digest::parse(selector).or_else(|| content_digest(&headers));
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        Manifest::parse(body, content_type, want.as_ref()).map_err(|malformed| {
            let kind = match malformed {
                Malformed::Digest { .. } => Kind::Corrupt,
                Malformed::Shape(_) => Kind::Refused,
            };
            subject.error(kind, malformed.to_string())
        })
    }

    /// True when the repository can serve the blob.
    pub async fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
        let subject = self.subject(format!("{} of {}/{repository}", digest.short(), self.host));
        let ask = Ask {
            method: Method::HEAD,
            url: self.endpoint.url(repository, &format!("blobs/{digest}")),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            scope: self.pull_scope(repository),
            subject: &subject,
        };
        match self.small(&ask).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a manifest, verbatim, under a tag or its digest. True when the registry says
    /// that it lists the manifest with the subject it is attached to.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the tag is immutable and holds something else.
    pub async fn put_manifest(
        &self,
        repository: &str,
        selector: &str,
        manifest: &Manifest,
    ) -> Result<bool> {
        let subject = self.manifest_subject(repository, selector);
        if manifest.bytes.len() > MAX_MANIFEST_PUSH {
            return Err(
                subject.nonsense("the manifest is larger than the 4 MiB that registries accept")
            );
        }
        let content_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|_| subject.nonsense("its media type is not printable"))?;
        let ask = Ask {
            method: Method::PUT,
            url: self
                .endpoint
                .url(repository, &format!("manifests/{selector}")),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
            body: manifest.bytes.clone(),
            scope: self.push_scope(repository),
            subject: &subject,
        };
        let response = self.small(&ask).await?;
        match content_digest(response.headers()) {
            Some(got) if !got.matches(&manifest.bytes) => Err(subject.error(
                Kind::Corrupt,
                format!("the registry stored {got} instead of {}", manifest.digest),
            )),
            _ => Ok(response.headers().contains_key(OCI_SUBJECT)),
        }
    }

    /// One small request, tried again while that makes sense.
    pub(super) async fn small(&self, ask: &Ask<'_>) -> Result<Response> {
        self.retry.run(|| self.send_small(ask)).await
    }

    /// One small request with its whole answer, of at most `limit` bytes. The body belongs
    /// to the request: an answer that breaks off is asked for again.
    pub(super) async fn read(&self, ask: &Ask<'_>, limit: usize) -> Result<(HeaderMap, Bytes)> {
        self.retry
            .run(|| async {
                let response = self.send_small(ask).await?;
                let headers = response.headers().clone();
                Ok((headers, read_limited(response, limit, ask.subject).await?))
            })
            .await
    }

    /// Twice the stall limit for the whole answer: a registry that checks an index against
    /// its children may need seconds.
    pub(super) async fn send_small(&self, ask: &Ask<'_>) -> Result<Response> {
        let _permit = self
            .small
            .acquire()
            .await
            .expect("the semaphore is never closed");
        self.authorised(ask, |request| request.timeout(self.stall * 2))
            .await
    }

    /// Sends with authorisation; a first refusal is answered with a (new) token.
    pub(super) async fn authorised(
        &self,
        ask: &Ask<'_>,
        tune: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let mut renewed = false;
        loop {
            let header = self
                .auth
                .header(&self.http, &ask.scope, ask.subject)
                .await?;
            let request = self.request(ask, header.as_ref());
            self.count_request();
            let mut response = tune(request)
                .send()
                .await
                .map_err(|err| ask.subject.transport(err))?;
            if !renewed && self.learn(&response, header.as_ref(), &ask.scope).await {
                renewed = true;
                error::rest(&mut response).await;
                continue;
            }
            return match response.status().is_success() {
                true => ask.answered_here(response),
                false => Err(ask.subject.answer(response).await),
            };
        }
    }

    /// Learns from a refusal of the registry itself. What another server says that a
    /// redirect led to is no word on our credentials, and must not ask for them.
    pub(super) async fn learn(
        &self,
        answer: &Response,
        used: Option<&HeaderValue>,
        scope: &str,
    ) -> bool {
        let refused = matches!(
            answer.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        );
        refused && self.endpoint.owns(answer.url()) && self.auth.learn(answer, used, scope).await
    }

    fn request(&self, ask: &Ask<'_>, header: Option<&HeaderValue>) -> RequestBuilder {
        let mut request = self
            .http
            .request(ask.method.clone(), ask.url.clone())
            .headers(ask.headers.clone());
        if !ask.is_read() {
            request = request.body(ask.body.clone());
        }
        match header.filter(|_| self.endpoint.owns(&ask.url)) {
            Some(header) => request.header(AUTHORIZATION, header),
            None => request,
        }
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn subject(&self, what: String) -> Subject {
        Subject {
            host: self.host.clone(),
            what,
        }
    }

    fn manifest_subject(&self, repository: &str, selector: &str) -> Subject {
        let separator = if Digest::parse(selector).is_some() {
            '@'
        } else {
            ':'
        };
        self.subject(format!("{}/{repository}{separator}{selector}", self.host))
    }

    fn manifest_ask<'a>(
        &self,
        method: Method,
        repository: &str,
        selector: &str,
        subject: &'a Subject,
    ) -> Ask<'a> {
        let accept =
            HeaderValue::from_str(&content::accepted()).expect("constants of printable characters");
        Ask {
            method,
            url: self
                .endpoint
                .url(repository, &format!("manifests/{selector}")),
            headers: HeaderMap::from_iter([(ACCEPT, accept)]),
            body: Bytes::new(),
            scope: self.pull_scope(repository),
            subject,
        }
    }

    pub(super) fn pull_scope(&self, repository: &str) -> String {
        format!("repository:{}:pull", self.endpoint.repository(repository))
    }

    pub(super) fn push_scope(&self, repository: &str) -> String {
        format!(
            "repository:{}:pull,push",
            self.endpoint.repository(repository)
        )
    }
}

impl Ask<'_> {
    fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// The answer, unless it is a success at writing that somebody else reports: behind a
    /// redirect a PUT may have become a GET, or gone to the login page of a proxy.
    fn answered_here(&self, response: Response) -> Result<Response> {
        let by = response.url();
        if self.is_read() || (by.origin() == self.url.origin() && by.path() == self.url.path()) {
            return Ok(response);
        }
        let by = by.host_str().unwrap_or_default();
        Err(self
            .subject
            .nonsense(format!("what is written is redirected, to {by}")))
    }
}

pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(headers.get(CONTENT_DIGEST)?.to_str().ok()?)
}

pub(super) async fn read_limited(
    mut response: Response,
    limit: usize,
    subject: &Subject,
) -> Result<Bytes> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|err| subject.transport(err))?
    {
        if body.len() + chunk.len() > limit {
            return Err(subject.nonsense(format!("the answer is longer than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}
