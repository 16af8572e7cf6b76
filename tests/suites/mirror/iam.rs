//! `iam-policy`, held against a registry that denies what is not in it.

use std::sync::Arc;

use castlink_tests::ecr::Template;
use castlink_tests::iam::Policy;
use serde_json::Value;

use super::HUB;
use super::fixture::{World, seed, with_world};
use super::repositories::configure_all;

/// What `iam-policy` prints with `flags`.
async fn printed(world: &World, flags: &[&str]) -> String {
    let outcome = world.run(&[&["iam-policy"], flags].concat(), 0).await;
    outcome.stdout
}

/// Enforces what `iam-policy` prints with `flags`.
async fn enforce(world: &World, flags: &[&str]) -> Arc<Policy> {
    let policy = Arc::new(Policy::parse(&printed(world, flags).await).unwrap());
    world.shared.ecr.enforce(Arc::clone(&policy));
    policy
}

/// Takes one action out of a policy.
fn without(policy: &str, action: &str) -> Policy {
    let mut json: Value = serde_json::from_str(policy).unwrap();
    for statement in json["Statement"].as_array_mut().unwrap() {
        let actions = statement["Action"].as_array_mut().unwrap();
        actions.retain(|one| one != action);
    }
    Policy::parse(&json.to_string()).unwrap()
}

#[test]
fn the_policy_is_enough_for_everything_and_holds_nothing_else() {
    with_world(async |world| {
        configure_all(world);
        world.shared.ecr.database().blob_mounting = true;
        let policy = enforce(world, &["--reconcile"]).await;
        let images = [1, 2, 3].map(|n| format!("{HUB}/allowed-{n}:t1"));
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        seed(&images).await;
        world.run(&[&["copy"], &images[..]].concat(), 0).await;
        assert!(world.count(0, "MountBlob") > 0);
        world.run(&[&["copy"], &images[..]].concat(), 0).await;
        world.run(&[&["verify"], &images[..]].concat(), 0).await;
        let newer = format!("{HUB}/allowed-1:t2");
        seed(&[&newer]).await;
        world.run(&["copy", &newer], 0).await;
        world.repository(&format!("{HUB}/allowed-1"), |repository| {
            repository.mutability = "MUTABLE".into();
            repository.exclusions.clear();
            repository.scan_on_push = false;
            repository.lifecycle = None;
            repository.policy = None;
            repository.labels.clear();
        });
        world.run(&["plan", &newer], 0).await;
        world.run(&["copy", &newer, "--reconcile"], 0).await;
        world
            .run(&["plan", &newer, "--reconcile", "--exit-code"], 0)
            .await;
        assert_eq!(policy.used(), policy.actions());
    });
}

#[test]
fn the_policy_of_a_run_that_creates_nothing() {
    with_world(async |world| {
        let root = Template {
            mutability: "MUTABLE".into(),
            ..Template::on_push("ROOT")
        };
        world.shared.ecr.database().templates = vec![root];
        world.shared.ecr.database().blob_mounting = true;
        let policy = enforce(world, &["--create-repos", "never"]).await;
        assert!(!policy.actions().contains("ecr:CreateRepository"));
        let never = ["--create-repos", "never", "--layout", "flat"];
        let images = [1, 2].map(|n| format!("{HUB}/pushed-{n}:t1"));
        let moved = "quay.io/other/pushed-1:t1";
        seed(&[&images[0], &images[1], moved]).await;
        world
            .run(&[&["copy", &images[0], &images[1]], &never[..]].concat(), 0)
            .await;
        world.run(&[&["copy", moved], &never[..]].concat(), 0).await;
        assert_eq!(policy.used(), policy.actions());
    });
}

#[test]
fn what_is_missing_in_a_policy_is_named_and_not_asked_for_again_and_again() {
    for action in [
        "ecr:CreateRepository",
        "ecr:TagResource",
        "ecr:PutLifecyclePolicy",
        "ecr:InitiateLayerUpload",
        "ecr:CompleteLayerUpload",
        "ecr:PutImage",
    ] {
        with_world(async |world| {
            configure_all(world);
            let image = format!("{HUB}/missing:t1");
            seed(&[&image]).await;
            let policy = printed(world, &[]).await;
            world.shared.ecr.enforce(Arc::new(without(&policy, action)));
            let outcome = world.run(&["copy", &image], 7).await;
            let record = &outcome.records_of("mirrored").unwrap()[0];
            let message = record["error"]["message"].as_str().unwrap();
            assert!(message.contains(action), "{action}: {message}");
            let tokens = world.count(0, "GetAuthorizationToken");
            assert!(tokens <= 2, "{action}: {tokens} tokens");
        });
    }
}

#[test]
fn the_policy_is_for_the_target_and_its_prefix() {
    with_world(async |world| {
        let to = format!("{}/team/mirror", world.host());
        let text = printed(world, &["--to", &to]).await;
        let json: Value = serde_json::from_str(&text).unwrap();
        let resource = "arn:aws:ecr:us-east-1:123456789012:repository/team/mirror/*";
        assert_eq!(json["Statement"][1]["Resource"][0], resource);
        // Enforced, it lets nothing happen elsewhere.
        world
            .shared
            .ecr
            .enforce(Arc::new(Policy::parse(&text).unwrap()));
        let image = format!("{HUB}/prefixed:t1");
        seed(&[&image]).await;
        world.run(&["copy", &image], 7).await;
        world.run(&["copy", &image, "--to", &to], 0).await;
        let outcome = world.run(&["iam-policy", "--to", "ghcr.io/x"], 2).await;
        assert!(outcome.stderr.contains("not an ECR registry"), "{outcome}");
        let why = world.run(&["iam-policy", "-v"], 0).await;
        assert!(
            why.stderr.contains("ecr:PutImage: to write manifests"),
            "{why}"
        );
    });
}
