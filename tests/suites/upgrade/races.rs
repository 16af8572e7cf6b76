//! Others write as well: between our read and our patch, all the time, by admission, by
//! server-side apply.

use anyhow::{Context, Result, ensure};
use castlink_tests::api_gate::SERVICE;
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::process::wait_until;
use castlink_tests::products::Outcome;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{GOOD, SOON, Scene, change, first_image, ready};

async fn merge(scene: &Scene, kind: &str, name: &str, patch: Value) -> Result<()> {
    let api = scene.api(kind);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// `apply` through the gate that `kubeconfig` leads to.
async fn apply(scene: &Scene, kubeconfig: &str) -> Result<Outcome> {
    let more = ["--soak", "0s", "--kubeconfig", kubeconfig];
    scene.apply(&[scene.copied(GOOD)], &more).await
}

/// `apply`, whose patch of `Deployment/web` waits while `meanwhile` happens.
async fn apply_while(
    scene: &Scene,
    meanwhile: impl Future<Output = Result<()>>,
) -> Result<Outcome> {
    let (gate, kubeconfig) = scene.gate().await?;
    let web = format!("{}/web", scene.namespace);
    let patch = Fault::on(SERVICE, "patch deployments", Harm::Wait).containing(&web);
    gate.faults.add(patch.times(1));
    let others = async {
        let held = tokio::time::timeout(SOON, gate.faults.held()).await;
        held.context("no patch came")?;
        let done = meanwhile.await;
        gate.faults.release();
        done
    };
    let (outcome, done) = tokio::join!(apply(scene, &kubeconfig), others);
    done?;
    outcome
}

/// An autoscaler that writes between read and patch loses nothing and stops nothing.
#[tokio::test]
async fn replicas_that_change_meanwhile_stay_changed() -> Result<()> {
    let scene = Scene::new("scaled").await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    let scale = merge(
        &scene,
        "Deployment",
        "web",
        json!({"spec": {"replicas": 3}}),
    );
    apply_while(&scene, scale).await?.expect_code(0)?;
    assert_eq!(scene.image("Deployment", "web").await?, scene.target(GOOD));
    let web = scene.api("Deployment").get("web").await?;
    assert_eq!(web.data["spec"]["replicas"], 3);
    Ok(())
}

/// So does one that writes while the pods roll: the generation is no longer that of our
/// patch.
#[tokio::test]
async fn replicas_that_change_during_the_rollout_are_rolled_out_as_well() -> Result<()> {
    let scene = Scene::new("scaling").await?;
    let image = scene.own_image("new").await?;
    let target = scene.target(&image);
    scene
        .create("Deployment", "web", 1, &scene.target(GOOD))
        .await?;
    scene.pods_until(1, ready).await?;
    scene.kubelets(|faults| faults.notready.push(image.clone()))?;
    let scaled = async {
        scene
            .pods_until(2, |pod| ready(pod) || first_image(pod) == target)
            .await?;
        let more = json!({"spec": {"replicas": 3}});
        merge(&scene, "Deployment", "web", more).await?;
        wait_until("more pods", SOON, async || {
            let pods = scene.pods().await?;
            let new = pods.iter().filter(|pod| first_image(pod) == target);
            ensure!(new.count() > 1, "{} pods", pods.len());
            Ok(())
        })
        .await?;
        scene.kubelets(|faults| faults.notready.retain(|part| *part != image))
    };
    let records = [scene.step(GOOD, &image)];
    let (outcome, scaled) = tokio::join!(scene.apply(&records, &["--soak", "0s"]), scaled);
    scaled?;
    outcome?.expect_code(0)?;
    // As it is at the end of the run, not at some time after it.
    let pods = scene.pods().await?;
    let done = |pod: &&Pod| ready(pod) && first_image(pod) == target;
    assert_eq!(pods.iter().filter(done).count(), 3, "{pods:?}");
    Ok(())
}

/// Containers are found by name: one that is put before ours does not get its image.
#[tokio::test]
async fn a_container_that_moves_meanwhile_is_found_again() -> Result<()> {
    let scene = Scene::new("moved").await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    let other = scene.target(GOOD);
    let containers = json!([{"name": "injected", "image": other}, {"name": "app", "image": GOOD}]);
    let inject = merge(
        &scene,
        "Deployment",
        "web",
        json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    );
    apply_while(&scene, inject).await?.expect_code(0)?;
    let want = [format!("injected={other}"), format!("app={other}")];
    assert_eq!(containers_of(&scene).await?, want);
    Ok(())
}

/// Another image than the one that was planned for: nobody's choice but the writer's.
#[tokio::test]
async fn an_image_that_changes_meanwhile_is_a_conflict() -> Result<()> {
    let scene = Scene::new("changed").await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    scene.create("Deployment", "fine", 0, GOOD).await?;
    let theirs = "ghcr.io/castlink/theirs:v2";
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": theirs}]}}}});
    let change_it = merge(&scene, "Deployment", "web", image);
    let outcome = apply_while(&scene, change_it).await?.expect_code(6)?;
    assert_eq!(scene.image("Deployment", "web").await?, theirs);
    assert_eq!(scene.image("Deployment", "fine").await?, scene.target(GOOD));
    let change = change(&outcome, "Deployment/web")?;
    let message = change["error"]["message"].to_string();
    ensure!(
        change["error"]["code"] == "conflict"
            && message.contains(&format!("it is {theirs}, neither {GOOD} nor ")),
        "{change}"
    );
    Ok(())
}

/// A strategic merge by name would add a second container here, and answer with 200.
#[tokio::test]
async fn a_container_that_is_renamed_meanwhile_is_a_conflict() -> Result<()> {
    let scene = Scene::new("renamed").await?;
    scene.create("Deployment", "web", 0, GOOD).await?;
    let containers = json!([{"name": "renamed", "image": GOOD}]);
    let template = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let rename = merge(&scene, "Deployment", "web", template);
    let outcome = apply_while(&scene, rename).await?.expect_code(6)?;
    let told = change(&outcome, "Deployment/web")?;
    ensure!(
        told["error"]["message"]
            .to_string()
            .contains("container app of Deployment/web was changed by somebody else: it is gone"),
        "{told}"
    );
    assert_eq!(containers_of(&scene).await?, [format!("renamed={GOOD}")]);
    Ok(())
}

/// The containers of `Deployment/web`, as `name=image`.
async fn containers_of(scene: &Scene) -> Result<Vec<String>> {
    let web = scene.api("Deployment").get("web").await?;
    let list = web.data.pointer("/spec/template/spec/containers");
    let list = list.and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(list
        .map(|one| format!("{}={}", text(&one["name"]), text(&one["image"])))
        .collect())
}

/// The server answers with a conflict again and again, and then not any more; or always.
#[tokio::test]
async fn a_storm_of_conflicts_is_sat_out_or_told() -> Result<()> {
    let scene = Scene::new("storm").await?;
    scene.create("Deployment", "web", 0, GOOD).await?;
    let (gate, kubeconfig) = scene.gate().await?;
    let storm = Fault::on(SERVICE, "patch deployments", raced());
    gate.faults.add(storm.clone());
    let outcome = apply(&scene, &kubeconfig).await?.expect_code(6)?;
    let told = change(&outcome, "Deployment/web")?;
    ensure!(
        told["error"]["message"]
            .to_string()
            .contains("changed 6 times while it was being patched"),
        "{told}"
    );
    assert_eq!(scene.image("Deployment", "web").await?, GOOD);
    gate.faults.clear();
    gate.faults.add(storm.times(4));
    apply(&scene, &kubeconfig).await?.expect_code(0)?;
    assert_eq!(scene.image("Deployment", "web").await?, scene.target(GOOD));
    Ok(())
}

/// The API server's answer after five attempts of its own.
fn raced() -> Harm {
    Harm::Error {
        status: 409,
        code: "Conflict".into(),
        message: "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again".into(),
    }
}

/// Others write to the same object without a pause, all the way through.
#[tokio::test]
async fn writers_of_other_fields_do_not_stop_it() -> Result<()> {
    let scene = Scene::new("busy").await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    let busy = async {
        for round in 0.. {
            let patch = json!({"metadata": {"annotations": {"round": format!("{round}")}}});
            merge(&scene, "Deployment", "web", patch).await?;
        }
        anyhow::Ok(())
    };
    let records = [scene.copied(GOOD)];
    let outcome = tokio::select! {
        ended = busy => return ended,
        outcome = scene.apply(&records, &["--soak", "0s"]) => outcome?,
    };
    outcome.expect_code(0)?;
    assert_eq!(scene.image("Deployment", "web").await?, scene.target(GOOD));
    Ok(())
}

/// A policy that rewrites images to somewhere else is seen before anything moves.
#[tokio::test]
async fn admission_that_rewrites_images_is_a_conflict() -> Result<()> {
    let scene = Scene::new("rewriting").await?;
    scene.create("Deployment", "web", 0, GOOD).await?;
    rewrite_images(&scene).await?;
    let before = scene.generations().await?;
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &[])
        .await?
        .expect_code(6)?;
    let change = change(&outcome, "Deployment/web")?;
    ensure!(
        change["error"]["message"].to_string().contains(
            "admission makes container app of Deployment/web elsewhere.example/app:1 instead of"
        ),
        "{change}"
    );
    assert_eq!(scene.generations().await?, before);
    Ok(())
}

/// A mutating policy in this namespace; waits until it is in force.
async fn rewrite_images(scene: &Scene) -> Result<()> {
    let policies: Api<MutatingAdmissionPolicy> = Api::all(scene.client.clone());
    let expression = r#"[JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/image", value: "elsewhere.example/app:1"}]"#;
    let policy = json!({"metadata": {"name": "rewriting"}, "spec": {
        "reinvocationPolicy": "Never", "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]},
        "matchConditions": [{"name": "template", "expression": "object.spec.template != oldObject.spec.template"}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]}});
    policies
        .create(&PostParams::default(), &serde_json::from_value(policy)?)
        .await?;
    let bindings: Api<MutatingAdmissionPolicyBinding> = Api::all(scene.client.clone());
    let binding = json!({"metadata": {"name": "rewriting"}, "spec": {"policyName": "rewriting",
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}}}});
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding)?)
        .await?;
    wait_until("the policy", SOON, async || {
        let answer = scene.probe("web").await?;
        let image = answer
            .data
            .pointer("/spec/template/spec/containers/0/image")
            .cloned();
        ensure!(image == Some(json!("elsewhere.example/app:1")), "{image:?}");
        Ok(())
    })
    .await
}

/// Who applied the field server-side cannot do so again: said before, and true afterwards.
#[tokio::test]
async fn a_server_side_owner_is_warned_of_and_conflicts_later() -> Result<()> {
    let scene = Scene::new("applied").await?;
    let labels = json!({"app": "web"});
    let manifest = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": image}]}}}})
    };
    let argocd = PatchParams::apply("argocd-controller");
    let api = scene.api("Deployment");
    api.patch("web", &argocd, &Patch::Apply(manifest(GOOD)))
        .await?;

    let record = scene.copied(GOOD).to_string();
    let plan = scene
        .upgrade(&["plan", "-"])?
        .stdin(record)
        .run()
        .await?
        .expect_code(0)?;
    for text in [
        "argocd-controller wrote references of 1 workload by server-side apply",
        "conflict with castlink",
        "Deployment/web (container app)",
        "set them in git",
    ] {
        ensure!(plan.stderr.contains(text), "{text}: {plan}");
    }
    scene.apply_good().await?;
    let again = api
        .patch("web", &argocd, &Patch::Apply(manifest(GOOD)))
        .await;
    let refused = again.expect_err("the old manifest conflicts").to_string();
    ensure!(refused.contains("conflict with \"castlink\""), "{refused}");
    // The durable fix that the warning names.
    api.patch("web", &argocd, &Patch::Apply(manifest(&scene.target(GOOD))))
        .await?;
    Ok(())
}
