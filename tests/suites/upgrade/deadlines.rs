//! Limits of time: a Deployment's own, that of a rollout, that of the way back.

use anyhow::{Context, Result, ensure};
use castlink_tests::process::wait_until;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::harness::{GOOD, SOON, Scene, change, first_image, ready, running_since, waits_for};

/// A Deployment of one pod whose own deadline is short.
async fn impatient(scene: &Scene) -> Result<()> {
    let spec = json!({"replicas": 1, "progressDeadlineSeconds": 3});
    let image = scene.target(GOOD);
    scene.create_from("Deployment", "web", spec, &image).await?;
    scene.pods_until(1, ready).await
}

/// Waits until the controller says that the deadline has passed.
async fn overdue(scene: &Scene) -> Result<()> {
    wait_until("the deadline", SOON, async || {
        let web = scene.api("Deployment").get("web").await?;
        let conditions = web.data["status"]["conditions"].as_array();
        let mut reasons = conditions.into_iter().flatten().map(|one| &one["reason"]);
        ensure!(
            reasons.any(|reason| reason == "ProgressDeadlineExceeded"),
            "not yet"
        );
        Ok(())
    })
    .await
}

/// Waits until the pull of `image` has been refused so many times.
async fn refused(scene: &Scene, image: &str, times: usize) -> Result<()> {
    let (mut seen, mut before) = (0, false);
    wait_until("the refused pulls", SOON, async || {
        // The kubelet shows it so for a second, then as `ImagePullBackOff`.
        let pods = scene.pods().await?;
        let mut waiting = pods.iter().filter(|pod| first_image(pod) == image);
        let now = waiting.any(|pod| waits_for(pod) == Some("ErrImagePull"));
        seen += usize::from(now && !before);
        before = now;
        ensure!(seen >= times, "{seen} of {times}");
        Ok(())
    })
    .await
}

/// The controller says no more than that a ReplicaSet is late; the user hears of the pod.
#[tokio::test]
async fn a_deadline_that_passes_is_told_with_the_pod() -> Result<()> {
    let scene = Scene::new("overdue").await?;
    impatient(&scene).await?;
    let mute = scene.own_image("new").await?;
    scene.kubelets(|faults| faults.notready.push(mute.clone()))?;
    let more = ["--timeout", "10m", "--soak", "0s"];
    let outcome = scene
        .apply(&[scene.step(GOOD, &mute)], &more)
        .await?
        .expect_code(5)?;
    let change = change(&outcome, "Deployment/web")?;
    let why = change["error"]["message"].as_str().context("no message")?;
    for part in [
        "progressDeadlineSeconds (3 s)",
        "pod web-",
        " on node ip-10-0-",
        "containers with unready status: [app]",
    ] {
        ensure!(why.contains(part), "{part}: {why}");
    }
    ensure!(why.contains("(amd64)") || why.contains("(arm64)"), "{why}");
    scene.pods_until(1, ready).await
}

/// A registry that has no time is not the image's fault: the deadline of the Deployment
/// passes, the refusals last much longer than a hiccup, and the run goes on.
#[tokio::test]
async fn a_registry_that_has_no_time_is_waited_for() -> Result<()> {
    let scene = Scene::new("throttled").await?;
    impatient(&scene).await?;
    let busy = scene.own_image("new").await?;
    let target = scene.target(&busy);
    scene.kubelets(|faults| faults.throttle.push(busy.clone()))?;
    let records = [scene.step(GOOD, &busy)];
    let run = scene.apply(&records, &["--soak", "0s"]);
    tokio::pin!(run);
    let patience = async {
        // 17 seconds: a failure counts after 5.
        refused(&scene, &target, 4).await?;
        overdue(&scene).await
    };
    tokio::select! {
        ended = &mut run => anyhow::bail!("it did not wait: {}", ended?),
        patience = patience => patience?,
    }
    assert_eq!(scene.image("Deployment", "web").await?, target);
    scene.kubelets(|faults| faults.throttle.retain(|part| *part != busy))?;
    run.await?.expect_code(0)?;
    assert_eq!(scene.image("Deployment", "web").await?, target);
    Ok(())
}

/// The budget for what is put back is not what the failed rollout has left over, nor the
/// same again.
#[tokio::test]
async fn what_is_put_back_has_time_of_its_own() -> Result<()> {
    const TIMEOUT: SignedDuration = SignedDuration::from_secs(4);
    let scene = Scene::new("budget").await?;
    let slow = scene.own_image("slow").await?;
    let hanging = scene.own_image("hanging").await?;
    let (old, new) = (scene.target(&slow), scene.target(&hanging));
    // No pod of the old revision stays: it has to come up anew.
    let spec = json!({"replicas": 1, "strategy": {"type": "Recreate"}});
    scene.create_from("Deployment", "web", spec, &old).await?;
    scene.pods_until(1, ready).await?;
    scene.kubelets(|faults| faults.notready.push(hanging.clone()))?;
    let holds = async {
        scene.pods_until(1, |pod| first_image(pod) == new).await?;
        scene.kubelets(|faults| faults.notready.push(slow.clone()))?;
        wait_until("more than the time of a rollout", SOON, async || {
            let pods = scene.pods().await?;
            let mut since = pods
                .iter()
                .filter(|pod| first_image(pod) == old)
                .filter_map(running_since);
            let age = since
                .next()
                .map(|since| Timestamp::now().duration_since(since));
            ensure!(age > Some(TIMEOUT * 2), "{age:?}");
            Ok(())
        })
        .await?;
        scene.kubelets(|faults| faults.notready.retain(|part| *part != slow))
    };
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let more = [
        "--timeout",
        &timeout,
        "--rollback-timeout",
        "60s",
        "--soak",
        "0s",
    ];
    let records = [scene.step(&slow, &hanging)];
    let (outcome, held) = tokio::join!(scene.apply(&records, &more), holds);
    held?;
    let outcome = outcome?.expect_code(5)?;
    let change = change(&outcome, "Deployment/web")?;
    let why = change["error"]["message"].to_string();
    ensure!(
        why.contains("not complete after 4 s: 0 of 1 available; pod web-")
            && !why.contains("old images"),
        "{why}"
    );
    scene
        .pods_until(1, |pod| ready(pod) && first_image(pod) == old)
        .await
}
