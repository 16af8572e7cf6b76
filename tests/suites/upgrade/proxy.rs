//! A proxy before the API server: what happens between a read and a patch is up to the
//! test. It forwards everything else as it is, watches included.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use castlink_tests::wire::Server;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::harness::Scene;

/// More than any object of a test.
const BODY: usize = 4 << 20;

/// What becomes of a patch that is no dry run.
pub(crate) enum Act {
    /// The answer to a write that raced with others.
    Conflict,
    /// It waits, and goes on when the test says so.
    Hold {
        reached: oneshot::Sender<()>,
        go: oneshot::Receiver<()>,
    },
}

/// A patch that waits at the proxy.
pub(crate) struct Held {
    reached: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    /// An act for the proxy, and the handle to it.
    pub(crate) fn new() -> (Act, Self) {
        let (reached, is_reached) = oneshot::channel();
        let (may_go, go) = oneshot::channel();
        let held = Self {
            reached: is_reached,
            go: may_go,
        };
        (Act::Hold { reached, go }, held)
    }

    /// Waits for the patch, lets `meanwhile` happen, and lets it go.
    pub(crate) async fn during<T>(self, meanwhile: impl Future<Output = Result<T>>) -> Result<T> {
        self.reached.await.context("no patch came")?;
        let done = meanwhile.await;
        // Whoever waited may have gone.
        let _gone = self.go.send(());
        done
    }
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    acts: Mutex<VecDeque<Act>>,
}

/// The proxy; stops when dropped.
pub(crate) struct Proxy {
    server: Server,
    kubeconfig: PathBuf,
}

impl Proxy {
    /// Before the scene's API server. Patches of the first kind that are no dry runs meet
    /// `acts`, one each, and are forwarded when those are used up.
    pub(crate) async fn start(scene: &Scene, acts: Vec<Act>) -> Result<Self> {
        let plane = &scene.stack.cluster()?.plane;
        let ca = reqwest::Certificate::from_pem(&BASE64_STANDARD.decode(plane.ca_base64())?)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([ca])
            .build()?;
        let shared = Arc::new(Shared {
            upstream: plane.url(),
            http,
            acts: Mutex::new(acts.into()),
        });
        let server = Server::start(|_| Router::new().fallback(forward).with_state(shared)).await?;
        let mut proxy = Self {
            server,
            kubeconfig: scene.path("proxied.kubeconfig"),
        };
        proxy.write_kubeconfig(scene)?;
        Ok(proxy)
    }

    /// The scene's credentials, sent here.
    pub(crate) fn kubeconfig(&self) -> String {
        self.kubeconfig.display().to_string()
    }

    fn write_kubeconfig(&mut self, scene: &Scene) -> Result<()> {
        let text = std::fs::read_to_string(&scene.kubeconfig)?;
        let mut config: Value = serde_json::from_str(&text)?;
        config["clusters"][0]["cluster"] = json!({"server": self.server.url()});
        Ok(std::fs::write(&self.kubeconfig, config.to_string())?)
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let dry = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("dryRun"));
    if request.method() == Method::PATCH && !dry {
        let act = shared
            .acts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        match act {
            Some(Act::Conflict) => return conflict(),
            Some(Act::Hold { reached, go }) => {
                let _test_has_ended = reached.send(());
                let _test_has_ended = go.await;
            }
            None => {}
        }
    }
    match pass(&shared, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn pass(shared: &Shared, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().context("no path")?;
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_ENCODING);
    let answer = shared
        .http
        .request(parts.method, format!("{}{path}", shared.upstream))
        .headers(headers)
        .body(to_bytes(body, BODY).await?)
        .send()
        .await?;
    let mut response = Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
        response = response.header(header::CONTENT_TYPE, kind);
    }
    Ok(response.body(Body::from_stream(answer.bytes_stream()))?)
}

/// As the API server words it.
fn conflict() -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your changes to the latest version and try again",
        "reason": "Conflict", "code": 409});
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::CONFLICT, headers, status.to_string()).into_response()
}
