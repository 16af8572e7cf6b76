//! How rollouts are waited for: what ends them early, what does not, who goes first, and
//! what is said about it.

use anyhow::{Context, Result, ensure};
use castlink_tests::process::wait_until;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{
    CRASHES, GOOD, NEXT, NOWHERE, SLOW, SOON, Scene, change, first_image, ready, running_since,
};

/// Pulls that the registry refuses are given up within seconds of a timeout of ten
/// minutes, and told with everything one needs to act.
#[tokio::test]
async fn a_pull_that_cannot_succeed_is_given_up_early() -> Result<()> {
    let scene = Scene::new("early").await?;
    given_up(&scene, NOWHERE, "nowhere:v1: not found", "").await
}

#[tokio::test]
async fn a_pull_that_is_denied_is_given_up_early() -> Result<()> {
    let scene = Scene::new("denied").await?;
    let secret = scene.own_image("new").await?;
    scene.kubelets(|faults| faults.deny.push(secret.clone()))?;
    given_up(&scene, &secret, "403 Forbidden", "").await
}

/// Only the pods on nodes of that architecture stick.
#[tokio::test]
async fn an_image_without_a_nodes_platform_is_given_up_early() -> Result<()> {
    let scene = Scene::new("narrow").await?;
    let narrow = scene.own_image("new").await?;
    let lacks = vec!["arm64".to_owned()];
    scene.kubelets(|faults| drop(faults.noarch.insert(narrow.clone(), lacks)))?;
    given_up(&scene, &narrow, "no match for platform", "(arm64)").await
}

/// A run to `image` ends early, with what was `told` and the `place` of the pod as the
/// reason.
async fn given_up(scene: &Scene, image: &str, told: &str, place: &str) -> Result<()> {
    let old = scene.target(GOOD);
    let labels = json!({"app": "db"});
    let at_once = json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}});
    let on_arm = json!({"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": {
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "containers": [{"name": "app", "image": old}]}}});
    scene
        .create_from("DaemonSet", "agent", at_once, &old)
        .await?;
    scene.create_from("StatefulSet", "db", on_arm, &old).await?;
    scene.pods_until(6, ready).await?;
    let more = ["--timeout", "10m", "--rollback", "none"];
    let records = [scene.step(GOOD, image)];
    let outcome = scene.apply(&records, &more).await?.expect_code(4)?;
    for name in ["DaemonSet/agent", "StatefulSet/db"] {
        let change = change(&outcome, name)?;
        let why = change["error"]["message"].as_str().context("no message")?;
        for part in [
            "pod ",
            " on node ip-10-0-",
            place,
            "container app",
            "Pull",
            told,
        ] {
            ensure!(why.contains(part), "{part}: {why}");
        }
        ensure!(why.contains("(amd64)") || why.contains("(arm64)"), "{why}");
    }
    Ok(())
}

/// It is named, and the run does not stay for it.
#[tokio::test]
async fn an_old_pod_that_does_not_end_is_reported_and_no_failure() -> Result<()> {
    let scene = Scene::new("lingering").await?;
    scene
        .create("Deployment", "web", 1, &scene.target(GOOD))
        .await?;
    scene.pods_until(1, ready).await?;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let name = scene.pods().await?[0]
        .metadata
        .name
        .clone()
        .context("no name")?;
    let hold = |finalizers: serde_json::Value| {
        Patch::Merge(json!({"metadata": {"finalizers": finalizers}}))
    };
    let params = PatchParams::default();
    pods.patch(&name, &params, &hold(json!(["castlink.test/hold"])))
        .await?;
    let more = ["--soak", "0s", "--timeout", "20m"];
    let outcome = scene
        .apply(&[scene.step(GOOD, NEXT)], &more)
        .await?
        .expect_code(0)?;
    let told = format!("old pod {name} is still ending");
    ensure!(outcome.stderr.contains(&told), "{outcome}");
    pods.patch(&name, &params, &hold(json!([]))).await?;
    Ok(())
}

#[tokio::test]
async fn the_operator_goes_first_and_comes_back_last() -> Result<()> {
    let scene = Scene::new("operator").await?;
    let old = scene.target(GOOD);
    operator_and_agent(&scene).await?;
    let (gate, kubeconfig) = scene.gate().await?;
    let records = [scene.step(GOOD, SLOW)];
    let run = scene.path("run").display().to_string();
    let common = ["--soak", "0s", "--kubeconfig", &kubeconfig];
    let more = [&common[..], &["--run-dir", &run]].concat();
    let order = async {
        wait_until("the operator's patch", SOON, async || {
            ensure!(
                patched(&gate) == ["operator/castware-operator"],
                "{:?}",
                patched(&gate)
            );
            Ok(())
        })
        .await?;
        let image = scene.image("Deployment", "castai-agent").await?;
        ensure!(image == old, "the agent did not wait: {image}");
        Ok(())
    };
    let (outcome, order) = tokio::join!(scene.apply(&records, &more), order);
    outcome?.expect_code(0)?;
    order?;
    assert_eq!(
        patched(&gate),
        ["operator/castware-operator", "operator/castai-agent"]
    );
    let back = [&["rollback", &run][..], &common].concat();
    scene.upgrade(&back)?.run().await?.expect_code(0)?;
    assert_eq!(
        patched(&gate)[2..],
        ["operator/castai-agent", "operator/castware-operator"]
    );
    Ok(())
}

#[tokio::test]
async fn the_operator_comes_back_last_when_another_failed() -> Result<()> {
    let scene = Scene::new("operator-all").await?;
    operator_and_agent(&scene).await?;
    scene.create("Deployment", "broken", 1, CRASHES).await?;
    let (gate, kubeconfig) = scene.gate().await?;
    let records = [scene.step(GOOD, NEXT), scene.copied(CRASHES)];
    let more = ["--soak", "0s", "--rollback", "all"];
    let more = [&more[..], &["--kubeconfig", &kubeconfig]].concat();
    scene.apply(&records, &more).await?.expect_code(5)?;
    let patched = patched(&gate);
    assert_eq!(patched[0], "operator-all/castware-operator");
    ensure!(
        patched.ends_with(&[
            "operator-all/castai-agent".into(),
            "operator-all/castware-operator".into()
        ]),
        "{patched:?}"
    );
    Ok(())
}

async fn operator_and_agent(scene: &Scene) -> Result<()> {
    for name in ["castware-operator", "castai-agent"] {
        let old = scene.target(GOOD);
        scene.create("Deployment", name, 1, &old).await?;
    }
    scene.pods_until(2, ready).await
}

/// One after the other: while a rollout is under way no other has begun.
#[tokio::test]
async fn as_many_roll_at_once_as_was_asked_for() -> Result<()> {
    let scene = Scene::new("parallel").await?;
    let image = scene.own_image("new").await?;
    let target = scene.target(&image);
    let names = ["one", "three", "two"];
    for name in names {
        let old = scene.target(GOOD);
        scene.create("Deployment", name, 1, &old).await?;
    }
    scene.pods_until(3, ready).await?;
    scene.kubelets(|faults| faults.notready.push(image.clone()))?;
    let records = [scene.step(GOOD, &image)];
    let run = scene.apply(&records, &["--soak", "0s", "--parallel", "1"]);
    tokio::pin!(run);
    let first = wait_until("the first pod", SOON, async || {
        let pods = scene.pods().await?;
        let mut new = pods.iter().filter(|pod| first_image(pod) == target);
        ensure!(new.any(|pod| running_since(pod).is_some()), "none");
        Ok(())
    });
    tokio::select! {
        ended = &mut run => anyhow::bail!("it did not wait: {}", ended?),
        first = first => first?,
    }
    let mut begun = 0;
    for name in names {
        begun += usize::from(scene.image("Deployment", name).await? == target);
    }
    assert_eq!(begun, 1);
    scene.kubelets(|faults| faults.notready.retain(|part| *part != image))?;
    run.await?.expect_code(0)?;
    scene
        .pods_until(3, |pod| ready(pod) && first_image(pod) == target)
        .await
}

/// What was patched so far, in order.
fn patched(gate: &castlink_tests::api_gate::ApiGate) -> Vec<String> {
    let writes = gate.journal.writes(0).into_iter();
    let patches = writes.filter(|entry| entry.action == "patch deployments");
    patches.map(|entry| entry.resource).collect()
}
