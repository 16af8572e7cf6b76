//! Whether what arrived is what was there: every manifest byte for byte, every blob with
//! its size (the registry has compared its content with its digest).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use http::{StatusCode, header};

use crate::ecr::{Parts, digest};

/// The media types of manifests and indexes.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// An image as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// What the tag points at.
    pub digest: String,
    /// Manifests below it.
    pub manifests: Vec<String>,
    /// Configs and layers with their sizes.
    pub blobs: BTreeMap<String, u64>,
}

/// Reads the image that `reference` names, with all that it refers to.
///
/// # Errors
/// When a part of it is missing.
pub async fn tree(
    http: &reqwest::Client,
    url: &str,
    repository: &str,
    reference: &str,
) -> Result<Tree> {
    let (digest, top) = manifest(http, url, repository, reference).await?;
    let mut tree = Tree {
        digest,
        manifests: Vec::new(),
        blobs: top.blobs.iter().cloned().collect(),
    };
    for child in top.children {
        let (digest, parts) = manifest(http, url, repository, &child).await?;
        if digest != child {
            bail!("{repository}@{child} has the digest {digest}");
        }
        tree.manifests.push(digest);
        tree.blobs.extend(parts.blobs);
    }
    for (digest, size) in &tree.blobs {
        blob(http, url, repository, digest, *size).await?;
    }
    Ok(tree)
}

/// Fails unless the image at the destination is `expected`, with all its parts.
///
/// # Errors
/// What is missing or differs.
pub async fn same(
    http: &reqwest::Client,
    url: &str,
    repository: &str,
    reference: &str,
    expected: &Tree,
) -> Result<()> {
    let found = tree(http, url, repository, reference).await?;
    if found != *expected {
        bail!(
            "{repository}:{reference} is {} instead of {}",
            found.digest,
            expected.digest
        );
    }
    Ok(())
}

async fn manifest(
    http: &reqwest::Client,
    url: &str,
    repository: &str,
    reference: &str,
) -> Result<(String, Parts)> {
    let address = format!("{url}/v2/{repository}/manifests/{reference}");
    let answer = http.get(address).header(header::ACCEPT, ACCEPT).send();
    let answer = answer.await?;
    if answer.status() != StatusCode::OK {
        bail!("no manifest {repository}:{reference}: {}", answer.status());
    }
    let bytes = answer.bytes().await?;
    let parts = Parts::read(&bytes)
        .with_context(|| format!("{repository}:{reference} is not a manifest"))?;
    Ok((digest(&bytes), parts))
}

async fn blob(
    http: &reqwest::Client,
    url: &str,
    repository: &str,
    digest: &str,
    size: u64,
) -> Result<()> {
    let address = format!("{url}/v2/{repository}/blobs/{digest}");
    let answer = http.head(address).send().await?;
    let length = answer.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match (answer.status(), length) {
        (StatusCode::OK, Some(length)) if length == size => Ok(()),
        (StatusCode::OK, length) => {
            bail!("blob {digest} of {repository} has {length:?} bytes instead of {size}")
        }
        (status, _) => bail!("no blob {digest} in {repository}: {status}"),
    }
}
