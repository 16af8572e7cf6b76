//! Pushes that ECR refuses in its own ways: no repository, no permission, an ended token, a
//! manifest it does not take, a tag that stays.

use std::sync::Arc;

use castlink_tests::ecr::Repository;
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::iam::Policy;
use castlink_tests::knobs::Knobs;
use serde_json::json;

use super::HUB;
use super::fixture::{seed, statuses, with_knobs, with_world};

/// A data plane that closes the connection where it cannot push.
fn silent() -> Knobs {
    Knobs {
        hang_up: true,
        ..Knobs::default()
    }
}

#[test]
fn a_repository_that_is_gone_is_named_at_once() {
    for knobs in [Knobs::default(), silent()] {
        with_knobs(knobs, async |world| {
            let image = format!("{HUB}/gone:t1");
            seed(&[&image]).await;
            // Believed to have been created by somebody else, and not there.
            world.shared.faults.add(Fault::on(
                "ecr",
                "CreateRepository",
                Harm::Error {
                    status: 400,
                    code: "RepositoryAlreadyExistsException".into(),
                    message: "exists".into(),
                },
            ));
            let outcome = world.run(&["copy", &image], 1).await;
            let record = &outcome.records_of("mirrored").unwrap()[0];
            let message = record["error"]["message"].as_str().unwrap();
            assert!(
                message.contains(&format!("repository {HUB}/gone does not exist")),
                "{message}"
            );
            assert!(
                record["error"]["hint"]
                    .as_str()
                    .unwrap()
                    .contains("aws ecr create-repository")
            );
            assert_eq!(world.count(0, "PutBlob"), 0);
            let tries = world.count(0, "StartUpload");
            let blobs = blobs(&outcome.stderr);
            assert!(
                (1..=blobs).contains(&tries),
                "{tries} tries for {blobs} blobs"
            );
        });
    }
}

/// How many blobs the line of the plan speaks of.
fn blobs(plan: &str) -> usize {
    let before = plan.split(" blobs to read").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_connection_that_always_closes_hints_at_the_permission() {
    with_knobs(silent(), async |world| {
        let image = format!("{HUB}/silent:t1");
        seed(&[&image]).await;
        let policy = world.run(&["iam-policy"], 0).await.stdout;
        let policy = policy.replace("ecr:InitiateLayerUpload", "ecr:Nothing");
        world
            .shared
            .ecr
            .enforce(Arc::new(Policy::parse(&policy).unwrap()));
        let outcome = world.run(&["copy", &image], 8).await;
        assert!(
            outcome
                .stdout
                .contains("ecr:InitiateLayerUpload is missing"),
            "{outcome}"
        );
        assert_eq!(world.count(0, "PutManifest"), 0);
    });
}

#[test]
fn a_connection_that_closes_once_is_tried_again() {
    with_world(async |world| {
        let image = format!("{HUB}/blinked:t1");
        seed(&[&image]).await;
        world
            .shared
            .faults
            .add(Fault::on("registry", "StartUpload", Harm::Reset).times(2));
        world.run(&["copy", &image], 0).await;
        world.run(&["verify", &image], 0).await;
    });
}

#[test]
fn an_ended_token_is_renewed_once_for_everything_under_way() {
    for action in ["StartUpload", "PutBlob", "PutManifest"] {
        with_world(async |world| {
            let images = [1, 2, 3].map(|n| format!("{HUB}/renewed-{n}:t1"));
            let images: Vec<&str> = images.iter().map(String::as_str).collect();
            seed(&images).await;
            world.shared.faults.add(
                Fault::on("registry", action, Harm::Expired)
                    .after(1)
                    .times(1),
            );
            world.run(&[&["copy"], &images[..]].concat(), 0).await;
            assert_eq!(world.count(0, "GetAuthorizationToken"), 2, "{action}");
            world.run(&[&["verify"], &images[..]].concat(), 0).await;
        });
    }
}

#[test]
fn throttled_calls_are_ridden_out_until_they_never_end() {
    with_world(async |world| {
        let image = format!("{HUB}/throttled:t1");
        seed(&[&image]).await;
        for action in [
            "BatchGetImage",
            "CreateRepository",
            "DescribeRepositoryCreationTemplates",
        ] {
            world
                .shared
                .faults
                .add(Fault::on("ecr", action, Harm::Throttle).times(1));
        }
        world.run(&["copy", &image], 0).await;
        world
            .shared
            .faults
            .add(Fault::on("ecr", "BatchGetImage", Harm::Throttle));
        let outcome = world.run(&["copy", &image], 8).await;
        assert!(
            outcome.stdout.contains("AWS throttles ecr:BatchGetImage"),
            "{outcome}"
        );
    });
}

#[test]
fn a_manifest_that_ecr_does_not_take_is_refused_with_its_reason() {
    with_world(async |world| {
        let image = format!("{HUB}/unsupported:t1");
        seed(&[&image]).await;
        let why = "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'";
        world.shared.faults.add(Fault::on(
            "registry",
            "PutManifest",
            Harm::Error {
                status: 405,
                code: "UNSUPPORTED".into(),
                message: why.into(),
            },
        ));
        let outcome = world.run(&["copy", &image], 1).await;
        let record = &outcome.records_of("mirrored").unwrap()[0];
        let message = record["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("405") && message.contains(why),
            "{message}"
        );
        assert!(world.count(0, "PutManifest") <= 2, "not tried again");
    });
}

#[test]
fn a_tag_that_somebody_else_took_meanwhile() {
    for code in ["TAG_INVALID", "ImageTagAlreadyExistsException"] {
        with_world(async |world| {
            let image = format!("{HUB}/raced:t1");
            seed(&[&image]).await;
            let harm = Harm::Error {
                status: 400,
                code: code.into(),
                message: "The image tag 't1' already exists and cannot be overwritten because the tag is immutable.".into(),
            };
            // Refused, and nothing of ours is there: another image has the tag.
            world.shared.faults.add(
                Fault::on("registry", "PutManifest", harm.clone())
                    .containing("@t1")
                    .times(1),
            );
            let outcome = world.run(&["copy", &image], 6).await;
            assert_eq!(statuses(&outcome), [(image.clone(), "conflict".to_owned())]);
            // Refused, because it is there already: as good as written.
            world.shared.faults.clear();
            world.shared.faults.add(
                Fault::on("registry", "PutManifest", Harm::Lost)
                    .containing("@t1")
                    .times(1),
            );
            let outcome = world.run(&["copy", &image], 0).await;
            assert_eq!(statuses(&outcome), [(image.clone(), "copied".to_owned())]);
        });
    }
}

#[test]
fn an_archived_image_is_pushed_again() {
    with_world(async |world| {
        let image = format!("{HUB}/archived:t1");
        seed(&[&image]).await;
        world.run(&["copy", &image], 0).await;
        world.repository(&format!("{HUB}/archived"), Repository::archive);
        world.run(&["verify", &image], 3).await;
        let outcome = world.run(&["copy", &image], 0).await;
        assert_eq!(statuses(&outcome), [(image.clone(), "copied".to_owned())]);
        world.run(&["verify", &image], 0).await;
    });
}

#[test]
fn fips_and_dual_stack_names_are_targets_too() {
    with_world(async |world| {
        let image = format!("{HUB}/forms:t1");
        seed(&[&image]).await;
        for host in [
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
            "123456789012.dkr-ecr.us-east-1.on.aws",
            "123456789012.dkr-ecr-fips.us-east-1.on.aws",
        ] {
            world.add_settings(&format!(
                "[registries.\"{host}\"]\nendpoint = \"{}\"",
                world.ecr_url()
            ));
            let outcome = world.run(&["copy", &image, "--to", host], 0).await;
            let record = &outcome.records_of("mirrored").unwrap()[0];
            assert_eq!(record["target"], json!(format!("{host}/{image}")));
        }
        assert_eq!(
            world.count(0, "CreateRepository"),
            1,
            "they are one registry"
        );
    });
}
