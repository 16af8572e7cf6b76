//! ECR's data plane: the `/v2/` protocol with the rules that ECR adds to it or takes away.
//!
//! - Basic authentication with a token from the API; an expired one is *denied* (403), not
//!   asked for again (401).
//! - A repository must exist. Nothing is created by pushing, unless a creation template is
//!   for that. A push that cannot be is answered with 404 or 403, or (a knob) not at all.
//! - A layer goes up in one POST and one PUT. PATCH is refused, and a session that has seen
//!   bytes takes no second try.
//! - Layers before their manifest, children before their index, immutable tags, no
//!   `Location` for a manifest put by digest, manifests counted against a budget.
//! - A blob is mounted only when the account has switched that on, and only from a
//!   repository in which a manifest refers to it.
//! - Blob reads are redirected to the object store, which takes no credentials and is
//!   another origin, as S3 is another host.
//!
//! Manifests and tags live in [`crate::ecr`], blobs in a real registry process behind this
//! gate, through which they are streamed.

mod blobs;
mod incoming;
mod manifests;
mod refusal;
mod store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode, header};

use crate::aws_gate::{Shared, cut};
use crate::ecr::{Ecr, Repository, Standing};
use crate::faults::Harm;
use crate::process::pause;
use crate::wire::{Bound, Server};
use incoming::{Incoming, Target};
use refusal::Refusal;
use store::Store;

/// A running gate.
pub struct EcrGate {
    /// Its base URL: the `endpoint` of the registry in `castlink.toml`.
    pub url: String,
    gate: Arc<Gate>,
    _servers: [Server; 2],
}

struct Gate {
    shared: Shared,
    store: Store,
    /// `http://127.0.0.1:PORT`, for the links it hands out.
    own: String,
    /// The same of the object store.
    objects: String,
    sessions: Mutex<BTreeMap<String, Session>>,
}

/// An upload under way.
#[derive(Clone)]
struct Session {
    repository: String,
    /// Where the store wants the bytes.
    upstream: String,
    /// Bytes that have come in, whatever became of them.
    received: Arc<AtomicU64>,
}

impl EcrGate {
    /// Starts the gate before the registry process at `store_url`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(store_url: &str, shared: Shared) -> Result<Self> {
        let store = Store::new(store_url);
        let (registry, objects) = (Bound::new().await?, Bound::new().await?);
        let gate = Arc::new(Gate {
            shared,
            store,
            own: format!("http://{}", registry.addr),
            objects: format!("http://{}", objects.addr),
            sessions: Mutex::default(),
        });
        let router = Router::new().fallback(any(receive));
        let registry = registry.serve(router.with_state(Arc::clone(&gate)));
        let router = Router::new().fallback(any(fetch));
        let objects = objects.serve(router.with_state(Arc::clone(&gate)));
        Ok(Self {
            url: registry.url(),
            gate,
            _servers: [registry, objects],
        })
    }

    /// The bytes that an upload session has seen; nothing when there is no such session.
    #[must_use]
    pub fn received(&self, session: &str) -> Option<u64> {
        let sessions = self.gate.sessions();
        sessions
            .get(session)
            .map(|session| session.received.load(Ordering::Relaxed))
    }
}

/// The registry.
async fn receive(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    serve(&gate, request, false).await
}

/// The object store.
async fn fetch(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    serve(&gate, request, true).await
}

/// Answers what this side is there for: objects, or everything but objects.
async fn serve(gate: &Gate, request: Request, objects: bool) -> Response {
    let (parts, body) = request.into_parts();
    let incoming = Incoming::read(parts);
    let response = if matches!(incoming.target, Target::Object(_)) == objects {
        judge(gate, &incoming, body).await
    } else {
        Refusal::unsupported("The operation is unsupported.").render()
    };
    let entry = incoming.entry(response.status().as_u16());
    gate.shared.journal.add(entry);
    response
}

/// What a request to a registry does, in the words of the journal: `HeadBlob`,
/// `MountBlob`, `PutManifest`, …; `Unknown` when it is none.
#[must_use]
pub fn operation(method: &str, path_and_query: &str) -> &'static str {
    let request = http::Request::builder().method(method).uri(path_and_query);
    request.body(()).map_or("Unknown", |request| {
        Incoming::read(request.into_parts().0).action()
    })
}

async fn judge(gate: &Gate, incoming: &Incoming, body: Body) -> Response {
    if let Err(refusal) = authorise(gate.ecr(), incoming) {
        return refusal.render();
    }
    if let Some(refused) = refuse(gate.ecr(), incoming) {
        return refused;
    }
    let action = incoming.action();
    if action == "StartUpload" || action == "MountBlob" {
        gate.ecr().database().create_on_push(&incoming.repository);
        if gate.hangs_up_on(&incoming.repository) {
            return cut();
        }
    }
    let harm = gate
        .shared
        .faults
        .take("registry", action, &incoming.subject());
    if harm == Some(Harm::Expired) {
        // As time would: every request that is under way with this token meets it too.
        gate.ecr().expire_tokens();
    }
    if let Some(refusal) = harm
        .as_ref()
        .and_then(|harm| Refusal::from_harm(harm, incoming.permissions()))
    {
        return refusal.render();
    }
    match harm {
        Some(Harm::Reset) => return cut(),
        Some(Harm::Hang) => std::future::pending().await,
        Some(Harm::Slow { millis }) => pause(Duration::from_millis(millis)).await,
        _ => {}
    }
    let answer = gate.answer(incoming, body).await;
    match (harm, answer) {
        (Some(Harm::Lost), _) => cut(),
        (Some(harm @ (Harm::Truncate { .. } | Harm::Corrupt)), Ok(response)) => {
            blobs::spoil(response, &harm)
        }
        (_, Ok(response)) => response,
        (_, Err(refusal)) => refusal.render(),
    }
}

impl Gate {
    fn ecr(&self) -> &Ecr {
        &self.shared.ecr
    }

    /// Runs `work` on a repository, or refuses as ECR does when there is none.
    fn on<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Repository) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut database = self.ecr().database();
        match database.repositories.get_mut(name) {
            Some(repository) => work(repository),
            None => Err(Refusal::no_repository(name, &self.ecr().account)),
        }
    }

    /// Whether a push into a repository that does not exist gets no answer at all.
    fn hangs_up_on(&self, name: &str) -> bool {
        self.ecr().knobs().hang_up && !self.ecr().database().repositories.contains_key(name)
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, incoming: &Incoming, body: Body) -> Result<Response, Refusal> {
        let read = matches!(incoming.method, Method::GET | Method::HEAD);
        match (&incoming.target, &incoming.method) {
            (Target::Ping, _) => Ok(empty(StatusCode::OK)),
            (Target::Upload(None), &Method::POST) => blobs::begin(self, incoming).await,
            (Target::Upload(Some(id)), &Method::PUT) => {
                blobs::finish(self, incoming, id, body).await
            }
            (Target::Upload(Some(id)), &Method::DELETE) => blobs::cancel(self, id).await,
            (Target::Blob(digest), _) if read => blobs::read(self, incoming, digest).await,
            (Target::Object(digest), _) if read => blobs::object(self, incoming, digest).await,
            (Target::Manifest(reference), _) if read => manifests::read(self, incoming, reference),
            (Target::Manifest(reference), &Method::PUT) => {
                manifests::put(self, incoming, reference, body).await
            }
            (Target::Tags, _) if read => manifests::tags(self, incoming),
            (Target::Referrers(digest), _) if read => manifests::referrers(self, incoming, digest),
            // PATCH is among these: chunked uploads do not work on ECR.
            _ => Err(Refusal::unsupported("The operation is unsupported.")),
        }
    }
}

fn authorise(ecr: &Ecr, incoming: &Incoming) -> Result<(), Refusal> {
    let given = incoming.headers.get(header::AUTHORIZATION);
    if matches!(incoming.target, Target::Object(_)) {
        // As S3: the link is the credential, a second one is an error.
        return match given {
            Some(_) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "InvalidArgument",
                "Only one auth mechanism allowed",
            )),
            None => Ok(()),
        };
    }
    let Some(token) = given.and_then(|value| basic(value.to_str().ok()?)) else {
        return Err(Refusal::unauthenticated(&ecr.host()));
    };
    match ecr.standing(&token) {
        Standing::Valid => Ok(()),
        Standing::Expired => Err(Refusal::expired()),
        Standing::Unknown => Err(Refusal::denied("Your Authorization Token is invalid.")),
    }
}

/// The answer to what the policy in force does not allow.
fn refuse(ecr: &Ecr, incoming: &Incoming) -> Option<Response> {
    let resource = ecr.arn(&incoming.repository);
    for action in incoming.permissions() {
        if let Err(message) = ecr.permit(action, &resource) {
            let silent = ecr.knobs().hang_up && *action == "InitiateLayerUpload";
            return Some(match silent {
                true => cut(),
                false => Refusal::denied(message).render(),
            });
        }
    }
    None
}

/// The password of `Basic base64(AWS:password)`.
fn basic(header: &str) -> Option<String> {
    let encoded = header.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    decoded.strip_prefix("AWS:").map(str::to_owned)
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let version = http::HeaderValue::from_static("registry/2.0");
    response
        .headers_mut()
        .insert("docker-distribution-api-version", version);
    response
}

/// Sets a header whose value is known to be printable.
fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}
