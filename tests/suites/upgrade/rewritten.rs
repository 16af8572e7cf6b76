//! Admission that gives pods other images than their template has, as k8s-image-swapper
//! does: named, soon, and taken back only where the pods cannot start.

use anyhow::{Context, Result, ensure};
use castlink_tests::process::wait_until;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::{GOOD, NEXT, SLOW, SOON, Scene, change, first_image, ready};

/// Gives new pods of this namespace `to` in place of `from`; waits until it is in force.
async fn rewrite_pods(scene: &Scene, from: &str, to: &str) -> Result<()> {
    let name = &scene.namespace;
    let image = "object.spec.containers[0].image";
    let rewrite =
        format!(r#"[JSONPatch{{op: "replace", path: "/spec/containers/0/image", value: "{to}"}}]"#);
    let policy = json!({"metadata": {"name": name}, "spec": {
        "reinvocationPolicy": "Never", "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
        "matchConditions": [{"name": "image", "expression": format!("{image} == '{from}'")}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": rewrite}}]}});
    let policies: Api<MutatingAdmissionPolicy> = Api::all(scene.client.clone());
    policies
        .create(&PostParams::default(), &serde_json::from_value(policy)?)
        .await?;
    let here = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let binding =
        json!({"metadata": {"name": name}, "spec": {"policyName": name, "matchResources": here}});
    let bindings: Api<MutatingAdmissionPolicyBinding> = Api::all(scene.client.clone());
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding)?)
        .await?;
    wait_until("the policy", SOON, async || {
        let image = admitted(scene, from).await?;
        ensure!(image == to, "{image}");
        Ok(())
    })
    .await
}

/// What a new pod would run in place of `image`.
async fn admitted(scene: &Scene, image: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let probe = json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "app", "image": image}]}});
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = pods.create(&dry, &serde_json::from_value(probe)?).await?;
    Ok(first_image(&pod).to_owned())
}

/// Every kind that rolls out.
async fn workloads(scene: &Scene) -> Result<[&'static str; 3]> {
    let old = scene.target(GOOD);
    let one = json!({"replicas": 1});
    let slowly = json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}}});
    scene
        .create_from("Deployment", "web", one.clone(), &old)
        .await?;
    scene.create_from("StatefulSet", "web", one, &old).await?;
    scene.create_from("DaemonSet", "web", slowly, &old).await?;
    scene.pods_until(7, ready).await?;
    Ok(["Deployment/web", "StatefulSet/web", "DaemonSet/web"])
}

fn why(change: &Value) -> Result<&str> {
    change["error"]["message"].as_str().context("no message")
}

/// The pods run, on images of somebody else's choice: a conflict, and nothing to take back.
#[tokio::test]
async fn pods_that_run_what_admission_chose_are_a_conflict() -> Result<()> {
    let scene = Scene::new("swapped").await?;
    let all = workloads(&scene).await?;
    let (wanted, chosen) = (scene.target(NEXT), scene.target(SLOW));
    rewrite_pods(&scene, &wanted, &chosen).await?;
    let more = ["--timeout", "10m", "--soak", "0s"];
    let outcome = scene
        .apply(&[scene.step(GOOD, NEXT)], &more)
        .await?
        .expect_code(6)?;
    for resource in all {
        let change = change(&outcome, resource)?;
        assert_eq!(change["status"], "failed", "{change}");
        let rewrote = "admission rewrote container app of pod web-";
        let told = format!("to {chosen}, where its template says {wanted}");
        ensure!(
            why(&change)?.contains(rewrote) && why(&change)?.contains(&told),
            "{change}"
        );
    }
    scene
        .pods_until(7, |pod| ready(pod) && first_image(pod) == chosen)
        .await
}

/// The pods cannot start where admission sends them: put back at once, with the reason, and
/// although the registry may only be out of reach for a moment.
#[tokio::test]
async fn pods_that_cannot_run_what_admission_chose_are_put_back() -> Result<()> {
    let scene = Scene::new("swapped-away").await?;
    let all = workloads(&scene).await?;
    let wanted = scene.target(NEXT);
    rewrite_pods(&scene, &wanted, "elsewhere.example/app:1").await?;
    let more = ["--timeout", "10m", "--soak", "0s"];
    let outcome = scene
        .apply(&[scene.step(GOOD, NEXT)], &more)
        .await?
        .expect_code(5)?;
    for resource in all {
        let change = change(&outcome, resource)?;
        assert_eq!(change["status"], "rolled_back", "{change}");
        for part in [
            "elsewhere.example/app:1: dial tcp: i/o timeout; admission rewrote container app of pod web-",
            &format!("where its template says {wanted}"),
        ] {
            ensure!(why(&change)?.contains(part), "{part}: {change}");
        }
    }
    let old = scene.target(GOOD);
    scene
        .pods_until(7, |pod| ready(pod) && first_image(pod) == old)
        .await
}

/// Admission has its say on the way back as well, and what is put back is the template.
#[tokio::test]
async fn what_admission_makes_of_the_old_images_is_no_failure() -> Result<()> {
    let scene = Scene::new("swapped-back").await?;
    let (old, made) = (scene.target(GOOD), scene.target(SLOW));
    rewrite_pods(&scene, &old, &made).await?;
    scene.create("StatefulSet", "db", 1, &old).await?;
    scene
        .pods_until(1, |pod| ready(pod) && first_image(pod) == made)
        .await?;
    let broken = scene.own_image("new").await?;
    scene.kubelets(|faults| faults.deny.push(broken.clone()))?;
    let more = ["--soak", "0s", "--rollback-timeout", "5m"];
    let outcome = scene
        .apply(&[scene.step(GOOD, &broken)], &more)
        .await?
        .expect_code(5)?;
    let change = change(&outcome, "StatefulSet/db")?;
    ensure!(
        why(&change)?.contains("403 Forbidden") && !why(&change)?.contains("old images"),
        "{change}"
    );
    assert_eq!(scene.image("StatefulSet", "db").await?, old);
    let runs_again = |pod: &Pod| ready(pod) && first_image(pod) == made;
    scene.pods_until(1, runs_again).await?;

    let run = scene.path("run").display().to_string();
    let more = ["--soak", "0s", "--run-dir", &run];
    let good = [scene.step(GOOD, NEXT)];
    scene.apply(&good, &more).await?.expect_code(0)?;
    let back = ["rollback", &run, "--soak", "0s"];
    scene.upgrade(&back)?.run().await?.expect_code(0)?;
    assert_eq!(scene.image("StatefulSet", "db").await?, old);
    scene.pods_until(1, runs_again).await
}
