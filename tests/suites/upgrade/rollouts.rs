//! Rollouts that succeed: the whole namespace, the second run, the special cases of
//! StatefulSets, and what a run leaves alone.

use anyhow::{Result, ensure};
use castlink_tests::products::Outcome;
use serde_json::{Value, json};

use crate::harness::{self, GOOD, NOWHERE, Scene, cannot_pull, change, first_image, ready};

const NAMESPACE: &str = "castai-agent";

/// `castlink-upgrade images | castlink-mirror copy - --to $ECR`
async fn mirrored(scene: &Scene) -> Result<Outcome> {
    let images = scene.upgrade(&["images"])?.run().await?.expect_code(0)?;
    let ecr = scene.stack.aws.ecr_host();
    let copy = scene
        .stack
        .product("castlink-mirror")?
        .args(["copy", "-", "--to", &ecr]);
    copy.stdin(images.stdout).run().await?.expect_code(0)
}

#[tokio::test]
async fn the_onboarding_namespace_is_upgraded_whole_and_only_once() -> Result<()> {
    let scene = Scene::existing(NAMESPACE).await?.admitted(&[]).await?;
    let before = scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    ensure!(
        before
            .stdout
            .contains("Deployment/castai-agent: container agent is us-docker.pkg.dev/"),
        "{before}"
    );

    let records = mirrored(&scene).await?;
    let apply = [
        "apply",
        "-",
        "--soak",
        "2s",
        "--timeout",
        "120s",
        "-o",
        "json",
    ];
    let applied = scene
        .upgrade(&apply)?
        .stdin(records.stdout.clone())
        .run()
        .await?
        .expect_code(0)?;
    every_image_is_private(&scene).await?;
    hidden_places_are_patched(&scene, &applied).await?;
    scene.upgrade(&["status"])?.run().await?.expect_code(0)?;

    let generations = scene.generations().await?;
    let again = scene
        .upgrade(&["apply", "-"])?
        .stdin(records.stdout)
        .run()
        .await?
        .expect_code(0)?;
    ensure!(again.stdout.contains("no changes"), "{again}");
    assert_eq!(
        scene.generations().await?,
        generations,
        "the second run patches nothing"
    );
    Ok(())
}

async fn every_image_is_private(scene: &Scene) -> Result<()> {
    let ecr = scene.stack.aws.ecr_host();
    for pod in scene.pods().await? {
        let job = pod
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key("job-name"));
        let spec = pod.spec.clone().unwrap_or_default();
        for container in spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
        {
            let image = container.image.clone().unwrap_or_default();
            ensure!(
                job || image.starts_with(&ecr),
                "{:?} runs {image}",
                pod.metadata.name
            );
        }
        ensure!(job || ready(&pod), "{:?} is not ready", pod.metadata.name);
    }
    Ok(())
}

/// Init containers, variables and CronJobs: what `kubectl set image` by hand forgets.
async fn hidden_places_are_patched(scene: &Scene, applied: &Outcome) -> Result<()> {
    let changes = applied.records_of("change")?;
    let field = |resource: &str, field: &str| {
        changes.iter().any(|one| {
            one["resource"] == resource && one["field"] == field && one["status"] == "applied"
        })
    };
    ensure!(
        field(
            "DaemonSet/castai-kvisor-agent",
            "init container obi-init image"
        ),
        "{applied}"
    );
    ensure!(
        field("CronJob/hibernate-pause", "container pauser image"),
        "{applied}"
    );
    let variable = "env JMX_EXPORTER_INIT_IMAGE of container castai-workload-autoscaler";
    ensure!(
        field("Deployment/castai-workload-autoscaler", variable),
        "{applied}"
    );
    let agent = change(applied, "Deployment/castai-agent")?;
    assert_eq!(agent["owner"], "helm:castai-agent");
    let object = scene.api("Deployment").get("castai-agent").await?;
    let managers: Vec<_> = object
        .metadata
        .managed_fields
        .into_iter()
        .flatten()
        .filter_map(|one| one.manager)
        .collect();
    ensure!(managers.contains(&"castlink".to_owned()), "{managers:?}");
    Ok(())
}

#[tokio::test]
async fn a_stateful_set_with_broken_pods_is_brought_up() -> Result<()> {
    let scene = Scene::new("ordered").await?;
    scene.create("StatefulSet", "db", 2, GOOD).await?;
    scene.pods_until(1, cannot_pull).await?;
    scene
        .apply(&[scene.copied(GOOD)], &["--soak", "1s"])
        .await?
        .expect_code(0)?;
    let target = scene.target(GOOD);
    scene
        .pods_until(2, |pod| ready(pod) && first_image(pod) == target)
        .await
}

#[tokio::test]
async fn an_image_that_was_not_mirrored_leaves_its_workload_alone() -> Result<()> {
    let scene = Scene::new("partial").await?;
    scene.create("Deployment", "fine", 1, GOOD).await?;
    scene.create("Deployment", "failed", 1, NOWHERE).await?;
    scene
        .create("Deployment", "unmapped", 1, "ghcr.io/castlink/other:v1")
        .await?;
    let mut failed = scene.record(NOWHERE, "failed", &[]);
    failed["error"] = json!({"code": "failed", "message": "manifest unknown"});
    let records = [scene.copied(GOOD), failed];
    let outcome = scene
        .apply(&records, &["--soak", "1s"])
        .await?
        .expect_code(4)?;

    assert_eq!(scene.image("Deployment", "fine").await?, scene.target(GOOD));
    assert_eq!(scene.image("Deployment", "failed").await?, NOWHERE);
    let reason = |resource: &str| -> Result<String> {
        let change = change(&outcome, resource)?;
        ensure!(change["status"] == "skipped", "{change}");
        Ok(change["error"]["message"].to_string())
    };
    ensure!(
        reason("Deployment/failed")?.contains("manifest unknown"),
        "{outcome}"
    );
    ensure!(
        reason("Deployment/unmapped")?.contains("no record says where"),
        "{outcome}"
    );
    Ok(())
}

#[tokio::test]
async fn an_image_without_the_nodes_architecture_is_not_rolled_out() -> Result<()> {
    let scene = Scene::new("platforms").await?;
    scene.create("DaemonSet", "everywhere", 0, GOOD).await?;
    let record = scene.record(GOOD, "copied", &["linux/amd64"]);
    let outcome = scene.apply(&[record], &[]).await?.expect_code(4)?;
    ensure!(outcome.stderr.contains("has no linux/arm64"), "{outcome}");
    assert_eq!(scene.image("DaemonSet", "everywhere").await?, GOOD);
    Ok(())
}

#[tokio::test]
async fn images_lists_every_place_with_its_users() -> Result<()> {
    let scene = Scene::new("images").await?;
    scene.create("Deployment", "one", 1, GOOD).await?;
    scene.create("StatefulSet", "two", 1, GOOD).await?;
    let outcome = scene.upgrade(&["images"])?.run().await?.expect_code(0)?;
    let images = outcome.records_of("image")?;
    assert_eq!(images.len(), 1, "{outcome}");
    assert_eq!(
        images[0]["used_by"],
        json!([
            "Deployment/one container app",
            "StatefulSet/two container app"
        ])
    );
    assert_eq!(
        images[0]["platforms"],
        json!(["linux/amd64", "linux/arm64"])
    );
    let summary: Vec<Value> = outcome.records_of("summary")?;
    assert_eq!(summary[0]["counts"]["images"], 1);
    Ok(())
}

/// What a node calls an image is no reason to take it back: with and without a digest in
/// the reference. With one, it is told.
#[tokio::test]
async fn an_image_that_its_node_knows_by_another_digest_stays() -> Result<()> {
    let scene = Scene::new("known").await?;
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let image = "ghcr.io/castlink/renamed:v1";
    let real = harness::mirrored(scene.stack, &[image])
        .await?
        .remove(0)
        .digest;
    let public = format!("ghcr.io/castlink/renamed@{}", digest("9"));
    scene.kubelets(|faults| {
        drop(
            faults
                .image_id
                .insert("castlink/renamed".into(), public.clone()),
        )
    })?;
    scene
        .create("Deployment", "web", 1, &scene.target(GOOD))
        .await?;
    scene.pods_until(1, ready).await?;

    let by_tag = [scene.step(GOOD, image)];
    let outcome = scene.apply(&by_tag, &["--soak", "0s"]).await?;
    let outcome = outcome.expect_code(0)?;
    ensure!(!outcome.stderr.contains("pinned"), "{outcome}");

    let mut by_digest = scene.copied(GOOD);
    by_digest["source"] = scene.target(image).into();
    by_digest["target"] = scene.target(image).into();
    by_digest["digest"] = real.clone().into();
    let more = ["--soak", "0s", "--pin-digest"];
    let outcome = scene.apply(&[by_digest], &more).await?.expect_code(0)?;
    let pinned = format!("{}@{real}", scene.target(image));
    assert_eq!(scene.image("Deployment", "web").await?, pinned);
    ensure!(
        outcome.stderr.contains("container app of pod web-")
            && outcome
                .stderr
                .contains(&format!("is pinned to {}", &real[..19]))
            && outcome.stderr.contains(&format!("its node shows {public}")),
        "{outcome}"
    );
    Ok(())
}
