//! The public registries as clients meet them, in front of one real registry: TLS with a
//! private CA, anonymous bearer tokens per repository (as Artifact Registry, GHCR and
//! Docker Hub want them), every request in the journal.
//!
//! A public registry has every released image. So an image that is asked for by tag and
//! is not there is made on the spot, unless it was taken away on purpose: charts nobody
//! prepared work, and a missing image can still be played.

mod tls;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;

use crate::pki::PairFiles;
use crate::seed::Seeder;
use crate::wire::{Entry, Journal};

/// The gate; stops when dropped.
pub struct UpstreamGate {
    /// `https://127.0.0.1:PORT`
    pub url: String,
    _server: tls::Server,
}

struct Shared {
    store: String,
    own: String,
    http: reqwest::Client,
    journal: Arc<Journal>,
    seeder: Arc<Seeder>,
}

/// A path of the distribution API: `/v2/REPOSITORY/KIND/REFERENCE`.
#[derive(Debug, PartialEq, Eq)]
struct Ask<'a> {
    repository: &'a str,
    kind: &'a str,
    reference: &'a str,
}

impl UpstreamGate {
    /// Serves the registry at `store` over https.
    ///
    /// # Errors
    /// When the certificate is unusable or no port can be bound.
    pub async fn start(
        store: &str,
        certificate: &PairFiles,
        journal: Arc<Journal>,
        seeder: Arc<Seeder>,
    ) -> Result<Self> {
        let listener = tls::listen(certificate).await?;
        let url = format!("https://{}", listener.addr());
        let shared = Arc::new(Shared {
            store: store.to_owned(),
            own: url.clone(),
            http: reqwest::Client::builder().no_proxy().build()?,
            journal,
            seeder,
        });
        let router = Router::new().fallback(serve).with_state(shared);
        Ok(Self {
            url,
            _server: listener.serve(router),
        })
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let path = request.uri.path().to_owned();
    if path == "/token" {
        return token::grant(request.uri.query().unwrap_or_default());
    }
    let ask = ask(&path);
    let repository = ask.as_ref().map(|ask| ask.repository);
    let response = if token::admits(&request.headers, repository) {
        shared.answer(&request, ask.as_ref()).await
    } else {
        token::challenge(&shared.own, repository)
    };
    shared.note(&request.method, &path, ask.as_ref(), response.status());
    response
}

impl Shared {
    async fn answer(&self, request: &Parts, ask: Option<&Ask<'_>>) -> Response {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return (StatusCode::METHOD_NOT_ALLOWED, "read only").into_response();
        }
        let first = self.forward(request).await;
        match ask {
            Some(ask) if first.status() == StatusCode::NOT_FOUND && self.make(ask).await => {
                self.forward(request).await
            }
            _ => first,
        }
    }

    /// Makes the image that is asked for; false when it cannot or shall not be there.
    async fn make(&self, ask: &Ask<'_>) -> bool {
        // Signatures (`sha256-….sig`) and digests belong to images that exist.
        if ask.kind != "manifests" || ask.reference.starts_with("sha256") {
            return false;
        }
        let made = self.seeder.on_demand(ask.repository, ask.reference).await;
        // What cannot be made (a name that is none) is simply not there.
        made.unwrap_or(false)
    }

    async fn forward(&self, request: &Parts) -> Response {
        let url = format!("{}{}", self.store, request.uri);
        let mut headers = HeaderMap::new();
        for name in [header::ACCEPT, header::RANGE] {
            for value in request.headers.get_all(&name) {
                headers.append(&name, value.clone());
            }
        }
        let sent = self
            .http
            .request(request.method.clone(), url)
            .headers(headers)
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let (status, mut headers) = (answer.status(), answer.headers().clone());
                headers.remove(header::CONNECTION);
                headers.remove(header::TRANSFER_ENCODING);
                (status, headers, Body::from_stream(answer.bytes_stream())).into_response()
            }
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }

    fn note(&self, method: &Method, path: &str, ask: Option<&Ask<'_>>, status: StatusCode) {
        let (verb, kind) = (
            if method == Method::HEAD {
                "Head"
            } else {
                "Get"
            },
            match ask.map(|ask| ask.kind) {
                Some("manifests") => "Manifest",
                Some("blobs") => "Blob",
                Some("tags") => "Tags",
                Some("referrers") => "Referrers",
                _ => "Other",
            },
        );
        self.journal.add(Entry {
            seq: 0,
            at: Timestamp::now(),
            service: "upstream".to_owned(),
            action: format!("{verb}{kind}"),
            mutating: false,
            status: status.as_u16(),
            resource: ask.map_or(path, |ask| ask.repository).to_owned(),
            params: BTreeMap::new(),
        });
    }
}

fn ask(path: &str) -> Option<Ask<'_>> {
    let rest = path.strip_prefix("/v2/")?;
    let (before, reference) = rest.rsplit_once('/')?;
    let (repository, kind) = before.rsplit_once('/')?;
    ["manifests", "blobs", "tags", "referrers"]
        .contains(&kind)
        .then_some(Ask {
            repository,
            kind,
            reference,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_repository_kind_and_reference() {
        let path = "/v2/ghcr.io/castai/images/agent/manifests/v1";
        let expected = Ask {
            repository: "ghcr.io/castai/images/agent",
            kind: "manifests",
            reference: "v1",
        };
        assert_eq!(ask(path), Some(expected));
        assert_eq!(ask("/v2/"), None);
        assert_eq!(ask("/v2/a/b"), None);
    }
}
