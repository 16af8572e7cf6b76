//! `rbac`: the rights it prints are those that whole runs use, no less (every scene runs
//! with them) and no more (the audit log tells).

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use castlink_tests::process::wait_until;
use castlink_tests::products::Outcome;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{ACCOUNT, GOOD, SOON, Scene, cannot_pull, first_image, ready};
use crate::values::define_components;

/// A kubeconfig of the service account `name`, which has the rights that `rbac` prints with
/// `flags` and no others.
pub(crate) async fn account(scene: &Scene, name: &str, flags: &[&str]) -> Result<PathBuf> {
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    accounts.create(&PostParams::default(), &object).await?;
    grant(scene, name, flags).await?;
    in_force(scene, name).await?;
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await?;
    let token = answer
        .status
        .context("no token")?
        .token
        .context("an empty token")?;
    write_kubeconfig(scene, name, &token)
}

/// `castlink-upgrade rbac … | kubectl apply -f -`, as an administrator does it.
async fn grant(scene: &Scene, name: &str, flags: &[&str]) -> Result<Outcome> {
    let mut args = vec!["rbac", "--name", name];
    if !flags.iter().any(|flag| flag.starts_with("--user")) {
        args.extend(["--service-account", name]);
    }
    args.extend(flags);
    let manifests = scene.upgrade(&args)?.run().await?.expect_code(0)?;
    let kubectl = scene.stack.product("castlink-upgrade")?;
    let kubectl = kubectl.through("kubectl", ["apply", "-f", "-"]);
    kubectl.stdin(manifests.stdout).run().await?.expect_code(0)
}

/// The API server learns of bindings by a watch of its own.
async fn in_force(scene: &Scene, name: &str) -> Result<()> {
    until(scene, name, (true, "list", "pods"), true).await?;
    until(scene, name, (false, "list", "nodes"), true).await
}

/// Waits until the account may, or may not, do something in its namespace or outside.
async fn until(
    scene: &Scene,
    account: &str,
    (inside, verb, resource): (bool, &str, &str),
    allowed: bool,
) -> Result<()> {
    let reviews: Api<SubjectAccessReview> = Api::all(scene.client.clone());
    let user = format!("system:serviceaccount:{}:{account}", scene.namespace);
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user),
            resource_attributes: Some(ResourceAttributes {
                namespace: inside.then(|| scene.namespace.clone()),
                verb: Some(verb.into()),
                resource: Some(resource.into()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    wait_until("the rights", SOON, async || {
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let now = answer.status.is_some_and(|status| status.allowed);
        ensure!(now == allowed, "{verb} {resource}: {now}");
        Ok(())
    })
    .await
}

fn write_kubeconfig(scene: &Scene, name: &str, token: &str) -> Result<PathBuf> {
    let plane = &scene.stack.cluster()?.plane;
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": plane.url(), "certificate-authority-data": plane.ca_base64()}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": {"token": token}}]});
    let path = scene.path(&format!("{name}.kubeconfig"));
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

/// `verb resource.group`.
type Rights = BTreeSet<String>;

/// What the account asked for in this scene, and what of it was refused, as the API server
/// noted it.
fn asked(scene: &Scene) -> Result<(Rights, Vec<Value>)> {
    let user = format!("system:serviceaccount:{}:{ACCOUNT}", scene.namespace);
    let log = std::fs::read_to_string(scene.stack.cluster()?.plane.audit_log())?;
    let events = log.lines().map(serde_json::from_str::<Value>);
    let events: Vec<Value> = events.collect::<Result<_, _>>()?;
    let mine = events
        .into_iter()
        .filter(|event| event["user"]["username"] == *user);
    // Everybody may ask what they may do.
    let (_, mine): (Vec<_>, Vec<_>) = mine.partition(|event| {
        let group = event["objectRef"]["apiGroup"].as_str().unwrap_or_default();
        group == "authorization.k8s.io" || group == "authentication.k8s.io"
    });
    let rights = mine.iter().map(|event| {
        let on = &event["objectRef"];
        right(
            text(&event["verb"]),
            text(&on["resource"]),
            text(&on["apiGroup"]),
        )
    });
    let rights = rights.collect();
    let refused = mine
        .into_iter()
        .filter(|event| event["responseStatus"]["code"] == 403);
    Ok((rights, refused.collect()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn right(verb: &str, resource: &str, group: &str) -> String {
    match group {
        "" => format!("{verb} {resource}"),
        group => format!("{verb} {resource}.{group}"),
    }
}

/// What the scene's account may do, as it stands in the cluster.
async fn granted(scene: &Scene) -> Result<Rights> {
    let roles: Api<Role> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let cluster: Api<ClusterRole> = Api::all(scene.client.clone());
    let role = roles.get(ACCOUNT).await?;
    let outside = cluster
        .get(&format!("{ACCOUNT}-{}", scene.namespace))
        .await?;
    let rules = role.rules.into_iter().chain(outside.rules).flatten();
    Ok(rules.flat_map(|rule| expanded(&rule)).collect())
}

fn expanded(rule: &PolicyRule) -> Vec<String> {
    let groups = rule.api_groups.iter().flatten();
    let of_group = |group: &String| -> Vec<String> {
        let resources = rule.resources.iter().flatten();
        resources
            .flat_map(|resource| rule.verbs.iter().map(|verb| right(verb, resource, group)))
            .collect()
    };
    groups.flat_map(of_group).collect()
}

#[tokio::test]
async fn the_role_grants_what_whole_runs_ask_for_and_no_more() -> Result<()> {
    let scene = Scene::with_rights("exact-role", &["--bare-pods"]).await?;
    define_components(&scene).await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    scene.create("DaemonSet", "everywhere", 0, GOOD).await?;
    // Its first pod cannot start, so it has to be deleted once the reference is right.
    scene.create("StatefulSet", "db", 1, GOOD).await?;
    scene.create("ReplicaSet", "alone", 1, GOOD).await?;
    scene.create_controller("older", GOOD).await?;
    scene.create_cron_job("nightly", GOOD).await?;
    scene.create_pod("bare", json!({}), GOOD).await?;
    let nodes = scene.stack.cluster()?.kubelets.nodes().len();
    scene.pods_until(5 + nodes, cannot_pull).await?;

    scene.upgrade(&["images"])?.run().await?.expect_code(0)?;
    let record = scene.copied(GOOD);
    let plan = scene.upgrade(&["plan", "-"])?.stdin(record.to_string());
    plan.run().await?.expect_code(0)?;
    scene
        .apply(&[record], &["--bare-pods", "--soak", "0s"])
        .await?
        .expect_code(0)?;
    scene.upgrade(&["drift"])?.run().await?.expect_code(0)?;
    scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    let back = ["rollback", "last", "--timeout", "10s"];
    scene.upgrade(&back)?.run().await?;

    let (asked, refused) = asked(&scene)?;
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(asked, granted(&scene).await?);
    Ok(())
}

#[tokio::test]
async fn reading_works_with_the_reading_role_and_applying_does_not() -> Result<()> {
    let scene = Scene::with_rights("exact-reader", &["--for", "read"]).await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    let record = scene.copied(GOOD);
    scene.upgrade(&["images"])?.run().await?.expect_code(0)?;
    let plan = scene.upgrade(&["plan", "-"])?.stdin(record.to_string());
    plan.run().await?.expect_code(0)?;
    scene.upgrade(&["status"])?.run().await?.expect_code(3)?;
    let outcome = scene.apply(&[record], &[]).await?.expect_code(7)?;
    for text in [
        "user system:serviceaccount:exact-reader:castlink may not",
        "get deployments.apps, patch deployments.apps, watch deployments.apps, watch pods",
        "rbac -n exact-reader --service-account exact-reader:castlink | kubectl apply",
    ] {
        ensure!(outcome.stderr.contains(text), "{text}: {outcome}");
    }
    assert_eq!(scene.image("Deployment", "web").await?, GOOD);
    // What the hint says helps.
    grant(&scene, ACCOUNT, &[]).await?;
    until(&scene, ACCOUNT, (true, "watch", "pods"), true).await?;
    let record = scene.copied(GOOD);
    scene
        .apply(&[record], &["--soak", "0s"])
        .await?
        .expect_code(0)?;
    let target = scene.target(GOOD);
    scene
        .pods_until(1, |pod| ready(pod) && first_image(pod) == target)
        .await
}

/// Patching and watching is not enough where a broken pod may have to be deleted, and it is
/// where nothing of the kind can happen.
#[tokio::test]
async fn a_stateful_set_needs_the_right_to_delete_pods() -> Result<()> {
    let scene = Scene::new("no-delete").await?;
    let roles: Api<Role> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let mut role = roles.get(ACCOUNT).await?;
    for rule in role.rules.iter_mut().flatten() {
        rule.verbs.retain(|verb| verb != "delete");
    }
    roles
        .replace(ACCOUNT, &PostParams::default(), &role)
        .await?;
    until(&scene, ACCOUNT, (true, "delete", "pods"), false).await?;
    scene.create("StatefulSet", "db", 1, GOOD).await?;
    scene.create("Deployment", "web", 0, GOOD).await?;
    let outcome = scene
        .apply(&[scene.copied(GOOD)], &[])
        .await?
        .expect_code(7)?;
    let want = "castlink may not delete pods in namespace no-delete";
    ensure!(outcome.stderr.contains(want), "{outcome}");
    for (kind, name) in [("StatefulSet", "db"), ("Deployment", "web")] {
        assert_eq!(scene.image(kind, name).await?, GOOD, "nothing moved");
    }
    let sets = scene.api("StatefulSet");
    sets.delete("db", &DeleteParams::default()).await?;
    scene.apply_good().await?;
    assert_eq!(scene.image("Deployment", "web").await?, scene.target(GOOD));
    Ok(())
}

/// Rights in the namespace alone: nodes are then left out, and everything else works.
#[tokio::test]
async fn without_the_cluster_role_only_the_nodes_are_missing() -> Result<()> {
    let scene = Scene::new("no-nodes").await?;
    let roles: Api<ClusterRole> = Api::all(scene.client.clone());
    roles
        .delete("castlink-no-nodes", &DeleteParams::default())
        .await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    let record = scene.copied(GOOD);
    until(&scene, ACCOUNT, (false, "list", "nodes"), false).await?;
    let plan = scene.upgrade(&["plan", "-"])?.stdin(record.to_string());
    let plan = plan.run().await?.expect_code(0)?;
    ensure!(plan.stderr.contains("nodes may not be listed"), "{plan}");
    scene
        .apply(&[record], &["--soak", "0s"])
        .await?
        .expect_code(0)?;
    assert_eq!(scene.image("Deployment", "web").await?, scene.target(GOOD));
    Ok(())
}

#[tokio::test]
async fn subjects_and_uses_are_checked() -> Result<()> {
    let scene = Scene::existing("castai-agent").await?;
    for (args, want) in [
        (&["rbac", "--service-account", "A B"][..], "NAMESPACE:NAME"),
        (
            &["rbac", "--for", "everything"],
            "possible values: read, apply, rollback",
        ),
        (&["rbac", "--name", "Upper"], "cannot be the name of a Role"),
    ] {
        let outcome = scene.upgrade(args)?.run().await?.expect_code(2)?;
        ensure!(outcome.stderr.contains(want), "{want}: {outcome}");
    }
    let outcome = scene
        .upgrade(&["rbac", "-v"])?
        .run()
        .await?
        .expect_code(0)?;
    for text in [
        "nobody is bound",
        "delete pods: delete broken pods that block",
    ] {
        ensure!(outcome.stderr.contains(text), "{text}: {outcome}");
    }
    Ok(())
}
