//! Signatures and other artifacts, attached to what is upstream already. The registry keeps
//! no lists of referrers: they are kept under the tag that stands in for them.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::image::{list, lone_artifact};
use super::{Seeder, parse, push, repository};

/// How an artifact is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By a tag of cosign's: `sig`, `att`, `sbom`.
    Tag(&'static str),
    /// By naming its subject, which is listed.
    Referrer,
}

impl Seeder {
    /// Attaches an artifact of the type `kind` to the manifest `subject` (a digest) in the
    /// repository of `reference`. Returns its digest.
    ///
    /// # Errors
    /// When there is no such manifest, or the registry refuses.
    pub async fn attach(
        &self,
        reference: &str,
        subject: &str,
        kind: &'static str,
        via: Via,
    ) -> Result<String> {
        let name = repository(&parse(reference)?);
        let content = json!({"kind": kind, "via": format!("{via:?}"), "about": subject});
        let more = match via {
            Via::Tag(_) => json!({}),
            Via::Referrer => json!({
                "artifactType": kind,
                "subject": self.descriptor(&name, subject).await?,
                "annotations": {"org.opencontainers.image.created": "2026-08-01T00:00:00Z"},
            }),
        };
        let (manifest, blobs) = lone_artifact(kind, &content, more);
        for (digest, bytes) in &blobs {
            push::blob(self, &name, digest, bytes).await?;
        }
        let stem = subject.replace(':', "-");
        match via {
            Via::Tag(suffix) => {
                push::put(self, &name, &format!("{stem}.{suffix}"), &manifest).await?;
            }
            Via::Referrer => {
                push::put(self, &name, &manifest.digest, &manifest).await?;
                let mut entry = manifest.descriptor();
                entry["artifactType"] = json!(kind);
                self.add_to_list(&name, &stem, entry).await?;
            }
        }
        Ok(manifest.digest)
    }

    async fn add_to_list(&self, name: &str, tag: &str, entry: Value) -> Result<()> {
        let mut entries = match push::get(self, name, tag).await? {
            Some((_, bytes)) => {
                let list: Value = serde_json::from_slice(&bytes)?;
                list["manifests"].as_array().cloned().unwrap_or_default()
            }
            None => Vec::new(),
        };
        entries.push(entry);
        push::put(self, name, tag, &list(&entries)).await
    }

    async fn descriptor(&self, name: &str, digest: &str) -> Result<Value> {
        let Some((kind, bytes)) = push::get(self, name, digest).await? else {
            bail!("{name} has no {digest}");
        };
        Ok(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}))
    }

    /// The manifest that a tag or digest of the repository of `reference` stands for.
    ///
    /// # Errors
    /// When there is none.
    pub async fn manifest(&self, reference: &str, selector: &str) -> Result<Value> {
        let name = repository(&parse(reference)?);
        let found = push::get(self, &name, selector).await?;
        let (_, bytes) = found.with_context(|| format!("{name} has no {selector}"))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Takes one manifest out of the repository of `reference`; what refers to it stays.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn delete(&self, reference: &str, digest: &str) -> Result<()> {
        push::delete(self, &repository(&parse(reference)?), digest).await
    }
}
