//! Manifests as they were put, and what they refer to.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::digest;

/// One manifest, single or index.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:…` of `bytes`.
    pub digest: String,
    /// The media type it was put with.
    pub media_type: String,
    /// The manifest as it was put.
    pub bytes: Bytes,
    /// What it says.
    pub parts: Parts,
    /// When it was put.
    pub pushed: Timestamp,
    /// Moved to the archive: described, but not to be pulled until it is pushed again.
    pub archived: bool,
}

/// What a manifest refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Config and layers: digest and size.
    pub blobs: Vec<(String, u64)>,
    /// Manifests of an index.
    pub children: Vec<String>,
    /// The manifest it is attached to.
    pub subject: Option<String>,
    /// `artifactType`, or the config's media type when there is none.
    pub artifact_type: Option<String>,
    /// The config's media type.
    pub config_type: Option<String>,
}

impl Parts {
    /// Reads a manifest; nothing when it is not one.
    #[must_use]
    pub fn read(manifest: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(manifest).ok()?;
        json.as_object()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
        let blob = |value: &Value| Some((text(&value["digest"])?, value["size"].as_u64()?));
        let config = json.get("config");
        let layers = list("layers");
        let config_type = config.and_then(|config| text(&config["mediaType"]));
        Some(Self {
            blobs: config.into_iter().chain(&layers).filter_map(blob).collect(),
            children: list("manifests")
                .iter()
                .filter_map(|one| text(&one["digest"]))
                .collect(),
            subject: text(&json["subject"]["digest"]),
            artifact_type: text(&json["artifactType"]).or_else(|| config_type.clone()),
            config_type,
        })
    }
}

impl Image {
    /// A manifest as it came in, when it is one.
    #[must_use]
    pub fn new(media_type: &str, bytes: Bytes) -> Option<Self> {
        let parts = Parts::read(&bytes)?;
        let (digest, media_type) = (digest(&bytes), media_type.to_owned());
        Some(Self {
            digest,
            media_type,
            bytes,
            parts,
            pushed: Timestamp::now(),
            archived: false,
        })
    }

    /// The size that DescribeImages reports: the layers', or the manifest's of an index.
    #[must_use]
    pub fn size(&self) -> u64 {
        let blobs = self.parts.blobs.iter().map(|(_, size)| size).sum();
        if self.parts.children.is_empty() {
            blobs
        } else {
            self.bytes.len() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_manifest_and_of_an_index() {
        let manifest = br#"{"config": {"mediaType": "c", "digest": "sha256:c", "size": 1},
            "layers": [{"digest": "sha256:l", "size": 2}], "subject": {"digest": "sha256:s"}}"#;
        let parts = Parts::read(manifest).unwrap();
        assert_eq!(
            parts.blobs,
            [("sha256:c".to_owned(), 1), ("sha256:l".to_owned(), 2)]
        );
        assert_eq!(parts.subject.as_deref(), Some("sha256:s"));
        assert_eq!(parts.artifact_type.as_deref(), Some("c"));
        let index = Parts::read(br#"{"manifests": [{"digest": "sha256:m"}]}"#).unwrap();
        assert_eq!(index.children, ["sha256:m"]);
        assert_eq!(Parts::read(b"[]"), None);
    }
}
