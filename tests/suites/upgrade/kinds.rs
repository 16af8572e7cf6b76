//! Every kind and state of a workload: what is changed, what is left alone, and what a run
//! says about it. Judged by what is in the cluster afterwards.

use anyhow::{Result, ensure};
use castlink_tests::process::wait_until;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{GOOD, NOWHERE, SLOW, SOON, Scene, change, first_image, ready};
use crate::values::{create_component, define_components};

/// The one merge patch on one object.
pub(crate) async fn merge(
    scene: &Scene,
    kind: &str,
    name: &str,
    patch: Value,
) -> Result<DynamicObject> {
    let api = scene.api(kind);
    Ok(api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?)
}

/// A partition keeps the pods below it; those above follow, and that is success.
#[tokio::test]
async fn a_partition_is_respected() -> Result<()> {
    let scene = Scene::new("partition").await?;
    let spec = json!({"replicas": 3, "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    scene
        .create_from("StatefulSet", "db", spec, &scene.target(GOOD))
        .await?;
    scene.pods_until(3, ready).await?;
    let wanted = scene.target(SLOW);
    let mut record = scene.copied(GOOD);
    (record["source"], record["target"]) = (json!(scene.target(GOOD)), json!(wanted));
    scene
        .apply(&[record], &["--soak", "0s"])
        .await?
        .expect_code(0)?;
    let mut pods = scene.pods().await?;
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let images: Vec<&str> = pods.iter().map(first_image).collect();
    assert_eq!(images, [&scene.target(GOOD), &scene.target(GOOD), &wanted]);
    Ok(())
}

/// A PodDisruptionBudget that allows nothing is about evictions; controllers delete.
#[tokio::test]
async fn a_disruption_budget_does_not_stop_a_rollout() -> Result<()> {
    let scene = Scene::new("disruption").await?;
    scene
        .create("Deployment", "web", 2, &scene.target(GOOD))
        .await?;
    scene.pods_until(2, ready).await?;
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}});
    let api: kube::Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
        kube::Api::namespaced(scene.client.clone(), &scene.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(budget)?)
        .await?;
    merge(&scene, "Deployment", "web", template_image(GOOD)).await?;
    scene.apply_good().await?;
    let target = scene.target(GOOD);
    scene
        .pods_until(2, |pod| ready(pod) && first_image(pod) == target)
        .await
}

fn template_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
}

#[tokio::test]
async fn jobs_are_reported_and_never_patched() -> Result<()> {
    let scene = Scene::new("jobs").await?;
    let hook = json!({"name": "hook", "annotations": {"helm.sh/hook": "pre-upgrade"}});
    scene.create_job(hook, GOOD).await?;
    scene.create_job(json!({"name": "running"}), GOOD).await?;
    scene.create_job(json!({"name": "finished"}), GOOD).await?;
    finish(&scene, "finished").await?;
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &[])
        .await?
        .expect_code(0)?;
    for (name, why) in [
        ("hook", "a Helm hook, made anew at the next release"),
        ("running", "it still runs; delete it"),
        (
            "finished",
            "it has ended, and its image is not pulled again",
        ),
    ] {
        assert_eq!(scene.image("Job", name).await?, GOOD);
        let change = change(&outcome, &format!("Job/{name}"))?;
        assert_eq!(change["status"], "skipped");
        ensure!(text(&change).contains(why), "{change}");
    }
    // What may still pull is public, whoever can change it; what has ended pulls no more.
    let status = scene.upgrade(&["status", "-o", "json"])?.run().await?;
    let checks = status.expect_code(3)?.records_of("check")?;
    for (name, want) in [("hook", "fail"), ("running", "fail"), ("finished", "warn")] {
        let subject = format!("Job/{name}");
        let found = checks.iter().find(|check| check["subject"] == subject);
        ensure!(
            found.is_some_and(|check| check["status"] == want),
            "{name}: {checks:?}"
        );
    }
    let of = |pod: &str| checks.iter().any(|check| pod_of(check, pod));
    ensure!(of("running-") && !of("finished-"), "{checks:?}");
    let api = scene.api("Job");
    for name in ["hook", "running"] {
        api.delete(name, &DeleteParams::background()).await?;
    }
    scene.pods_until(0, |_| true).await?;
    let status = scene.upgrade(&["status"])?.run().await?.expect_code(0)?;
    ensure!(status.stdout.contains("0 failed, 1 warning"), "{status}");
    Ok(())
}

/// A check that fails a pod whose name begins with `name`.
fn pod_of(check: &Value, name: &str) -> bool {
    let subject = check["subject"].as_str().unwrap_or_default();
    subject.starts_with(&format!("Pod/{name}")) && check["status"] == "fail"
}

pub(crate) fn text(change: &Value) -> String {
    change["error"]["message"].to_string()
}

/// As the Job controller would at its end; without its pods.
async fn finish(scene: &Scene, name: &str) -> Result<()> {
    merge(scene, "Job", name, json!({"spec": {"suspend": true}})).await?;
    wait_until("the end of its pods", SOON, async || {
        let pods = scene.pods().await?.into_iter();
        let mut names = pods.filter_map(|pod| pod.metadata.name);
        ensure!(!names.any(|one| one.starts_with(name)), "some are left");
        Ok(())
    })
    .await?;
    let now = "2026-01-01T00:00:00Z";
    let status = json!({"status": {"startTime": now, "completionTime": now, "succeeded": 1, "ready": 0, "terminating": 0,
        "active": 0, "uncountedTerminatedPods": {},
        "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": now, "lastProbeTime": now, "reason": "x", "message": ""},
            {"type": "Complete", "status": "True", "lastTransitionTime": now, "lastProbeTime": now, "reason": "x", "message": ""}]}});
    wait_until("the end of the Job", SOON, async || {
        let api = scene.api("Job");
        let patch = Patch::Merge(&status);
        api.patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    })
    .await
}

/// Without the flag a bare pod is told of; with it, its containers restart in place.
#[tokio::test]
async fn bare_pods_are_changed_in_place_on_request() -> Result<()> {
    let scene = Scene::with_rights("bare-pods", &["--bare-pods"]).await?;
    let init = json!({"initContainers": [{"name": "first", "image": scene.target(GOOD)}]});
    scene.create_pod("plain", json!({}), GOOD).await?;
    scene.create_pod("with-init", init, GOOD).await?;
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &[])
        .await?
        .expect_code(0)?;
    ensure!(
        text(&change(&outcome, "Pod/plain")?).contains("--bare-pods"),
        "{outcome}"
    );
    assert_eq!(scene.image("Pod", "plain").await?, GOOD);

    scene
        .apply(&[scene.copied(GOOD)], &["--bare-pods", "--soak", "0s"])
        .await?
        .expect_code(0)?;
    let target = scene.target(GOOD);
    let names = |pods: Vec<k8s_openapi::api::core::v1::Pod>| -> Vec<_> {
        pods.into_iter().map(|pod| pod.metadata.uid).collect()
    };
    let before = names(scene.pods().await?);
    scene
        .pods_until(2, |pod| ready(pod) && first_image(pod) == target)
        .await?;
    assert_eq!(names(scene.pods().await?), before, "the same pods");
    Ok(())
}

/// Nothing would make a bare pod anew, so one that cannot start is put back.
#[tokio::test]
async fn a_bare_pod_that_cannot_start_is_put_back() -> Result<()> {
    let scene = Scene::with_rights("bare-back", &["--bare-pods"]).await?;
    let good = scene.target(GOOD);
    scene.create_pod("lonely", json!({}), &good).await?;
    scene.pods_until(1, ready).await?;
    let outcome = scene
        .apply(
            &[scene.step(GOOD, NOWHERE)],
            &["--bare-pods", "--soak", "0s"],
        )
        .await?
        .expect_code(5)?;
    let why = text(&change(&outcome, "Pod/lonely")?);
    ensure!(
        why.contains("pod lonely on node") && why.contains("not found"),
        "{why}"
    );
    scene
        .pods_until(1, |pod| ready(pod) && first_image(pod) == good)
        .await
}

/// The copy of a static pod belongs to its node, and a patch would not reach it.
#[tokio::test]
async fn static_pods_are_left_to_their_node() -> Result<()> {
    let scene = Scene::with_rights("static-pods", &["--bare-pods"]).await?;
    let node = scene.stack.cluster()?.kubelets.nodes()[0].name.clone();
    let uid = node_uid(&scene, &node).await?;
    let name = format!("proxy-{node}");
    let metadata = json!({"name": name,
        "annotations": {"kubernetes.io/config.mirror": "abc", "kubernetes.io/config.source": "file"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": true}]});
    let spec = json!({"nodeName": node, "automountServiceAccountToken": false, "containers": [{"name": "app", "image": GOOD}]});
    scene.create_object("Pod", metadata, spec).await?;
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &["--bare-pods"])
        .await?
        .expect_code(0)?;
    let change = change(&outcome, &format!("Pod/{name}"))?;
    ensure!(
        text(&change).contains(&format!("a static pod: change its manifest on Node/{node}")),
        "{change}"
    );
    assert_eq!(scene.image("Pod", &name).await?, GOOD);
    Ok(())
}

async fn node_uid(scene: &Scene, name: &str) -> Result<String> {
    let api: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(scene.client.clone());
    Ok(api.get(name).await?.metadata.uid.unwrap_or_default())
}

/// What another object makes is put back by it: the maker is patched, or named.
#[tokio::test]
async fn the_owner_is_patched_and_not_what_it_makes() -> Result<()> {
    let scene = Scene::new("owned").await?;
    scene.create("Deployment", "maker", 0, GOOD).await?;
    // A real one: what belongs to an object that is not there is collected as garbage.
    define_components(&scene).await?;
    let maker = json!({"apiVersion": "castware.cast.ai/v1alpha1", "kind": "Component",
        "metadata": {"name": "agent"}, "spec": {}});
    let uid = create_component(&scene, maker).await?;
    let owner = json!([{"apiVersion": "castware.cast.ai/v1alpha1", "kind": "Component", "name": "agent", "uid": uid, "controller": true}]);
    let labels = json!({"app": "made"});
    let made = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": {
        "metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": GOOD}]}}});
    scene
        .create_object(
            "Deployment",
            json!({"name": "made", "ownerReferences": owner}),
            made,
        )
        .await?;
    scene.create_cron_job("nightly", GOOD).await?;
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &["--soak", "0s"])
        .await?
        .expect_code(4)?;

    assert_eq!(
        scene.image("Deployment", "maker").await?,
        scene.target(GOOD)
    );
    assert_eq!(scene.image("CronJob", "nightly").await?, scene.target(GOOD));
    assert_eq!(scene.image("Deployment", "made").await?, GOOD);
    ensure!(
        text(&change(&outcome, "Deployment/made")?).contains("made by Component/agent"),
        "{outcome}"
    );
    let status = scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    ensure!(
        status
            .stdout
            .contains("Deployment/made: container app is ghcr.io/")
            && status.stdout.contains("change it there"),
        "{status}"
    );
    Ok(())
}

/// ReplicaSets and ReplicationControllers without an owner take a new template and keep
/// their pods.
#[tokio::test]
async fn replica_sets_without_an_owner_are_patched() -> Result<()> {
    let scene = Scene::new("replicas").await?;
    scene.create("ReplicaSet", "alone", 1, GOOD).await?;
    scene
        .create("Deployment", "web", 0, &scene.target(GOOD))
        .await?;
    scene.create_controller("older", GOOD).await?;
    let outcome = scene.apply_good().await?;
    for (kind, name) in [("ReplicaSet", "alone"), ("ReplicationController", "older")] {
        assert_eq!(scene.image(kind, name).await?, scene.target(GOOD));
        ensure!(
            outcome.stderr.contains(&format!(
                "{kind}/{name}: patched: it does not replace its pods"
            )),
            "{outcome}"
        );
    }
    // The revisions of a Deployment are nobody's business.
    let changes = outcome.records_of("change")?;
    assert_eq!(changes.len(), 2, "{changes:?}");
    let status = scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    ensure!(status.stdout.contains("Pod/alone-"), "{status}");
    Ok(())
}
