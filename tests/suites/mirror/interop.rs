//! Other tools read what `pull` writes, and `push` takes what they write.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use castlink_tests::peers::Peer;

use super::HUB;
use super::fixture::{World, registry, seed, statuses, upstream, with_world};
use super::layout::Layout;

static SKOPEO: LazyLock<PathBuf> = LazyLock::new(|| installed(Peer::Skopeo));
static CRANE: LazyLock<PathBuf> = LazyLock::new(|| installed(Peer::Crane));

fn installed(peer: Peer) -> PathBuf {
    peer.ensure(&|line| eprintln!("{line}"))
        .expect("a peer can be set up")
}

/// Runs another tool in the world's directory; what it says on stdout.
fn tool(world: &World, program: &LazyLock<PathBuf>, args: &[&str]) -> Vec<u8> {
    let output = Command::new(&**program)
        .args(args)
        .current_dir(world.path("."))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", world.path("."))
        .env("SSL_CERT_FILE", upstream().1)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {args:?}: {errors}");
    output.stdout
}

/// The name of `image` in the registry behind `url`.
fn at(url: &str, image: &str) -> String {
    format!("{}/{image}", url.split_once("://").unwrap().1)
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

async fn pulled(world: &World, images: &[&str]) -> (Vec<String>, Layout) {
    let digests = seed(images).await;
    world
        .run(&[&["pull", "--store", "carry"], images].concat(), 0)
        .await;
    (digests, Layout(world.path("carry")))
}

#[test]
fn skopeo_reads_and_copies_what_was_pulled() {
    with_world(async |world| {
        let image = format!("{HUB}/for-skopeo:t1");
        let (digests, _) = pulled(world, &[&image, "quay.io/other/for-skopeo:t2"]).await;
        let name = format!("oci:carry:{image}");
        let raw = tool(world, &SKOPEO, &["inspect", "--raw", &name]);
        assert_eq!(digest(&raw), digests[0]);
        let there = at(registry(), "skopeo/carried:t1");
        let target = format!("docker://{there}");
        let args = [
            "--insecure-policy",
            "copy",
            "--all",
            "--dest-tls-verify=false",
            &name,
            &target,
        ];
        tool(world, &SKOPEO, &args);
        let manifest = tool(world, &CRANE, &["digest", "--insecure", &there]);
        assert_eq!(String::from_utf8(manifest).unwrap().trim(), digests[0]);
    });
}

#[test]
fn crane_pushes_and_validates_the_whole_store() {
    with_world(async |world| {
        let image = format!("{HUB}/for-crane:t1");
        let (digests, store) = pulled(world, &[&image, "quay.io/other/for-crane:t2"]).await;
        let there = at(registry(), "crane/carried:all");
        tool(
            world,
            &CRANE,
            &["push", "--insecure", "--index", "carry", &there],
        );
        tool(
            world,
            &CRANE,
            &["validate", "--insecure", "--remote", &there],
        );
        let index = tool(world, &CRANE, &["manifest", "--insecure", &there]);
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let entries = index["manifests"].as_array().unwrap();
        let mut found: Vec<_> = entries
            .iter()
            .map(|entry| entry["digest"].as_str().unwrap())
            .collect();
        let mut want: Vec<_> = digests.iter().map(String::as_str).collect();
        found.sort_unstable();
        want.sort_unstable();
        assert_eq!(found, want);
        assert_eq!(index, store.index().unwrap());
    });
}

#[test]
fn a_store_that_skopeo_wrote_can_be_pushed() {
    with_world(async |world| {
        let images = [1, 2].map(|n| format!("{HUB}/by-skopeo-{n}:t1"));
        let digests = seed(&[&images[0], &images[1]]).await;
        // The first by its whole name, the second by a tag alone.
        for (image, name) in [(&images[0], images[0].as_str()), (&images[1], "v2")] {
            let source = format!("docker://{}", at(upstream().0, image));
            let target = format!("oci:carry:{name}");
            tool(
                world,
                &SKOPEO,
                &["--insecure-policy", "copy", "--all", &source, &target],
            );
        }
        let outcome = world.run(&["push", "--store", "carry"], 4).await;
        let found: BTreeMap<_, _> = statuses(&outcome).into_iter().collect();
        assert_eq!(found[&images[0]], "copied");
        assert_eq!(found["oci:./carry:v2"], "failed");
        assert!(
            outcome.stdout.contains("--name v2=REGISTRY/REPOSITORY:TAG"),
            "{outcome}"
        );
        let name = format!("v2={}", images[1]);
        world
            .run(&["push", "--store", "carry", "--name", &name], 0)
            .await;
        for (image, digest) in images.iter().zip(&digests) {
            let (repository, tag) = image.rsplit_once(':').unwrap();
            assert_eq!(world.tagged(repository, tag).as_ref(), Some(digest));
        }
        // And added to, without losing what it wrote.
        let third = format!("{HUB}/by-skopeo-3:t1");
        seed(&[&third]).await;
        world.run(&["pull", "--store", "carry", &third], 0).await;
        let store = Layout(world.path("carry"));
        let names: Vec<_> = store.images().into_keys().collect();
        assert_eq!(names, [images[0].as_str(), &third, "v2"]);
        store.check();
    });
}

#[test]
fn a_store_that_crane_wrote_can_be_pushed() {
    with_world(async |world| {
        let image = format!("{HUB}/by-crane:t1");
        let digest = seed(&[&image]).await.remove(0);
        let source = at(upstream().0, &image);
        let pull = ["pull", "--format=oci", "--annotate-ref", &source, "carry"];
        tool(world, &CRANE, &pull);
        // crane writes where it pulled from, which need not be what the image is called.
        let outcome = world.run(&["push", "--store", "carry"], 2).await;
        assert!(
            outcome.stdout.contains(&format!("--name {source}=")),
            "{outcome}"
        );
        let name = format!("{source}={image}");
        world
            .run(&["push", "--store", "carry", "--name", &name], 0)
            .await;
        let (repository, tag) = image.rsplit_once(':').unwrap();
        assert_eq!(world.tagged(repository, tag), Some(digest.clone()));
        let to = format!("{}/other", world.host());
        world
            .run(
                &["push", "--store", "carry", "--to", &to, "--layout", "path"],
                0,
            )
            .await;
        let written = world.tagged(&format!("other/{repository}"), tag);
        assert_eq!(written, Some(digest.clone()));

        // Without any name at all: by its digest.
        let bare = ["pull", "--format=oci", &source, "bare"];
        tool(world, &CRANE, &bare);
        let outcome = world.run(&["push", "--store", "bare"], 2).await;
        assert!(
            outcome.stdout.contains(&format!("--name {digest}=")),
            "{outcome}"
        );
        let name = format!("{digest}={HUB}/by-crane:t2");
        world
            .run(&["push", "--store", "bare", "--name", &name], 0)
            .await;
    });
}
