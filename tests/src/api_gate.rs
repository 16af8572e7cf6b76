//! Between a client and the API server: notes every request, and plays faults.
//!
//! The client speaks plain HTTP to the gate and needs no credentials; the gate has those of
//! the user it was started for. Everything is passed on as it is, watches as streams.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::aws_gate::cut;
use crate::control_plane::ControlPlane;
use crate::faults::{Faults, Harm};
use crate::process::pause;
use crate::wire::{Entry, Journal, Server};

/// The largest object anybody sends.
const LARGEST: usize = 4 << 20;

/// The service in the journal and for faults; actions are a verb and a plural:
/// `patch deployments`, `watch pods`, `try statefulsets` (a dry run).
pub const SERVICE: &str = "kube";

/// A running gate; stops when dropped.
pub struct ApiGate {
    /// Every request that was answered or began to be.
    pub journal: Arc<Journal>,
    /// What is to go wrong.
    pub faults: Arc<Faults>,
    cuts: Arc<watch::Sender<()>>,
    server: Server,
}

#[derive(Clone)]
struct Gate {
    upstream: String,
    http: reqwest::Client,
    journal: Arc<Journal>,
    faults: Arc<Faults>,
    cuts: Arc<watch::Sender<()>>,
}

impl ApiGate {
    /// A gate before `plane` that acts as `user`, optionally in `group`.
    ///
    /// # Errors
    /// When there is no port or the user's certificate cannot be made.
    pub async fn start(plane: &ControlPlane, user: &str, group: Option<&str>) -> Result<Self> {
        let gate = Gate {
            upstream: plane.url(),
            http: plane.http_for(user, group)?,
            journal: Arc::new(Journal::new(None)?),
            faults: Arc::default(),
            cuts: Arc::new(watch::Sender::new(())),
        };
        let (journal, faults) = (Arc::clone(&gate.journal), Arc::clone(&gate.faults));
        let cuts = Arc::clone(&gate.cuts);
        let router = Router::new().fallback(pass).with_state(gate);
        Ok(Self {
            journal,
            faults,
            cuts,
            server: Server::start(|_| router).await?,
        })
    }

    /// Breaks the connections of the watches under way; new ones are the faults' business.
    pub fn cut_watches(&self) {
        self.cuts.send_replace(());
    }

    /// A kubeconfig in `dir` that leads to the gate.
    ///
    /// # Errors
    /// The file system's.
    pub fn kubeconfig(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(format!("gate-{}.kubeconfig", self.server.addr.port()));
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "gate",
            "clusters": [{"name": "gate", "cluster": {"server": self.server.url()}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "nobody"}}]});
        fs::write(&path, config.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// What a request is, as the journal has it.
struct Question {
    action: String,
    subject: String,
    mutating: bool,
}

impl Question {
    fn is_watch(&self) -> bool {
        self.action.starts_with("watch ")
    }

    fn new(method: &Method, uri: &Uri) -> Self {
        let parts: Vec<&str> = uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        // /api/v1/… and /apis/GROUP/VERSION/…
        let path = parts.get(if parts.first() == Some(&"api") { 2 } else { 3 }..);
        let (namespace, rest) = match path.unwrap_or_default() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name) = (rest.first().unwrap_or(&"?"), rest.get(1));
        let query = uri.query().unwrap_or_default();
        let asks = |text| query.split('&').any(|pair| pair == text);
        let verb = match *method {
            Method::GET if asks("watch=true") || asks("watch=1") => "watch",
            Method::GET if name.is_some() => "get",
            Method::GET => "list",
            _ if asks("dryRun=All") => "try",
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::PUT => "update",
            _ => "delete",
        };
        Self {
            action: format!("{verb} {plural}"),
            subject: format!("{namespace}/{}", name.unwrap_or(&"")),
            mutating: matches!(verb, "create" | "patch" | "update" | "delete")
                && !plural.starts_with("selfsubject"),
        }
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let question = Question::new(request.method(), request.uri());
    let harm = gate
        .faults
        .take(SERVICE, &question.action, &question.subject);
    let answer = match harm {
        None if question.is_watch() => gate.watch(request).await,
        None => gate.ask(request).await,
        Some(Harm::Hang) => {
            gate.faults.hold();
            std::future::pending().await
        }
        Some(Harm::Hold) => {
            let answer = gate.ask(request).await;
            gate.note(&question, answer.status());
            gate.faults.hold();
            std::future::pending().await
        }
        Some(Harm::Wait) => {
            gate.faults.wait().await;
            gate.ask(request).await
        }
        Some(Harm::Slow { millis }) => {
            pause(Duration::from_millis(millis)).await;
            gate.ask(request).await
        }
        Some(Harm::Deny) => refusal(StatusCode::FORBIDDEN, "Forbidden"),
        Some(Harm::Throttle) => refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        Some(Harm::Reset) => cut(),
        Some(Harm::Error { status: 410, .. }) if question.is_watch() => expired(),
        Some(Harm::Error {
            status,
            code,
            message,
        }) => error(status, &code, &message),
        Some(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    };
    gate.note(&question, answer.status());
    answer
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    error(status.as_u16(), reason, "the gate was told to refuse this")
}

/// A watch from too long ago: the API server accepts it and says so in an event.
fn expired() -> Response {
    let status = failure(410, "Expired", "too old resource version");
    let event = json!({"type": "ERROR", "object": status});
    ([(CONTENT_TYPE, "application/json")], format!("{event}\n")).into_response()
}

fn failure(status: u16, reason: &str, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
        "message": message, "reason": reason, "code": status})
}

/// An error as the API server words it.
fn error(status: u16, reason: &str, message: &str) -> Response {
    let body = failure(status, reason, message);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = [(CONTENT_TYPE, "application/json")];
    (status, kind, body.to_string()).into_response()
}

impl Gate {
    fn note(&self, question: &Question, status: StatusCode) {
        self.journal.add(Entry {
            seq: 0,
            at: Timestamp::now(),
            service: SERVICE.to_owned(),
            action: question.action.clone(),
            mutating: question.mutating,
            status: status.as_u16(),
            resource: question.subject.clone(),
            params: std::collections::BTreeMap::new(),
        });
    }

    async fn ask(&self, request: Request) -> Response {
        self.forward(request)
            .await
            .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response())
    }

    /// An answer that ends with its connection when the watches are cut.
    async fn watch(&self, request: Request) -> Response {
        let cuts = self.cuts.subscribe();
        let (head, body) = self.ask(request).await.into_parts();
        let events = until_cut(body.into_data_stream(), cuts);
        Response::from_parts(head, Body::from_stream(events))
    }

    async fn forward(&self, request: Request) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let body: Bytes = axum::body::to_bytes(body, LARGEST).await?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let answer = self
            .http
            .request(parts.method, format!("{}{path}", self.upstream))
            .headers(end_to_end(parts.headers))
            .body(body)
            .send()
            .await?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = end_to_end(answer.headers().clone());
        *response.body_mut() = Body::from_stream(answer.bytes_stream());
        Ok(response)
    }
}

fn until_cut(
    events: impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static,
    cuts: watch::Receiver<()>,
) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    stream::unfold((Box::pin(events), cuts), |(mut events, mut cuts)| async {
        tokio::select! {
            event = events.next() => Some((event?, (events, cuts))),
            Ok(()) = cuts.changed() => Some((Err(axum::Error::new("cut")), (events, cuts))),
        }
    })
}

/// Without what is about one connection only.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_a_role_names_them() {
        for (method, uri, action, subject, mutating) in [
            (Method::GET, "/api/v1/nodes", "list nodes", "/", false),
            (
                Method::GET,
                "/api/v1/namespaces/a",
                "get namespaces",
                "/a",
                false,
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods?&watch=true",
                "watch pods",
                "a/",
                false,
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/x?&fieldManager=y",
                "patch deployments",
                "a/x",
                true,
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/x?&dryRun=All",
                "try deployments",
                "a/x",
                false,
            ),
            (
                Method::POST,
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                "create selfsubjectaccessreviews",
                "/",
                false,
            ),
        ] {
            let question = Question::new(&method, &uri.parse().unwrap());
            let got = (
                question.action.as_str(),
                question.subject.as_str(),
                question.mutating,
            );
            assert_eq!(got, (action, subject, mutating), "{method} {uri}");
        }
    }
}
