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
mod tests {
    use super::*;

    fn digest(fill: char) -> String {
        format!("sha256:{}", fill.to_string().repeat(64))
    }

    fn index(entries: &[(char, Option<&str>, Option<&str>)]) -> Index {
        let entries = entries.iter().map(|(fill, label, containerd)| {
            let mut annotations = Map::new();
            let mut add = |key: &str, value: &Option<&str>| {
                annotations.extend(value.map(|value| (key.to_owned(), value.into())));
            };
            add(REF_NAME, label);
            add(CONTAINERD_NAME, containerd);
            json!({"mediaType": "m", "digest": digest(*fill), "size": 2, "annotations": annotations})
        });
        let text = json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>()});
        Index::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_the_tools_call_an_image() {
        for (label, containerd, want) in [
            // Ours, and crane's `--annotate-ref`.
            (Some("ghcr.io/x/a:v1"), None, Some("ghcr.io/x/a:v1")),
            (Some("busybox:1.37"), None, Some("busybox:1.37")),
            (
                Some("busybox"),
                Some("docker.io/library/busybox:latest"),
                Some("busybox"),
            ),
            // docker save: the tag beside the whole name.
            (Some("v1"), Some("ghcr.io/x/a:v1"), Some("ghcr.io/x/a:v1")),
            (None, Some("ghcr.io/x/a:v1"), Some("ghcr.io/x/a:v1")),
            // oras, skopeo with a tag alone, buildkit without a name.
            (Some("v1"), None, None),
            (None, None, None),
            (Some("No/Reference:At all"), None, None),
        ] {
            let index = index(&[('a', label, containerd)]);
            let image = index.entries()[0].image.as_ref();
            assert_eq!(
                image.map(ImageRef::literal),
                want,
                "{label:?} {containerd:?}"
            );
        }
    }

    #[test]
    fn references_find_what_means_the_same() {
        let index = index(&[
            ('a', Some("docker.io/library/busybox:1"), None),
            ('b', Some("ghcr.io/x/a:v1"), None),
            ('c', Some("twice:1"), None),
            ('d', Some("twice:1"), None),
            ('e', Some("v1"), None),
        ]);
        let find = |text: &str| {
            let found = index.find(&text.parse().unwrap());
            found.map(|entry| entry.map(|entry| entry.target.clone().unwrap().digest))
        };
        let want = |fill| Some(Digest::parse(&digest(fill)).unwrap());
        assert_eq!(find("busybox:1").unwrap(), want('a'));
        assert_eq!(find("ghcr.io/x/a:v1").unwrap(), want('b'));
        assert_eq!(find("ghcr.io/x/a:v2").unwrap(), None);
        assert_eq!(find("v1").unwrap(), None, "a tag alone is nobody's name");
        assert!(find("twice:1").is_err());
    }

    #[test]
    fn entries_can_be_given_names() {
        let mut index = index(&[('a', Some("v1"), None), ('b', None, None)]);
        let (first, second) = ("r.io/a:1".parse().unwrap(), "r.io/b:1".parse().unwrap());
        index.name("v1", &first).unwrap();
        index.name(&digest('b'), &second).unwrap();
        assert!(index.name("v2", &first).is_err());
        assert!(index.find(&first).unwrap().is_some() && index.find(&second).unwrap().is_some());
    }

    #[test]
    fn a_name_has_one_entry_and_strangers_stay() {
        let mut index = index(&[('a', Some("r.io/a:1"), None), ('b', Some("v1"), None)]);
        let bytes = bytes::Bytes::from_static(b"{\"layers\":[]}");
        let manifest = Manifest::parse(bytes, None, None).unwrap();
        for name in ["r.io/a:1", "r.io/c:1", "r.io/a:1"] {
            index.set(&name.parse().unwrap(), &manifest);
        }
        let again = Index::parse(&index.bytes()).unwrap();
        let labels: Vec<_> = again
            .entries()
            .iter()
            .map(|entry| entry.label.as_deref())
            .collect();
        assert_eq!(labels, [Some("r.io/a:1"), Some("v1"), Some("r.io/c:1")]);
        assert_eq!(
            again.entries()[0].target.as_ref().unwrap().digest,
            manifest.digest
        );
        assert_eq!(again.entries()[1].target, index.entries()[1].target);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for bad in ["", "[]", "{}", r#"{"manifests":{}}"#] {
            assert!(Index::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for digest in [
            "../../../etc/passwd",
            "sha256:../x",
            "sha256:abc",
            "sha256:",
        ] {
            let text = json!({"manifests": [{"digest": digest, "size": 1}, 7]}).to_string();
            let index = Index::parse(text.as_bytes()).unwrap();
            let error = index.entries()[0].target.as_ref().unwrap_err();
            assert!(error.contains("malformed digest"), "{error}");
            assert!(index.entries()[1].target.is_err());
        }
    }
}
