//! Images: an index over one manifest per platform, as build tools write them.
//!
//! Layers are shared as real ones are: one base under all of CAST AI's images, a runtime
//! under some of them, a layer of its own on top. Some images come in the variants met in
//! the wild: Docker's media types, attestations in the index, a signature beside it, an
//! artifact attached to it.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use oci_client::Reference;
use serde_json::{Value, json};

use super::layer::{Layer, Layers};
use super::{LIBRARY, MIRROR, Options};
use crate::ecr::digest;

/// Sizes before scaling, in bytes.
const BASE: u32 = 1_000_000;
const RUNTIME: u32 = 500_000;
const OWN: u32 = 400_000;
/// Every image was built then.
const CREATED: &str = "2026-08-01T00:00:00Z";

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A document that is stored under its digest: a manifest, an index, a config.
#[derive(Clone, Debug)]
pub struct Document {
    /// `sha256:…`
    pub digest: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A whole image, ready to be pushed.
#[derive(Debug)]
pub struct Image {
    /// What the tag points to.
    pub index: Document,
    /// The manifests of the index.
    pub manifests: Vec<Document>,
    /// Configs and layers: digest and bytes.
    pub blobs: Vec<(String, Bytes)>,
    /// Further tags of the repository (signature, referrers) and what they point to.
    pub beside: Vec<(String, Document)>,
}

impl Document {
    fn new(media_type: &'static str, content: &Value) -> Self {
        let bytes = Bytes::from(content.to_string());
        Self {
            digest: digest(&bytes),
            media_type,
            bytes,
        }
    }

    pub(super) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// The media types of an image.
struct Types {
    index: &'static str,
    manifest: &'static str,
    config: &'static str,
    layer: &'static str,
}

const OCI: Types = Types {
    index: OCI_INDEX,
    manifest: OCI_MANIFEST,
    config: OCI_CONFIG,
    layer: OCI_LAYER,
};
const DOCKER: Types = Types {
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

/// A platform (`os/architecture`) and its layers, from the bottom.
pub type Stack = (String, Vec<Arc<Layer>>);

impl Image {
    /// An image of these layers for these platforms; `name` and `tag` are written into
    /// its configs.
    ///
    /// # Errors
    /// When a platform is not `os/architecture`.
    pub fn of(name: &str, tag: &str, stacks: &[Stack]) -> Result<Self> {
        let mut image = Self::empty();
        let entries = image.add(&OCI, (name, tag), stacks)?;
        image.close(&OCI, entries);
        Ok(image)
    }

    fn empty() -> Self {
        Self {
            index: Document::new(EMPTY, &json!({})),
            manifests: Vec::new(),
            blobs: Vec::new(),
            beside: Vec::new(),
        }
    }

    /// Adds one manifest per stack; their entries for the index.
    fn add(&mut self, types: &Types, name: (&str, &str), stacks: &[Stack]) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        for (platform, stack) in stacks {
            let (os, architecture) = platform
                .split_once('/')
                .context("a platform is os/architecture")?;
            let manifest = manifest(self, types, stack, (os, architecture), name);
            let mut entry = manifest.descriptor();
            entry["platform"] = json!({"architecture": architecture, "os": os});
            entries.push(entry);
            self.manifests.push(manifest);
        }
        Ok(entries)
    }

    fn close(&mut self, types: &Types, entries: Vec<Value>) {
        let content = json!({"schemaVersion": 2, "mediaType": types.index, "manifests": entries});
        self.index = Document::new(types.index, &content);
    }
}

/// Makes the image for `reference`.
pub(super) fn make(reference: &Reference, options: &Options, layers: &Layers) -> Result<Image> {
    let name = identity(reference);
    let tag = reference.tag().unwrap_or("latest");
    let types = if name.starts_with("nvcr.io/") {
        DOCKER
    } else {
        OCI
    };
    let stacked = |platform: &String| Ok((platform.clone(), stack(&name, tag, platform, layers)?));
    let stacks: Vec<Stack> = options
        .platforms
        .iter()
        .map(stacked)
        .collect::<Result<_>>()?;
    let mut image = Image::empty();
    let mut entries = image.add(&types, (&name, tag), &stacks)?;
    if name.starts_with("docker.io/castai/") {
        entries.extend(attestations(&mut image));
    }
    image.close(&types, entries);
    attach(&mut image, &name);
    Ok(image)
}

/// What the image is, wherever it is published.
fn identity(reference: &Reference) -> String {
    let name = super::repository(reference);
    let component = name.strip_prefix(LIBRARY).or(name.strip_prefix(MIRROR));
    component.map_or(name.clone(), |component| format!("castai/{component}"))
}

fn stack(name: &str, tag: &str, platform: &str, layers: &Layers) -> Result<Vec<Arc<Layer>>> {
    let owner = name.rsplit_once('/').map_or(name, |(owner, _)| owner);
    let base = layers.shared(&format!("{owner}/base/{platform}"), BASE)?;
    let own = layers.own(&format!("{name}:{tag}/{platform}"), OWN)?;
    // The larger half of the components are built on a common runtime.
    let letter = name
        .rsplit('/')
        .next()
        .and_then(|last| last.bytes().next())
        .unwrap_or(b'a');
    if name.starts_with("castai/") && letter < b'l' {
        let runtime = layers.shared(&format!("{owner}/runtime/{platform}"), RUNTIME)?;
        return Ok(vec![base, runtime, own]);
    }
    Ok(vec![base, own])
}

fn manifest(
    image: &mut Image,
    types: &Types,
    stack: &[Arc<Layer>],
    (os, architecture): (&str, &str),
    (name, tag): (&str, &str),
) -> Document {
    let short = name.rsplit('/').next().unwrap_or(name);
    let history =
        |index: usize| json!({"created": CREATED, "created_by": format!("COPY layer{index} /")});
    let config = Document::new(
        types.config,
        &json!({
            "architecture": architecture,
            "os": os,
            "created": CREATED,
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": [format!("/usr/bin/{short}")],
                "User": "65532",
                "Labels": {"org.opencontainers.image.version": tag},
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": stack.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>(),
            },
            "history": (0..stack.len()).map(history).collect::<Vec<_>>(),
        }),
    );
    let layer = |layer: &Arc<Layer>| json!({"mediaType": types.layer, "digest": layer.digest, "size": layer.size});
    let content = json!({
        "schemaVersion": 2,
        "mediaType": types.manifest,
        "config": config.descriptor(),
        "layers": stack.iter().map(layer).collect::<Vec<_>>(),
    });
    image.blobs.push((config.digest, config.bytes));
    image.blobs.extend(
        stack
            .iter()
            .map(|layer| (layer.digest.clone(), layer.bytes.clone())),
    );
    Document::new(types.manifest, &content)
}

/// Provenance as buildx puts it into an index: one manifest per platform, for no platform.
fn attestations(image: &mut Image) -> Vec<Value> {
    let subjects: Vec<_> = image
        .manifests
        .iter()
        .map(|one| one.digest.clone())
        .collect();
    let mut entries = Vec::new();
    for subject in subjects {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{"digest": {"sha256": subject.trim_start_matches("sha256:")}}],
        });
        let manifest = artifact(image, "application/vnd.in-toto+json", &statement, json!({}));
        let mut entry = manifest.descriptor();
        entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
        entry["annotations"] = json!({
            "vnd.docker.reference.digest": subject,
            "vnd.docker.reference.type": "attestation-manifest",
        });
        entries.push(entry);
        image.manifests.push(manifest);
    }
    entries
}

/// A signature beside `agent` (as cosign tags it), a bill of materials attached to
/// `kvisor-controller` (found through the referrers' fallback tag).
fn attach(image: &mut Image, name: &str) {
    let subject = image.index.descriptor();
    let tag = image.index.digest.replace(':', "-");
    if name == "castai/agent" {
        let payload = json!({"critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": image.index.digest},
            "type": "cosign container image signature",
        }});
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let signature = artifact(image, kind, &payload, json!({}));
        image.beside.push((format!("{tag}.sig"), signature));
    }
    if name == "castai/kvisor-controller" {
        let bill = json!({"spdxVersion": "SPDX-2.3", "name": name, "packages": []});
        let kind = "application/spdx+json";
        let more = json!({"subject": subject, "artifactType": kind});
        let attached = artifact(image, kind, &bill, more);
        let mut entry = attached.descriptor();
        entry["artifactType"] = json!(kind);
        image.manifests.push(attached);
        image.beside.push((tag, list(&[entry])));
    }
}

/// A manifest over one blob of some type, with `more` fields; its blobs go to the image's.
fn artifact(image: &mut Image, kind: &'static str, content: &Value, more: Value) -> Document {
    let (manifest, blobs) = lone_artifact(kind, content, more);
    image.blobs.extend(blobs);
    manifest
}

/// A manifest over one blob of some type, with `more` fields, and its blobs.
pub(super) fn lone_artifact(
    kind: &'static str,
    content: &Value,
    more: Value,
) -> (Document, [(String, Bytes); 2]) {
    let config = Document::new(EMPTY, &json!({}));
    let layer = Document::new(kind, content);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        manifest[key] = value.clone();
    }
    let blobs = [config, layer].map(|blob| (blob.digest, blob.bytes));
    (Document::new(OCI_MANIFEST, &manifest), blobs)
}

/// An index over `entries`.
pub(super) fn list(entries: &[Value]) -> Document {
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    Document::new(OCI_INDEX, &list)
}
