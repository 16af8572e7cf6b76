//! Workloads that take a new template and start nothing: they are changed, and no run claims
//! that their pods are.

use anyhow::{Result, ensure};
use castlink_tests::process::wait_until;
use serde_json::json;

use crate::harness::{GOOD, NOWHERE, SOON, Scene, change};
use crate::kinds::{merge, text};

impl Scene {
    /// Waits until there is a pod whose name begins with `name`.
    async fn pod_of(&self, name: &str) -> Result<()> {
        wait_until(name, SOON, async || {
            let pods = self.pods().await?;
            let names = pods.iter().filter_map(|pod| pod.metadata.name.as_deref());
            ensure!(names.into_iter().any(|one| one.starts_with(name)), "none");
            Ok(())
        })
        .await
    }
}

/// Paused, scaled to zero, `OnDelete`, no matching node: the template changes, no pod
/// starts, and success must not be claimed for the image.
#[tokio::test]
async fn what_does_not_roll_is_patched_and_told() -> Result<()> {
    let scene = Scene::new("standstill").await?;
    let manual = json!({"replicas": 1, "updateStrategy": {"type": "OnDelete"}});
    scene.create("Deployment", "paused", 1, GOOD).await?;
    scene.create("Deployment", "zero", 0, NOWHERE).await?;
    scene
        .create_from("StatefulSet", "manual", manual.clone(), GOOD)
        .await?;
    scene
        .create_from("DaemonSet", "by-hand", manual, GOOD)
        .await?;
    scene.create("DaemonSet", "nowhere", 0, GOOD).await?;
    let selector = json!({"spec": {"template": {"spec": {"nodeSelector": {"no": "such"}}}}});
    merge(&scene, "DaemonSet", "nowhere", selector).await?;
    for name in ["paused-", "manual-", "by-hand-"] {
        scene.pod_of(name).await?;
    }
    let pause = json!({"spec": {"paused": true}});
    merge(&scene, "Deployment", "paused", pause).await?;
    let records = [scene.copied(GOOD), scene.copied(NOWHERE)];
    let outcome = scene
        .apply(&records, &["--soak", "0s"])
        .await?
        .expect_code(0)?;
    for (kind, name, image, note) in [
        (
            "Deployment",
            "paused",
            GOOD,
            "paused: nothing rolls until it is resumed",
        ),
        ("Deployment", "zero", NOWHERE, "scaled to 0"),
        (
            "StatefulSet",
            "manual",
            GOOD,
            "strategy OnDelete: pods change when they are deleted",
        ),
        (
            "DaemonSet",
            "by-hand",
            GOOD,
            "strategy OnDelete: pods change when they are deleted",
        ),
        ("DaemonSet", "nowhere", GOOD, "no node matches it"),
    ] {
        assert_eq!(
            scene.image(kind, name).await?,
            scene.target(image),
            "{name}"
        );
        let line = outcome
            .stderr
            .lines()
            .find(|line| line.contains(&format!("{kind}/{name}: patched")));
        ensure!(
            line.is_some_and(|line| line.contains(note)),
            "{name}: {note}: {outcome}"
        );
    }
    let paused = scene.api("Deployment").get("paused").await?;
    assert_eq!(paused.data["spec"]["paused"], true, "it stays paused");
    // The pods still hold the public references, and `status` does not overlook them.
    let status = scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    ensure!(
        status
            .stdout
            .contains("Pod/manual-0: container app runs ghcr.io/"),
        "{status}"
    );
    // Nor does the next run take them for done.
    let again = scene.apply(&records, &[]).await?.expect_code(0)?;
    for (id, pod, note) in [
        ("Deployment/paused", "paused-", "paused: nothing rolls"),
        ("StatefulSet/manual", "manual-0", "strategy OnDelete"),
        ("DaemonSet/by-hand", "by-hand-", "strategy OnDelete"),
    ] {
        let why = text(&change(&again, id)?);
        let said = [note, pod, &format!("is {GOOD}")];
        ensure!(said.iter().all(|part| why.contains(part)), "{id}: {why}");
    }
    let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
    let apply = scene.upgrade(&["apply", "-"])?.stdin(lines.join("\n"));
    let told = apply.run().await?.expect_code(0)?;
    let sum = "no changes: 2 workloads in place, 3 not patched";
    ensure!(told.stdout.contains(sum), "{told}");
    Ok(())
}
