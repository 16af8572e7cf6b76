//! castlink-mirror between a real registry and an ECR that keeps ECR's rules.
#![expect(clippy::unwrap_used, reason = "a test fails where it is surprised")]
#![expect(clippy::print_stderr, reason = "setting up servers takes minutes")]

#[path = "mirror/attachments.rs"]
mod attachments;
#[path = "mirror/broken.rs"]
mod broken;
#[path = "mirror/credentials.rs"]
mod credentials;
#[path = "mirror/failures.rs"]
mod failures;
#[path = "mirror/fixture.rs"]
mod fixture;
#[path = "mirror/hostile.rs"]
mod hostile;
#[path = "mirror/iam.rs"]
mod iam;
#[path = "mirror/interop.rs"]
mod interop;
#[path = "mirror/killed.rs"]
mod killed;
#[path = "mirror/layout.rs"]
mod layout;
#[path = "mirror/lists.rs"]
mod lists;
#[path = "mirror/platforms.rs"]
mod platforms;
#[path = "mirror/pulled.rs"]
mod pulled;
#[path = "mirror/pushes.rs"]
mod pushes;
#[path = "mirror/repositories.rs"]
mod repositories;
#[path = "mirror/store.rs"]
mod store;
#[path = "mirror/templates.rs"]
mod templates;

use castlink_tests::faults::{Fault, Harm};

use fixture::{FAR, seed, statuses, with_world};

const HUB: &str = "us-docker.pkg.dev/castai-hub/library";

#[test]
fn images_arrive_byte_for_byte_and_a_second_run_writes_nothing() {
    with_world(async |world| {
        let agent = format!("{HUB}/agent:t1");
        let images = [agent.as_str(), "busybox:t1", "registry.k8s.io/cpa/cpvpa:t1"];
        let digests = seed(&images).await;
        let outcome = world.run(&[&["copy"], &images[..]].concat(), 0).await;
        let records = outcome.records_of("mirrored").unwrap();
        assert_eq!(records.len(), 3);
        for (image, digest) in images.iter().zip(&digests) {
            let record = records
                .iter()
                .find(|record| record["source"] == *image)
                .unwrap();
            assert_eq!(record["digest"], **digest);
            assert_eq!(record["status"], "copied");
            assert_eq!(record["target"], format!("{}/{image}", world.host()));
            assert_eq!(
                record["platforms"],
                serde_json::json!(["linux/amd64", "linux/arm64"])
            );
            let (repository, tag) = image.rsplit_once(':').unwrap();
            assert_eq!(world.tagged(repository, tag).as_ref(), Some(digest));
        }
        world.run(&[&["verify"], &images[..]].concat(), 0).await;

        let mark = world.shared.journal.mark();
        let again = world.run(&[&["copy"], &images[..]].concat(), 0).await;
        assert!(
            statuses(&again)
                .iter()
                .all(|(_, status)| status == "present")
        );
        assert_eq!(world.writes(mark), [""; 0]);
        assert_eq!(
            world.count(mark, "BatchGetImage"),
            3,
            "one batch per repository"
        );
        assert_eq!(
            world.shared.journal.since(mark).len(),
            3,
            "and nothing else"
        );
        assert!(again.stderr.contains("no changes"), "{again}");
    });
}

#[test]
fn a_plan_writes_nothing_and_says_what_is_pending() {
    with_world(async |world| {
        let image = format!("{HUB}/planned:t1");
        seed(&[&image]).await;
        let outcome = world.run(&["plan", &image, "-o", "json"], 0).await;
        assert_eq!(statuses(&outcome), [(image.clone(), "planned".to_owned())]);
        assert!(
            outcome.stderr.contains("1 repository to create"),
            "{outcome}"
        );
        world.run(&["plan", &image, "--exit-code"], 3).await;
        assert_eq!(world.writes(0), [""; 0]);
        world.run(&["copy", &image], 0).await;
        world.run(&["plan", &image, "--exit-code"], 0).await;
    });
}

#[test]
fn shared_layers_are_read_once_and_mounted_where_the_account_allows_it() {
    with_world(async |world| {
        let images = [1, 2, 3].map(|n| format!("{HUB}/mounted-{n}:t1"));
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        seed(&images).await;
        let args = [&["copy"], &images[..]].concat();
        world.shared.ecr.database().blob_mounting = true;
        let outcome = world.run(&args, 0).await;
        let mounted = world.count(0, "MountBlob");
        assert!(mounted > 0, "{outcome}");
        world.run(&[&["verify"], &images[..]].concat(), 0).await;
        let summary = &outcome.records_of("summary").unwrap()[0];
        assert!(summary["counts"]["mounted"].as_u64() > Some(0), "{summary}");
    });
}

#[test]
fn without_mounting_nothing_is_asked_to_be_mounted() {
    with_world(async |world| {
        let images = [1, 2].map(|n| format!("{HUB}/unmounted-{n}:t1"));
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        seed(&images).await;
        world.run(&[&["copy"], &images[..]].concat(), 0).await;
        assert_eq!(world.count(0, "MountBlob"), 0);
        world.run(&[&["verify"], &images[..]].concat(), 0).await;
    });
}

#[test]
fn several_targets_are_fed_from_one_read() {
    with_world(async |world| {
        let images = [1, 2].map(|n| format!("{HUB}/both-{n}:t1"));
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        seed(&images).await;
        let both = ["--to", &world.host(), "--to", FAR];
        let copy = [&["copy"], &images[..], &both[..]].concat();
        let outcome = world.run(&copy, 0).await;
        let records = outcome.records_of("mirrored").unwrap();
        let targets: Vec<_> = records.iter().map(|record| &record["target"]).collect();
        assert_eq!(targets.len(), 4, "{outcome}");
        let counts = &outcome.records_of("summary").unwrap()[0]["counts"];
        let number = |name: &str| counts[name].as_u64().unwrap();
        assert!(number("read") > 0 && 2 * number("read") <= number("bytes"));
        for to in [&world.host(), FAR] {
            let verify = [&["verify"], &images[..], &["--to", to]].concat();
            world.run(&verify, 0).await;
        }
        let again = world.run(&copy, 0).await;
        assert!(again.stderr.contains("no changes: 4 images"), "{again}");
    });
}

#[test]
fn records_flow_through_the_pipe() {
    with_world(async |world| {
        let image = format!("{HUB}/piped:t1");
        seed(&[&image]).await;
        let stdin = format!(
            "{{\"castlink\":1,\"kind\":\"image\",\"source\":\"{image}\",\"used_by\":[\"Deployment/x\"]}}\n\
             {{\"castlink\":1,\"kind\":\"future\",\"x\":1}}\n\
             {{\"castlink\":1,\"kind\":\"summary\",\"command\":\"c\",\"exit\":\"done\",\"seconds\":1}}\n"
        );
        let outcome = world
            .mirror(&["copy", "-"])
            .stdin(stdin)
            .run()
            .await
            .unwrap();
        let outcome = outcome.expect_code(0).unwrap();
        assert_eq!(statuses(&outcome), [(image, "copied".to_owned())]);
        assert_eq!(
            outcome.records_of("future").unwrap().len(),
            1,
            "passed through"
        );
        assert_eq!(
            outcome.records_of("summary").unwrap().len(),
            1,
            "ours alone"
        );
    });
}

#[test]
fn references_that_name_the_target_cost_one_look_a_repository() {
    with_world(async |world| {
        let sources = ["busybox:t1", "busybox:t2"];
        let digests = seed(&sources).await;
        world.run(&[&["copy"], &sources[..]].concat(), 0).await;
        let tagged = sources.map(|source| format!("{}/{source}", world.host()));
        let pinned = format!("{}/busybox@{}", world.host(), digests[0]);
        let images = [tagged[0].as_str(), &tagged[1], &pinned];
        let mark = world.shared.journal.mark();
        let outcome = world.run(&[&["copy"], &images[..]].concat(), 0).await;
        for record in outcome.records_of("mirrored").unwrap() {
            assert_eq!(record["status"], "present", "{record}");
            let want = &digests[usize::from(record["source"] == *tagged[1])];
            assert_eq!(record["digest"], **want);
            let platforms = serde_json::json!(["linux/amd64", "linux/arm64"]);
            assert_eq!(record["platforms"], platforms);
        }
        assert_eq!(world.count(mark, "BatchGetImage"), 1);
        assert_eq!(world.shared.journal.since(mark).len(), 1, "nothing else");
        world.run(&[&["verify"], &images[..]].concat(), 0).await;
    });
}

#[test]
fn a_reference_to_the_target_is_present_once_its_source_is_copied() {
    with_world(async |world| {
        seed(&["busybox:t3"]).await;
        let there = format!("{}/busybox:t3", world.host());
        world.run(&["verify", &there, "busybox:t3"], 3).await;
        let outcome = world.run(&["copy", &there, "busybox:t3"], 0).await;
        let records = outcome.records_of("mirrored").unwrap();
        assert_eq!(records.len(), 2, "{outcome}");
        assert_eq!(records[0]["digest"], records[1]["digest"]);
        world.run(&["verify", &there, "busybox:t3"], 0).await;
    });
}

#[test]
fn images_are_copied_from_one_repository_of_ecr_to_another_registry_path() {
    with_world(async |world| {
        let digest = seed(&["busybox:t4"]).await.remove(0);
        world.run(&["copy", "busybox:t4"], 0).await;
        let (from, to) = (
            format!("{}/busybox:t4", world.host()),
            format!("{}/team", world.host()),
        );
        world
            .run(&["copy", &from, "--to", &to, "--layout", "flat"], 0)
            .await;
        assert!(
            world.count(0, "GetObject") > 0,
            "blobs come from the object store"
        );
        assert_eq!(world.tagged("team/busybox", "t4"), Some(digest));
    });
}

#[test]
fn kvisors_scanners_travel_with_its_controller() {
    with_world(async |world| {
        let images = ["kvisor-controller", "kvisor-scanners"].map(|n| format!("{HUB}/{n}:t7"));
        seed(&[&images[0], &images[1]]).await;
        let outcome = world.run(&["copy", &images[0]], 0).await;
        let sources: Vec<_> = statuses(&outcome)
            .into_iter()
            .map(|(source, _)| source)
            .collect();
        assert_eq!(sources, images);
    });
}

#[test]
fn scanners_that_are_not_published_are_a_warning() {
    with_world(async |world| {
        let image = format!("{HUB}/kvisor-controller:t8");
        seed(&[&image]).await;
        let outcome = world.run(&["copy", &image], 0).await;
        assert_eq!(statuses(&outcome).len(), 1);
        let checks = outcome.records_of("check").unwrap();
        assert_eq!(checks[0]["status"], "warn");
        assert!(outcome.stderr.contains("kvisor-scanners:t8"), "{outcome}");
    });
}

#[test]
fn the_twin_of_a_castai_image_stands_in_for_it() {
    with_world(async |world| {
        let digest = seed(&[&format!("{HUB}/only-here:t1")]).await.remove(0);
        world
            .run(&["copy", "ghcr.io/castai/images/only-here:t1"], 0)
            .await;
        let found = world.tagged("ghcr.io/castai/images/only-here", "t1");
        assert_eq!(found, Some(digest));
    });
}

#[test]
fn pinned_references_keep_their_digest() {
    with_world(async |world| {
        let digest = seed(&["clickhouse/clickhouse-server:t1"]).await.remove(0);
        let pinned = format!("clickhouse/clickhouse-server:t1@{digest}");
        let outcome = world.run(&["copy", &pinned], 0).await;
        let record = &outcome.records_of("mirrored").unwrap()[0];
        assert_eq!(record["target"], format!("{}/{pinned}", world.host()));
        assert_eq!(
            world.tagged("clickhouse/clickhouse-server", "t1"),
            Some(digest)
        );
    });
}

#[test]
fn broken_connections_and_throttling_are_ridden_out() {
    with_world(async |world| {
        let image = format!("{HUB}/rough:t1");
        seed(&[&image]).await;
        for (action, harm) in [
            ("StartUpload", Harm::Reset),
            ("PutBlob", Harm::Reset),
            ("PutBlob", Harm::Lost),
            ("PutManifest", Harm::Throttle),
            ("PutManifest", Harm::Lost),
        ] {
            world
                .shared
                .faults
                .add(Fault::on("registry", action, harm).times(1));
        }
        world.run(&["copy", &image], 0).await;
        world.run(&["verify", &image], 0).await;
    });
}
