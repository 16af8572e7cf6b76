//! ECR repositories: created as configured, compared with the
//! configuration by `plan`, and repaired by `copy --reconcile` alone.

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::products::Outcome;
use serde_json::{Value, json};

use super::HUB;
use super::fixture::{World, seed, statuses, with_world};

const LIFECYCLE: &str = r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged",
    "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}, "action": {"type": "expire"}}]}"#;
const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": {"AWS": ["arn:aws:iam::123456789012:root"]}, "Action": ["ecr:BatchGetImage"]}]}"#;

/// Writes every setting down.
pub(super) fn configure_all(world: &World) {
    world.write("lifecycle.json", LIFECYCLE);
    world.write("policy.json", POLICY);
    world.add_settings(
        r#"[mirror.repository]
immutable = true
immutable_except = ["latest", "dev-*"]
scan_on_push = true
encryption = "AES256"
lifecycle_policy = "lifecycle.json"
repository_policy = "policy.json"
tags = { team = "platform", stage = "prod" }"#,
    );
}

/// Field, status and value before of each `change` record, by field.
fn changes(outcome: &Outcome) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = outcome.records_of("change").unwrap().into_iter();
    let mut found: Vec<_> = records
        .map(|record| {
            (
                text(&record["field"]),
                text(&record["status"]),
                record["from"].clone(),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn fields_and_statuses(outcome: &Outcome) -> Vec<(String, String)> {
    let changes = changes(outcome).into_iter();
    changes.map(|(field, status, _)| (field, status)).collect()
}

fn json_of(text: Option<&String>) -> Value {
    serde_json::from_str(text.unwrap()).unwrap()
}

#[test]
fn repositories_are_created_with_everything_that_is_configured() {
    with_world(async |world| {
        configure_all(world);
        let image = format!("{HUB}/settings:t1");
        seed(&[&image]).await;
        world.run(&["copy", &image], 0).await;
        world.repository(&format!("{HUB}/settings"), |repository| {
            assert_eq!(repository.mutability, "IMMUTABLE_WITH_EXCLUSION");
            assert_eq!(repository.exclusions, ["latest", "dev-*"]);
            assert!(repository.scan_on_push);
            assert_eq!(repository.encryption, json!({"encryptionType": "AES256"}));
            assert_eq!(
                json_of(repository.lifecycle.as_ref()),
                json_of(Some(&LIFECYCLE.to_owned()))
            );
            assert_eq!(
                json_of(repository.policy.as_ref()),
                json_of(Some(&POLICY.to_owned()))
            );
            assert_eq!(repository.labels["team"], "platform");
        });
        let outcome = world.run(&["plan", &image, "-o", "json"], 0).await;
        assert_eq!(changes(&outcome), [], "what was created is as configured");
    });
}

#[test]
fn defaults_are_for_creation() {
    with_world(async |world| {
        world.add_settings("[mirror.repository]\nkms_key = \"alias/mirror\"");
        let image = format!("{HUB}/defaults:t1");
        seed(&[&image]).await;
        world.run(&["copy", &image], 0).await;
        world.repository(&format!("{HUB}/defaults"), |repository| {
            assert_eq!(repository.mutability, "IMMUTABLE");
            assert!(repository.scan_on_push);
            let want = json!({"encryptionType": "KMS", "kmsKey": "alias/mirror"});
            assert_eq!(repository.encryption, want);
            assert_eq!(repository.lifecycle, None);
        });
    });
}

#[test]
fn a_default_that_nobody_wrote_is_no_drift() {
    with_world(async |world| {
        let image = format!("{HUB}/theirs:t1");
        seed(&[&image]).await;
        world.repository(&format!("{HUB}/theirs"), |_| ());
        for args in [
            &["plan"][..],
            &["copy", "--reconcile"],
            &["plan", "--reconcile", "--exit-code"],
        ] {
            let args = [args, &[image.as_str(), "-o", "json"]].concat();
            let outcome = world.run(&args, 0).await;
            assert_eq!(changes(&outcome), [], "{args:?}");
        }
        assert_eq!(
            world.count(0, "DescribeRepositories"),
            0,
            "nothing to compare"
        );
        // One setting that was written is compared, the others are not.
        world.add_settings("[mirror.repository]\nscan_on_push = true");
        let outcome = world.run(&["plan", &image, "-o", "json"], 0).await;
        assert_eq!(
            fields_and_statuses(&outcome),
            [("scan on push".into(), "skipped".into())]
        );
    });
}

#[test]
fn settings_that_cannot_be_stop_everything_before_it_starts() {
    for (settings, files, message) in [
        (
            "lifecycle_policy = \"none.json\"",
            None,
            "none.json cannot be read",
        ),
        (
            "lifecycle_policy = \"p.json\"",
            Some("{\"rules\": ["),
            "p.json is not JSON",
        ),
        (
            "repository_policy = \"p.json\"",
            Some("[]"),
            "not a JSON object",
        ),
        (
            "immutable_except = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]",
            None,
            "at most 5",
        ),
        (
            "immutable_except = [\"a b\"]",
            None,
            "`a b` is not a filter",
        ),
        (
            "encryption = \"AES256\"\nkms_key = \"alias/x\"",
            None,
            "takes no key",
        ),
        (
            "encryption = \"none\"",
            None,
            "mirror.repository.encryption",
        ),
        ("imutable = true", None, "unknown key `imutable`"),
    ] {
        with_world(async |world| {
            if let Some(text) = files {
                world.write("p.json", text);
            }
            world.add_settings(&format!("[mirror.repository]\n{settings}"));
            for verb in ["plan", "copy"] {
                let outcome = world.run(&[verb, "busybox:t1"], 2).await;
                assert!(outcome.stderr.contains(message), "{settings}: {outcome}");
            }
            assert!(world.shared.journal.since(0).is_empty());
        });
    }
    with_world(async |world| {
        let long = format!("{{\"rules\": \"{}\"}}", "x".repeat(30_720));
        world.write("long.json", &long);
        world.add_settings("[mirror.repository]\nlifecycle_policy = \"long.json\"");
        let outcome = world.run(&["copy", "busybox:t1"], 2).await;
        assert!(outcome.stderr.contains("at most 30720"), "{outcome}");
    });
}

#[test]
fn drift_is_shown_by_plan_and_repaired_by_reconcile_alone() {
    with_world(async |world| {
        let image = format!("{HUB}/drifted:t1");
        seed(&[&image]).await;
        world.run(&["copy", &image], 0).await;
        let name = format!("{HUB}/drifted");
        world.repository(&name, |repository| {
            repository.mutability = "MUTABLE".into();
            repository.scan_on_push = false;
            repository.encryption =
                json!({"encryptionType": "KMS", "kmsKey": "arn:aws:kms:us-east-1:1:key/1"});
            repository.lifecycle = Some("{\"rules\": []}".into());
            repository.labels.insert("stage".into(), "test".into());
            repository.labels.insert("owner".into(), "somebody".into());
        });
        configure_all(world);

        let mark = world.shared.journal.mark();
        let outcome = world.run(&["copy", &image], 0).await;
        assert_eq!(changes(&outcome), []);
        let asked = world.shared.journal.since(mark);
        assert_eq!(world.count(mark, "BatchGetImage"), 1);
        assert_eq!(
            asked.len(),
            1,
            "a plain copy asks for nothing else: {asked:?}"
        );

        let shown = world.run(&["plan", &image, "-o", "json"], 0).await;
        let fields = [
            "encryption",
            "lifecycle policy",
            "repository policy",
            "scan on push",
            "tag mutability",
            "tag stage",
            "tag team",
        ];
        let all = |status: &str| {
            let of = |field: &&str| {
                if *field == "encryption" {
                    "skipped"
                } else {
                    status
                }
                .to_owned()
            };
            fields
                .iter()
                .map(|field| ((*field).to_owned(), of(field)))
                .collect::<Vec<_>>()
        };
        assert_eq!(fields_and_statuses(&shown), all("skipped"));
        let text = world.run(&["plan", &image], 0).await;
        assert!(
            text.stdout.contains(
                "tag mutability is mutable, configured is immutable except latest, dev-*"
            ),
            "{text}"
        );
        assert!(text.stdout.contains("encryption is KMS with"), "{text}");
        assert!(
            text.stdout.contains("fixed when a repository is created"),
            "{text}"
        );
        world.run(&["plan", &image, "--exit-code"], 0).await;
        let shown = world
            .run(
                &["plan", &image, "--exit-code", "--reconcile", "-o", "json"],
                3,
            )
            .await;
        assert_eq!(fields_and_statuses(&shown), all("planned"));
        assert_eq!(world.writes(mark), [""; 0], "nothing was written so far");

        let repaired = world.run(&["copy", &image, "--reconcile"], 0).await;
        assert_eq!(fields_and_statuses(&repaired), all("applied"));
        assert!(repaired.stderr.contains("6 settings changed"), "{repaired}");
        world.repository(&name, |repository| {
            assert_eq!(repository.mutability, "IMMUTABLE_WITH_EXCLUSION");
            assert!(repository.scan_on_push);
            assert_eq!(
                json_of(repository.lifecycle.as_ref()),
                json_of(Some(&LIFECYCLE.to_owned()))
            );
            assert_eq!(repository.labels["stage"], "prod");
            assert_eq!(repository.labels["owner"], "somebody", "others' tags stay");
        });
        assert_eq!(world.count(mark, "TagResource"), 1, "all tags in one call");
        let again = world
            .run(
                &["plan", &image, "--exit-code", "--reconcile", "-o", "json"],
                0,
            )
            .await;
        assert_eq!(
            fields_and_statuses(&again),
            [("encryption".into(), "skipped".into())]
        );
        let mark = world.shared.journal.mark();
        world.run(&["copy", &image, "--reconcile"], 0).await;
        assert_eq!(world.writes(mark), [""; 0], "what is right is left alone");
    });
}

#[test]
fn a_repository_that_was_created_halfway_is_mended() {
    with_world(async |world| {
        configure_all(world);
        let image = format!("{HUB}/halfway:t1");
        seed(&[&image]).await;
        world
            .shared
            .faults
            .add(Fault::on("ecr", "SetRepositoryPolicy", Harm::Deny).times(1));
        let outcome = world.run(&["copy", &image], 7).await;
        for part in [
            "was created, but is not as configured",
            "ecr:SetRepositoryPolicy",
        ] {
            assert!(outcome.stdout.contains(part), "{outcome}");
        }
        assert_eq!(
            world.count(0, "StartUpload"),
            0,
            "nothing is pushed into it"
        );
        let shown = world.run(&["plan", &image, "-o", "json"], 0).await;
        assert_eq!(
            fields_and_statuses(&shown),
            [("repository policy".into(), "skipped".into())]
        );
        let outcome = world.run(&["copy", &image, "--reconcile"], 0).await;
        assert_eq!(
            fields_and_statuses(&outcome),
            [("repository policy".into(), "applied".into())]
        );
        assert_eq!(statuses(&outcome), [(image.clone(), "copied".to_owned())]);
        world.repository(&format!("{HUB}/halfway"), |repository| {
            assert!(repository.policy.is_some())
        });
    });
}

#[test]
fn a_repair_that_fails_is_said_and_the_images_are_copied() {
    with_world(async |world| {
        world.add_settings("[mirror.repository]\nscan_on_push = true");
        let image = format!("{HUB}/unrepaired:t1");
        seed(&[&image]).await;
        world.repository(&format!("{HUB}/unrepaired"), |_| ());
        world.shared.faults.add(Fault::on(
            "ecr",
            "PutImageScanningConfiguration",
            Harm::Deny,
        ));
        let outcome = world.run(&["copy", &image, "--reconcile"], 4).await;
        let change = &outcome.records_of("change").unwrap()[0];
        assert_eq!(change["status"], "failed");
        let message = change["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("ecr:PutImageScanningConfiguration"),
            "{message}"
        );
        assert_eq!(statuses(&outcome), [(image, "copied".to_owned())]);
    });
}

#[test]
fn a_tag_that_reconcile_makes_movable_is_moved_at_once() {
    with_world(async |world| {
        let (first, second) = (format!("{HUB}/moved:t1"), "quay.io/other/moved:t1");
        let digests = seed(&[&first, second]).await;
        world.run(&["copy", &first, "--layout", "flat"], 0).await;
        world.run(&["copy", second, "--layout", "flat"], 6).await;
        world.add_settings("[mirror.repository]\nimmutable = false");
        world.run(&["copy", second, "--layout", "flat"], 6).await;
        world
            .run(&["copy", second, "--layout", "flat", "--reconcile"], 0)
            .await;
        assert_eq!(world.tagged("moved", "t1").as_ref(), Some(&digests[1]));
    });
}
