//! One endpoint for all of AWS that the products call: EC2, EKS, IAM, STS and ECR's API.
//!
//! The gate plays what the emulator behind it gets wrong or does not know (VPC endpoints
//! and their services, ECR, refusals) and passes the rest on. It asks every request for a
//! signature with a known access key, and writes each into the journal. Signatures are not
//! verified: that would test the SDK.
//!
//! Below `/_sandbox/` it can be watched and steered: `requests` (the journal), `faults`,
//! `knobs`, `endpoints/ID/accept` and `/reject`.

mod answer;
mod control;
mod create;
mod ec2;
mod ecr_images;
mod ecr_permissions;
mod ecr_repositories;
mod ecr_settings;
mod eks;
mod endpoint;
mod incoming;
mod modify;
mod query;
mod services;
mod subnets;
mod upstream;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::StatusCode;
use http::request::Parts;
use sha2::{Digest, Sha256};

pub use answer::ApiError;
pub(crate) use answer::{cut, respond};
pub(crate) use endpoint::matches;

use crate::ecr::Ecr;
use crate::faults::{Faults, Harm};
use crate::knobs::{Knobs, Panel};
use crate::process::pause;
use crate::wire::{Journal, Server};
use ec2::{Call, Ec2};
use eks::Clusters;
use incoming::{Incoming, access_key};
use upstream::Upstream;

/// The sandbox's credentials. Public on purpose: they open nothing.
pub const ACCESS_KEY: &str = "AKIASANDBOXCASTLINK0";
/// See [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "sandbox-secret-that-opens-nothing";
/// No request to an API carries more.
const MAX_BODY: usize = 8 << 20;
/// A running gate.
pub struct AwsGate {
    /// Its base URL: what `AWS_ENDPOINT_URL` is set to.
    pub url: String,
    gate: Arc<Gate>,
    _server: Server,
}

/// What the gates share and the suites hold.
#[derive(Clone)]
pub struct Shared {
    /// Every request.
    pub journal: Arc<Journal>,
    /// What is to fail.
    pub faults: Arc<Faults>,
    /// What can be turned.
    pub panel: Arc<Panel>,
    /// The registry's database.
    pub ecr: Arc<Ecr>,
}

impl Shared {
    /// For one account and region, with the journal also in a file when there is a path.
    ///
    /// # Errors
    /// When that file cannot be opened.
    pub fn new(account: &str, region: &str, knobs: Knobs, journal: Option<&Path>) -> Result<Self> {
        let (faults, panel) = (Arc::new(Faults::default()), Arc::new(Panel::new(knobs)));
        let ecr = Ecr::new(account, region, Arc::clone(&panel));
        let journal = Arc::new(Journal::new(journal)?);
        Ok(Self {
            journal,
            faults,
            panel,
            ecr: Arc::new(ecr),
        })
    }
}

struct Gate {
    shared: Shared,
    moto: Upstream,
    ec2: Ec2,
    clusters: Clusters,
}

impl AwsGate {
    /// Starts the gate before the emulator at `moto_url`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(moto_url: &str, shared: Shared) -> Result<Self> {
        let moto = Upstream::new(moto_url, ACCESS_KEY);
        let (ec2, clusters) = (Ec2::default(), Clusters::default());
        let gate = Arc::new(Gate {
            shared,
            moto,
            ec2,
            clusters,
        });
        let state = Arc::clone(&gate);
        let routes = Router::new()
            .merge(control::routes())
            .fallback(any(receive));
        let server = Server::start(|_| routes.with_state(state)).await?;
        Ok(Self {
            url: server.url(),
            gate,
            _server: server,
        })
    }

    /// The provider's side: accepts or rejects an endpoint that waits for it. False when
    /// there is no such endpoint.
    #[must_use]
    pub fn decide(&self, endpoint: &str, accept: bool) -> bool {
        self.gate.ec2.decide(endpoint, accept)
    }
}

async fn receive(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return respond(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "too large");
    };
    let incoming = Incoming::read(&parts, &body);
    let response = judge(&gate, &incoming, parts, body).await;
    gate.shared
        .journal
        .add(incoming.entry(response.status().as_u16()));
    response
}

async fn judge(gate: &Gate, incoming: &Incoming, parts: Parts, body: Bytes) -> Response {
    let service = incoming.service.as_str();
    if access_key(&parts.headers) != Some(ACCESS_KEY) {
        return ApiError::unknown_key(service).render(service);
    }
    if service == "ecr"
        && let Err(error) = ecr_permissions::check(&gate.shared.ecr, incoming)
    {
        return error.render(service);
    }
    let harm = gate
        .shared
        .faults
        .take(service, &incoming.action, &incoming.subject());
    if let Some(error) = harm
        .as_ref()
        .and_then(|h| ApiError::from_harm(h, service, &incoming.action))
    {
        return error.render(service);
    }
    match harm {
        Some(Harm::Reset) => return cut(),
        Some(Harm::Hang) => std::future::pending().await,
        Some(Harm::Slow { millis }) => pause(Duration::from_millis(millis)).await,
        _ => {}
    }
    let answer = gate.answer(incoming, &parts, body).await;
    match (harm, answer) {
        (Some(Harm::Hold), _) => {
            gate.shared.faults.hold();
            std::future::pending().await
        }
        (Some(Harm::Lost), _) => cut(),
        (_, Ok(response)) => response,
        (_, Err(error)) => error.render(service),
    }
}

impl Gate {
    async fn answer(
        &self,
        incoming: &Incoming,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        match incoming.service.as_str() {
            "ec2" => {
                let call = Call {
                    ec2: &self.ec2,
                    moto: &self.moto,
                    knobs: &self.shared.panel.get(),
                    account: &self.shared.ecr.account,
                    region: &incoming.region,
                    params: &incoming.params,
                    now: Instant::now(),
                };
                ec2::answer(&call, &incoming.action, parts, body).await
            }
            "ecr" => {
                let answer =
                    ecr_repositories::answer(&self.shared.ecr, &incoming.action, &incoming.json)?;
                Ok(respond(
                    StatusCode::OK,
                    "application/x-amz-json-1.1",
                    answer.to_string(),
                ))
            }
            "eks" => {
                let knobs = self.shared.panel.get();
                self.clusters
                    .answer(&self.moto, &knobs, &incoming.region, parts, body)
                    .await
            }
            _ => self.moto.forward(parts, body).await,
        }
    }
}

/// Seventeen hexadecimal digits, as ids have, that depend on `seed` alone.
fn invented_id(seed: &str) -> String {
    let mut id = hex::encode(Sha256::digest(seed.as_bytes()));
    id.truncate(17);
    id
}

/// A JSON answer.
fn json_answer(value: &impl serde::Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    respond(StatusCode::OK, "application/json", text)
}
