//! The image that no template shows: kvisor's controller starts scan Jobs of its own name with
//! `-controller` replaced by `-scanners`.

use anyhow::{Result, ensure};
use castlink_tests::mirrored::mirror;
use castlink_tests::products::Outcome;
use castlink_tests::seed;
use serde_json::json;

use crate::harness::{GOOD, Scene, change};

/// The controller of a release, and its scanners; each test has a release of its own, since
/// they share the ECR.
fn release(tag: &str) -> [String; 2] {
    ["controller", "scanners"].map(|part| format!("ghcr.io/castlink/kvisor-{part}:{tag}"))
}

/// Puts `images` into the ECR.
async fn copied(scene: &Scene, images: &[&String]) -> Result<()> {
    let images: Vec<&str> = images.iter().map(|image| image.as_str()).collect();
    let options = seed::Options {
        scale: 0.1,
        ..seed::Options::default()
    };
    mirror(&scene.stack.aws, &images, options).await?;
    Ok(())
}

/// `apply --to` a registry, by rule.
async fn apply(scene: &Scene, registry: &str) -> Result<Outcome> {
    let args = ["apply", "--to", registry, "--soak", "0s", "-o", "json"];
    scene.upgrade(&args)?.run().await
}

#[tokio::test]
async fn a_controller_waits_for_its_scanners() -> Result<()> {
    let scene = Scene::new("scanners-absent").await?;
    let [controller, scanners] = release("v1");
    copied(&scene, &[&controller]).await?;
    scene.create("Deployment", "kvisor", 0, &controller).await?;
    scene.create("Deployment", "other", 0, GOOD).await?;
    let ecr = scene.stack.aws.ecr_host();
    let outcome = apply(&scene, &ecr).await?.expect_code(4)?;
    let why = change(&outcome, "Deployment/kvisor")?["error"]["message"].to_string();
    ensure!(
        why.contains(&scene.target(&scanners)) && why.contains("not found"),
        "{why}"
    );
    ensure!(why.contains("set SCANNERS_IMAGE"), "{why}");
    assert_eq!(scene.image("Deployment", "kvisor").await?, controller);
    assert_eq!(
        scene.image("Deployment", "other").await?,
        scene.target(GOOD)
    );
    copied(&scene, &[&scanners]).await?;
    let outcome = apply(&scene, &ecr).await?.expect_code(0)?;
    ensure!(!outcome.stderr.contains("scan Jobs"), "{outcome}");
    assert_eq!(
        scene.image("Deployment", "kvisor").await?,
        scene.target(&controller)
    );
    Ok(())
}

/// Helm put the controller there by its values: nothing to patch, and still no scan.
#[tokio::test]
async fn a_controller_in_place_without_scanners_is_warned_of() -> Result<()> {
    let scene = Scene::new("scanners-late").await?;
    let [controller, scanners] = release("v2");
    let image = scene.target(&controller);
    scene.create("Deployment", "kvisor", 0, &image).await?;
    let ecr = scene.stack.aws.ecr_host();
    let warning = format!(
        "Deployment/kvisor: kvisor will start its scan Jobs with {}, which is not there",
        scene.target(&scanners)
    );
    let late = apply(&scene, &ecr).await?.expect_code(0)?;
    ensure!(late.stderr.contains(&warning), "{late}");
    copied(&scene, &[&scanners]).await?;
    let there = apply(&scene, &ecr).await?.expect_code(0)?;
    ensure!(!there.stderr.contains("scan Jobs"), "{there}");
    Ok(())
}

/// The first `-controller` is replaced, also where it belongs to the registry's path.
#[tokio::test]
async fn a_prefix_that_kvisor_would_change_leaves_its_controller_alone() -> Result<()> {
    let scene = Scene::new("scanners-prefix").await?;
    let [controller, scanners] = release("v3");
    let registry = format!("{}/vpc-controller", scene.stack.aws.ecr_host());
    let images = format!("{controller}\n{scanners}\n");
    let copy = ["copy", "-", "--to", &registry];
    let mirror = scene.stack.product("castlink-mirror")?.args(copy);
    mirror.stdin(images).run().await?.expect_code(0)?;
    scene.create("Deployment", "kvisor", 0, &controller).await?;
    let outcome = apply(&scene, &registry).await?.expect_code(4)?;
    let why = change(&outcome, "Deployment/kvisor")?["error"]["message"].to_string();
    let made_up = registry.replace("vpc-controller", "vpc-scanners");
    ensure!(why.contains(&made_up), "{why}");
    assert_eq!(scene.image("Deployment", "kvisor").await?, controller);

    // A chart put it there: what it starts is not in the registry that is private.
    let own = format!("{registry}/{controller}");
    scene.create("Deployment", "installed", 0, &own).await?;
    let status = ["status", "--to", &registry];
    let status = scene.upgrade(&status)?.run().await?.expect_code(3)?;
    let starts = format!("Deployment/installed: container app starts {made_up}");
    ensure!(status.stdout.contains(&starts), "{status}");

    // With the variable both move.
    let variable = json!({"template": {"metadata": {"labels": {"app": "told"}}, "spec": {
        "containers": [{"name": "app", "image": controller, "env": [{"name": "SCANNERS_IMAGE", "value": scanners}]}]}}});
    let spec = [variable, json!({"replicas": 0})];
    let spec = spec.iter().flat_map(|part| part.as_object().cloned());
    let spec = spec.flatten().collect::<serde_json::Map<_, _>>();
    scene
        .create_from("Deployment", "told", spec.into(), &controller)
        .await?;
    apply(&scene, &registry).await?.expect_code(4)?;
    let told = scene.api("Deployment").get("told").await?;
    let container = &told.data["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], own);
    assert_eq!(
        container["env"][0]["value"],
        format!("{registry}/{scanners}")
    );
    Ok(())
}

#[tokio::test]
async fn scanners_are_copied_with_what_a_namespace_uses() -> Result<()> {
    let scene = Scene::new("scanners-piped").await?;
    let [controller, scanners] = release("v4");
    scene.create("Deployment", "kvisor", 0, &controller).await?;
    let images = scene.upgrade(&["images"])?.run().await?.expect_code(0)?;
    let ecr = scene.stack.aws.ecr_host();
    let copy = ["copy", "-", "--to", &ecr];
    let mirror = scene.stack.product("castlink-mirror")?.args(copy);
    let records = mirror.stdin(images.stdout).run().await?.expect_code(0)?;
    let (repository, tag) = scanners.rsplit_once(':').expect("a tag");
    let there = {
        let database = scene.stack.aws.shared.ecr.database();
        let repository = database.repositories.get(repository);
        repository.is_some_and(|repository| repository.tags.contains_key(tag))
    };
    ensure!(there, "{scanners} is not in the ECR: {records}");
    let apply = ["apply", "-", "--soak", "0s"];
    let outcome = scene
        .upgrade(&apply)?
        .stdin(records.stdout)
        .run()
        .await?
        .expect_code(0)?;
    ensure!(!outcome.stderr.contains("scan Jobs"), "{outcome}");
    assert_eq!(
        scene.image("Deployment", "kvisor").await?,
        scene.target(&controller)
    );
    Ok(())
}
