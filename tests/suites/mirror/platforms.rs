//! `--platform`: filtered indexes, and what is said about them.

use castlink_tests::products::Outcome;
use serde_json::{Value, json};

use super::fixture::{World, seed, with_world};

/// An image whose index carries attestations.
const PROVEN: &str = "castai/hibernate";

/// The index that a tag of ECR points at.
fn index(world: &World, repository: &str, tag: &str) -> Value {
    let digest = world.tagged(repository, tag).unwrap();
    let database = world.shared.ecr.database();
    let image = &database.repositories[repository].images[&digest];
    serde_json::from_slice(&image.bytes).unwrap()
}

fn record(outcome: &Outcome) -> Value {
    outcome.records_of("mirrored").unwrap().remove(0)
}

/// The entries of an index that name `architecture`, with what attests them.
fn entries_of(index: &Value, architecture: &str) -> Vec<Value> {
    let entries = index["manifests"].as_array().unwrap();
    let own = entries
        .iter()
        .find(|entry| entry["platform"]["architecture"] == architecture);
    let own = own.unwrap();
    let about = |entry: &&Value| {
        *entry == own || entry["annotations"]["vnd.docker.reference.digest"] == own["digest"]
    };
    entries.iter().filter(about).cloned().collect()
}

#[test]
fn a_filtered_index_holds_what_was_selected_and_is_the_same_every_time() {
    with_world(async |world| {
        let image = format!("{PROVEN}:p1");
        let source = seed(&[&image]).await.remove(0);
        let selected = ["--platform", "linux/arm64"];
        let args = |verb| [&[verb, image.as_str()][..], &selected].concat();
        let outcome = world.run(&args("plan"), 0).await;
        let said = "filtered index: 1 of 2 platforms, digest differs from the source";
        assert!(outcome.stdout.contains(said), "{outcome}");

        let copied = record(&world.run(&args("copy"), 0).await);
        assert_eq!(copied["status"], "copied");
        assert_eq!(copied["filtered"]["source_digest"], *source);
        assert_ne!(copied["digest"], *source);
        assert_eq!(copied["platforms"], json!(["linux/arm64"]));
        assert_eq!(copied["filtered"]["left_out"], json!(["linux/amd64"]));
        assert_eq!(copied["digest"], world.tagged(PROVEN, "p1").unwrap());

        // Beside it the image as it is: whatever stays is the source's own, byte for byte.
        let everything = format!("{}/all", world.host());
        world.run(&["copy", &image, "--to", &everything], 0).await;
        let whole = index(world, &format!("all/{PROVEN}"), "p1");
        let mut expected = whole.clone();
        expected["manifests"] = json!(entries_of(&whole, "arm64"));
        assert_eq!(
            expected["manifests"].as_array().unwrap().len(),
            2,
            "with its attestation"
        );
        assert_eq!(index(world, PROVEN, "p1").to_string(), expected.to_string());
        let images = world.shared.ecr.database().repositories[PROVEN]
            .images
            .len();
        assert_eq!(images, 3, "index, manifest, attestation");

        let mark = world.shared.journal.mark();
        assert_eq!(
            record(&world.run(&args("copy"), 0).await)["status"],
            "present"
        );
        assert_eq!(
            world.shared.journal.since(mark).len(),
            1,
            "one batch call, no write"
        );
        world.run(&args("verify"), 0).await;
        world.run(&["verify", &image], 3).await;
    });
}

#[test]
fn an_image_of_the_selected_platforms_travels_as_it_is() {
    with_world(async |world| {
        let image = "busybox:p1";
        let source = seed(&[image]).await.remove(0);
        let platforms = "linux/arm64/v8,linux/amd64";
        let copied = record(
            &world
                .run(&["copy", image, "--platform", platforms], 0)
                .await,
        );
        assert_eq!(copied["digest"], *source);
        assert_eq!(copied["filtered"], Value::Null);
        assert_eq!(world.tagged("busybox", "p1"), Some(source));
    });
}

#[test]
fn an_image_without_a_selected_platform_fails_alone() {
    with_world(async |world| {
        seed(&["busybox:p2"]).await;
        let selected = ["--platform", "linux/amd64", "--platform", "linux/s390x"];
        let args = [&["copy", "busybox:p2"][..], &selected].concat();
        let outcome = world.run(&args, 1).await;
        let error = &record(&outcome)["error"];
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("busybox:p2 has no linux/s390x")
        );
        assert!(
            error["hint"]
                .as_str()
                .unwrap()
                .contains("linux/amd64, linux/arm64")
        );
        assert_eq!(world.writes(0), [""; 0]);
        let wrong = world
            .run(&["copy", "busybox:p2", "--platform", "arm64"], 2)
            .await;
        assert!(
            wrong.stderr.contains("`arm64` is not a platform"),
            "{wrong}"
        );
    });
}

#[test]
fn a_pinned_index_is_not_filtered_but_what_is_in_it_can_be_pinned() {
    with_world(async |world| {
        let source = seed(&["busybox:p3"]).await.remove(0);
        let pinned = format!("busybox@{source}");
        let selected = ["--platform", "linux/arm64"];
        let outcome = world
            .run(&[&["copy", &pinned][..], &selected].concat(), 2)
            .await;
        let error = &record(&outcome)["error"];
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("of more platforms"),
            "{error}"
        );
        assert_eq!(world.writes(0), [""; 0]);

        // The hint names the manifest to pin instead.
        let hint = error["hint"].as_str().unwrap();
        let child = hint
            .split([' ', ','])
            .find(|word| word.starts_with("sha256:"))
            .unwrap();
        let child = format!("busybox@{child}");
        let wrong = [&["copy", &child][..], &["--platform", "linux/amd64"]].concat();
        let outcome = world.run(&wrong, 1).await;
        let message = record(&outcome)["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains("has no linux/amd64"), "{message}");
        let copied = record(
            &world
                .run(&[&["copy", &child][..], &selected].concat(), 0)
                .await,
        );
        assert_eq!(copied["status"], "copied");
        world
            .run(&[&["verify", &child][..], &selected].concat(), 0)
            .await;
    });
}
