//! Looking into an OCI image layout directory with code that is not the product's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

const NAME: &str = "org.opencontainers.image.ref.name";

/// An OCI image layout directory.
pub(crate) struct Layout(pub(crate) PathBuf);

impl Layout {
    /// `index.json`; none before it is there.
    pub(crate) fn index(&self) -> Option<Value> {
        let text = fs::read(self.0.join("index.json")).ok()?;
        Some(serde_json::from_slice(&text).expect("index.json is JSON at every moment"))
    }

    /// The images by name, with their digests.
    pub(crate) fn images(&self) -> BTreeMap<String, String> {
        let index = self.index().unwrap_or_default();
        let entries = index["manifests"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = entries.iter();
        entries
            .map(|entry| (text(&entry["annotations"][NAME]), text(&entry["digest"])))
            .collect()
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').unwrap();
        self.0.join("blobs").join(algorithm).join(hex)
    }

    /// Reads everything that `index.json` refers to: each file must be there with its size
    /// and its digest. Returns the digests of all, manifests first.
    pub(crate) fn check(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for entry in self.index().unwrap()["manifests"].as_array().unwrap() {
            self.check_manifest(entry, &mut seen);
        }
        seen
    }

    fn check_manifest(&self, descriptor: &Value, seen: &mut Vec<String>) {
        let manifest: Value = serde_json::from_slice(&self.check_blob(descriptor, seen)).unwrap();
        let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
        for child in list("manifests") {
            self.check_manifest(&child, seen);
        }
        for layer in list("layers") {
            self.check_blob(&layer, seen);
        }
        if manifest["config"].is_object() {
            self.check_blob(&manifest["config"], seen);
        }
    }

    fn check_blob(&self, descriptor: &Value, seen: &mut Vec<String>) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = fs::read(self.blob(digest)).unwrap_or_else(|err| panic!("{digest}: {err}"));
        assert_eq!(
            Some(bytes.len() as u64),
            descriptor["size"].as_u64(),
            "{digest}"
        );
        assert_eq!(
            digest,
            format!("sha256:{}", hex::encode(Sha256::digest(&bytes)))
        );
        seen.push(digest.to_owned());
        bytes
    }

    /// The digests and sizes of the layers of an image, of all its platforms.
    pub(crate) fn layers(&self, digest: &str) -> Vec<(String, u64)> {
        self.parts(digest, &["layers"])
    }

    /// The same with the configurations.
    pub(crate) fn blobs(&self, digest: &str) -> Vec<(String, u64)> {
        self.parts(digest, &["layers", "config"])
    }

    fn parts(&self, digest: &str, kinds: &[&str]) -> Vec<(String, u64)> {
        let manifest: Value =
            serde_json::from_slice(&fs::read(self.blob(digest)).unwrap()).unwrap();
        let mut parts = Vec::new();
        for child in manifest["manifests"].as_array().into_iter().flatten() {
            parts.extend(self.parts(child["digest"].as_str().unwrap(), kinds));
        }
        for kind in kinds {
            let found = match &manifest[kind] {
                Value::Array(many) => many.clone(),
                Value::Null => Vec::new(),
                one => vec![one.clone()],
            };
            for part in found {
                let digest = part["digest"].as_str().unwrap().to_owned();
                parts.push((digest, part["size"].as_u64().unwrap()));
            }
        }
        parts
    }

    /// The names that lie beside `index.json`.
    pub(crate) fn root(&self) -> Vec<String> {
        names(&self.0)
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
