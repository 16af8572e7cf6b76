//! The `castai-agent` namespace as onboarding leaves it: all of CAST AI's workloads, on
//! public images.
//!
//! The manifests are a fixture that anybody can read; this module fills in what depends on
//! the seeded images and sends them to the API server in the name of Helm, so that field
//! ownership looks as it does after an installation.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;
use serde_json::Value;

/// The namespace.
pub const NAME: &str = "castai-agent";
/// The StatefulSet's image is written with tag and digest; the digest is the seed's.
const CLICKHOUSE: &str = "clickhouse/clickhouse-server:25.2.1.3085-alpine";
/// The hook job's image, which the nodes pulled before the cluster was closed.
const HOOK: &str = "rancher/kubectl:v1.35.6";
/// Who Helm says it is.
const MANAGER: &str = "helm";

/// The fixture, with digests from `digest_of` (reference with a tag -> `sha256:…`).
///
/// # Errors
/// When the digest of an image is not known.
pub fn manifests(digest_of: impl Fn(&str) -> Result<String>) -> Result<String> {
    let text = include_str!("../fixtures/castai-agent.yaml");
    Ok(text.replace("{CLICKHOUSE_DIGEST}", &digest_of(CLICKHOUSE)?))
}

/// Images the nodes still have from the time before the cluster was closed, as pods name
/// them, with their ids.
///
/// # Errors
/// When the digest of an image is not known.
pub fn preloaded(digest_of: impl Fn(&str) -> Result<String>) -> Result<BTreeMap<String, String>> {
    let id = format!("docker.io/rancher/kubectl@{}", digest_of(HOOK)?);
    Ok(BTreeMap::from([(HOOK.to_owned(), id)]))
}

/// Every image the fixture names, as `REPOSITORY:TAG` (digests left off): what has to be
/// in the upstream registries.
///
/// # Errors
/// When the fixture is not YAML.
pub fn images() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for document in documents(include_str!("../fixtures/castai-agent.yaml"))? {
        collect(&document, &mut found);
    }
    Ok(found)
}

/// Creates every object of `yaml` that does not exist yet.
///
/// # Errors
/// The API server's, naming the object.
pub async fn create(client: &kube::Client, yaml: &str) -> Result<()> {
    for document in documents(yaml)? {
        let object: DynamicObject = serde_json::from_value(document)?;
        let types = object.types.as_ref().context("object without kind")?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        match api.create(&params, &object).await {
            Err(kube::Error::Api(error)) if error.is_already_exists() => {}
            other => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                other.with_context(|| format!("cannot create {} {name}", types.kind))?;
            }
        }
    }
    Ok(())
}

fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(yaml).map(Value::deserialize);
    documents
        .collect::<Result<_, _>>()
        .context("cannot read the manifests")
}

/// Values of `image` keys, and of the one variable whose name says that it is an image.
fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            let variable =
                fields.get("name").and_then(Value::as_str) == Some("JMX_EXPORTER_INIT_IMAGE");
            let key = if variable { "value" } else { "image" };
            if let Some(image) = fields.get(key).and_then(Value::as_str) {
                found.insert(image.split('@').next().unwrap_or(image).to_owned());
            }
            fields.values().for_each(|field| collect(field, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixture_names_every_kind_of_image() {
        let images = images().expect("the fixture");
        for image in [
            "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1",
            "us-docker.pkg.dev/castai-hub/library/jmx-exporter-init:1.6.0-v2",
            "ghcr.io/castai/images/pod-mutator:v0.17.6",
            "busybox:1.37.0-musl",
            CLICKHOUSE,
            HOOK,
        ] {
            assert!(images.contains(image), "{image} is missing from {images:?}");
        }
        assert!(!images.contains("v0.21.0"), "a version is not an image");
    }

    #[test]
    fn digests_are_filled_in() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = manifests(|_| Ok(digest.clone())).expect("the fixture");
        assert!(text.contains(&format!("image: {CLICKHOUSE}@{digest}")));
        assert!(!text.contains('{') || !text.contains("_DIGEST}"));
    }
}
