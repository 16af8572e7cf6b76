//! `index.json`: what is in a store, and what it is called. Parsed and changed in memory
//! only; what others wrote into it stays as it is.

use std::collections::BTreeMap;

use castlink_core::{Failure, ImageRef, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::content::{Digest, Manifest};

/// What the layout's specification calls an entry: skopeo, crane, oras and regctl use it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The full name that containerd, docker and nerdctl write and look for.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The contents of `index.json`.
#[derive(Debug, Clone)]
pub(super) struct Index {
    document: Map<String, Value>,
    entries: Vec<Entry>,
}

/// One image, or one of the things that travel with images.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    raw: Value,
    /// What it is; the text says why that cannot be told.
    pub(crate) target: Result<Target, String>,
    /// What it is called in the store; tools also write a tag alone, or nothing.
    pub(crate) label: Option<String>,
    /// The whole reference it stands for, where that can be told.
    pub(crate) image: Option<ImageRef>,
}

/// What an entry points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The manifest's digest.
    pub(crate) digest: Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its type, when the entry says it.
    pub(crate) media_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Index {
    /// The index of a store that has nothing yet.
    pub(super) fn empty() -> Self {
        let document = json!({
            "schemaVersion": 2,
            "mediaType": oci_client::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE,
            "manifests": [],
        });
        let Value::Object(document) = document else {
            unreachable!("an object literal");
        };
        Self {
            document,
            entries: Vec::new(),
        }
    }

    /// Reads `index.json`. An entry that makes no sense does not hide the others.
    ///
    /// # Errors
    /// What is wrong, when it is no index at all.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
        match document.get_mut("manifests").map(Value::take) {
            Some(Value::Array(entries)) => Ok(Self {
                document,
                entries: entries.into_iter().map(Entry::new).collect(),
            }),
            _ => Err("it has no list of manifests".into()),
        }
    }

    /// As it is written.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut document = self.document.clone();
        let entries = self.entries.iter().map(|entry| entry.raw.clone()).collect();
        document.insert("manifests".into(), Value::Array(entries));
        Value::Object(document).to_string().into_bytes()
    }

    /// All entries, in their order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Calls `manifest` by `image`, as it is written; whatever had that name loses it.
    pub(super) fn set(&mut self, image: &ImageRef, manifest: &Manifest) {
        let entry = Entry::of(image, manifest);
        let same = |other: &Entry| other.label == entry.label;
        match self.entries.iter().position(same) {
            Some(first) => {
                let rest = self.entries.split_off(first + 1);
                self.entries[first] = entry;
                let label = self.entries[first].label.clone();
                let others = rest.into_iter().filter(|other| other.label != label);
                self.entries.extend(others);
            }
            None => self.entries.push(entry),
        }
    }

    /// Lists `manifest` without a name, as what is attached to something is.
    pub(super) fn list(&mut self, manifest: &Manifest) {
        if self.said(&manifest.digest).is_none() {
            self.entries.push(Entry::nameless(manifest));
        }
    }

    /// The entry that is called `label` in the store.
    pub(super) fn labelled(&self, label: &str) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.label.as_deref() == Some(label))
    }

    /// What the index says of a manifest that it points at.
    pub(super) fn said(&self, digest: &Digest) -> Option<Target> {
        let targets = self
            .entries
            .iter()
            .filter_map(|entry| entry.target.as_ref().ok());
        targets
            .into_iter()
            .find(|target| target.digest == *digest)
            .cloned()
    }

    /// The entry that `image` stands for: the one written so, else one that means the same.
    /// None when there is none.
    ///
    /// # Errors
    /// When several different ones would do.
    pub(super) fn find(&self, image: &ImageRef) -> Result<Option<&Entry>> {
        let named = |entry: &&Entry| entry.image.is_some();
        let written = |entry: &&Entry| entry.image.as_ref() == Some(image);
        let meant = |entry: &&Entry| {
            let other = entry.image.as_ref();
            other.is_some_and(|other| canonical(other) == canonical(image))
        };
        let entries = self.entries.iter().filter(named);
        let mut found: Vec<&Entry> = entries.clone().filter(written).collect();
        if found.is_empty() {
            found = entries.filter(meant).collect();
        }
        match found.as_slice() {
            [] => Ok(None),
            [first, rest @ ..] if rest.iter().all(|other| other.target == first.target) => {
                Ok(Some(first))
            }
            all => Err(Failure::failed(format!(
                "{} different entries of the store are called {image}",
                all.len()
            ))
            .hint("push one of them by its digest: --name sha256:DIGEST=REFERENCE")),
        }
    }

    /// Gives the entry that is called `called`, or has that digest, the name `image`.
    ///
    /// # Errors
    /// Exit 2 when there is none, or several different ones.
    pub(super) fn name(&mut self, called: &str, image: &ImageRef) -> Result<()> {
        let is_it = |entry: &Entry| {
            let by_digest = entry
                .target
                .as_ref()
                .is_ok_and(|it| it.digest.as_str() == called);
            by_digest || entry.label.as_deref() == Some(called)
        };
        let mut found = self.entries.iter_mut().filter(|entry| is_it(entry));
        let Some(first) = found.next() else {
            return Err(
                Failure::usage(format!("the store has no entry called `{called}`"))
                    .hint("an entry is named by its ref.name or its whole digest in index.json"),
            );
        };
        first.image = Some(image.clone());
        let target = first.target.clone();
        for other in found {
            if other.target != target {
                return Err(Failure::usage(format!(
                    "the store has several entries called `{called}`"
                ))
                .hint("name them by their digests"));
            }
            other.image = Some(image.clone());
        }
        Ok(())
    }
}

impl Entry {
    fn new(raw: Value) -> Self {
        let (target, annotations) = match Descriptor::deserialize(&raw) {
            Ok(descriptor) => (descriptor.target(), descriptor.annotations),
            Err(err) => (Err(err.to_string()), None),
        };
        let annotations = annotations.unwrap_or_default();
        let label = annotations.get(REF_NAME).cloned();
        Self {
            image: full_name(
                label.as_deref(),
                annotations.get(CONTAINERD_NAME).map(String::as_str),
            ),
            raw,
            target,
            label,
        }
    }

    fn of(image: &ImageRef, manifest: &Manifest) -> Self {
        Self::new(json!({
            "mediaType": manifest.media_type,
            "digest": manifest.digest.as_str(),
            "size": manifest.bytes.len(),
            "annotations": {
                REF_NAME: image.literal(),
                CONTAINERD_NAME: canonical(image),
            },
        }))
    }
}

impl Entry {
    fn nameless(manifest: &Manifest) -> Self {
        Self::new(json!({
            "mediaType": manifest.media_type,
            "digest": manifest.digest.as_str(),
            "size": manifest.bytes.len(),
        }))
    }
}

impl Descriptor {
    fn target(&self) -> Result<Target, String> {
        // Before it becomes the name of a file.
        let digest = Digest::parse(&self.digest)
            .ok_or_else(|| format!("malformed digest `{}`", self.digest.escape_debug()))?;
        Ok(Target {
            digest,
            size: self.size,
            media_type: self.media_type.clone(),
        })
    }
}

/// The reference an entry stands for. A tag alone (`v1`) would also be the name of an image
/// on Docker Hub: a name without a slash or a colon counts only when containerd's says
/// the same.
fn full_name(label: Option<&str>, containerd: Option<&str>) -> Option<ImageRef> {
    let label = label.and_then(|label| label.parse::<ImageRef>().ok());
    if let Some(label) = label
        .as_ref()
        .filter(|label| label.literal().contains(['/', ':']))
    {
        return Some(label.clone());
    }
    let full = containerd?.parse::<ImageRef>().ok()?;
    let same = label.filter(|label| canonical(label) == canonical(&full));
    Some(same.unwrap_or(full))
}

/// The reference with everything that short forms leave out.
fn canonical(image: &ImageRef) -> String {
    let tag = image.tag().map(|tag| format!(":{tag}"));
    let digest = image.digest().map(|digest| format!("@{digest}"));
    format!(
        "{}/{}{}{}",
        image.registry(),
        image.repository(),
        tag.unwrap_or_default(),
        digest.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests;
