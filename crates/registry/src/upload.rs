//! Writing a blob: a session and one streaming PUT of known length. Never in chunks: ECR
//! answers chunks in its own way, and one PUT is also the cheapest form everywhere else.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Body, Method,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION},
};
use url::Url;

use super::{
    client::{Ask, Registry, content_digest},
    error::{Error, Kind, Result, Subject},
};
use crate::{content::Blob, ecr::missing};

/// How long a registry may take to store a blob after its last byte.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(600);

/// What came of asking for an upload.
#[derive(Debug)]
pub enum Started {
    /// The registry took the blob from the other repository: nothing to send.
    Mounted,
    /// Send it here.
    Session(Upload),
}

/// An open upload session.
#[derive(Debug)]
pub struct Upload {
    url: Url,
    scope: String,
    subject: Subject,
}

impl Upload {
    /// What this upload is about, for errors.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl Registry {
    /// Opens an upload of `blob` into `repository`; with `from`, asks to mount it from
    /// that repository. A refused mount is a session like any other.
    pub async fn start_upload(
        &self,
        repository: &str,
        blob: &Blob,
        from: Option<&str>,
    ) -> Result<Started> {
        let subject = self.subject(format!(
            "upload of {} to {}/{repository}",
            blob.digest.short(),
            self.host
        ));
        let mut url = self.endpoint.url(repository, "blobs/uploads/");
        let mut scope = self.push_scope(repository);
        if let Some(from) = from {
            url.query_pairs_mut()
                .append_pair("mount", blob.digest.as_str())
                .append_pair("from", &self.endpoint.repository(from));
            scope = format!("{scope} {}", self.pull_scope(from));
        }
        let ask = Ask {
            method: Method::POST,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            scope: scope.clone(),
            subject: &subject,
        };
        let response = self
            .retry
            .run(|| async {
                match self.send_small(&ask).await {
                    Ok(response) => Ok(response),
                    Err(error) => Err(self.refused_upload(repository, error).await),
                }
            })
            .await?;
        if from.is_some() && response.status() == reqwest::StatusCode::CREATED {
            check_stored(response.headers(), blob, &subject)?;
            return Ok(Started::Mounted);
        }
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let url = session(&ask.url, location).map_err(|text| subject.nonsense(text))?;
        Ok(Started::Session(Upload {
            url,
            scope,
            subject,
        }))
    }

    /// What stands behind the failure of a first request. ECR says 404 of a repository that is
    /// missing, and at times just closes the connection, of a missing permission too: trying
    /// again helps neither, so its API is asked.
    async fn refused_upload(&self, repository: &str, error: Error) -> Error {
        let Some(ecr) = &self.ecr else { return error };
        let absent = error.kind == Kind::NotFound;
        if !absent && !error.is_hang_up() {
            return error;
        }
        match ecr.exists(repository, absent).await {
            Some(false) => match ecr.creates_on_push(repository) {
                None => error.explained(missing(&self.host, repository)),
                Some(template) => error.noting(format!(
                    "creation template {} did not create the repository", template.prefix
                )),
            },
            // Created a moment ago, and not known everywhere yet.
            Some(true) if absent => error.passing(),
            Some(true) => error.noting(format!(
                "ECR closes the connection also where ecr:InitiateLayerUpload is missing on repository {repository}"
            )),
            None => error,
        }
    }

    /// Sends the blob, once: a body that is gone cannot be sent again, so every failure
    /// needs a new session. `body` must yield exactly `blob.size` bytes; the caller watches for
    /// stalls while they flow.
    pub async fn finish_upload(&self, upload: Upload, blob: &Blob, body: Body) -> Result<()> {
        let Upload {
            mut url,
            scope,
            subject,
        } = upload;
        url.query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        let header = self.auth.header(&self.http, &scope, &subject).await?;
        let mut request = self
            .http
            .put(url.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, blob.size)
            .timeout(upload_timeout(blob.size))
            .body(body);
        let used = header.filter(|_| self.endpoint.owns(&url));
        if let Some(header) = &used {
            request = request.header(AUTHORIZATION, header);
        }
        self.count_request();
        let response = request.send().await.map_err(|err| subject.transport(err))?;
        if response.status().is_success() {
            return check_stored(response.headers(), blob, &subject);
        }
        // 409: somebody else is at the same upload. In a new session all of them may pass.
        let session_lost = matches!(response.status().as_u16(), 404 | 409 | 416);
        self.learn(&response, used.as_ref(), &scope).await;
        let mut error = subject.answer(response).await;
        if session_lost {
            error.kind = Kind::Unavailable;
        }
        Err(error)
    }
}

/// Where the session is that the answer of `asked` opened.
fn session(asked: &Url, location: Option<&str>) -> std::result::Result<Url, &'static str> {
    let location = location.ok_or("the registry opened no upload session")?;
    let url = asked
        .join(location)
        .map_err(|_| "the address of the upload session is malformed")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("the address of the upload session is not one of a web server");
    }
    if asked.scheme() == "https" && url.scheme() != "https" {
        return Err("the upload session has an address without encryption");
    }
    // They would be sent as credentials, in the place of ours.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address of the upload session carries credentials");
    }
    Ok(url)
}

/// A registry that says what it has stored must not have stored something else.
fn check_stored(headers: &HeaderMap, blob: &Blob, subject: &Subject) -> Result<()> {
    match content_digest(headers) {
        Some(got) if got.is_like(&blob.digest) && got != blob.digest => {
            Err(subject.error(Kind::Corrupt, format!("the registry stored {got} instead")))
        }
        _ => Ok(()),
    }
}

/// The last line of defence behind the stall timer: nothing moves slower than 16 kB/s for
/// its whole length.
fn upload_timeout(size: u64) -> Duration {
    COMMIT_TIMEOUT + Duration::from_secs(size / 16_000)
}
