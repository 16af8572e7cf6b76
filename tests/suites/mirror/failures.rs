//! What goes wrong: the exit code, the thing named, and nothing half-written.

use castlink_tests::faults::{Fault, Harm};

use super::HUB;
use super::fixture::{seed, statuses, with_world};

#[test]
fn a_missing_image_does_not_hide_the_others() {
    with_world(async |world| {
        let (there, missing) = (format!("{HUB}/partly:t1"), format!("{HUB}/partly:gone"));
        seed(&[&there]).await;
        let outcome = world.run(&["copy", &missing, &there], 4).await;
        let want = [
            (missing.clone(), "failed".to_owned()),
            (there, "copied".to_owned()),
        ];
        assert_eq!(statuses(&outcome), want);
        let records = outcome.records_of("mirrored").unwrap();
        let failed = records
            .iter()
            .find(|record| record["status"] == "failed")
            .unwrap();
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("{missing}: not found in us-docker.pkg.dev")),
            "{message}"
        );
        assert!(failed["error"]["hint"].is_string());
        world.run(&["copy", &missing], 1).await;
    });
}

#[test]
fn a_malformed_reference_stops_everything_before_it_starts() {
    with_world(async |world| {
        let outcome = world
            .run(&["copy", "busybox:t1", "Not//A:Reference"], 2)
            .await;
        assert!(outcome.stderr.contains("Not//A:Reference"), "{outcome}");
        world.run(&["copy"], 2).await;
        let outcome = world
            .mirror(&["copy", "-"])
            .stdin("busybox\nno good\n")
            .run()
            .await;
        let outcome = outcome.unwrap().expect_code(2).unwrap();
        assert!(outcome.stderr.contains("line 2"), "{outcome}");
        assert!(world.shared.journal.since(0).is_empty());
    });
}

#[test]
fn a_reference_to_the_target_that_is_not_there_is_a_failure() {
    with_world(async |world| {
        let image = format!("{}/nosuch/thing:1", world.host());
        let outcome = world.run(&["verify", &image, "-o", "json"], 3).await;
        let check = &outcome.records_of("check").unwrap()[0];
        assert_eq!(check["status"], "fail");
        let outcome = world.run(&["copy", &image], 1).await;
        let record = &outcome.records_of("mirrored").unwrap()[0];
        assert_eq!(record["status"], "failed");
        let error = &record["error"];
        let want = format!("{image} is not at the target");
        assert_eq!(error["message"], want);
        assert!(error["hint"].as_str().unwrap().contains("public name"));
        assert_eq!(world.writes(0), [""; 0]);
        let outcome = world.run(&["plan", &image], 1).await;
        assert!(
            outcome.stderr.contains("nothing to copy: 1 failed"),
            "{outcome}"
        );
        assert!(!outcome.stderr.contains("no changes"), "{outcome}");
    });
}

#[test]
fn an_empty_list_is_fine_and_silence_is_not() {
    with_world(async |world| {
        let silent = world.mirror(&["copy", "-"]).stdin("").run().await.unwrap();
        let silent = silent.expect_code(2).unwrap();
        assert!(silent.stderr.contains("nothing on stdin"), "{silent}");
        let summary = concat!(
            r#"{"castlink":1,"kind":"summary","command":"castlink-upgrade images","#,
            r#""exit":"done","seconds":0.1,"counts":{}}"#,
            "\n"
        );
        let empty = world.mirror(&["copy", "-"]).stdin(summary).run().await;
        let empty = empty.unwrap().expect_code(0).unwrap();
        assert!(empty.stderr.contains("no changes"), "{empty}");
    });
}

#[test]
fn an_immutable_tag_with_another_digest_is_a_conflict() {
    with_world(async |world| {
        let (first, second) = (format!("{HUB}/same-name:t1"), "quay.io/other/same-name:t1");
        seed(&[&first, second]).await;
        world.run(&["copy", &first, "--layout", "flat"], 0).await;
        let held = world.tagged("same-name", "t1");
        let mark = world.shared.journal.mark();
        let outcome = world.run(&["copy", second, "--layout", "flat"], 6).await;
        assert_eq!(
            statuses(&outcome),
            [(second.to_owned(), "conflict".to_owned())]
        );
        assert_eq!(world.writes(mark), [""; 0]);
        assert_eq!(world.tagged("same-name", "t1"), held);
        world.run(&["verify", second, "--layout", "flat"], 3).await;
    });
}

#[test]
fn no_right_to_create_repositories() {
    with_world(async |world| {
        let image = format!("{HUB}/denied:t1");
        seed(&[&image]).await;
        world
            .shared
            .faults
            .add(Fault::on("ecr", "CreateRepository", Harm::Deny));
        let outcome = world.run(&["copy", &image], 7).await;
        let record = &outcome.records_of("mirrored").unwrap()[0];
        let message = record["error"]["message"].as_str().unwrap();
        for part in ["ecr:CreateRepository", "castai-hub/library/denied"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(
            record["error"]["hint"]
                .as_str()
                .unwrap()
                .contains("get-caller-identity")
        );
        assert_eq!(world.count(0, "PutBlob") + world.count(0, "PutManifest"), 0);
    });
}

#[test]
fn no_right_to_push() {
    with_world(async |world| {
        let image = format!("{HUB}/no-push:t1");
        seed(&[&image]).await;
        world
            .shared
            .faults
            .add(Fault::on("registry", "StartUpload", Harm::Deny));
        let outcome = world.run(&["copy", &image], 7).await;
        assert!(outcome.stdout.contains("no-push"), "{outcome}");
        assert_eq!(world.count(0, "PutManifest"), 0);
    });
}

#[test]
fn expired_aws_credentials() {
    with_world(async |world| {
        let image = format!("{HUB}/expired:t1");
        seed(&[&image]).await;
        world
            .shared
            .faults
            .add(Fault::on("ecr", "BatchGetImage", Harm::Expired));
        let outcome = world.run(&["copy", &image], 7).await;
        assert!(outcome.stdout.contains("expired"), "{outcome}");
    });
}

#[test]
fn an_unreachable_source_or_target() {
    with_world(async |world| {
        let image = format!("{HUB}/unreachable:t1");
        seed(&[&image]).await;
        // Port 9 is "discard": nobody listens on it here.
        world.configure("https://127.0.0.1:9", "http://127.0.0.1:9");
        world.run(&["copy", &image], 8).await;
        let copy = world
            .mirror(&["copy", &image])
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        copy.run().await.unwrap().expect_code(8).unwrap();
    });
}

#[test]
fn what_differs_is_found_by_verify() {
    with_world(async |world| {
        let (whole, gone) = (format!("{HUB}/whole:t1"), format!("{HUB}/removed:t1"));
        seed(&[&whole, &gone]).await;
        world.run(&["copy", &whole, &gone], 0).await;
        let name = gone.rsplit_once(':').unwrap().0;
        assert!(
            world
                .shared
                .ecr
                .database()
                .repositories
                .get_mut(name)
                .unwrap()
                .remove("t1")
        );
        let outcome = world.run(&["verify", &whole, &gone, "-o", "json"], 3).await;
        let checks = outcome.records_of("check").unwrap();
        let status = |image: &str| {
            let check = checks.iter().find(|check| check["subject"] == image);
            check.unwrap()["status"].clone()
        };
        assert_eq!(status(&whole), "ok");
        assert_eq!(status(&gone), "fail");
        world.run(&["copy", &whole, &gone], 0).await;
        world.run(&["verify", &whole, &gone], 0).await;
    });
}
