//! Missing repositories: who may create them, and when a push does it by a template.

use castlink_tests::ecr::Template;
use castlink_tests::faults::{Fault, Harm};

use super::HUB;
use super::fixture::{seed, with_world};

#[test]
fn a_missing_repository_that_may_not_be_created_is_named_with_what_creates_it() {
    with_world(async |world| {
        let image = format!("{HUB}/unwanted:t1");
        seed(&[&image]).await;
        let outcome = world
            .run(&["copy", &image, "--create-repos", "never"], 1)
            .await;
        let record = &outcome.records_of("mirrored").unwrap()[0];
        let message = record["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("repository {HUB}/unwanted does not exist")),
            "{message}"
        );
        let hint = record["error"]["hint"].as_str().unwrap();
        for part in [
            format!(
                "aws ecr create-repository --region us-east-1 --repository-name {HUB}/unwanted"
            ),
            "aws_ecr_repository".into(),
            "--create-repos auto".into(),
        ] {
            assert!(hint.contains(&part), "{hint}");
        }
        assert_eq!(world.writes(0), [""; 0]);
        assert_eq!(world.count(0, "DescribeRepositoryCreationTemplates"), 1);
    });
}

#[test]
fn a_template_for_pushes_creates_what_is_missing() {
    for create in ["auto", "never"] {
        with_world(async |world| {
            world.shared.ecr.database().templates = vec![
                Template::on_push("ROOT"),
                Template::on_push("us-docker.pkg.dev/castai-hub"),
            ];
            let images = [
                format!("{HUB}/made-{create}:t1"),
                format!("busybox:made-{create}"),
            ];
            seed(&[&images[0], &images[1]]).await;
            let args = [images[0].as_str(), &images[1], "--create-repos", create];
            let plan = world.run(&[&["plan"], &args[..]].concat(), 0).await;
            for (repository, template) in [
                (
                    format!("{HUB}/made-{create}"),
                    "us-docker.pkg.dev/castai-hub",
                ),
                ("busybox".into(), "ROOT"),
            ] {
                let want = format!("{repository}: created on push by template {template}");
                assert!(plan.stdout.contains(&want), "{plan}");
            }
            assert!(plan.stderr.contains("0 repositories to create"), "{plan}");
            world.run(&[&["copy"], &args[..]].concat(), 0).await;
            assert_eq!(world.count(0, "CreateRepository"), 0);
            assert_eq!(
                world.count(0, "DescribeRepositoryCreationTemplates"),
                2,
                "one each run"
            );
            world.repository("busybox", |made| {
                assert_eq!(made.labels["made-by"], "template ROOT")
            });
            let mark = world.shared.journal.mark();
            world.run(&[&["copy"], &args[..]].concat(), 0).await;
            assert_eq!(
                world.shared.journal.since(mark).len(),
                2,
                "one batch each, and no template"
            );
        });
    }
}

#[test]
fn templates_that_are_not_for_this_are_passed_over() {
    with_world(async |world| {
        let image = format!("{HUB}/cached:t1");
        seed(&[&image]).await;
        let cache = Template {
            applied_for: vec!["PULL_THROUGH_CACHE".to_owned()],
            ..Template::on_push("us-docker.pkg.dev")
        };
        world.shared.ecr.database().templates = vec![Template::on_push("ROOT"), cache];
        world
            .run(&["copy", &image, "--create-repos", "never"], 1)
            .await;
        world.run(&["copy", &image], 0).await;
        assert_eq!(world.count(0, "CreateRepository"), 1);
    });
}

#[test]
fn nobody_is_obliged_to_let_us_see_the_templates() {
    with_world(async |world| {
        let image = format!("{HUB}/unseen:t1");
        seed(&[&image]).await;
        world.shared.faults.add(Fault::on(
            "ecr",
            "DescribeRepositoryCreationTemplates",
            Harm::Deny,
        ));
        world
            .run(&["copy", &image, "--create-repos", "never"], 1)
            .await;
        world.run(&["copy", &image], 0).await;
        assert_eq!(world.count(0, "CreateRepository"), 1);
    });
}
