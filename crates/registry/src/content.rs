//! What travels: blobs, and manifests kept as the bytes they were read as.
//!
//! A manifest is parsed to find out what it refers to and is never serialised again:
//! its digest is the digest of its bytes.

use std::{collections::BTreeSet, fmt};

use bytes::Bytes;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;

#[cfg(test)]
mod tests;

pub use crate::digest::Digest;

/// The manifest types of images; all are always asked for, because a registry converts a
/// manifest asked for by tag with a narrower `Accept`.
pub const MANIFEST_TYPES: [&str; 4] = [
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// What artifacts were kept as before image manifests took their place; still met.
const ARTIFACT_TYPE: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// Those of them that list other manifests.
const INDEX_TYPES: [&str; 2] = [OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// The configurations of container images: those say for which platform they are.
const CONFIG_TYPES: [&str; 2] = [IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE];

/// The `Accept` of every request for a manifest.
pub fn accepted() -> String {
    format!("{}, {ARTIFACT_TYPE}", MANIFEST_TYPES.join(", "))
}

/// The largest manifest that is read (a limit of the reader, against hostile servers).
pub const MAX_MANIFEST_READ: usize = 8 << 20;

/// The largest manifest that registries accept (the distribution specification's figure).
pub const MAX_MANIFEST_PUSH: usize = 4 << 20;

/// The largest blob that is believed: a thousand times what registries take, and small
/// enough for sums.
const MAX_BLOB: u64 = 1 << 46;

/// A layer or a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, as the manifest says.
    pub size: u64,
}

/// A manifest or index, verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// What it is pushed as.
    pub media_type: String,
    /// As it was read.
    pub bytes: Bytes,
    /// What it refers to.
    pub content: Content,
    /// The manifest that it is attached to.
    pub subject: Option<Digest>,
}

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Other manifests.
    Index(Vec<Child>),
    /// Configuration and layers. Layers that live elsewhere by licence (they have
    /// `urls`) are not among them: registries neither hold nor ask for them.
    Image(Vec<Blob>),
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The manifest's digest.
    pub digest: Digest,
    /// `linux/arm64`; none for attestations (`unknown/unknown`) and entries without one.
    pub platform: Option<String>,
    /// True for an index within the index.
    pub nested: bool,
    /// The entry that this one says something about: build tools put attestations beside
    /// what they attest.
    pub attests: Option<Digest>,
}

/// Why bytes are not a usable manifest.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not JSON, or not of the expected shape.
    Shape(String),
    /// The bytes have another digest than they were asked for by.
    Digest {
        /// What was asked for, or announced.
        want: Digest,
        /// What came.
        got: Digest,
    },
}

impl Manifest {
    /// Reads a manifest. `content_type` is the server's word, used when the bytes do not
    /// say themselves what they are; `want` is the digest they were asked for by.
    pub fn parse(
        bytes: Bytes,
        content_type: Option<&str>,
        want: Option<&Digest>,
    ) -> Result<Self, Malformed> {
        let digest = check_digest(&bytes, want)?;
        // The parser would also take an array of the fields' values.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Malformed::Shape("not a JSON object".to_owned()));
        }
        let raw: Raw =
            serde_json::from_slice(&bytes).map_err(|err| Malformed::Shape(err.to_string()))?;
        let media_type = raw.media_type(content_type)?;
        let subject = raw.subject.as_ref();
        let subject = subject.and_then(|subject| Digest::parse(&subject.digest));
        let content = raw.content()?;
        Ok(Self {
            subject,
            digest,
            media_type,
            bytes,
            content,
        })
    }

    /// The children of an index; none for an image.
    pub fn children(&self) -> &[Child] {
        match &self.content {
            Content::Index(children) => children,
            Content::Image(_) => &[],
        }
    }

    /// The blobs of an image; none for an index.
    pub fn blobs(&self) -> &[Blob] {
        match &self.content {
            Content::Index(_) => &[],
            Content::Image(blobs) => blobs,
        }
    }

    /// The configuration of a container image; none for an index and for anything else
    /// that is kept in the form of an image.
    pub fn config(&self) -> Option<Blob> {
        let raw: Raw = serde_json::from_slice(&self.bytes).ok()?;
        let config = raw.config?;
        let known = CONFIG_TYPES.contains(&config.media_type.as_str());
        known.then(|| config.blob().ok())?
    }

    /// The platforms of an index, in its order.
    pub fn platforms(&self) -> Vec<String> {
        self.children()
            .iter()
            .filter_map(|child| child.platform.clone())
            .collect()
    }
}

/// The platform that a configuration names.
pub fn platform_of(config: &[u8]) -> Option<String> {
    let platform: Platform = serde_json::from_slice(config).ok()?;
    platform.text()
}

/// An image with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What a tag points at.
    pub root: Manifest,
    /// Everything below the root: each once, and after all that it refers to.
    pub below: Vec<Manifest>,
}

impl Tree {
    /// All manifests in the order in which they can be written: the root last.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.below.iter().chain(std::iter::once(&self.root))
    }

    /// All blobs, each once.
    pub fn blobs(&self) -> BTreeSet<&Blob> {
        self.manifests().flat_map(Manifest::blobs).collect()
    }
}

fn check_digest(bytes: &[u8], want: Option<&Digest>) -> Result<Digest, Malformed> {
    match want {
        None => Ok(Digest::of(bytes)),
        Some(want) if want.matches(bytes) => Ok(want.clone()),
        Some(want) => Err(Malformed::Digest {
            want: want.clone(),
            got: Digest::of(bytes),
        }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    /// The layers of the older artifact manifests.
    blobs: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Vec<String>,
    platform: Option<Platform>,
    annotations: Option<Annotations>,
}

/// What build tools say about an entry.
#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "vnd.docker.reference.digest")]
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Raw {
    /// The type inside wins: a proxy may answer with a generic `Content-Type`. Without
    /// one (OCI allows that) the server's word counts, then the shape.
    fn media_type(&self, content_type: Option<&str>) -> Result<String, Malformed> {
        let said = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        let shape = if self.manifests.is_some() {
            OCI_IMAGE_INDEX_MEDIA_TYPE
        } else {
            OCI_IMAGE_MEDIA_TYPE
        };
        let found = self
            .media_type
            .as_deref()
            .or(said.filter(|said| is_manifest(said)))
            .unwrap_or(shape);
        let is_index = INDEX_TYPES.contains(&found);
        if self.schema_version == Some(1) || !is_manifest(found) {
            return Err(Malformed::Shape(format!(
                "unsupported manifest type {found}"
            )));
        }
        // A document that is both would mean different things to different readers.
        if is_index != self.manifests.is_some() || (is_index && self.layers.is_some()) {
            return Err(Malformed::Shape(format!(
                "contents do not match the type {found}"
            )));
        }
        Ok(found.to_owned())
    }

    fn content(self) -> Result<Content, Malformed> {
        if let Some(manifests) = self.manifests {
            let children = manifests
                .into_iter()
                .map(Descriptor::child)
                .collect::<Result<_, _>>()?;
            return Ok(Content::Index(children));
        }
        let descriptors = self
            .config
            .into_iter()
            .chain(self.layers.into_iter().flatten())
            .chain(self.blobs.into_iter().flatten());
        let blobs = descriptors
            .filter(|descriptor| !descriptor.is_foreign())
            .map(|descriptor| descriptor.blob())
            .collect::<Result<_, _>>()?;
        Ok(Content::Image(blobs))
    }
}

impl Descriptor {
    fn is_foreign(&self) -> bool {
        let restricted =
            self.media_type.contains("nondistributable") || self.media_type.contains(".foreign.");
        restricted && !self.urls.is_empty()
    }

    fn blob(&self) -> Result<Blob, Malformed> {
        if self.size > MAX_BLOB {
            let text = format!("a blob of {} bytes is not believed", self.size);
            return Err(Malformed::Shape(text));
        }
        Ok(Blob {
            digest: checked_digest(&self.digest)?,
            size: self.size,
        })
    }

    fn child(self) -> Result<Child, Malformed> {
        let attests = self.annotations.and_then(|found| found.reference);
        Ok(Child {
            digest: checked_digest(&self.digest)?,
            platform: self.platform.and_then(Platform::text),
            nested: INDEX_TYPES.contains(&self.media_type.as_str()),
            attests: attests.as_deref().and_then(Digest::parse),
        })
    }
}

fn is_manifest(media_type: &str) -> bool {
    MANIFEST_TYPES.contains(&media_type) || media_type == ARTIFACT_TYPE
}

fn checked_digest(text: &str) -> Result<Digest, Malformed> {
    Digest::parse(text).ok_or_else(|| Malformed::Shape(format!("malformed digest `{text}`")))
}

impl Platform {
    fn text(self) -> Option<String> {
        // A name, and nothing that a terminal would act on.
        let plain = |text: &str| text.len() < 32 && text.bytes().all(|b| b.is_ascii_graphic());
        let known = |text: &str| !text.is_empty() && text != "unknown" && plain(text);
        if !known(&self.os) || !known(&self.architecture) {
            return None;
        }
        let variant = self.variant.filter(|text| known(text));
        let variant = variant.map(|text| format!("/{text}")).unwrap_or_default();
        Some(format!("{}/{}{variant}", self.os, self.architecture))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(text) => f.write_str(text),
            Self::Digest { want, got } => {
                write!(f, "the content has digest {got} instead of {want}")
            }
        }
    }
}

impl std::error::Error for Malformed {}
