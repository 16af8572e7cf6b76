//! Pushing made images: what is there is left alone, what another repository has is
//! mounted from there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{StatusCode, header};
use oci_client::Reference;
use tokio_util::io::ReaderStream;

use super::image::{Document, Image};
use super::{Seeder, repository};

/// Read from a file at once.
const FRAME: usize = 256 << 10;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Pushes `image`; true when it was there already.
pub(super) async fn image(seeder: &Seeder, name: &str, tag: &str, image: &Image) -> Result<bool> {
    if head(seeder, name, tag).await?.as_deref() == Some(&image.index.digest) {
        return Ok(true);
    }
    for (digest, bytes) in &image.blobs {
        blob(seeder, name, digest, bytes).await?;
    }
    for manifest in &image.manifests {
        put(seeder, name, &manifest.digest, manifest).await?;
    }
    put(seeder, name, tag, &image.index).await?;
    for (tag, manifest) in &image.beside {
        put(seeder, name, tag, manifest).await?;
    }
    Ok(false)
}

/// Deletes what a tag points to; false when there is nothing.
pub(super) async fn remove(seeder: &Seeder, reference: &Reference) -> Result<bool> {
    let name = repository(reference);
    let tag = reference.tag().unwrap_or("latest");
    let Some(digest) = head(seeder, &name, tag).await? else {
        return Ok(false);
    };
    delete(seeder, &name, &digest).await?;
    Ok(true)
}

/// Deletes a manifest.
pub(super) async fn delete(seeder: &Seeder, name: &str, digest: &str) -> Result<()> {
    let url = url(seeder, name, "manifests", digest);
    let answer = seeder.http.delete(url).send().await?;
    match answer.status() {
        StatusCode::ACCEPTED => Ok(()),
        status => bail!("the registry does not delete {digest}: {status}"),
    }
}

/// A manifest by tag or digest, with its media type; none when there is no such thing.
pub(super) async fn get(
    seeder: &Seeder,
    name: &str,
    reference: &str,
) -> Result<Option<(String, Bytes)>> {
    let request = seeder.http.get(url(seeder, name, "manifests", reference));
    let answer = request.header(header::ACCEPT, ACCEPT).send().await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let answer = answer.error_for_status()?;
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let kind = kind
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind.to_owned();
    Ok(Some((kind, answer.bytes().await?)))
}

pub(super) fn url(seeder: &Seeder, name: &str, kind: &str, reference: &str) -> String {
    format!("{}/v2/{name}/{kind}/{reference}", seeder.url)
}

/// The digest a tag points to, when it exists.
async fn head(seeder: &Seeder, name: &str, tag: &str) -> Result<Option<String>> {
    let request = seeder.http.head(url(seeder, name, "manifests", tag));
    let answer = request.header(header::ACCEPT, ACCEPT).send().await?;
    let digest = answer
        .headers()
        .get("docker-content-digest")
        .and_then(|value| value.to_str().ok());
    Ok(digest
        .filter(|_| answer.status().is_success())
        .map(str::to_owned))
}

pub(super) async fn blob(seeder: &Seeder, name: &str, digest: &str, bytes: &Bytes) -> Result<()> {
    let home = homes(seeder).get(digest).cloned();
    if home.as_deref() == Some(name) {
        return Ok(());
    }
    let mount = home
        .map(|home| format!("?mount={digest}&from={home}"))
        .unwrap_or_default();
    if let Some(location) = start(seeder, name, &mount).await? {
        finish(seeder, &location, digest, bytes.clone(), bytes.len() as u64).await?;
    }
    homes(seeder)
        .entry(digest.to_owned())
        .or_insert_with(|| name.to_owned());
    Ok(())
}

/// Pushes a blob from a file.
pub(super) async fn file(seeder: &Seeder, name: &str, digest: &str, path: &Path) -> Result<()> {
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, FRAME));
    if let Some(location) = start(seeder, name, "").await? {
        finish(seeder, &location, digest, body, length).await?;
    }
    homes(seeder).insert(digest.to_owned(), name.to_owned());
    Ok(())
}

fn homes(seeder: &Seeder) -> MutexGuard<'_, BTreeMap<String, String>> {
    seeder.homes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the bytes are to go; nothing when the blob was mounted.
async fn start(seeder: &Seeder, name: &str, mount: &str) -> Result<Option<String>> {
    let start = format!("{}/v2/{name}/blobs/uploads/{mount}", seeder.url);
    let answer = seeder.http.post(start).send().await?;
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    match (answer.status(), location) {
        (StatusCode::CREATED, _) => Ok(None),
        (StatusCode::ACCEPTED, Some(location)) => Ok(Some(location.to_owned())),
        (status, _) => bail!("the registry does not start an upload to {name}: {status}"),
    }
}

async fn finish(
    seeder: &Seeder,
    location: &str,
    digest: &str,
    body: impl Into<reqwest::Body>,
    length: u64,
) -> Result<()> {
    let base = if location.starts_with('/') {
        seeder.url.as_str()
    } else {
        ""
    };
    let joint = if location.contains('?') { '&' } else { '?' };
    let url = format!("{base}{location}{joint}digest={digest}");
    let request = seeder
        .http
        .put(url)
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_TYPE, "application/octet-stream");
    let answer = request.body(body).send().await?;
    match answer.status() {
        StatusCode::CREATED => Ok(()),
        status => bail!("the registry does not take blob {digest}: {status}"),
    }
}

pub(super) async fn put(
    seeder: &Seeder,
    name: &str,
    reference: &str,
    manifest: &Document,
) -> Result<()> {
    let request = seeder.http.put(url(seeder, name, "manifests", reference));
    let request = request.header(header::CONTENT_TYPE, manifest.media_type);
    let answer = request.body(manifest.bytes.clone()).send().await?;
    match answer.status() {
        StatusCode::CREATED => Ok(()),
        status => bail!(
            "the registry does not take {name}:{reference}: {status} {}",
            answer.text().await?
        ),
    }
}
