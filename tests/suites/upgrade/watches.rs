//! Watches that break in the middle of a rollout: what happens meanwhile is not missed.

use anyhow::{Result, ensure};
use castlink_tests::api_gate::SERVICE;
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::process::wait_until;

use crate::harness::{GOOD, SOON, Scene, first_image, ready};

const WATCHES: [&str; 2] = ["watch pods", "watch deployments"];

fn answer(status: u16, code: &str) -> Harm {
    let (code, message) = (code.to_owned(), "the gate was told to".to_owned());
    Harm::Error {
        status,
        code,
        message,
    }
}

#[tokio::test]
async fn a_server_that_fails() -> Result<()> {
    rolls_out("watch-500", answer(500, "InternalError")).await
}

/// The server has forgotten where the watch was: only a new list tells.
#[tokio::test]
async fn a_history_that_is_gone() -> Result<()> {
    rolls_out("watch-410", answer(410, "Expired")).await
}

#[tokio::test]
async fn a_connection_that_breaks() -> Result<()> {
    rolls_out("watch-reset", Harm::Reset).await
}

/// The rollout becomes complete while every watch is broken by `harm`, and the run hears
/// of it.
async fn rolls_out(namespace: &str, harm: Harm) -> Result<()> {
    let scene = Scene::new(namespace).await?;
    let image = scene.own_image("new").await?;
    let target = scene.target(&image);
    scene
        .create("Deployment", "web", 1, &scene.target(GOOD))
        .await?;
    scene.pods_until(1, ready).await?;
    scene.kubelets(|faults| faults.notready.push(image.clone()))?;
    let (gate, kubeconfig) = scene.gate().await?;
    let breaks = async {
        scene
            .pods_until(2, |pod| ready(pod) || first_image(pod) == target)
            .await?;
        for action in WATCHES {
            gate.faults.add(Fault::on(SERVICE, action, harm.clone()));
        }
        let before = gate.journal.mark();
        gate.cut_watches();
        for action in WATCHES {
            wait_until("a watch that is refused", SOON, async || {
                let asked = gate.journal.since(before);
                ensure!(asked.iter().any(|entry| entry.action == action), "{action}");
                Ok(())
            })
            .await?;
        }
        scene.kubelets(|faults| faults.notready.retain(|part| *part != image))?;
        scene
            .pods_until(1, |pod| ready(pod) && first_image(pod) == target)
            .await?;
        gate.faults.clear();
        anyhow::Ok(())
    };
    let records = [scene.step(GOOD, &image)];
    let more = ["--soak", "0s", "--kubeconfig", &kubeconfig];
    let (outcome, broken) = tokio::join!(scene.apply(&records, &more), breaks);
    broken?;
    outcome?.expect_code(0)?;
    assert_eq!(scene.image("Deployment", "web").await?, target);
    Ok(())
}
