//! Opening a blob: at the registry, or where the registry has sent us before.

use bytes::Bytes;
use reqwest::{
    Method, Response,
    header::{HeaderMap, HeaderValue, RANGE},
};
use url::Url;

use super::{
    client::{Ask, Registry},
    error::{Result, Subject},
};
use crate::content::{Blob, Digest};

impl Registry {
    /// Where a blob is asked for.
    pub(super) fn blob_url(&self, repository: &str, digest: &Digest) -> Url {
        self.endpoint.url(repository, &format!("blobs/{digest}"))
    }

    /// Opens a blob from `offset` on. The answer may start earlier: see [`super::Download`].
    pub(super) async fn open_blob(
        &self,
        repository: &str,
        blob: &Blob,
        offset: u64,
        subject: &Subject,
    ) -> Result<Response> {
        let ask = Ask {
            method: Method::GET,
            url: self.blob_url(repository, &blob.digest),
            headers: from(offset),
            body: Bytes::new(),
            scope: self.pull_scope(repository),
            subject,
        };
        // The headers must come before the stall limit; the body is watched by the reader.
        match tokio::time::timeout(self.stall, self.authorised(&ask, |request| request)).await {
            Ok(answer) => answer,
            Err(_) => Err(subject.stalled(self.stall)),
        }
    }

    /// The same at the address that an earlier answer came from; none when it is refused
    /// there. Such an address is its own credential and needs no other.
    pub(super) async fn open_address(
        &self,
        address: &Url,
        offset: u64,
        subject: &Subject,
    ) -> Result<Option<Response>> {
        let request = self.http.get(address.clone()).headers(from(offset));
        self.count_request();
        match tokio::time::timeout(self.stall, request.send()).await {
            Ok(Ok(response)) => Ok(Some(response).filter(|answer| answer.status().is_success())),
            Ok(Err(err)) => Err(subject.transport(err)),
            Err(_) => Err(subject.stalled(self.stall)),
        }
    }
}

/// Asks for everything from `offset` on.
fn from(offset: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if offset > 0 {
        let range = HeaderValue::from_str(&format!("bytes={offset}-"));
        headers.insert(RANGE, range.expect("digits are printable"));
    }
    headers
}
