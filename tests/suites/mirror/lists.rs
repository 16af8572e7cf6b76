//! What can be listed, and what is written down for review.

use castlink_tests::products::Outcome;

use crate::HUB;
use crate::fixture::{seed, with_world};

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
