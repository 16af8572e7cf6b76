//! Rollouts that fail, and what is put back: by the run itself and by `rollback RUN`.

use anyhow::{Result, ensure};
use castlink_tests::process::wait_until;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::harness::{
    CRASHES, CRASHES_LATE, GOOD, NOWHERE, SLOW, SOON, Scene, change, first_image, ready,
};

#[tokio::test]
async fn a_workload_that_cannot_start_is_put_back_and_the_others_go_on() -> Result<()> {
    let scene = Scene::new("failing").await?;
    scene.create("Deployment", "fine", 2, GOOD).await?;
    scene.create("Deployment", "crashing", 1, CRASHES).await?;
    scene.create("DaemonSet", "absent", 0, NOWHERE).await?;
    let records = [
        scene.copied(GOOD),
        scene.copied(CRASHES),
        scene.copied(NOWHERE),
    ];
    let outcome = scene
        .apply(&records, &["--soak", "2s"])
        .await?
        .expect_code(5)?;

    assert_eq!(scene.image("Deployment", "fine").await?, scene.target(GOOD));
    assert_eq!(scene.image("Deployment", "crashing").await?, CRASHES);
    assert_eq!(scene.image("DaemonSet", "absent").await?, NOWHERE);
    let why = |resource: &str| -> Result<String> {
        let change = change(&outcome, resource)?;
        ensure!(change["status"] == "rolled_back", "{change}");
        Ok(change["error"]["message"].to_string())
    };
    let crash = why("Deployment/crashing")?;
    ensure!(
        crash.contains("pod crashing-") && crash.contains("container app"),
        "{crash}"
    );
    ensure!(
        crash.contains("CrashLoopBackOff") || crash.contains("crashed within"),
        "{crash}"
    );
    let absent = why("DaemonSet/absent")?;
    ensure!(
        absent.contains("on node ip-10-0-") && absent.contains("not found"),
        "{absent}"
    );
    ensure!(
        absent.contains("(amd64)") || absent.contains("(arm64)"),
        "{absent}"
    );
    Ok(())
}

#[tokio::test]
async fn a_crash_shortly_after_success_is_a_failure() -> Result<()> {
    let scene = Scene::new("soaking").await?;
    scene
        .create("Deployment", "hopeful", 1, CRASHES_LATE)
        .await?;
    let outcome = scene
        .apply(&[scene.copied(CRASHES_LATE)], &["--soak", "20s"])
        .await?
        .expect_code(5)?;
    assert_eq!(scene.image("Deployment", "hopeful").await?, CRASHES_LATE);
    let change = change(&outcome, "Deployment/hopeful")?;
    ensure!(
        change["error"]["message"]
            .to_string()
            .contains("pod hopeful-"),
        "{change}"
    );
    Ok(())
}

/// What an interrupted run leaves: the template is as wanted, the pods are not.
#[tokio::test]
async fn a_second_run_reports_what_the_first_left_broken() -> Result<()> {
    let scene = Scene::new("left-broken").await?;
    scene.create("Deployment", "absent", 1, NOWHERE).await?;
    let records = [scene.copied(NOWHERE)];
    scene
        .apply(&records, &["--soak", "0s", "--rollback", "none"])
        .await?
        .expect_code(4)?;
    let before = scene.generations().await?;

    let plan = ["plan", "-", "--exit-code"];
    let plan = scene.upgrade(&plan)?.stdin(records[0].to_string());
    let plan = plan.run().await?.expect_code(3)?;
    ensure!(
        plan.stdout
            .contains("rollout under way: 1 of the old revision left; pod absent-"),
        "{plan}"
    );

    let again = ["apply", "-", "--timeout", "15s", "-o", "json"];
    let again = scene.upgrade(&again)?.stdin(records[0].to_string());
    let again = again.run().await?.expect_code(4)?;
    let change = change(&again, "Deployment/absent")?;
    ensure!(change["status"] == "failed", "{change}");
    let message = change["error"]["message"].to_string();
    ensure!(
        message.contains("pod absent-") && message.contains("this run changed nothing here"),
        "{message}"
    );
    assert_eq!(scene.generations().await?, before, "nothing was patched");
    let list = scene.upgrade(&["rollback"])?.run().await?.expect_code(0)?;
    ensure!(
        list.stdout.matches(" apply ").count() == 1,
        "a run that changes nothing has no journal: {list}"
    );
    Ok(())
}

#[tokio::test]
async fn a_cron_job_goes_back_with_the_image_that_others_cannot_pull() -> Result<()> {
    let scene = Scene::new("cron-back").await?;
    scene.create("Deployment", "absent", 1, NOWHERE).await?;
    for (name, image) in [("doomed", NOWHERE), ("fine", GOOD)] {
        let containers = json!([{"name": "app", "image": image}]);
        let template = json!({"spec": {"restartPolicy": "Never", "containers": containers}});
        let object = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}});
        let object = serde_json::from_value(object)?;
        let api = scene.api("CronJob");
        api.create(&PostParams::default(), &object).await?;
    }
    let records = [scene.copied(GOOD), scene.copied(NOWHERE)];
    let outcome = scene
        .apply(&records, &["--soak", "0s"])
        .await?
        .expect_code(5)?;
    assert_eq!(change(&outcome, "CronJob/fine")?["status"], "applied");
    let doomed = change(&outcome, "CronJob/doomed")?;
    ensure!(doomed["status"] == "rolled_back", "{doomed}");
    let why = doomed["error"]["message"].to_string();
    ensure!(why.contains("Deployment/absent could not pull"), "{why}");
    Ok(())
}

/// In order the first pod is never touched; side by side all are, and the controller replaces
/// them by itself.
#[tokio::test]
async fn a_stateful_set_is_put_back_with_its_pods() -> Result<()> {
    for (namespace, policy, stays) in [
        ("ordered-back", "OrderedReady", true),
        ("parallel-back", "Parallel", false),
    ] {
        let scene = Scene::new(namespace).await?;
        let target = scene.target(GOOD);
        let spec = json!({"replicas": 2, "podManagementPolicy": policy});
        scene
            .create_from("StatefulSet", "db", spec, &target)
            .await?;
        scene.pods_until(2, ready).await?;
        let first = uid(&scene, "db-0").await?;
        scene
            .apply(&[scene.step(GOOD, NOWHERE)], &[])
            .await?
            .expect_code(5)?;
        scene
            .pods_until(2, |pod| ready(pod) && first_image(pod) == target)
            .await?;
        ensure!(
            !stays || uid(&scene, "db-0").await? == first,
            "db-0 was replaced"
        );
    }
    Ok(())
}

async fn uid(scene: &Scene, pod: &str) -> Result<Option<String>> {
    Ok(scene.api("Pod").get(pod).await?.metadata.uid)
}

#[tokio::test]
async fn all_or_nothing_on_request() -> Result<()> {
    let scene = Scene::new("all-back").await?;
    scene.create("Deployment", "fine", 1, GOOD).await?;
    scene.create("Deployment", "absent", 1, NOWHERE).await?;
    let records = [scene.copied(GOOD), scene.copied(NOWHERE)];
    scene
        .apply(&records, &["--soak", "0s", "--rollback", "all"])
        .await?
        .expect_code(5)?;
    assert_eq!(scene.image("Deployment", "fine").await?, GOOD);

    scene
        .apply(&records, &["--soak", "0s", "--rollback", "none"])
        .await?
        .expect_code(4)?;
    assert_eq!(
        scene.image("Deployment", "absent").await?,
        scene.target(NOWHERE)
    );
    Ok(())
}

#[tokio::test]
async fn a_run_is_taken_back_where_nobody_changed_it_since() -> Result<()> {
    let scene = Scene::new("undone").await?;
    scene.create("Deployment", "ours", 1, GOOD).await?;
    scene.create("Deployment", "theirs", 1, GOOD).await?;
    let run = scene.path("run").display().to_string();
    scene
        .apply(&[scene.copied(GOOD)], &["--soak", "0s", "--run-dir", &run])
        .await?
        .expect_code(0)?;
    set_image(&scene, "theirs", &scene.target(SLOW)).await?;

    let back = ["rollback", &run, "--soak", "0s", "-o", "json"];
    let outcome = scene.upgrade(&back)?.run().await?.expect_code(6)?;
    assert_eq!(scene.image("Deployment", "ours").await?, GOOD);
    assert_eq!(
        scene.image("Deployment", "theirs").await?,
        scene.target(SLOW)
    );
    assert_eq!(change(&outcome, "Deployment/theirs")?["status"], "skipped");
    let list = scene.upgrade(&["rollback"])?.run().await?.expect_code(0)?;
    ensure!(
        list.stdout.contains("rollback  undone"),
        "the rollback is a run itself: {list}"
    );
    Ok(())
}

#[tokio::test]
async fn a_reference_that_somebody_else_changes_meanwhile_is_a_conflict() -> Result<()> {
    let scene = Scene::new("overruled").await?;
    scene.create("Deployment", "contested", 1, SLOW).await?;
    let target = scene.target(SLOW);
    let meddle = async {
        wait_until("the patch", SOON, async || {
            let image = scene.image("Deployment", "contested").await?;
            ensure!(image == target, "it is {image}");
            Ok(())
        })
        .await?;
        set_image(&scene, "contested", GOOD).await
    };
    let records = [scene.copied(SLOW)];
    let (outcome, meddled) = tokio::join!(scene.apply(&records, &[]), meddle);
    meddled?;
    let outcome = outcome?.expect_code(6)?;
    let change = change(&outcome, "Deployment/contested")?;
    ensure!(
        change["error"]["message"]
            .to_string()
            .contains("was changed to"),
        "{change}"
    );
    assert_eq!(
        scene.image("Deployment", "contested").await?,
        GOOD,
        "what the other wrote stays"
    );
    Ok(())
}

/// What `kubectl set image` does.
async fn set_image(scene: &Scene, name: &str, image: &str) -> Result<()> {
    let containers = json!([{"name": "app", "image": image}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    scene
        .api("Deployment")
        .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
        .await?;
    Ok(())
}
