//! Blobs of the data plane: one POST and one PUT up, mounts, redirected reads down.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::{Stream, StreamExt, stream};
use http::{Method, StatusCode, header};

use super::refusal::Refusal;
use super::{Gate, Incoming, Session, empty, set};
use crate::faults::Harm;

/// POST: a mount when that is possible, else a session.
pub(super) async fn begin(gate: &Gate, incoming: &Incoming) -> Result<Response, Refusal> {
    let name = &incoming.repository;
    gate.on(name, |_| Ok(()))?;
    let asked = incoming.query.get("mount").zip(incoming.query.get("from"));
    if let Some((digest, from)) = asked
        && let Some(size) = mountable(gate, name, digest, from)
    {
        gate.store.mount(name, digest, from).await?;
        return enter(gate, name, digest, size);
    }
    let upstream = gate.store.begin(name).await?;
    let id = upstream_id(&upstream);
    let received = Arc::new(AtomicU64::new(0));
    let session = Session {
        repository: name.clone(),
        upstream,
        received,
    };
    gate.sessions().insert(id.clone(), session);
    let mut response = empty(StatusCode::ACCEPTED);
    set(
        &mut response,
        "location",
        &format!("{}/v2/{name}/blobs/uploads/{id}", gate.own),
    );
    set(&mut response, "docker-upload-uuid", &id);
    set(&mut response, "range", "0-0");
    Ok(response)
}

/// The store's own name for a session: the last part of its path.
fn upstream_id(location: &str) -> String {
    let path = location.split('?').next().unwrap_or(location);
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The size of a blob that may be mounted: switched on, and referred to over there.
fn mountable(gate: &Gate, into: &str, digest: &str, from: &str) -> Option<u64> {
    let may_read = gate
        .ecr()
        .permit("GetDownloadUrlForLayer", &gate.ecr().arn(from));
    let database = gate.ecr().database();
    let source = database.repositories.get(from)?;
    let target = database.repositories.get(into)?;
    let same_key = source.encryption == target.encryption;
    let granted =
        may_read.is_ok() && database.blob_mounting && same_key && source.refers_to(digest);
    source.blobs.get(digest).copied().filter(|_| granted)
}

/// PUT: the whole blob, and the end of the session whatever comes of it.
pub(super) async fn finish(
    gate: &Gate,
    incoming: &Incoming,
    id: &str,
    body: Body,
) -> Result<Response, Refusal> {
    let name = &incoming.repository;
    gate.on(name, |_| Ok(()))?;
    let session = gate
        .sessions()
        .get(id)
        .filter(|session| session.repository == *name)
        .cloned();
    let unknown = || {
        Refusal::not_found(
            "BLOB_UPLOAD_UNKNOWN",
            format!("The upload '{id}' is unknown"),
        )
    };
    let session = session.ok_or_else(unknown)?;
    let before = session.received.load(Ordering::Relaxed);
    if before > 0 {
        return Err(Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID",
            format!("First byte of the layer part is 0 instead of {before}"),
        ));
    }
    let missing = || Refusal::bad("DIGEST_INVALID", "a digest is needed to finish an upload");
    let digest = incoming.query.get("digest").ok_or_else(missing)?;
    let length = incoming.headers.get(header::CONTENT_LENGTH);
    let received = Arc::clone(&session.received);
    let body = body.into_data_stream();
    let matched = gate
        .store
        .finish(&session.upstream, digest, length, body, received)
        .await?;
    gate.sessions().remove(id);
    let size = session.received.load(Ordering::Relaxed);
    match matched {
        true => enter(gate, name, digest, size),
        false => Err(Refusal::bad(
            "DIGEST_INVALID",
            format!("Layer with digest '{digest}' does not match the digest of the uploaded bytes"),
        )),
    }
}

/// DELETE of a session.
pub(super) async fn cancel(gate: &Gate, id: &str) -> Result<Response, Refusal> {
    let session = gate.sessions().remove(id);
    if let Some(session) = session {
        gate.store.cancel(&session.upstream).await;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Writes a blob into the database and says where it is.
fn enter(gate: &Gate, name: &str, digest: &str, size: u64) -> Result<Response, Refusal> {
    gate.on(name, |repository| {
        repository.blobs.insert(digest.to_owned(), size);
        Ok(())
    })?;
    let mut response = empty(StatusCode::CREATED);
    set(
        &mut response,
        "location",
        &format!("{}/v2/{name}/blobs/{digest}", gate.own),
    );
    set(&mut response, "docker-content-digest", digest);
    Ok(response)
}

/// HEAD: answered here. GET: redirected to the object store.
pub(super) async fn read(
    gate: &Gate,
    incoming: &Incoming,
    digest: &str,
) -> Result<Response, Refusal> {
    let name = &incoming.repository;
    gate.on(name, |repository| {
        match repository.blobs.contains_key(digest) {
            true => Ok(()),
            false => Err(Refusal::not_found(
                "BLOB_UNKNOWN",
                format!("no layer with digest '{digest}'"),
            )),
        }
    })?;
    if incoming.method == Method::HEAD || !gate.ecr().knobs().redirect_blobs {
        return object(gate, incoming, digest).await;
    }
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    let signed = format!(
        "{}/objects/{name}/{digest}?X-Amz-Signature=sandbox",
        gate.objects
    );
    set(&mut response, "location", &signed);
    Ok(response)
}

/// The bytes, from the store.
pub(super) async fn object(
    gate: &Gate,
    incoming: &Incoming,
    digest: &str,
) -> Result<Response, Refusal> {
    let range = incoming.headers.get(header::RANGE);
    let name = &incoming.repository;
    let (status, headers, body) = gate
        .store
        .read(&incoming.method, name, digest, range)
        .await?;
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// An answer whose body goes wrong on the way: too short, or not what it was.
pub(super) fn spoil(response: Response, harm: &Harm) -> Response {
    let (head, body) = response.into_parts();
    let frames = body
        .into_data_stream()
        .map(|frame| frame.map_err(io::Error::other));
    let body = match harm {
        Harm::Truncate { bytes } => Body::from_stream(truncated(frames, *bytes)),
        _ => Body::from_stream(corrupted(frames)),
    };
    Response::from_parts(head, body)
}

fn truncated(
    frames: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    bytes: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let kept = frames.scan(bytes, |left, frame| {
        let frame = frame.map(|mut frame| {
            frame.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= frame.len() as u64;
            frame
        });
        let spent = matches!(&frame, Ok(frame) if frame.is_empty());
        std::future::ready((!spent).then_some(frame))
    });
    // What has been sent must be on its way before the connection breaks.
    let end = stream::once(async {
        tokio::task::yield_now().await;
        Err(io::Error::other("cut"))
    });
    kept.chain(end)
}

fn corrupted(
    frames: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    frames.enumerate().map(|(index, frame)| {
        let mut bytes = frame?.to_vec();
        if let (0, Some(first)) = (index, bytes.first_mut()) {
            *first ^= 0xff;
        }
        Ok(Bytes::from(bytes))
    })
}
