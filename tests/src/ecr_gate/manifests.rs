//! Manifests, tags and referrers of the data plane.

use axum::body::{Body, Bytes, to_bytes};
use axum::response::Response;
use http::{Method, StatusCode, header};
use serde_json::json;

use super::refusal::Refusal;
use super::{Gate, Incoming, empty, set};
use crate::aws_gate::respond;
use crate::ecr::{Image, Repository};

/// `imageManifest` of PutImage: at most so many characters.
const MAX_MANIFEST: usize = 4_194_304;
/// The most tags a page may be asked for.
const MAX_TAGS: usize = 1_000;

/// GET and HEAD, by tag or digest.
pub(super) fn read(gate: &Gate, incoming: &Incoming, reference: &str) -> Result<Response, Refusal> {
    let unknown = || Refusal::not_found("MANIFEST_UNKNOWN", "Requested image not found");
    let find =
        |repository: &mut Repository| repository.find(reference).cloned().ok_or_else(unknown);
    let image = gate.on(&incoming.repository, find)?;
    let mut response = empty(StatusCode::OK);
    set(&mut response, "content-type", &image.media_type);
    set(&mut response, "docker-content-digest", &image.digest);
    set(
        &mut response,
        "content-length",
        &image.bytes.len().to_string(),
    );
    if incoming.method == Method::GET {
        *response.body_mut() = Body::from(image.bytes);
    }
    Ok(response)
}

/// PUT, by tag or digest.
pub(super) async fn put(
    gate: &Gate,
    incoming: &Incoming,
    reference: &str,
    body: Body,
) -> Result<Response, Refusal> {
    let name = &incoming.repository;
    gate.on(name, |_| Ok(()))?;
    if !gate.ecr().may_put_image() {
        return Err(Refusal::throttled());
    }
    let image = receive(incoming, body).await?;
    if refuses(gate, &image) {
        return Err(invalid("Invalid JSON syntax"));
    }
    let tag = match reference.split_once(':') {
        Some(_) if reference == image.digest => None,
        Some(_) => {
            return Err(Refusal::bad(
                "MANIFEST_INVALID",
                format!(
                    "The image digest '{reference}' does not match the image digest that Amazon ECR has calculated"
                ),
            ));
        }
        None => Some(reference),
    };
    gate.on(name, |repository| {
        check(repository, &image, tag, &gate.ecr().account)?;
        Ok(enter(repository, image, tag))
    })
}

async fn receive(incoming: &Incoming, body: Body) -> Result<Image, Refusal> {
    let bytes: Bytes = to_bytes(body, MAX_MANIFEST)
        .await
        .map_err(|_| invalid("Member must have length less than or equal to 4194304"))?;
    let kind = incoming
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    Image::new(kind.unwrap_or_default(), bytes).ok_or_else(|| invalid("Invalid JSON syntax"))
}

fn invalid(why: &str) -> Refusal {
    Refusal::unsupported(format!(
        "Invalid parameter at 'ImageManifest' failed to satisfy constraint: '{why}'"
    ))
}

/// Some artifacts with a subject are not taken, whatever the documentation says.
fn refuses(gate: &Gate, image: &Image) -> bool {
    let refused = gate.ecr().knobs().refused_artifacts;
    let kind = image.parts.artifact_type.as_ref();
    image.parts.subject.is_some() && kind.is_some_and(|kind| refused.contains(kind))
}

/// What ECR asks of a manifest before it takes it.
fn check(
    repository: &Repository,
    image: &Image,
    tag: Option<&str>,
    account: &str,
) -> Result<(), Refusal> {
    let name = &repository.name;
    let needs = |what: &str, digests: &[String]| {
        format!(
            "{what} with digests '{digests:?}' required for pushing image into repository with name '{name}' in the registry with id '{account}' do not exist"
        )
    };
    let (blobs, children) = repository.missing(&image.parts);
    if !blobs.is_empty() {
        return Err(Refusal::not_found("BLOB_UNKNOWN", needs("Layers", &blobs)));
    }
    if !children.is_empty() {
        return Err(Refusal::not_found(
            "MANIFEST_BLOB_UNKNOWN",
            needs("Images", &children),
        ));
    }
    let taken = |tag: &&str| {
        // What is pushed again comes back out of the archive.
        let archived =
            repository.find(tag).is_none() && repository.tags.get(*tag) == Some(&image.digest);
        repository.tags.contains_key(*tag) && repository.immutable(tag) && !archived
    };
    match tag.filter(taken) {
        None => Ok(()),
        // Even for the very same manifest.
        Some(tag) => Err(Refusal::bad(
            "TAG_INVALID",
            format!(
                "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable."
            ),
        )),
    }
}

fn enter(repository: &mut Repository, image: Image, tag: Option<&str>) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, "docker-content-digest", &image.digest);
    if let Some(subject) = &image.parts.subject {
        set(&mut response, "oci-subject", subject);
    }
    if let Some(tag) = tag {
        // By digest there is none.
        set(
            &mut response,
            "location",
            &format!("/v2/{}/manifests/{tag}", repository.name),
        );
        repository.tags.insert(tag.to_owned(), image.digest.clone());
    }
    repository
        .images
        .entry(image.digest.clone())
        .and_modify(|image| image.archived = false)
        .or_insert(image);
    response
}

/// `tags/list`, in pages linked by an opaque token.
pub(super) fn tags(gate: &Gate, incoming: &Incoming) -> Result<Response, Refusal> {
    let name = &incoming.repository;
    let all: Vec<_> = gate.on(name, |repository| {
        Ok(repository.tags.keys().cloned().collect())
    })?;
    let asked = incoming
        .query
        .get("n")
        .map(|text| text.parse::<usize>())
        .transpose();
    let count = match asked {
        Ok(asked) if asked.is_none_or(|n| (1..=MAX_TAGS).contains(&n)) => asked.unwrap_or(MAX_TAGS),
        _ => {
            return Err(Refusal::bad(
                "PAGINATION_NUMBER_INVALID",
                "'n' must be between 1 and 1000",
            ));
        }
    };
    let count = count.min(gate.ecr().knobs().page_size);
    let last = incoming
        .query
        .get("last")
        .and_then(|token| hex::decode(token).ok());
    let start = last.map_or(0, |last| {
        all.partition_point(|tag| tag.as_bytes() <= last.as_slice())
    });
    let page = &all[start..(start + count).min(all.len())];
    let body = json!({"name": name, "tags": page});
    let mut response = respond(StatusCode::OK, "application/json", body.to_string());
    if let Some(last) = page.last().filter(|_| start + count < all.len()) {
        let next = format!("/v2/{name}/tags/list?n={count}&last={}", hex::encode(last));
        set(&mut response, "link", &format!("<{next}>; rel=\"next\""));
    }
    Ok(response)
}

/// What is attached to an image, as an index.
pub(super) fn referrers(
    gate: &Gate,
    incoming: &Incoming,
    digest: &str,
) -> Result<Response, Refusal> {
    let show = |image: &Image| {
        json!({
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": image.bytes.len(),
            "artifactType": image.parts.artifact_type,
        })
    };
    let attached = |image: &&Image| image.parts.subject.as_deref() == Some(digest);
    let found: Vec<_> = gate.on(&incoming.repository, |repository| {
        Ok(repository
            .images
            .values()
            .filter(attached)
            .map(show)
            .collect())
    })?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": found,
    });
    Ok(respond(
        StatusCode::OK,
        "application/vnd.oci.image.index.v1+json",
        index.to_string(),
    ))
}
