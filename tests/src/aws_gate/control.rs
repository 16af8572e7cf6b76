//! Watching and steering the gates from another process.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;

use super::{Gate, json_answer, respond};
use crate::faults::Fault;
use crate::knobs::Knobs;

pub(super) fn routes() -> Router<Arc<Gate>> {
    let faults = get(list_faults).post(add_fault).delete(clear_faults);
    Router::new()
        .route("/_sandbox/requests", get(requests))
        .route("/_sandbox/faults", faults)
        .route("/_sandbox/knobs", get(get_knobs).put(put_knobs))
        .route("/_sandbox/endpoints/{id}/{verdict}", post(decide))
}

/// The journal from `since` on (`writes` alone with `?writes=true`).
async fn requests(
    State(gate): State<Arc<Gate>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let since = query
        .get("since")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let journal = &gate.shared.journal;
    match query.get("writes").map(String::as_str) {
        Some("true") => json_answer(&journal.writes(since)),
        _ => json_answer(&journal.since(since)),
    }
}

async fn list_faults(State(gate): State<Arc<Gate>>) -> Response {
    json_answer(&gate.shared.faults.list())
}

async fn add_fault(State(gate): State<Arc<Gate>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => {
            gate.shared.faults.add(fault);
            json_answer(&gate.shared.faults.list())
        }
        Err(error) => respond(StatusCode::BAD_REQUEST, "text/plain", error.to_string()),
    }
}

async fn clear_faults(State(gate): State<Arc<Gate>>) -> Response {
    gate.shared.faults.clear();
    json_answer(&gate.shared.faults.list())
}

async fn get_knobs(State(gate): State<Arc<Gate>>) -> Response {
    json_answer(&gate.shared.panel.get())
}

/// Sets the knobs that the body names, the others go back to their defaults.
async fn put_knobs(State(gate): State<Arc<Gate>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Knobs>(&body) {
        Ok(knobs) => {
            gate.shared.panel.set(|current| *current = knobs);
            json_answer(&gate.shared.panel.get())
        }
        Err(error) => respond(StatusCode::BAD_REQUEST, "text/plain", error.to_string()),
    }
}

async fn decide(
    State(gate): State<Arc<Gate>>,
    Path((id, verdict)): Path<(String, String)>,
) -> Response {
    let accept = match verdict.as_str() {
        "accept" => true,
        "reject" => false,
        _ => return respond(StatusCode::NOT_FOUND, "text/plain", "accept or reject"),
    };
    match gate.ec2.decide(&id, accept) {
        true => json_answer(&verdict),
        false => respond(
            StatusCode::NOT_FOUND,
            "text/plain",
            format!("no endpoint {id}"),
        ),
    }
}
