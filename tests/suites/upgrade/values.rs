//! What makes the next release keep the private images, and who decides about them.

use anyhow::{Context, Result, ensure};
use castlink_tests::process::wait_until;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::harness::{SOON, Scene};

/// The values of one release of the `castai-agent` namespace.
async fn values(scene: &Scene, release: &str) -> Result<(String, Value)> {
    let ecr = scene.stack.aws.ecr_host();
    let args = ["values", "--to", &ecr, "--release", release];
    let outcome = scene.upgrade(&args)?.run().await?.expect_code(0)?;
    let parsed = serde_yaml_ng::from_str(&outcome.stdout)?;
    Ok((outcome.stdout, parsed))
}

#[tokio::test]
async fn values_are_what_helm_reads() -> Result<()> {
    let scene = Scene::existing("castai-agent").await?;
    let library =
        |image: &str| scene.target(&format!("us-docker.pkg.dev/castai-hub/library/{image}"));
    let (_, agent) = values(&scene, "castai-agent").await?;
    assert_eq!(agent["image"]["repository"], library("agent"));
    let cpvpa = scene.target("registry.k8s.io/cpa/cpvpa");
    assert_eq!(agent["clusterVPA"]["repository"], cpvpa);
    ensure!(agent.get("global").is_none(), "this chart does not know it");
    let (text, kvisor) = values(&scene, "castai-kvisor").await?;
    let prefix = scene.target("ghcr.io/castai/kvisor/kvisor");
    assert_eq!(kvisor["image"]["repository"], prefix);
    assert_eq!(
        kvisor["global"]["registry"], "",
        "or it would be put in front"
    );
    let left = "busybox:1.37.0-musl: the init container obi-init is written into the chart";
    ensure!(text.contains(left), "{text}");
    let (_, autoscaler) = values(&scene, "castai-workload-autoscaler").await?;
    let init = &autoscaler["jmxExporter"]["initImage"]["repository"];
    assert_eq!(*init, library("jmx-exporter-init"));
    let (_, evictor) = values(&scene, "castai-evictor").await?;
    let hook = &evictor["crdUpgrade"]["image"]["repository"];
    assert_eq!(*hook, scene.target("rancher/kubectl"));
    Ok(())
}

#[tokio::test]
async fn every_release_is_a_document_and_every_value_a_record() -> Result<()> {
    let scene = Scene::existing("castai-agent").await?;
    let ecr = scene.stack.aws.ecr_host();
    let text = scene.upgrade(&["values", "--to", &ecr])?.run().await?;
    let text = text.expect_code(0)?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text.stdout);
    let documents: Vec<Value> = documents
        .map(Value::deserialize)
        .collect::<Result<_, _>>()?;
    let json = scene.upgrade(&["values", "--to", &ecr, "-o", "json"])?;
    let json = json.run().await?.expect_code(0)?;
    let records = json.records_of("helm_value")?;
    let mut releases: Vec<&str> = records
        .iter()
        .filter_map(|one| one["release"].as_str())
        .collect();
    releases.dedup();
    ensure!(releases.contains(&"cluster-controller"), "{releases:?}");
    assert_eq!(documents.len(), releases.len(), "{}", text.stdout);
    for record in records.iter().filter(|record| record["key"].is_string()) {
        let value = record["value"].as_str().context("no value")?;
        ensure!(value.starts_with(&ecr), "{record}");
        assert_eq!(record["owner"], "helm");
    }
    let unknown = ["values", "--to", &ecr, "--release", "castai-agnet"];
    let unknown = scene.upgrade(&unknown)?.run().await?.expect_code(2)?;
    ensure!(
        unknown.stderr.contains("--release castai-agent"),
        "{unknown}"
    );
    Ok(())
}

/// The operator's custom resource, as its chart defines it, in short; waits until it is
/// served. Several scenes need it, and it is the cluster's.
pub(crate) async fn define_components(scene: &Scene) -> Result<()> {
    let definition = json!({"metadata": {"name": "components.castware.cast.ai"}, "spec": {
        "group": "castware.cast.ai", "scope": "Namespaced",
        "names": {"plural": "components", "singular": "component", "kind": "Component", "listKind": "ComponentList"},
        "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let api: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let definition = serde_json::from_value(definition)?;
    match api.create(&PostParams::default(), &definition).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other?),
    }
    let components = components(scene);
    wait_until("the custom resource", SOON, async || {
        Ok(components.list(&ListParams::default()).await?)
    })
    .await?;
    Ok(())
}

fn components(scene: &Scene) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("castware.cast.ai", "v1alpha1", "Component");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
}

/// Creates a Component; its uid.
pub(crate) async fn create_component(scene: &Scene, object: Value) -> Result<String> {
    let object = serde_json::from_value(object)?;
    let made = components(scene)
        .create(&PostParams::default(), &object)
        .await?;
    made.metadata.uid.context("no uid")
}

/// Values as charts take them: the beginning of two repositories, a registry of its own, a
/// number for a tag.
fn kvisor_by_values() -> Value {
    json!({"apiVersion": "castware.cast.ai/v1alpha1", "kind": "Component",
        "metadata": {"name": "kvisor"},
        "spec": {"component": "castai-kvisor", "values": {
            "image": {"repository": "us-docker.pkg.dev/castai-hub/library/kvisor", "tag": "v1.164.8"},
            "agent": {"gpu": {"dcgmExporter": {"image": {
                "registry": "nvcr.io", "repository": "nvidia/k8s/dcgm-exporter", "tag": 4.5}}}}}}})
}

#[tokio::test]
async fn components_of_the_operator_use_images_and_take_values() -> Result<()> {
    let scene = Scene::new("operated").await?;
    let image = "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1";
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "castai-agent",
            "labels": {"helm.sh/chart": "castai-agent-0.161.1"},
            "annotations": {"meta.helm.sh/release-name": "castai-agent", "meta.helm.sh/release-namespace": "operated"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "agent", "image": image}]}}}});
    let params = PostParams {
        field_manager: Some("castware-operator".into()),
        ..PostParams::default()
    };
    let workload = serde_json::from_value(object)?;
    scene.api("Deployment").create(&params, &workload).await?;
    define_components(&scene).await?;
    let next = "us-docker.pkg.dev/castai-hub/library/agent:v0.162.0";
    let component = json!({"apiVersion": "castware.cast.ai/v1alpha1", "kind": "Component",
        "metadata": {"name": "agent"},
        "spec": {"component": "castai-agent", "values": {
            "image": {"repository": next.split(':').next(), "tag": "v0.162.0"}}}});
    create_component(&scene, component).await?;
    create_component(&scene, kvisor_by_values()).await?;
    let images = scene.upgrade(&["images", "-o", "json"])?.run().await?;
    let images = images.expect_code(0)?.records_of("image")?;
    let find = |source: &str| images.iter().find(|image| image["source"] == source);
    let planned = find(next).context("the Component's image")?;
    assert_eq!(planned["used_by"], json!(["Component/agent value image"]));
    for part in ["agent", "controller", "scanners"] {
        let image = format!("us-docker.pkg.dev/castai-hub/library/kvisor-{part}:v1.164.8");
        ensure!(find(&image).is_some(), "{image} of {images:?}");
    }
    let beginning = |image: &Value| image["source"].to_string().contains("library/kvisor:");
    ensure!(!images.iter().any(beginning), "no such image: {images:?}");
    let running = find(image).context("the Deployment's image")?;
    assert_eq!(
        running["owners"]["Deployment/castai-agent"],
        "castware-operator"
    );
    let status = scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    let installs = format!("Component/agent: value image is {next} (owner castware-operator)");
    ensure!(status.stdout.contains(&installs), "{status}");
    let kvisor = "Component/kvisor: value agent.gpu.dcgmExporter.image is nvcr.io/nvidia/k8s/dcgm-exporter:4.5";
    ensure!(status.stdout.contains(kvisor), "{status}");
    let (text, patch) = values(&scene, "castai-agent").await?;
    let repository = &patch["spec"]["values"]["image"]["repository"];
    assert_eq!(
        *repository,
        scene.target("us-docker.pkg.dev/castai-hub/library/agent")
    );
    ensure!(
        text.contains("kubectl patch components.castware.cast.ai agent"),
        "{text}"
    );
    Ok(())
}
