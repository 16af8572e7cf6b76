//! Images that are not where workloads are pointed, or not for their nodes: known before
//! anything moves, by asking the registry once per image.

use anyhow::{Result, ensure};
use castlink_tests::mirrored::mirror;
use castlink_tests::seed;
use serde_json::json;

use crate::harness::{GOOD, NOWHERE, Scene, change};

/// In the ECR for amd64 alone.
const SINGLE: &str = "ghcr.io/castlink/single:v1";

/// In the ECR, and asked about by one test alone.
const ASKED: &str = "ghcr.io/castlink/asked:v1";

/// Puts [`SINGLE`] there.
async fn single(scene: &Scene) -> Result<()> {
    let options = seed::Options {
        scale: 0.1,
        platforms: vec!["linux/amd64".into()],
    };
    mirror(&scene.stack.aws, &[SINGLE], options).await?;
    Ok(())
}

impl Scene {
    /// `apply --to` the ECR: by rule, without a record.
    pub(crate) async fn by_rule(&self, more: &[&str]) -> Result<castlink_tests::products::Outcome> {
        let ecr = self.stack.aws.ecr_host();
        let args = [
            "apply",
            "--to",
            &ecr,
            "--soak",
            "0s",
            "--timeout",
            "60s",
            "-o",
            "json",
        ];
        self.upgrade(&[&args, more].concat())?.run().await
    }

    /// A configuration in which nobody answers for the ECR.
    fn closed(&self) -> Result<String> {
        let file = self.path("closed.toml");
        let port = castlink_tests::process::free_port()?;
        let text = self
            .stack
            .castlink_toml()
            .replace(&self.stack.aws.ecr_url, &format!("http://127.0.0.1:{port}"));
        std::fs::write(&file, text)?;
        Ok(file.display().to_string())
    }
}

#[tokio::test]
async fn a_missing_image_stops_its_workload_before_anything_moves() -> Result<()> {
    let scene = Scene::new("absent").await?;
    scene.create("Deployment", "missing", 0, NOWHERE).await?;
    scene.create("StatefulSet", "there", 1, GOOD).await?;
    let outcome = scene.by_rule(&[]).await?.expect_code(4)?;
    let missing = change(&outcome, "Deployment/missing")?;
    ensure!(missing["status"] == "skipped", "{missing}");
    let why = missing["error"]["message"].to_string();
    ensure!(
        why.contains(&scene.target(NOWHERE)) && why.contains("not found"),
        "{why}"
    );
    assert_eq!(scene.image("Deployment", "missing").await?, NOWHERE);
    assert_eq!(
        scene.image("StatefulSet", "there").await?,
        scene.target(GOOD)
    );
    Ok(())
}

#[tokio::test]
async fn an_image_for_amd64_does_not_go_to_arm64_nodes() -> Result<()> {
    let scene = Scene::new("single").await?;
    single(&scene).await?;
    scene.create("DaemonSet", "everywhere", 0, SINGLE).await?;
    let before = scene.generations().await?;
    let outcome = scene.by_rule(&[]).await?.expect_code(4)?;
    let refused = change(&outcome, "DaemonSet/everywhere")?;
    let why = refused["error"]["message"].to_string();
    ensure!(
        why.contains("linux/arm64") && why.contains("such nodes"),
        "{why}"
    );
    assert_eq!(scene.generations().await?, before);
    Ok(())
}

#[tokio::test]
async fn an_image_for_amd64_goes_to_workloads_that_only_land_there() -> Result<()> {
    let scene = Scene::new("placed").await?;
    single(&scene).await?;
    let template = json!({"template": {
        "metadata": {"labels": {"app": "placed"}},
        "spec": {"nodeSelector": {"kubernetes.io/arch": "amd64"}, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "app", "image": SINGLE}]}}});
    scene
        .create_from("Deployment", "placed", template, SINGLE)
        .await?;
    scene.by_rule(&[]).await?.expect_code(0)?;
    assert_eq!(
        scene.image("Deployment", "placed").await?,
        scene.target(SINGLE)
    );
    Ok(())
}

#[tokio::test]
async fn a_registry_that_cannot_be_asked_is_a_warning_unless_it_must_be() -> Result<()> {
    let scene = Scene::new("bastion").await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    let closed = scene.closed()?;
    let before = scene.generations().await?;
    let outcome = scene
        .by_rule(&["-c", &closed, "--require-images"])
        .await?
        .expect_code(8)?;
    assert_eq!(scene.generations().await?, before, "{outcome}");
    let outcome = scene.by_rule(&["-c", &closed]).await?.expect_code(0)?;
    ensure!(
        outcome
            .stderr
            .contains("not checked whether 1 image is there"),
        "{outcome}"
    );
    assert_eq!(scene.image("Deployment", "web").await?, scene.target(GOOD));
    Ok(())
}

#[tokio::test]
async fn every_image_is_asked_for_once() -> Result<()> {
    let scene = Scene::new("asked-once").await?;
    let options = seed::Options {
        scale: 0.1,
        ..seed::Options::default()
    };
    mirror(&scene.stack.aws, &[ASKED], options).await?;
    for name in ["a", "b", "c"] {
        scene.create("Deployment", name, 0, ASKED).await?;
    }
    let ecr = scene.stack.aws.ecr_host();
    let three = scene.asked(&["plan", "--to", &ecr]).await?;
    assert_eq!(three, ["GetManifest"], "three workloads, one image");
    let none = scene
        .asked(&["plan", "--to", &ecr, "--no-image-check"])
        .await?;
    assert_eq!(none, [""; 0]);
    Ok(())
}

impl Scene {
    /// What the ECR was asked about [`ASKED`] meanwhile.
    async fn asked(&self, args: &[&str]) -> Result<Vec<String>> {
        let journal = &self.stack.aws.shared.journal;
        let mark = journal.mark();
        self.upgrade(args)?.run().await?.expect_code(0)?;
        let entries = journal.since(mark).into_iter();
        let own = entries
            .filter(|entry| ASKED.starts_with(&entry.resource) && !entry.resource.is_empty());
        Ok(own.map(|entry| entry.action).collect())
    }
}

#[tokio::test]
async fn digests_are_pinned_to_what_the_registry_has() -> Result<()> {
    let scene = Scene::new("pinned-digest").await?;
    scene.create("Deployment", "web", 1, GOOD).await?;
    scene.by_rule(&["--pin-digest"]).await?.expect_code(0)?;
    let digest = digest(&scene, GOOD)?;
    let want = format!("{}@{digest}", scene.target(GOOD));
    assert_eq!(scene.image("Deployment", "web").await?, want);
    let before = scene.generations().await?;
    scene.by_rule(&["--pin-digest"]).await?.expect_code(0)?;
    scene.by_rule(&[]).await?.expect_code(0)?;
    assert_eq!(scene.generations().await?, before, "nothing is left to do");
    Ok(())
}

/// The digest of an image in the ECR.
fn digest(scene: &Scene, image: &str) -> Result<String> {
    let (repository, tag) = image.rsplit_once(':').expect("a tag");
    let database = scene.stack.aws.shared.ecr.database();
    let digest = database.repositories.get(repository);
    let digest = digest.and_then(|repository| repository.tags.get(tag).cloned());
    digest.ok_or_else(|| anyhow::anyhow!("{image} is not in the ECR"))
}
