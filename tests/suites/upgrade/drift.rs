//! Who puts old images back, and how it is noticed.

use anyhow::{Result, ensure};
use castlink_tests::process::wait_until;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{GOOD, SOON, Scene, change};
use crate::kinds::merge;

/// A write of the template as Helm makes it.
async fn put_back(scene: &Scene, name: &str, image: &str) -> Result<()> {
    let template =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
    let helm = PatchParams {
        field_manager: Some("helm".into()),
        ..PatchParams::default()
    };
    let api = scene.api("Deployment");
    api.patch(name, &helm, &Patch::Strategic(template)).await?;
    Ok(())
}

/// Two Deployments, both pointed at the ECR.
async fn upgraded(namespace: &str) -> Result<Scene> {
    let scene = Scene::new(namespace).await?;
    for name in ["stays", "drifts"] {
        scene.create("Deployment", name, 0, GOOD).await?;
    }
    scene.apply_good().await?;
    Ok(scene)
}

#[tokio::test]
async fn what_was_put_back_is_told_with_who_and_when() -> Result<()> {
    let scene = upgraded("drifting").await?;
    let still = scene.upgrade(&["drift"])?.run().await?.expect_code(0)?;
    ensure!(
        still.stdout.contains("0 of 2 references changed"),
        "{still}"
    );

    put_back(&scene, "drifts", GOOD).await?;
    let drift = ["drift", "last", "--after", "1s", "-o", "json"];
    let drift = scene.upgrade(&drift)?.run().await?.expect_code(3)?;
    let checks = drift.records_of("check")?;
    let status = |name: &str| {
        checks
            .iter()
            .find(|one| one["subject"] == format!("Deployment/{name}"))
    };
    let drifted = status("drifts").expect("a check");
    assert_eq!(status("stays").expect("a check")["status"], "ok");
    assert_eq!(drifted["status"], "fail");
    let detail = drifted["detail"].to_string();
    ensure!(
        detail.contains(&format!("was changed to {GOOD}: helm at 20")),
        "{detail}"
    );
    ensure!(
        drifted["hint"].to_string().contains("image.repository"),
        "{drifted}"
    );

    // Running the upgrade again puts it right; it changes one of them, and both count.
    scene.apply_good().await?;
    let all = scene.upgrade(&["drift"])?.run().await?.expect_code(0)?;
    ensure!(all.stdout.contains("0 of 2 references changed"), "{all}");
    ensure!(all.stdout.contains("since 2 runs"), "{all}");
    let last = scene.upgrade(&["drift", "last"])?.run().await?;
    ensure!(last.stdout.contains("0 of 1 reference "), "{last}");
    put_back(&scene, "stays", GOOD).await?;
    scene.upgrade(&["drift"])?.run().await?.expect_code(3)?;
    Ok(())
}

/// `kubectl apply` of the old manifest is answered with success, and says nothing.
#[tokio::test]
async fn an_old_manifest_that_is_applied_again_is_drift() -> Result<()> {
    let scene = Scene::new("reapplied").await?;
    let labels = json!({"app": "web"});
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": scene.namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": GOOD}]}}}});
    let kubectl = async || {
        let kubectl = scene.stack.product("castlink-upgrade")?;
        let kubectl = kubectl.through("kubectl", ["apply", "-f", "-"]);
        let applied = kubectl.stdin(manifest.to_string()).run().await?;
        applied.expect_code(0)
    };
    kubectl().await?;
    scene.apply_good().await?;
    kubectl().await?;
    let drift = scene.upgrade(&["drift"])?.run().await?.expect_code(3)?;
    ensure!(
        drift.stdout.contains(&format!(
            "was changed to {GOOD}: kubectl-client-side-apply at 20"
        )),
        "{drift}"
    );
    Ok(())
}

/// What we took back ourselves is not held against anybody.
#[tokio::test]
async fn a_rollback_is_no_drift() -> Result<()> {
    let scene = Scene::new("taken-back").await?;
    scene.create("Deployment", "web", 0, GOOD).await?;
    scene.apply_good().await?;
    scene
        .upgrade(&["rollback", "last"])?
        .run()
        .await?
        .expect_code(0)?;
    let drift = scene.upgrade(&["drift"])?.run().await?.expect_code(0)?;
    ensure!(
        drift.stdout.contains(&format!("is still {GOOD}")),
        "{drift}"
    );
    let last = scene.upgrade(&["drift", "last"])?.run().await?;
    ensure!(
        last.expect_code(0)?.stdout.contains("castlink at "),
        "the run before the rollback"
    );
    Ok(())
}

/// `apply --drift-after` notices what an immediate look would miss.
#[tokio::test]
async fn apply_looks_again_after_a_while() -> Result<()> {
    let scene = Scene::new("self-healing").await?;
    scene.create("Deployment", "web", 0, GOOD).await?;
    let records = [scene.copied(GOOD)];
    let dir = scene.path("run");
    let journal = dir.join("journal.jsonl");
    let dir = dir.display().to_string();
    let more = ["--soak", "0s", "--drift-after", "3s", "--run-dir", &dir];
    let heals = async {
        wait_until("the end of the rollout", SOON, async || {
            let lines = std::fs::read_to_string(&journal)?;
            let last = lines.lines().last().unwrap_or_default();
            let ended = last.contains("applied") && !last.contains("unfinished");
            ensure!(ended, "{last}");
            Ok(())
        })
        .await?;
        put_back(&scene, "web", GOOD).await
    };
    let (outcome, healed) = tokio::join!(scene.apply(&records, &more), heals);
    healed?;
    let outcome = outcome?.expect_code(6)?;
    let change = change(&outcome, "Deployment/web")?;
    ensure!(
        change["error"]["message"]
            .to_string()
            .contains(": helm at 20"),
        "{change}"
    );
    Ok(())
}

/// A CI job that looks every day has no journal of the host that upgraded.
#[tokio::test]
async fn another_host_sees_the_same_drift() -> Result<()> {
    let scene = upgraded("drift-elsewhere").await?;
    let elsewhere = scene.path("another-host").display().to_string();
    let drift = async || {
        let drift = scene.upgrade(&["drift"])?;
        drift.env("XDG_STATE_HOME", &elsewhere).run().await
    };
    drift().await?.expect_code(0)?;
    put_back(&scene, "drifts", GOOD).await?;
    let drifted = drift().await?.expect_code(3)?;
    ensure!(
        drifted.stdout.contains("1 of 2 references changed"),
        "{drifted}"
    );
    Ok(())
}

#[tokio::test]
async fn without_a_run_there_is_nothing_to_compare() -> Result<()> {
    let scene = Scene::new("no-run").await?;
    let outcome = scene.upgrade(&["drift"])?.run().await?.expect_code(2)?;
    ensure!(
        outcome
            .stderr
            .contains("no run of `apply` in namespace no-run"),
        "{outcome}"
    );
    Ok(())
}

/// Known before it happens: who upgrades releases by itself.
#[tokio::test]
async fn who_will_put_images_back_is_named() -> Result<()> {
    let scene = Scene::new("upgraders").await?;
    scene.create("Deployment", "evictor", 0, GOOD).await?;
    scene.create("Deployment", "own", 0, GOOD).await?;
    let managed = json!({"metadata": {"labels": {"charts.cast.ai/managed": "true"}}});
    merge(&scene, "Deployment", "evictor", managed).await?;
    let image = scene.target(GOOD);
    let upgrader = "castai-chart-upgrader";
    scene.create_cron_job(upgrader, &image).await?;
    let ecr = scene.stack.aws.ecr_host();
    let plan = async || scene.upgrade(&["plan", "--to", &ecr])?.run().await;
    let told = plan().await?.expect_code(0)?;
    for part in [
        "note: CAST AI upgrades Deployment/evictor (label charts.cast.ai/managed)",
        "note: CronJob/castai-chart-upgrader upgrades releases by itself",
    ] {
        ensure!(told.stderr.contains(part), "{told}");
    }
    let suspend = json!({"spec": {"suspend": true}});
    merge(&scene, "CronJob", upgrader, suspend).await?;
    let quiet = plan().await?.expect_code(0)?;
    ensure!(!quiet.stderr.contains(upgrader), "{quiet}");
    let applied = scene.apply_good().await?;
    let note = "note: CAST AI upgrades Deployment/evictor ";
    ensure!(applied.stderr.contains(note), "{applied}");
    Ok(())
}
