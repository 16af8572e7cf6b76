//! The registry process that keeps the blobs, as the gate uses it: sessions, one PUT,
//! mounts, reads. Bodies are streamed both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::refusal::Refusal;

pub(super) struct Store {
    url: String,
    http: reqwest::Client,
}

impl Store {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            http: reqwest::Client::new(),
        }
    }

    /// Opens a session; where to put the bytes.
    pub(super) async fn begin(&self, repository: &str) -> Result<String, Refusal> {
        let url = format!("{}/v2/{repository}/blobs/uploads/", self.url);
        let answer = self
            .http
            .post(url)
            .send()
            .await
            .map_err(Refusal::internal)?;
        let location = answer
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        match (answer.status(), location) {
            (StatusCode::ACCEPTED, Some(location)) => Ok(self.absolute(location)),
            (status, _) => Err(Refusal::internal(format!("upload not started: {status}"))),
        }
    }

    /// Streams `body` into a session and closes it under `digest`; false when the bytes
    /// are not what the digest says.
    pub(super) async fn finish(
        &self,
        session: &str,
        digest: &str,
        length: Option<&HeaderValue>,
        body: BodyDataStream,
        received: Arc<AtomicU64>,
    ) -> Result<bool, Refusal> {
        let joint = if session.contains('?') { '&' } else { '?' };
        let counted = body.inspect(move |frame| {
            let length = frame.as_ref().map_or(0, |bytes| bytes.len() as u64);
            received.fetch_add(length, Ordering::Relaxed);
        });
        let mut request = self
            .http
            .put(format!("{session}{joint}digest={digest}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(counted));
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let answer = request.send().await.map_err(Refusal::internal)?;
        match answer.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::BAD_REQUEST => Ok(false),
            status => Err(Refusal::internal(format!("upload not finished: {status}"))),
        }
    }

    /// Gives up a session. What cannot be reached has nothing to give up.
    pub(super) async fn cancel(&self, session: &str) {
        drop(self.http.delete(session).send().await);
    }

    /// Makes a blob of one repository one of another's too.
    pub(super) async fn mount(
        &self,
        repository: &str,
        digest: &str,
        from: &str,
    ) -> Result<(), Refusal> {
        let url = format!(
            "{}/v2/{repository}/blobs/uploads/?mount={digest}&from={from}",
            self.url
        );
        let answer = self
            .http
            .post(url)
            .send()
            .await
            .map_err(Refusal::internal)?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            status => Err(Refusal::internal(format!("not mounted: {status}"))),
        }
    }

    /// A blob or a range of it, with the headers that describe it.
    pub(super) async fn read(
        &self,
        method: &Method,
        repository: &str,
        digest: &str,
        range: Option<&HeaderValue>,
    ) -> Result<(StatusCode, HeaderMap, Body), Refusal> {
        let url = format!("{}/v2/{repository}/blobs/{digest}", self.url);
        let mut request = self.http.request(method.clone(), url);
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let answer = request.send().await.map_err(Refusal::internal)?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(header::CONNECTION);
        headers.remove(header::TRANSFER_ENCODING);
        Ok((status, headers, Body::from_stream(answer.bytes_stream())))
    }

    fn absolute(&self, location: &str) -> String {
        match location.starts_with('/') {
            true => format!("{}{location}", self.url),
            false => location.to_owned(),
        }
    }
}
