//! References where one does not look for them: image volumes, ephemeral containers, the
//! other public name of an image, what a CronJob starts at night.

use anyhow::{Context, Result, ensure};
use castlink_tests::{mirrored::mirror, seed};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{GOOD, NEXT, NOWHERE, Scene, change, ready};

/// The reference of the one volume of `Deployment/models`.
async fn volume(scene: &Scene) -> Result<String> {
    let object = scene.api("Deployment").get("models").await?;
    let volumes = object.data.pointer("/spec/template/spec/volumes");
    let volumes = volumes.and_then(Value::as_array).context("no volumes")?;
    let named = |name: &str| volumes.iter().find(|volume| volume["name"] == name);
    assert_eq!(named("scratch").context("gone")?["emptyDir"], json!({}));
    let reference = &named("model").context("gone")?["image"]["reference"];
    Ok(reference.as_str().context("no reference")?.to_owned())
}

#[tokio::test]
async fn an_image_volume_moves_with_its_pod_and_comes_back() -> Result<()> {
    let scene = Scene::new("volumes").await?;
    let labels = json!({"app": "models"});
    let spec = json!({"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "app", "image": scene.target(GOOD)}],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "model", "image": {"reference": NEXT, "pullPolicy": "IfNotPresent"}}]}}});
    scene
        .create_from("Deployment", "models", spec, GOOD)
        .await?;
    let images = scene.upgrade(&["images", "-o", "json"])?.run().await?;
    let images = images.expect_code(0)?.records_of("image")?;
    let found = images.iter().find(|image| image["source"] == NEXT);
    let users = &found.context("the volume's image")?["used_by"];
    assert_eq!(*users, json!(["Deployment/models volume model"]));
    let outcome = scene
        .apply(&[scene.copied(NEXT)], &["--soak", "0s"])
        .await?
        .expect_code(0)?;
    let moved = change(&outcome, "Deployment/models")?;
    assert_eq!(moved["field"], "volume model image");
    assert_eq!(volume(&scene).await?, scene.target(NEXT));
    scene.pods_until(1, ready).await?;
    let back = ["rollback", "last", "--soak", "0s"];
    scene.upgrade(&back)?.run().await?.expect_code(0)?;
    assert_eq!(volume(&scene).await?, NEXT);
    Ok(())
}

/// Somebody looks into a pod with an image from outside: no template shows it.
#[tokio::test]
async fn an_ephemeral_container_counts_as_long_as_its_pod_lives() -> Result<()> {
    const DEBUG: &str = "ghcr.io/castlink/debug:v1";
    let scene = Scene::new("ephemeral").await?;
    let image = scene.target(GOOD);
    scene.create("Deployment", "web", 1, &image).await?;
    scene.pods_until(1, ready).await?;
    scene.upgrade(&["status"])?.run().await?.expect_code(0)?;
    let name = scene.pods().await?.remove(0).metadata.name;
    let name = name.context("a name")?;
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": DEBUG}]}});
    let params = PatchParams::default();
    api.patch_ephemeral_containers(&name, &params, &Patch::Strategic(debug))
        .await?;
    let images = scene.upgrade(&["images", "-o", "json"])?.run().await?;
    let images = images.expect_code(0)?.records_of("image")?;
    let found = images.iter().find(|image| image["source"] == DEBUG);
    let user = format!("Pod/{name} ephemeral container debug");
    assert_eq!(found.context("not listed")?["used_by"], json!([user]));
    let status = scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    let runs = format!("Pod/{name}: ephemeral container debug runs {DEBUG}");
    ensure!(status.stdout.contains(&runs), "{status}");
    Ok(())
}

/// Its next run would be the first to find out, weeks later.
#[tokio::test]
async fn a_cron_job_is_not_pointed_at_an_image_that_is_not_there() -> Result<()> {
    let scene = Scene::new("nightly").await?;
    scene.create_cron_job("absent", NOWHERE).await?;
    scene.create_cron_job("there", GOOD).await?;
    let outcome = scene.by_rule(&[]).await?.expect_code(4)?;
    let absent = change(&outcome, "CronJob/absent")?;
    let why = absent["error"]["message"].to_string();
    ensure!(why.contains(&scene.target(NOWHERE)), "{why}");
    assert_eq!(scene.image("CronJob", "absent").await?, NOWHERE);
    assert_eq!(scene.image("CronJob", "there").await?, scene.target(GOOD));
    Ok(())
}

/// Copied under one of CAST AI's two names, used under the other.
#[tokio::test]
async fn a_record_of_the_other_public_name_serves() -> Result<()> {
    const HUB: &str = "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1";
    const GHCR: &str = "ghcr.io/castai/images/agent:v0.161.1";
    let scene = Scene::new("twins").await?;
    scene.create("Deployment", "agent", 0, HUB).await?;
    let records = [scene.copied(GHCR)];
    scene
        .apply(&records, &["--soak", "0s"])
        .await?
        .expect_code(0)?;
    assert_eq!(
        scene.image("Deployment", "agent").await?,
        scene.target(GHCR)
    );
    Ok(())
}

/// Without records too: the registry is asked for the other name of what it does not have.
#[tokio::test]
async fn the_other_public_name_is_taken_where_only_that_is_there() -> Result<()> {
    const HUB: &str = "us-docker.pkg.dev/castai-hub/library/half:v1";
    const GHCR: &str = "ghcr.io/castai/images/half:v1";
    let scene = Scene::new("half-copied").await?;
    scene.create("Deployment", "half", 0, HUB).await?;
    let absent = scene.by_rule(&[]).await?.expect_code(4)?;
    let why = change(&absent, "Deployment/half")?["error"]["message"].to_string();
    ensure!(why.contains(&scene.target(HUB)), "{why}");
    let options = seed::Options {
        scale: 0.1,
        ..seed::Options::default()
    };
    mirror(&scene.stack.aws, &[GHCR], options).await?;
    scene.by_rule(&[]).await?.expect_code(0)?;
    assert_eq!(scene.image("Deployment", "half").await?, scene.target(GHCR));
    Ok(())
}
