//! What stops a run before anything moves: rights, policies, and servers that are not there.

use anyhow::{Result, ensure};
use castlink_tests::process::wait_until;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::harness::{GOOD, SOON, Scene, change};

#[tokio::test]
async fn without_the_right_to_patch_nothing_is_changed() -> Result<()> {
    let scene = Scene::new("readers").await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    scene.create("StatefulSet", "db", 1, GOOD).await?;
    let kubeconfig = reader(&scene).await?;
    let before = scene.generations().await?;
    let more = ["--kubeconfig", &kubeconfig];
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &more)
        .await?
        .expect_code(7)?;
    for text in [
        "user reader may not",
        "patch deployments.apps",
        "patch statefulsets.apps",
        "in namespace readers",
        "castlink-upgrade rbac -n readers --user reader | kubectl apply -f -",
    ] {
        ensure!(outcome.stderr.contains(text), "{text}: {outcome}");
    }
    assert_eq!(scene.generations().await?, before);
    scene
        .upgrade(&["images", "--kubeconfig", &kubeconfig])?
        .run()
        .await?
        .expect_code(0)?;
    Ok(())
}

/// A kubeconfig whose user may look at everything in the namespace and change nothing.
async fn reader(scene: &Scene) -> Result<String> {
    let roles: Api<ClusterRole> = Api::all(scene.client.clone());
    let role = json!({"metadata": {"name": "upgrade-reader"}, "rules": [
        {"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]});
    roles
        .create(&PostParams::default(), &serde_json::from_value(role)?)
        .await?;
    let bindings: Api<RoleBinding> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "upgrade-reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}]});
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding)?)
        .await?;
    let path = scene
        .stack
        .cluster()?
        .plane
        .kubeconfig_for("reader", None)?;
    Ok(path.display().to_string())
}

#[tokio::test]
async fn a_patch_that_a_policy_denies_is_known_before_anything_moves() -> Result<()> {
    let scene = Scene::new("policed").await?;
    scene.create("Deployment", "pinned", 1, GOOD).await?;
    scene.create("Deployment", "free", 1, GOOD).await?;
    deny_changes_of_pinned(&scene).await?;
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &["--soak", "0s"])
        .await?
        .expect_code(4)?;
    assert_eq!(scene.image("Deployment", "pinned").await?, GOOD);
    assert_eq!(scene.image("Deployment", "free").await?, scene.target(GOOD));
    let refused = change(&outcome, "Deployment/pinned")?;
    ensure!(
        refused["error"]["message"]
            .to_string()
            .contains("pinned for a reason"),
        "{refused}"
    );
    Ok(())
}

/// An admission policy on one Deployment; waits until it is in force.
async fn deny_changes_of_pinned(scene: &Scene) -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(scene.client.clone());
    let policy = json!({"metadata": {"name": "pinned"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
            "operations": ["UPDATE"], "resources": ["deployments"], "resourceNames": ["pinned"]}]},
        "validations": [{"expression": "object.spec.template == oldObject.spec.template",
            "message": "pinned for a reason"}]}});
    policies
        .create(&PostParams::default(), &serde_json::from_value(policy)?)
        .await?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(scene.client.clone());
    let binding = json!({"metadata": {"name": "pinned"}, "spec": {"policyName": "pinned", "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}}}});
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding)?)
        .await?;
    wait_until("the policy", SOON, async || {
        let answer = scene.probe("pinned").await;
        ensure!(answer.is_err(), "it still lets changes through");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() -> Result<()> {
    let scene = Scene::existing("castai-agent").await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let file = scene.path("nobody.kubeconfig");
    let server = format!("https://127.0.0.1:{port}");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "nobody",
        "clusters": [{"name": "nobody", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
        "contexts": [{"name": "nobody", "context": {"cluster": "nobody", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {"token": "canary-token"}}]});
    std::fs::write(&file, config.to_string())?;
    let kubeconfig = file.display().to_string();
    let outcome = scene
        .upgrade(&["images", "--kubeconfig", &kubeconfig])?
        .run()
        .await?
        .expect_code(8)?;
    ensure!(
        outcome.stderr.contains(&server) && outcome.stderr.contains("context nobody"),
        "{outcome}"
    );
    ensure!(!outcome.to_string().contains("canary-token"), "{outcome}");
    Ok(())
}

#[tokio::test]
async fn mistakes_in_the_call_are_usage_errors() -> Result<()> {
    let scene = Scene::existing("castai-agnet").await?;
    for (args, want) in [
        (&["images"][..], "did you mean `-n castai-agent`?"),
        (
            &["images", "--context", "no-such"],
            "has no context no-such",
        ),
        (
            &["images", "--kubeconfig", "/nowhere/config"],
            "no usable kubeconfig",
        ),
        (
            &["rollback", "no-such-run"],
            "there is no run `no-such-run`",
        ),
        (&["apply", "-"], "no `mirrored` record on stdin"),
        (
            &["rollback", "last"],
            "no run of `apply` in namespace castai-agnet",
        ),
    ] {
        let outcome = scene.upgrade(args)?.run().await?.expect_code(2)?;
        ensure!(outcome.stderr.contains(want), "{want}: {outcome}");
    }
    Ok(())
}

#[tokio::test]
async fn images_without_the_mirror_in_between_are_a_usage_error() -> Result<()> {
    let scene = Scene::new("forgotten").await?;
    scene.create("Deployment", "web", 0, GOOD).await?;
    let images = scene.upgrade(&["images", "-o", "json"])?.run().await?;
    let apply = scene.upgrade(&["apply", "-"])?.stdin(images.stdout);
    let outcome = apply.run().await?.expect_code(2)?;
    ensure!(outcome.stderr.contains("castlink-mirror copy"), "{outcome}");
    Ok(())
}
