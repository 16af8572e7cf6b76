//! What runs leave behind: on their host, in the namespace, and what others make of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use castlink_tests::api_gate::SERVICE;
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::process;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{GOOD, NEXT, Scene, ready};

const QUICK: [&str; 2] = ["--soak", "0s"];

async fn deployments(scene: &Scene, count: usize) -> Result<()> {
    for number in 0..count {
        let name = format!("web-{number}");
        scene
            .create("Deployment", &name, 1, &scene.target(GOOD))
            .await?;
    }
    scene.pods_until(count, ready).await
}

async fn config_map(scene: &Scene) -> Result<ConfigMap> {
    let api: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
    Ok(api.get("castlink-runs").await?)
}

#[tokio::test]
async fn another_host_lists_runs_and_takes_them_back() -> Result<()> {
    let scene = Scene::new("elsewhere").await?;
    deployments(&scene, 1).await?;
    let applied = scene
        .apply(&[scene.step(GOOD, NEXT)], &QUICK)
        .await?
        .expect_code(0)?;
    let way = applied
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("to put it back: castlink-upgrade rollback "));
    let run = way.with_context(|| format!("no way back\n{applied}"))?;

    // Another host: no journals, and the API server has another name.
    let (_gate, kubeconfig) = scene.gate().await?;
    let state = scene.path("another-host").display().to_string();
    let there = |args: &[&str]| -> Result<_> {
        let product = scene.upgrade(args)?.env("XDG_STATE_HOME", &state);
        Ok(product.env("KUBECONFIG", &kubeconfig))
    };
    let list = there(&["rollback"])?.run().await?.expect_code(0)?;
    let line = list.stdout.lines().find(|line| line.contains(run));
    let line = line.with_context(|| format!("{run} is not listed\n{list}"))?;
    ensure!(line.contains("  cluster  "), "{line}");
    let here = scene.upgrade(&["rollback"])?.run().await?.expect_code(0)?;
    ensure!(here.stdout.contains("both"), "{here}");

    there(&[&["rollback", run], &QUICK[..]].concat())?
        .run()
        .await?
        .expect_code(0)?;
    assert_eq!(
        scene.image("Deployment", "web-0").await?,
        scene.target(GOOD)
    );
    let again = there(&[&["rollback", "last"], &QUICK[..]].concat())?
        .run()
        .await?
        .expect_code(0)?;
    ensure!(again.stdout.contains("no changes"), "{again}");
    Ok(())
}

/// A rollback of a Deployment wakes its old ReplicaSet, whose pods may be ready at once.
#[tokio::test]
async fn a_rollback_reuses_the_old_replica_set() -> Result<()> {
    let scene = Scene::new("reused").await?;
    deployments(&scene, 1).await?;
    let hashes = async || -> Result<Vec<String>> {
        let labels = scene
            .pods()
            .await?
            .into_iter()
            .filter_map(|pod| pod.metadata.labels);
        Ok(labels
            .filter_map(|mut labels| labels.remove("pod-template-hash"))
            .collect())
    };
    let before = hashes().await?;
    scene
        .apply(&[scene.step(GOOD, NEXT)], &QUICK)
        .await?
        .expect_code(0)?;
    ensure!(hashes().await? != before, "nothing rolled");
    let back = [&["rollback", "last"], &QUICK[..]].concat();
    scene.upgrade(&back)?.run().await?.expect_code(0)?;
    assert_eq!(hashes().await?, before);
    Ok(())
}

#[tokio::test]
async fn of_two_runs_at_once_the_second_changes_nothing() -> Result<()> {
    let scene = Scene::new("two-at-once").await?;
    deployments(&scene, 1).await?;
    let (gate, kubeconfig) = scene.gate().await?;
    gate.faults
        .add(Fault::on(SERVICE, "patch deployments", Harm::Hang).times(1));
    let records = scene.step(GOOD, NEXT).to_string();
    let args = [&["apply", "-"], &QUICK[..]].concat();
    let first = scene
        .upgrade(&args)?
        .env("KUBECONFIG", &kubeconfig)
        .stdin(records);
    let first = first.start()?.held(&gate.faults).await?;

    let second = scene
        .apply(&[scene.step(GOOD, NEXT)], &QUICK)
        .await?
        .expect_code(6)?;
    ensure!(
        second
            .stderr
            .contains("another run is at work in this namespace"),
        "{second}"
    );
    assert_eq!(
        scene.image("Deployment", "web-0").await?,
        scene.target(GOOD)
    );

    process::signal(first.pid().context("it has ended")?, Signal::KILL)?;
    first.end().await?.expect_code(-1)?;
    let third = scene
        .apply(&[scene.step(GOOD, NEXT)], &QUICK)
        .await?
        .expect_code(0)?;
    ensure!(
        third.stderr.contains("was killed; its lock is taken over"),
        "{third}"
    );
    Ok(())
}

/// Of a run on another machine nobody can tell but by looking whether it still moves.
#[tokio::test]
async fn a_lock_that_nobody_keeps_alive_is_taken_over() -> Result<()> {
    let scene = Scene::new("dead-lock").await?;
    deployments(&scene, 1).await?;
    let lock =
        json!({"run": "r", "by": "bob@elsewhere", "place": "elsewhere", "pid": 1, "beat": 3});
    let map = json!({"metadata": {"name": "castlink-runs"}, "data": {"lock": lock.to_string()}});
    let api: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(map)?)
        .await?;
    let outcome = scene
        .apply(&[scene.step(GOOD, NEXT)], &QUICK)
        .await?
        .expect_code(0)?;
    ensure!(
        outcome.stderr.contains("run r by bob@elsewhere is dead"),
        "{outcome}"
    );
    Ok(())
}

#[tokio::test]
async fn old_runs_are_forgotten_here_and_there() -> Result<()> {
    let scene = Scene::new("pruned").await?;
    deployments(&scene, 1).await?;
    let file = scene.path("castlink.toml");
    std::fs::write(
        &file,
        scene.stack.castlink_toml() + "\n[upgrade]\nkeep_runs = 2\n",
    )?;
    let config = file.display().to_string();
    for (from, to) in [(GOOD, NEXT), (NEXT, GOOD), (GOOD, NEXT)] {
        let more = [&QUICK[..], &["--config", &config]].concat();
        scene
            .apply(&[scene.step(from, to)], &more)
            .await?
            .expect_code(0)?;
    }
    let list = scene
        .upgrade(&["rollback", "-o", "json"])?
        .run()
        .await?
        .expect_code(0)?;
    assert_eq!(
        list.records_of("summary")?[0]["counts"]["runs"],
        2,
        "{list}"
    );
    let map = config_map(&scene).await?;
    let labels = map.metadata.labels.unwrap_or_default();
    assert_eq!(labels["app.kubernetes.io/managed-by"], "castlink");
    assert_eq!(
        map.data.unwrap_or_default().len(),
        2,
        "two runs and no lock"
    );
    Ok(())
}

#[tokio::test]
async fn without_rights_on_the_config_map_a_run_works_from_its_host_alone() -> Result<()> {
    let scene = Scene::new("noteless").await?;
    deployments(&scene, 1).await?;
    let kubeconfig = patcher(&scene).await?;
    let more = [&QUICK[..], &["--kubeconfig", &kubeconfig]].concat();
    let outcome = scene
        .apply(&[scene.step(GOOD, NEXT)], &more)
        .await?
        .expect_code(0)?;
    ensure!(
        outcome
            .stderr
            .contains("this run is not noted in the cluster"),
        "{outcome}"
    );
    let back = [
        &["rollback", "last", "--kubeconfig", &kubeconfig],
        &QUICK[..],
    ]
    .concat();
    scene.upgrade(&back)?.run().await?.expect_code(0)?;
    assert_eq!(
        scene.image("Deployment", "web-0").await?,
        scene.target(GOOD)
    );
    Ok(())
}

/// A user who may patch workloads and watch their pods, and nothing else.
async fn patcher(scene: &Scene) -> Result<String> {
    let roles: Api<ClusterRole> = Api::all(scene.client.clone());
    let role = json!({"metadata": {"name": "upgrade-patcher"}, "rules": [
        {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": [""], "resources": ["pods", "replicationcontrollers"], "verbs": ["get", "list", "watch"]}]});
    roles
        .create(&PostParams::default(), &serde_json::from_value(role)?)
        .await?;
    let bindings: Api<RoleBinding> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let binding = json!({"metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "upgrade-patcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "patcher"}]});
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding)?)
        .await?;
    let plane = &scene.stack.cluster()?.plane;
    Ok(plane.kubeconfig_for("patcher", None)?.display().to_string())
}

/// Requests of one run by action, without the signs of life, which time decides.
async fn requests(scene: &Scene, count: usize) -> Result<(BTreeMap<String, usize>, u64)> {
    deployments(scene, count).await?;
    let (gate, kubeconfig) = scene.gate().await?;
    let more = [&QUICK[..], &["--kubeconfig", &kubeconfig]].concat();
    let outcome = scene
        .apply(&[scene.step(GOOD, NEXT)], &more)
        .await?
        .expect_code(0)?;
    let told = outcome.records_of("summary")?[0]["counts"]["requests"].as_u64();
    let mut asked = gate.journal.counts(0);
    assert_eq!(
        told,
        Some(asked.values().sum::<usize>() as u64),
        "{asked:?}"
    );
    asked.retain(|action, _| !action.ends_with("configmaps"));
    Ok((asked, told.unwrap_or_default()))
}

#[tokio::test]
async fn requests_are_linear_in_workloads_and_watches_are_not() -> Result<()> {
    let (five, _) = requests(&Scene::new("five").await?, 5).await?;
    let (ten, told) = requests(&Scene::new("ten").await?, 10).await?;
    let difference: BTreeMap<&str, usize> = ten
        .iter()
        .map(|(action, count)| (action.as_str(), count - five.get(action).unwrap_or(&0)))
        .filter(|(_, more)| *more > 0)
        .collect();
    // Read, tried, read again and patched: once each per workload.
    let wanted = [
        ("kube:get deployments", 10),
        ("kube:patch deployments", 5),
        ("kube:try deployments", 5),
    ];
    assert_eq!(difference, BTreeMap::from(wanted), "{five:?} {ten:?}");
    let watches = ten.iter().filter(|(action, _)| action.contains("watch"));
    assert_eq!(watches.map(|(_, count)| count).sum::<usize>(), 3, "{ten:?}");
    ensure!(told < 80, "{told} requests for ten workloads: {ten:?}");
    Ok(())
}
