//! Runs that are ended from outside, at points chosen by what the API server has seen:
//! running again completes them, and `rollback last` takes them back.

use anyhow::{Context, Result, ensure};
use castlink_tests::api_gate::{ApiGate, SERVICE};
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::process;
use castlink_tests::products::{Outcome, Product, Running};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{GOOD, NEXT, NOWHERE, SLOW, SOON, Scene, first_image, ready};

/// `apply -` with one record, through the gate that `kubeconfig` leads to.
fn apply(scene: &Scene, kubeconfig: &str, from: &str, to: &str) -> Result<Product> {
    let args = [
        "apply",
        "-",
        "--soak",
        "0s",
        "--timeout",
        "60s",
        "--kubeconfig",
        kubeconfig,
    ];
    Ok(scene
        .upgrade(&args)?
        .stdin(scene.step(from, to).to_string()))
}

/// A namespace with one Deployment that runs.
async fn one_deployment(name: &str) -> Result<Scene> {
    let scene = Scene::new(name).await?;
    scene
        .create("Deployment", "web", 1, &scene.target(GOOD))
        .await?;
    scene.pods_until(1, ready).await?;
    Ok(scene)
}

/// Starts `product`, and when a request is held at the gate, ends it with `signal`.
async fn interrupt(gate: &ApiGate, product: Product, signal: Signal) -> Result<Outcome> {
    let running = product.start()?.held(&gate.faults).await?;
    send(&running, signal)?;
    let outcome = running.end().await;
    gate.faults.clear();
    outcome
}

fn send(running: &Running, signal: Signal) -> Result<()> {
    process::signal(running.pid().context("it has ended")?, signal)?;
    Ok(())
}

/// The lock of the namespace, when somebody holds it.
async fn lock(scene: &Scene) -> Result<Option<String>> {
    let api: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let map = api.get_opt("castlink-runs").await?;
    Ok(map.and_then(|map| map.data?.remove("lock")))
}

/// Puts the template back behind everybody's back, so that the next round finds work.
async fn reset(scene: &Scene) -> Result<()> {
    let containers = json!([{"name": "app", "image": scene.target(GOOD)}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let api = scene.api("Deployment");
    api.patch("web", &PatchParams::default(), &Patch::Strategic(patch))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_run_that_is_killed_after_any_request_is_completed_by_the_next() -> Result<()> {
    let scene = one_deployment("killed-forward").await?;
    let (gate, kubeconfig) = scene.gate().await?;
    apply(&scene, &kubeconfig, GOOD, NEXT)?
        .run()
        .await?
        .expect_code(0)?;
    let requests = u32::try_from(gate.journal.mark())?;
    ensure!(requests > 15, "only {requests} requests");
    for after in 0..requests {
        reset(&scene).await?;
        kill(&scene, &gate, &kubeconfig, after).await?;
        let again = apply(&scene, &kubeconfig, GOOD, NEXT)?.run().await?;
        again
            .expect_code(0)
            .with_context(|| format!("killed after {after}"))?;
        assert_eq!(
            scene.image("Deployment", "web").await?,
            scene.target(NEXT),
            "{after}"
        );
    }
    assert_free(&scene, &kubeconfig).await?;
    let target = scene.target(NEXT);
    scene
        .pods_until(1, |pod| ready(pod) && first_image(pod) == target)
        .await
}

/// Ends a run with SIGKILL while the answer to request number `after` is held back.
async fn kill(scene: &Scene, gate: &ApiGate, kubeconfig: &str, after: u32) -> Result<()> {
    let mut fault = Fault::on(SERVICE, "", Harm::Hold).after(after).times(1);
    fault.action = None;
    gate.faults.add(fault);
    let running = apply(scene, kubeconfig, GOOD, NEXT)?.start()?;
    let pid = running.pid().context("it has ended")?;
    let mut end = std::pin::pin!(running.end());
    // A run may need fewer requests than the one that was counted, and end by itself.
    let (outcome, code) = tokio::select! {
        outcome = &mut end => (outcome?, 0),
        () = gate.faults.held() => {
            process::signal(pid, Signal::KILL)?;
            (end.await?, -1)
        }
    };
    gate.faults.clear();
    outcome.expect_code(code)?;
    Ok(())
}

#[tokio::test]
async fn a_run_that_is_killed_at_any_write_is_taken_back_by_another_host() -> Result<()> {
    let scene = one_deployment("killed-back").await?;
    let (gate, kubeconfig) = scene.gate().await?;
    apply(&scene, &kubeconfig, GOOD, NEXT)?
        .run()
        .await?
        .expect_code(0)?;
    for (action, after, harm) in [
        ("patch configmaps", 0, Harm::Hold),
        ("patch deployments", 0, Harm::Hang),
        ("patch deployments", 0, Harm::Hold),
        ("patch configmaps", 1, Harm::Hang),
        ("patch configmaps", 1, Harm::Hold),
    ] {
        let point = format!("{action} {after} {harm:?}");
        reset(&scene).await?;
        gate.faults
            .add(Fault::on(SERVICE, action, harm).after(after).times(1));
        interrupt(&gate, apply(&scene, &kubeconfig, GOOD, NEXT)?, Signal::KILL)
            .await?
            .expect_code(-1)
            .context(point.clone())?;
        let elsewhere = scene.path("elsewhere").display().to_string();
        let back = ["rollback", "last", "--soak", "0s"];
        let back = scene.upgrade(&back)?.env("XDG_STATE_HOME", elsewhere);
        back.run().await?.expect_code(0).context(point.clone())?;
        assert_eq!(
            scene.image("Deployment", "web").await?,
            scene.target(GOOD),
            "{point}"
        );
    }
    assert_free(&scene, &kubeconfig).await
}

/// Whatever the dead have left behind, the next run that patches gives the lock back.
async fn assert_free(scene: &Scene, kubeconfig: &str) -> Result<()> {
    reset(scene).await?;
    apply(scene, kubeconfig, GOOD, NEXT)?
        .run()
        .await?
        .expect_code(0)?;
    assert_eq!(lock(scene).await?, None);
    Ok(())
}

#[tokio::test]
async fn signals_while_patching_leave_something_to_complete() -> Result<()> {
    let scene = one_deployment("signal-patch").await?;
    let (gate, kubeconfig) = scene.gate().await?;
    for signal in [Signal::INT, Signal::TERM] {
        reset(&scene).await?;
        gate.faults
            .add(Fault::on(SERVICE, "patch deployments", Harm::Hold).times(1));
        let outcome = interrupt(&gate, apply(&scene, &kubeconfig, GOOD, NEXT)?, signal).await?;
        let outcome = outcome.expect_code(130)?;
        ensure!(outcome.stderr.contains("rollback last"), "{outcome}");
        ensure!(
            outcome.stdout.contains("Deployment/web not reached"),
            "{outcome}"
        );
        assert_eq!(lock(&scene).await?, None, "{signal:?}");
        apply(&scene, &kubeconfig, GOOD, NEXT)?
            .run()
            .await?
            .expect_code(0)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_signal_during_a_rollout_lets_it_go_on() -> Result<()> {
    let scene = one_deployment("signal-rollout").await?;
    let (_gate, kubeconfig) = scene.gate().await?;
    let args = ["apply", "-", "-o", "json", "--kubeconfig", &kubeconfig];
    let run = scene
        .upgrade(&args)?
        .stdin(scene.step(GOOD, SLOW).to_string());
    let running = run.start()?;
    let target = scene.target(SLOW);
    process::wait_until("the patch", SOON, async || {
        let image = scene.image("Deployment", "web").await?;
        ensure!(image == target, "it is {image}");
        Ok(())
    })
    .await?;
    send(&running, Signal::TERM)?;
    let outcome = running.end().await?.expect_code(130)?;
    let change = crate::harness::change(&outcome, "Deployment/web")?;
    assert_eq!(change["error"]["code"], "unfinished", "{change}");
    assert_eq!(outcome.records_of("summary")?[0]["exit"], "interrupted");
    let list = scene.upgrade(&["rollback"])?.run().await?.expect_code(0)?;
    ensure!(
        list.stdout
            .lines()
            .any(|line| line.contains("apply") && line.contains("  1  ")),
        "{list}"
    );
    let again = apply(&scene, &kubeconfig, GOOD, SLOW)?.run().await?;
    again.expect_code(0)?;
    scene
        .pods_until(1, |pod| ready(pod) && first_image(pod) == target)
        .await
}

#[tokio::test]
async fn a_signal_while_a_failure_is_taken_back_leaves_a_rollback_to_do() -> Result<()> {
    let scene = one_deployment("signal-back").await?;
    let (gate, kubeconfig) = scene.gate().await?;
    gate.faults.add(
        Fault::on(SERVICE, "patch deployments", Harm::Hang)
            .after(1)
            .times(1),
    );
    let run = apply(&scene, &kubeconfig, GOOD, NOWHERE)?;
    interrupt(&gate, run, Signal::INT).await?.expect_code(130)?;
    assert_eq!(
        scene.image("Deployment", "web").await?,
        scene.target(NOWHERE)
    );
    let back = ["rollback", "last", "--soak", "0s"];
    scene.upgrade(&back)?.run().await?.expect_code(0)?;
    let target = scene.target(GOOD);
    scene
        .pods_until(1, |pod| ready(pod) && first_image(pod) == target)
        .await
}

/// Its controller never replaces the broken pod: somebody has to, also when the run that
/// wanted to is gone.
#[tokio::test]
async fn a_stateful_set_whose_rollback_was_killed_is_freed_by_the_next() -> Result<()> {
    let scene = Scene::new("killed-ordered").await?;
    scene
        .create("StatefulSet", "db", 2, &scene.target(GOOD))
        .await?;
    scene.pods_until(2, ready).await?;
    let (gate, kubeconfig) = scene.gate().await?;
    gate.faults
        .add(Fault::on(SERVICE, "delete pods", Harm::Hang).times(1));
    let run = apply(&scene, &kubeconfig, GOOD, NOWHERE)?;
    interrupt(&gate, run, Signal::KILL).await?.expect_code(-1)?;
    assert_eq!(scene.image("StatefulSet", "db").await?, scene.target(GOOD));
    let back = ["rollback", "last", "--soak", "0s"];
    scene.upgrade(&back)?.run().await?.expect_code(0)?;
    let target = scene.target(GOOD);
    scene
        .pods_until(2, |pod| ready(pod) && first_image(pod) == target)
        .await
}

#[tokio::test]
async fn a_second_signal_ends_at_once() -> Result<()> {
    let scene = one_deployment("signal-twice").await?;
    let (gate, kubeconfig) = scene.gate().await?;
    apply(&scene, &kubeconfig, GOOD, NEXT)?
        .run()
        .await?
        .expect_code(0)?;
    reset(&scene).await?;
    gate.faults
        .add(Fault::on(SERVICE, "patch deployments", Harm::Hang).times(1));
    gate.faults.add(
        Fault::on(SERVICE, "patch configmaps", Harm::Hang)
            .after(1)
            .times(1),
    );
    let running = apply(&scene, &kubeconfig, GOOD, NEXT)?.start()?;
    let running = running.held(&gate.faults).await?;
    send(&running, Signal::INT)?;
    // Now it wants to note its end, and gets no answer.
    let running = running.held(&gate.faults).await?;
    send(&running, Signal::INT)?;
    running.end().await?.expect_code(130)?;
    ensure!(
        lock(&scene).await?.is_some(),
        "it waited to give the lock back"
    );
    gate.faults.clear();
    let again = apply(&scene, &kubeconfig, GOOD, NEXT)?
        .run()
        .await?
        .expect_code(0)?;
    ensure!(again.stderr.contains("its lock is taken over"), "{again}");
    Ok(())
}
