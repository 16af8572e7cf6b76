//! Nodes that are not ready: named, not blamed on an image; and nodes that turn pods away. A
//! stack of its own, because a dead node is everybody's, and so is a taint.

use anyhow::{Context, Result, ensure};
use castlink_tests::kubelet::NodeSpec;
use castlink_tests::mirrored::mirror;
use castlink_tests::process::wait_until;
use castlink_tests::seed;
use castlink_tests::stack::{Options, Stack};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::{GOOD, NEXT, SOON, Scene, change, first_image, mirrored, ready};

/// In the ECR for amd64 alone.
const SINGLE: &str = "ghcr.io/castlink/single:v1";

/// Two nodes for amd64, and one for arm64.
async fn stack() -> Result<&'static Stack> {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_try_init(start).await
}

async fn start() -> Result<Stack> {
    let mut options = Options::bare_cluster(&[]);
    options.nodes = NodeSpec::default_set()
        .into_iter()
        .skip(1)
        .take(3)
        .collect();
    options.aws.images.scale = 0.1;
    let stack = Stack::start(options).await?;
    let intel = seed::Options {
        platforms: vec!["linux/amd64".into()],
        scale: 0.1,
    };
    mirrored(&stack, &[GOOD, NEXT]).await?;
    mirror(&stack.aws, &[SINGLE], intel).await?;
    Ok(stack)
}

/// Makes the node dead, or brings it back, and waits until everybody knows.
async fn switch(scene: &Scene, node: &str, up: bool) -> Result<()> {
    let kubelets = &scene.stack.cluster()?.kubelets;
    kubelets.change_faults(|faults| match up {
        true => faults.node_down.clear(),
        false => faults.node_down.push(node.to_owned()),
    });
    let api: Api<Node> = Api::all(scene.client.clone());
    wait_until("the node", SOON, async || {
        let conditions = api
            .get(node)
            .await?
            .status
            .and_then(|status| status.conditions);
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        ensure!(is_ready == up, "ready: {is_ready}");
        Ok(())
    })
    .await?;
    if up {
        Ok(())
    } else {
        mark_pods(scene, node).await
    }
}

/// What the node controller does some time after it has noticed: until then the pods of the
/// node count as available, and a DaemonSet may happen to replace them last.
async fn mark_pods(scene: &Scene, node: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let late =
        Patch::Strategic(json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}));
    for pod in scene.pods().await? {
        let on_it = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
        if let Some(name) = pod.metadata.name.filter(|_| on_it) {
            api.patch_status(&name, &PatchParams::default(), &late)
                .await?;
        }
    }
    wait_until("the controller to see it", SOON, async || {
        for name in ["strict", "lax"] {
            let set = scene.api("DaemonSet").get(name).await?;
            let ready = set
                .data
                .pointer("/status/numberAvailable")
                .and_then(Value::as_i64);
            ensure!(ready == Some(2), "{name}: {ready:?}");
        }
        Ok(())
    })
    .await
}

/// A DaemonSet that tolerates every taint, as node agents do. Others are not wanted on a
/// node that is not ready as soon as it has its taint, and go on without it.
async fn everywhere(scene: &Scene, name: &str, max_unavailable: u32) -> Result<()> {
    let labels = json!({"app": name});
    let spec = json!({
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max_unavailable}},
        "template": {"metadata": {"labels": labels}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "app", "image": scene.target(GOOD)}]}},
    });
    let image = scene.target(GOOD);
    scene.create_from("DaemonSet", name, spec, &image).await
}

/// A Deployment that tolerates every taint, belongs on `node`, and has a short deadline.
async fn only_on(scene: &Scene, node: &str) -> Result<()> {
    let labels = json!({"app": "pinned"});
    let image = scene.target(GOOD);
    let spec = json!({"replicas": 1, "progressDeadlineSeconds": 3,
        "template": {"metadata": {"labels": labels}, "spec": {
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [{"name": "app", "image": image}]}},
    });
    scene
        .create_from("Deployment", "pinned", spec, &image)
        .await
}

#[tokio::test]
async fn a_node_that_is_not_ready_is_named_and_nothing_is_taken_back() -> Result<()> {
    let scene = Scene::on(stack().await?, "nodes")
        .await?
        .created(&[])
        .await?;
    everywhere(&scene, "strict", 1).await?;
    everywhere(&scene, "lax", 2).await?;
    let dead = scene.stack.cluster()?.kubelets.nodes()[0].name.clone();
    only_on(&scene, &dead).await?;
    scene.pods_until(7, ready).await?;
    switch(&scene, &dead, false).await?;

    // Its pod is taken first and counts against maxUnavailable: with 1, no other node follows.
    let outcome = scene
        .apply(
            &[scene.step(GOOD, NEXT)],
            &["--soak", "0s", "--timeout", "40s"],
        )
        .await?
        .expect_code(4)?;
    let strict = change(&outcome, "DaemonSet/strict")?;
    let why = strict["error"]["message"].to_string();
    ensure!(
        why.contains("blocked by a node that is not ready") && why.contains(&dead),
        "{why}"
    );
    ensure!(strict["status"] == "failed", "{strict}");
    assert_eq!(
        scene.image("DaemonSet", "strict").await?,
        scene.target(NEXT)
    );
    assert_eq!(change(&outcome, "DaemonSet/lax")?["status"], "applied");
    ensure!(
        outcome.stderr.contains(&format!("follow later: {dead}")),
        "{outcome}"
    );

    // Its deadline passes after 3 seconds, for no fault of the image.
    let pinned = change(&outcome, "Deployment/pinned")?;
    let why = pinned["error"]["message"].to_string();
    ensure!(
        why.contains("not complete after 40 s") && why.contains(&format!("node {dead}")),
        "{why}"
    );
    ensure!(pinned["status"] == "failed", "{pinned}");

    // Whoever wants all nodes waits for them.
    let waiting = [
        "--soak",
        "0s",
        "--not-ready-nodes",
        "wait",
        "--timeout",
        "60s",
    ];
    let records = [scene.step(GOOD, NEXT)];
    let (waited, back) = tokio::join!(scene.apply(&records, &waiting), switch(&scene, &dead, true));
    back?;
    waited?.expect_code(0)?;
    let target = scene.target(NEXT);
    scene
        .pods_until(7, |pod| ready(pod) && first_image(pod) == target)
        .await
}

/// Keeps pods off the arm64 node from now on. The DaemonSets above tolerate it.
async fn taint(scene: &Scene) -> Result<()> {
    let nodes = scene.stack.cluster()?.kubelets.nodes();
    let node = nodes.iter().find(|node| node.arch == "arm64");
    let name = &node.context("an arm64 node")?.name;
    let api: Api<Node> = Api::all(scene.client.clone());
    let taints = json!([{"key": "arch", "value": "arm64", "effect": "NoSchedule"}]);
    let patch = Patch::Strategic(json!({"spec": {"taints": taints}}));
    api.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// An image for amd64 is enough where a taint keeps the pods off everything else, and not
/// for those that tolerate it.
#[tokio::test]
async fn a_pool_that_turns_the_pods_away_needs_no_image() -> Result<()> {
    let scene = Scene::on(stack().await?, "tainted")
        .await?
        .created(&[])
        .await?;
    let tolerant = json!({"replicas": 0, "template": {
        "metadata": {"labels": {"app": "tolerant"}},
        "spec": {"tolerations": [{"key": "arch", "operator": "Exists"}],
            "containers": [{"name": "app", "image": SINGLE}]}}});
    scene
        .create_from("Deployment", "tolerant", tolerant, SINGLE)
        .await?;
    scene.create("Deployment", "plain", 0, SINGLE).await?;
    let plain = || scene.image("Deployment", "plain");
    scene.by_rule(&[]).await?.expect_code(4)?;
    assert_eq!(plain().await?, SINGLE, "the node is open to it");

    taint(&scene).await?;
    let outcome = scene.by_rule(&[]).await?.expect_code(4)?;
    assert_eq!(plain().await?, scene.target(SINGLE));
    let refused = change(&outcome, "Deployment/tolerant")?;
    let why = refused["error"]["message"].to_string();
    ensure!(why.contains("has no linux/arm64"), "{why}");
    assert_eq!(scene.image("Deployment", "tolerant").await?, SINGLE);
    Ok(())
}
