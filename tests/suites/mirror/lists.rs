//! What can be listed, and what is written down for review.

use std::fs;

use castlink_tests::products::Outcome;

use crate::HUB;
use crate::fixture::{retag, seed, unseed, with_world};

fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.stdout.lines().collect()
}

#[test]
fn tags_are_listed_newest_first_at_a_public_registry_and_at_ecr() {
    with_world(async |world| {
        let name = format!("{HUB}/listed");
        let tags = ["v0.9.0", "v0.10.0", "v0.11.0-rc.1", "edge"];
        let images = tags.map(|tag| format!("{name}:{tag}"));
        let images = images.each_ref().map(String::as_str);
        let [oldest, newest, candidate, edge] = images;
        let digests = seed(&images).await;

        let all = world.run(&["tags", &name], 0).await;
        assert_eq!(lines(&all), [newest, oldest, edge]);
        assert!(all.stderr.contains("1 pre-release left out"), "{all}");
        let all = world.run(&["tags", &name, "--prerelease"], 0).await;
        assert_eq!(lines(&all), [candidate, newest, oldest, edge]);
        let range = ["tags", &name, "--semver", "^0.9"];
        assert_eq!(lines(&world.run(&range, 0).await), [oldest]);
        let pattern = ["tags", &name, "--match", "^ed", "-o", "json"];
        let records = world.run(&pattern, 0).await.records_of("image").unwrap();
        assert_eq!(records[0]["source"], edge);

        world.run(&[&["copy"], &images[..]].concat(), 0).await;
        let there = format!("{}/{name}", world.host());
        let ecr = ["tags", &there, "--newest", "1"];
        assert_eq!(
            lines(&world.run(&ecr, 0).await),
            [format!("{there}:v0.10.0")]
        );
        assert_eq!(world.tagged(&name, "v0.10.0"), Some(digests[1].clone()));
    });
}

#[test]
fn a_list_of_tags_is_what_copy_reads() {
    with_world(async |world| {
        let name = format!("{HUB}/piped");
        let images = ["v1.0.0", "v1.1.0"].map(|tag| format!("{name}:{tag}"));
        seed(&images.each_ref().map(String::as_str)).await;
        let list = world.run(&["tags", &name, "--newest", "1"], 0).await;
        let copy = world.mirror(&["copy", "-"]).stdin(list.stdout.clone());
        copy.run().await.unwrap().expect_code(0).unwrap();
        assert!(world.tagged(&name, "v1.1.0").is_some());
        assert_eq!(world.tagged(&name, "v1.0.0"), None);
    });
}

#[test]
fn nothing_found_and_nothing_there_are_told_apart() {
    with_world(async |world| {
        let name = format!("{HUB}/told-apart");
        seed(&[&format!("{name}:v1.0.0")]).await;
        let nothing = world.run(&["tags", &name, "--semver", ">1"], 3).await;
        assert_eq!(nothing.stdout, "");
        let missing = format!("{}/no/such/repository", world.host());
        let failed = world.run(&["tags", &missing], 1).await;
        assert!(failed.stderr.contains(&missing), "{failed}");
        let partly = world.run(&["tags", &missing, &name], 4).await;
        assert_eq!(lines(&partly), [format!("{name}:v1.0.0")]);
        for (flag, value, position) in [
            ("--match", "v(", "character 2"),
            ("--semver", "^1, x", "character 5"),
        ] {
            let refused = world.run(&["tags", &name, flag, value], 2).await;
            assert!(refused.stderr.contains(position), "{refused}");
        }
        world.run(&["tags", &format!("{name}:v1.0.0")], 2).await;
    });
}

#[test]
fn a_lock_holds_what_was_reviewed_when_tags_move() {
    with_world(async |world| {
        let name = format!("{HUB}/locked");
        let [one, two] = ["v1", "v2"].map(|tag| format!("{name}:{tag}"));
        let digests = seed(&[&one, &two, "busybox:lk"]).await;
        let file = world.file("castlink.lock");

        let first = world.run(&["lock", "busybox:lk", &one], 0).await;
        assert!(first.stderr.contains("2 added"), "{first}");
        let text = fs::read_to_string(&file).unwrap();
        for digest in [&digests[0], &digests[2]] {
            assert!(text.contains(digest.as_str()), "{text}");
        }
        let again = world.run(&["lock"], 0).await;
        assert!(again.stderr.contains("no changes"), "{again}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);

        retag(&name, "v1", "v2").await;
        let moved = world.run(&["lock", "--check"], 3).await;
        assert!(moved.stdout.starts_with("=  busybox:lk"), "{moved}");
        let arrow = format!("{} -> {}", &digests[0][..19], &digests[1][..19]);
        assert!(moved.stdout.contains(&arrow), "{moved}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);

        let lock = ["--lock", "castlink.lock"];
        let copied = world.run(&[&["copy"], &lock[..]].concat(), 0).await;
        assert!(copied.stderr.contains("as locked"), "{copied}");
        assert_eq!(world.tagged(&name, "v1").as_ref(), Some(&digests[0]));
        world.run(&["verify", &one], 3).await;

        world.close_network();
        world.run(&[&["verify"], &lock[..]].concat(), 0).await;
        let again = world.run(&[&["copy"], &lock[..]].concat(), 0).await;
        assert!(again.stderr.contains("no changes"), "{again}");
        world.open_network();

        let renewed = world.run(&["lock", "-o", "json"], 0).await;
        let changes = renewed.records_of("change").unwrap();
        let change = changes.iter().find(|change| change["resource"] == one);
        assert_eq!(change.unwrap()["to"], *digests[1]);
        let other = world.run(&[&["verify"], &lock[..]].concat(), 3).await;
        assert!(other.stdout.contains("instead of"), "{other}");
    });
}

#[test]
fn what_a_target_lacks_of_a_lock_is_said_by_platform() {
    with_world(async |world| {
        let name = format!("{HUB}/torn");
        let image = format!("{name}:t1");
        let digest = seed(&[&image]).await.remove(0);
        world.run(&["lock", &image], 0).await;
        let verify = ["verify", "--lock", "castlink.lock"];
        let missing = world.run(&verify, 3).await;
        assert!(missing.stdout.contains("not at the target"), "{missing}");
        world.run(&["copy", &image], 0).await;
        world.close_network();
        world.run(&verify, 0).await;

        let database = || world.shared.ecr.database();
        let arm = {
            let mut database = database();
            let repository = database.repositories.get_mut(&name).unwrap();
            let arm = repository.images[&digest].parts.children[1].clone();
            let layer = repository.images[&arm]
                .parts
                .blobs
                .last()
                .unwrap()
                .0
                .clone();
            repository.blobs.remove(&layer).unwrap();
            arm
        };
        let torn = world.run(&verify, 3).await;
        assert!(torn.stdout.contains("linux/arm64 lacks 1 blob"), "{torn}");
        let gone = database()
            .repositories
            .get_mut(&name)
            .unwrap()
            .images
            .remove(&arm);
        assert!(gone.is_some());
        let torn = world.run(&verify, 3).await;
        assert!(torn.stdout.contains("linux/arm64 is missing"), "{torn}");
    });
}

#[test]
fn a_locked_image_that_is_gone_is_named() {
    with_world(async |world| {
        let [gone, kept] = ["gone", "kept"].map(|name| format!("{HUB}/lock-{name}:t1"));
        let digests = seed(&[&gone, &kept]).await;
        world.run(&["lock", &gone, &kept], 0).await;
        unseed(&gone).await;
        let copy = world.run(&["copy", "--lock", "castlink.lock"], 4).await;
        let records = copy.records_of("mirrored").unwrap();
        let record = records.iter().find(|record| record["source"] == gone);
        let message = record.unwrap()["error"]["message"].as_str().unwrap();
        let want = format!("{HUB}/lock-gone@{} is locked", digests[0]);
        assert!(message.starts_with(&want), "{message}");
        assert!(world.tagged(&format!("{HUB}/lock-kept"), "t1").is_some());
    });
}

#[test]
fn a_lock_is_written_whole_or_not_at_all() {
    with_world(async |world| {
        let [there, missing] = ["there", "missing"].map(|name| format!("{HUB}/whole-{name}:t1"));
        let digest = seed(&[&there]).await.remove(0);
        let failed = world.run(&["lock", &there, &missing], 1).await;
        assert!(failed.stderr.contains(&missing), "{failed}");
        assert!(!world.file("castlink.lock").exists());
        world.run(&["lock"], 2).await;
        world.run(&["copy", "--lock", "castlink.lock"], 2).await;

        let shown = world.run(&["lock", &there, "--lock", "-"], 0).await;
        assert!(shown.stdout.contains(&digest), "{shown}");
        assert!(!world.file("castlink.lock").exists());
        world
            .run(&["lock", &there, "--lock", "-", "-o", "json"], 2)
            .await;
        fs::write(
            world.file("castlink.lock"),
            shown.stdout.replace(&digest, "x"),
        )
        .unwrap();
        let refused = world.run(&["copy", "--lock", "castlink.lock"], 2).await;
        assert!(
            refused.stderr.contains("line 7: `x` is not a digest"),
            "{refused}"
        );
        world
            .run(&["copy", &there, "--lock", "castlink.lock"], 2)
            .await;
        let left: Vec<_> = fs::read_dir(world.file("")).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    });
}
