//! One image as it lies in a registry: its digest, and the platforms it is for.

use crate::{
    Download, Registry,
    content::{self, Blob, Digest, Manifest},
    error::{Kind, Result},
};

/// The largest configuration that is read; real ones have a few kilobytes.
const MAX_CONFIG: u64 = 4 << 20;

/// An image that a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Of the index, or of the manifest of an image without one.
    pub digest: Digest,
    /// `linux/arm64`; empty where the image does not say.
    pub platforms: Vec<String>,
}

impl Registry {
    /// The image that a tag or digest stands for: one request, and another for the
    /// configuration of an image without an index.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such image.
    pub async fn find(&self, repository: &str, selector: &str) -> Result<Found> {
        let manifest = self.get_manifest(repository, selector).await?;
        let platforms = self.platforms(repository, &manifest).await?;
        Ok(Found {
            digest: manifest.digest,
            platforms,
        })
    }

    async fn platforms(&self, repository: &str, manifest: &Manifest) -> Result<Vec<String>> {
        // What lies in an index within the index could be for any platform.
        if manifest.children().iter().any(|child| child.nested) {
            return Ok(Vec::new());
        }
        match manifest.config() {
            None => Ok(manifest.platforms()),
            Some(config) => {
                let bytes = self.configuration(repository, &config).await?;
                Ok(content::platform_of(&bytes).into_iter().collect())
            }
        }
    }

    async fn configuration(&self, repository: &str, config: &Blob) -> Result<Vec<u8>> {
        let mut download = Download::new(self, repository, config);
        if config.size > MAX_CONFIG {
            let text = "the configuration is larger than 4 MiB";
            return Err(download.subject().nonsense(text));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = download.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        if !config.digest.matches(&bytes) {
            let text = "the content does not have its digest";
            return Err(download.subject().error(Kind::Corrupt, text));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Registries,
        liar::{HOST, Liar, config},
    };

    async fn find(liar: &Liar, tag: &str) -> Result<Found> {
        let registries = Registries::new(&config(&[(HOST, liar)]));
        let registry = registries.get(HOST).await.unwrap();
        registry.find("r", tag).await
    }

    fn index(liar: &Liar, tag: &str, entries: Value) -> Digest {
        let media = "application/vnd.oci.image.index.v1+json";
        let document = json!({"schemaVersion": 2, "mediaType": media, "manifests": entries});
        liar.put_manifest("r", tag, document.to_string().as_bytes())
    }

    fn entry(platform: Value, media: &str) -> Value {
        let digest = Digest::of(platform.to_string().as_bytes());
        json!({"mediaType": media, "digest": digest.as_str(), "size": 2, "platform": platform})
    }

    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

    #[tokio::test]
    async fn an_index_names_its_platforms_in_one_request() {
        let liar = Liar::honest().await;
        let unknown = json!({"os": "unknown", "architecture": "unknown"});
        let digest = index(
            &liar,
            "v1",
            json!([
                entry(json!({"os": "linux", "architecture": "amd64"}), IMAGE),
                entry(
                    json!({"os": "linux", "architecture": "arm64", "variant": "v8"}),
                    IMAGE
                ),
                entry(unknown, IMAGE),
            ]),
        );
        let found = find(&liar, "v1").await.unwrap();
        assert_eq!(found.platforms, ["linux/amd64", "linux/arm64/v8"]);
        assert_eq!(found.digest, digest);
        assert_eq!(liar.asked("").len(), 1);
    }

    #[tokio::test]
    async fn an_image_without_an_index_is_asked_for_its_configuration() {
        let liar = Liar::honest().await;
        let body = json!({"os": "linux", "architecture": "amd64"}).to_string();
        let config = liar.put_blob("r", body.as_bytes());
        let manifest = json!({"schemaVersion": 2, "layers": [], "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.as_str(), "size": body.len()}});
        liar.put_manifest("r", "single", manifest.to_string().as_bytes());
        assert_eq!(
            find(&liar, "single").await.unwrap().platforms,
            ["linux/amd64"]
        );
        // A chart, or an image whose configuration says nothing.
        liar.put_image("r", "silent", &[b"layer"]);
        assert_eq!(find(&liar, "silent").await.unwrap().platforms, [""; 0]);
    }

    #[tokio::test]
    async fn what_an_index_within_the_index_is_for_is_not_known() {
        let liar = Liar::honest().await;
        let nested = entry(json!(null), "application/vnd.oci.image.index.v1+json");
        let plain = entry(json!({"os": "linux", "architecture": "amd64"}), IMAGE);
        index(&liar, "nested", json!([plain, nested]));
        assert_eq!(find(&liar, "nested").await.unwrap().platforms, [""; 0]);
    }

    #[tokio::test]
    async fn a_missing_image_is_not_found() {
        let liar = Liar::honest().await;
        assert_eq!(find(&liar, "v9").await.unwrap_err().kind, Kind::NotFound);
    }
}
