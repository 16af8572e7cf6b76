//! Newer releases, by tags and by charts, at public registries that some of them miss.

use anyhow::{Context, Result, ensure};
use castlink_tests::products::Outcome;
use castlink_tests::wire::Server;
use serde_json::Value;

use crate::harness::Scene;

const COMMIT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c";

const INDEX: &str = "\
apiVersion: v1
entries:
  castai-agent:
    - {version: 0.9.0, appVersion: v0.9.0}
    - {version: 0.170.0, appVersion: v0.170.0}
    - {version: 0.171.0-rc.1, appVersion: v0.171.0-rc.1}
  castai-evictor:
    - {version: 0.36.0, appVersion: v0.36.0}
";

fn available<'a>(records: &'a [Value], source: &str) -> Result<&'a Value> {
    let mut images = records.iter();
    let image = images.find(|image| image["source"] == source);
    Ok(&image.with_context(|| format!("{source} is not listed"))?["available"])
}

async fn look_up(scene: &Scene, more: &[&str], code: i32) -> Result<(Outcome, Vec<Value>)> {
    let args = ["images", "--available", "-o", "json"];
    let outcome = scene.upgrade(&[&args, more].concat())?.run().await?;
    let outcome = outcome.expect_code(code)?;
    let records = outcome.records_of("image")?;
    Ok((outcome, records))
}

#[tokio::test]
async fn tags_of_public_registries_say_what_is_newer() -> Result<()> {
    let scene = Scene::new("newer").await?;
    let name = "ghcr.io/castlink/released";
    let tags = ["v1.9.0", "v1.10.0", "v1.11.0-rc.1", "edge", COMMIT];
    let images = tags.map(|tag| format!("{name}:{tag}"));
    let images = images.each_ref().map(String::as_str);
    scene.stack.seed(&images).await?;
    scene.create("Deployment", "old", 0, images[0]).await?;
    scene.create("Deployment", "new", 0, images[1]).await?;
    scene.create("Deployment", "commit", 0, images[4]).await?;
    let mirrored = scene.target(images[0]);
    scene.create("Deployment", "mirrored", 0, &mirrored).await?;
    let (outcome, records) = look_up(&scene, &["--index", "none"], 0).await?;
    let old = available(&records, images[0])?;
    assert_eq!(
        (&old["image"], &old["newer"]),
        (&images[1].into(), &true.into())
    );
    assert_eq!(old["by"], format!("tags of {name}"));
    assert_eq!(available(&records, images[1])?["newer"], false);
    let commit = available(&records, images[4])?;
    ensure!(commit["newer"].is_null(), "{commit}");
    ensure!(commit["note"].to_string().contains("commit"), "{commit}");
    let mirrored = available(&records, &mirrored)?;
    assert_eq!(mirrored["image"], images[1], "by its public name");
    assert_eq!(outcome.records_of("summary")?[0]["counts"]["newer"], 2);
    let table = ["images", "--available", "--index", "none", "-o", "text"];
    let table = scene.upgrade(&table)?.run().await?.expect_code(0)?;
    let line = table
        .stdout
        .lines()
        .find(|line| line.contains("Deployment/old"));
    let words: Vec<&str> = line.context("no line")?.split_whitespace().collect();
    assert_eq!(words[..3], [name, "v1.9.0", "v1.10.0"]);
    Ok(())
}

#[tokio::test]
async fn the_index_of_the_charts_goes_before_tags() -> Result<()> {
    let scene = Scene::new("charted").await?;
    let agent = "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1";
    let evictor = format!("us-docker.pkg.dev/castai-hub/library/evictor:{COMMIT}");
    scene.create("Deployment", "agent", 0, agent).await?;
    scene.create("Deployment", "evictor", 0, &evictor).await?;
    let file = scene.path("index.yaml");
    std::fs::write(&file, INDEX)?;
    let server = Server::start(|_| {
        axum::Router::new().route("/index.yaml", axum::routing::get(async || INDEX))
    })
    .await?;
    let address = format!("{}/index.yaml", server.url());
    for index in [file.display().to_string(), address] {
        let (_, records) = look_up(&scene, &["--index", &index], 0).await?;
        let found = available(&records, agent)?;
        assert_eq!(found["image"], agent.replace("v0.161.1", "v0.170.0"));
        assert_eq!(
            (&found["newer"], &found["by"]),
            (&true.into(), &"chart castai-agent 0.170.0".into())
        );
        let found = available(&records, &evictor)?;
        assert_eq!(found["by"], "chart castai-evictor 0.36.0");
        ensure!(found["newer"].is_null(), "a commit has no order: {found}");
    }
    look_up(&scene, &["--index", "/nowhere/index.yaml"], 2).await?;
    look_up(&scene, &["--index", &format!("{}/other", server.url())], 1).await?;
    Ok(())
}

#[tokio::test]
async fn one_registry_that_fails_does_not_hide_the_others() -> Result<()> {
    let scene = Scene::new("silent").await?;
    let good = "ghcr.io/castlink/heard:v1.0.0";
    let lost = "registry.k8s.io/castlink/lost:v1.0.0";
    scene.stack.seed(&[good]).await?;
    scene.create("Deployment", "good", 0, good).await?;
    scene.create("Deployment", "lost", 0, lost).await?;
    let (_, records) = look_up(&scene, &["--index", "none"], 4).await?;
    assert_eq!(available(&records, good)?["newer"], false);
    let error = available(&records, lost)?["error"]["message"].to_string();
    ensure!(error.contains("registry.k8s.io/castlink/lost"), "{error}");
    let port = castlink_tests::process::free_port()?;
    let closed = scene.path("closed.toml");
    let nowhere = format!("https://127.0.0.1:{port}");
    let text = scene.stack.castlink_toml();
    let text = text.replace(&scene.stack.aws.upstream_url, &nowhere);
    std::fs::write(&closed, text.replace("[mirror]", "[mirror]\nattempts = 1"))?;
    let closed = closed.display().to_string();
    look_up(&scene, &["--index", "none", "-c", &closed], 8).await?;
    Ok(())
}

#[tokio::test]
async fn manifests_are_looked_up_as_well() -> Result<()> {
    let scene = Scene::existing("no-cluster-needed").await?;
    let images = [
        "ghcr.io/castlink/drafted:v1.0.0",
        "ghcr.io/castlink/drafted:v1.1.0",
    ];
    scene.stack.seed(&images).await?;
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: {}}}]}}\n",
        images[0]
    );
    let args = [
        "images",
        "-f",
        "-",
        "--available",
        "--index",
        "none",
        "-o",
        "json",
    ];
    let outcome = scene.upgrade(&args)?.stdin(manifest).run().await?;
    let records = outcome.expect_code(0)?.records_of("image")?;
    assert_eq!(available(&records, images[0])?["image"], images[1]);
    Ok(())
}
