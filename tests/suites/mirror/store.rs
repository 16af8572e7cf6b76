//! `pull` and `push`: images carried in a directory from one host to another.

use std::fs;

use super::HUB;
use super::attachments::{attachments, signed, subject};
use super::fixture::{World, seed, statuses, with_world};
use super::layout::Layout;

fn carry(world: &World) -> Layout {
    Layout(world.path("carry"))
}

#[test]
fn carried_images_arrive_byte_for_byte() {
    with_world(async |world| {
        let agent = format!("{HUB}/carried:t1");
        let images = [agent.as_str(), "busybox:t5", "registry.k8s.io/cpa/cpvpa:t5"];
        let digests = seed(&images).await;
        let args = [&["pull", "--store", "carry", "-o", "json"], &images[..]].concat();
        let pulled = world.run(&args, 0).await;
        assert!(
            statuses(&pulled)
                .iter()
                .all(|(_, status)| status == "copied")
        );
        let record = &pulled.records_of("mirrored").unwrap()[0];
        let source = record["source"].as_str().unwrap();
        assert_eq!(record["target"], format!("oci:./carry:{source}"));
        let store = carry(world);
        for (image, digest) in images.iter().zip(&digests) {
            assert_eq!(store.images().get(*image), Some(digest));
        }
        store.check();
        assert_eq!(
            store.root(),
            [".castlink", "blobs", "index.json", "oci-layout"]
        );
        assert_eq!(world.shared.journal.since(0).len(), 0, "AWS is not asked");

        let pushed = world.run(&["push", "--store", "carry"], 0).await;
        assert!(
            statuses(&pushed)
                .iter()
                .all(|(_, status)| status == "copied")
        );
        for (image, digest) in images.iter().zip(&digests) {
            let (repository, tag) = image.rsplit_once(':').unwrap();
            assert_eq!(world.tagged(repository, tag).as_ref(), Some(digest));
        }
        world.run(&[&["verify"], &images[..]].concat(), 0).await;
        let mark = world.shared.journal.mark();
        let again = world.run(&["push", "--store", "carry"], 0).await;
        assert!(again.stderr.contains("no changes"), "{again}");
        assert_eq!(world.writes(mark), [""; 0]);
    });
}

#[test]
fn a_second_pull_brings_only_what_is_missing() {
    with_world(async |world| {
        let images = [1, 2].map(|n| format!("{HUB}/repulled-{n}:t1"));
        let digests = seed(&[&images[0], &images[1]]).await;
        world
            .run(&["pull", "--store", "carry", &images[0]], 0)
            .await;
        let store = carry(world);
        let first = store.check();
        let written = |digest: &String| {
            fs::metadata(store.blob(digest))
                .unwrap()
                .modified()
                .unwrap()
        };
        let before: Vec<_> = first.iter().map(written).collect();
        world
            .run(&["pull", "--store", "carry", &images[0], &images[1]], 0)
            .await;
        assert_eq!(before, first.iter().map(written).collect::<Vec<_>>());
        assert_eq!(store.images().len(), 2);
        let again = world
            .run(
                &[
                    "pull", "--store", "carry", &images[0], &images[1], "-o", "json",
                ],
                0,
            )
            .await;
        assert!(again.stderr.contains("no changes"), "{again}");
        let summary = &again.records_of("summary").unwrap()[0];
        assert_eq!(
            summary["counts"]["requests"], 2,
            "one HEAD an image: {summary}"
        );

        // A layer that got lost or cut on the way comes again, and nothing else.
        let layers = store.layers(&digests[1]);
        let (lost, cut) = (&layers[0].0, &layers[1].0);
        fs::remove_file(store.blob(lost)).unwrap();
        fs::write(store.blob(cut), "x").unwrap();
        let outcome = world
            .run(&["pull", "--store", "carry", &images[1], "-o", "json"], 0)
            .await;
        let summary = &outcome.records_of("summary").unwrap()[0];
        assert_eq!(summary["counts"]["blobs"], 2, "{outcome}");
        store.check();
    });
}

#[test]
fn named_images_are_pushed_and_the_others_are_not() {
    with_world(async |world| {
        let images = [1, 2].map(|n| format!("{HUB}/named-{n}:t1"));
        seed(&[&images[0], &images[1]]).await;
        world
            .run(&["pull", "--store", "carry", &images[0], &images[1]], 0)
            .await;
        let missing = format!("{HUB}/never:t1");
        let outcome = world
            .run(&["push", "--store", "carry", &images[1], &missing], 4)
            .await;
        let want = [(images[1].clone(), "copied"), (missing, "failed")];
        assert_eq!(
            statuses(&outcome),
            want.map(|(name, status)| (name, status.to_owned()))
        );
        assert_eq!(world.shared.ecr.database().repositories.len(), 1);
        let records = outcome.records_of("mirrored").unwrap();
        let failed = records
            .iter()
            .find(|record| record["status"] == "failed")
            .unwrap();
        assert!(
            failed["error"]["message"]
                .as_str()
                .unwrap()
                .contains("not found in oci:./carry")
        );
        assert!(failed["error"]["hint"].as_str().unwrap().contains("pull"));
    });
}

#[test]
fn short_names_and_pins_keep_their_wording() {
    with_world(async |world| {
        let digest = seed(&["busybox"]).await.remove(0);
        let pinned = format!("busybox:t6@{}", seed(&["busybox:t6"]).await[0]);
        world
            .run(&["pull", "--store", "carry", "busybox", &pinned], 0)
            .await;
        let outcome = world.run(&["push", "--store", "carry"], 0).await;
        let records = outcome.records_of("mirrored").unwrap();
        let mut names: Vec<_> = records
            .iter()
            .map(|record| record["source"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["busybox", &pinned]);
        assert_eq!(world.tagged("busybox", "latest"), Some(digest));
        assert_eq!(
            world.tagged("busybox", "t6").as_deref(),
            pinned.split_once('@').map(|(_, digest)| digest)
        );
    });
}

#[test]
fn a_dry_run_writes_nothing() {
    with_world(async |world| {
        let image = format!("{HUB}/dry:t1");
        seed(&[&image]).await;
        let outcome = world
            .run(
                &[
                    "pull",
                    "--store",
                    "carry",
                    "--dry-run",
                    &image,
                    "-o",
                    "json",
                ],
                0,
            )
            .await;
        assert_eq!(statuses(&outcome), [(image.clone(), "planned".to_owned())]);
        assert!(!carry(world).0.exists());
        world.run(&["pull", "--store", "carry", &image], 0).await;
        let outcome = world
            .run(&["push", "--store", "carry", "--dry-run", "-o", "json"], 0)
            .await;
        assert_eq!(statuses(&outcome), [(image, "planned".to_owned())]);
        assert_eq!(world.writes(0), [""; 0]);
    });
}

#[test]
fn directories_that_are_no_store_are_left_alone() {
    with_world(async |world| {
        seed(&["busybox:t7"]).await;
        fs::create_dir(world.path("photos")).unwrap();
        fs::write(world.path("photos/cat.png"), "x").unwrap();
        for verb in [&["pull", "busybox:t7"][..], &["push"]] {
            let outcome = world.run(&[verb, &["--store", "photos"]].concat(), 2).await;
            assert!(
                outcome.stderr.contains("not an OCI image layout"),
                "{outcome}"
            );
        }
        assert_eq!(Layout(world.path("photos")).root(), ["cat.png"]);
        world.run(&["push", "--store", "nowhere"], 2).await;
        world
            .run(&["pull", "busybox:t7", "--store", "photos/cat.png"], 2)
            .await;
    });
}

#[test]
fn what_is_attached_is_carried_along() {
    with_world(async |world| {
        let image = format!("{HUB}/carried-signed:s1");
        let signed = signed(&image).await;
        let pull = ["pull", "--store", "carry", &image, "-o", "json"];
        let outcome = world.run(&pull, 0).await;
        assert_eq!(attachments(&outcome)["copied"], 5, "{outcome}");
        let store = carry(world);
        let everything = store.check();
        for digest in [&signed.signature, &signed.bill, &signed.signed_bill] {
            assert!(everything.contains(digest), "{digest}");
        }
        let again = world.run(&pull, 0).await;
        assert!(again.stderr.contains("no changes"), "{again}");

        let outcome = world.run(&["push", "--store", "carry"], 0).await;
        assert_eq!(statuses(&outcome), [(image.clone(), "copied".to_owned())]);
        assert_eq!(attachments(&outcome)["copied"], 5, "{outcome}");
        let repository = image.rsplit_once(':').unwrap().0;
        assert_eq!(
            subject(world, repository, &signed.bill),
            Some(signed.digest)
        );
        let of_bill = subject(world, repository, &signed.signed_bill);
        assert_eq!(of_bill, Some(signed.bill));
        let mark = world.shared.journal.mark();
        world.run(&["push", "--store", "carry"], 0).await;
        assert_eq!(world.writes(mark), [""; 0]);
    });
}
