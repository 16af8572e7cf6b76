//! Where references lead, as cases.

use castlink_core::{
    Exit,
    config::Config,
    input::Input,
    record::{Record, Summary},
};

use super::*;

const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

fn mirrored(source: &str, status: MirrorStatus) -> Input {
    Input::Record(Record::Mirrored(Mirrored {
        platforms: vec!["linux/amd64".into()],
        ..Mirrored::new(source, format!("{ECR}/{source}"), status)
    }))
}

fn to(source: &str) -> Target {
    Target::Mirrored {
        to: format!("{ECR}/{source}"),
        platforms: vec!["linux/amd64".into()],
    }
}

#[test]
fn a_reference_is_found_by_text_meaning_and_twin() {
    let items = vec![
        mirrored("busybox:1", MirrorStatus::Copied),
        mirrored("ghcr.io/castai/images/agent:v1", MirrorStatus::Present),
        mirrored("nvcr.io/x/dcgm:1", MirrorStatus::Failed),
        mirrored("nvcr.io/x/later:1", MirrorStatus::Planned),
    ];
    let mapping = Mapping::of_records(items, None).unwrap();
    for (literal, want) in [
        ("busybox:1", to("busybox:1")),
        ("docker.io/library/busybox:1", to("busybox:1")),
        ("busybox:2", Target::Unknown),
        (
            "us-docker.pkg.dev/castai-hub/library/agent:v1",
            to("ghcr.io/castai/images/agent:v1"),
        ),
        (
            "nvcr.io/x/dcgm:1",
            Target::Failed {
                reason: "nvcr.io/x/dcgm:1 was not mirrored".into(),
            },
        ),
        (
            "nvcr.io/x/later:1",
            Target::Planned {
                to: format!("{ECR}/nvcr.io/x/later:1"),
            },
        ),
        (
            "999999999999.dkr.ecr.eu-west-1.amazonaws.com/x:1",
            Target::Private,
        ),
        ("NOT A REF", Target::Invalid),
    ] {
        assert_eq!(mapping.target(literal), want, "{literal}");
    }
}

#[test]
fn a_rule_maps_everything_public() {
    let mapping = Mapping {
        registry: Some(ECR.into()),
        rule: Some(Layout::Full),
        ..Mapping::default()
    };
    assert_eq!(
        mapping.target("busybox"),
        Target::Mirrored {
            to: format!("{ECR}/busybox:latest"),
            platforms: vec![]
        }
    );
    assert_eq!(
        mapping.target(&format!("{ECR}/busybox:latest")),
        Target::Private
    );
}

#[test]
fn an_empty_stdin_tells_why() {
    let summary = |exit| {
        Input::Record(Record::Summary(Summary {
            command: "castlink-mirror copy".into(),
            exit,
            seconds: 0.0,
            counts: Default::default(),
            error: None,
        }))
    };
    assert_eq!(
        Mapping::of_records(vec![], None).unwrap_err().exit(),
        Exit::Usage
    );
    assert_eq!(
        Mapping::of_records(vec![summary(Exit::Unreachable)], None)
            .unwrap_err()
            .exit(),
        Exit::Unreachable
    );
    assert!(Mapping::of_records(vec![summary(Exit::Done)], None).is_ok());
    let forgotten = vec![
        Input::Reference("a:1".parse().unwrap()),
        summary(Exit::Done),
    ];
    let failure = Mapping::of_records(forgotten, None).unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
    assert!(
        failure
            .hint_text()
            .unwrap()
            .contains("castlink-mirror copy")
    );
}

#[test]
fn the_registry_comes_from_the_flag_or_the_configuration() {
    let mut config = Config::default();
    let failure = Mapping::by_rule(None, None, &config).unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
    let hint = failure.hint_text().unwrap();
    assert!(
        hint.contains("`-`") && hint.contains("--to REGISTRY"),
        "{hint}"
    );
    config.mirror.to = Some("r.example".into());
    let asked = |to: Option<&str>| {
        let mapping = Mapping::by_rule(to, None, &config).unwrap();
        mapping.open_question("busybox:1")
    };
    assert_eq!(asked(None).unwrap(), "r.example/busybox:1");
    assert_eq!(asked(Some(ECR)).unwrap(), format!("{ECR}/busybox:1"));
}

#[test]
fn the_other_public_name_serves_where_the_first_is_not_there() {
    let (hub, ghcr) = (
        "us-docker.pkg.dev/castai-hub/library/agent:v1",
        "ghcr.io/castai/images/agent:v1",
    );
    let missing = || Answer::Missing("not found".into());
    let there = || Answer::There {
        digest: format!("sha256:{}", "a".repeat(64)),
        platforms: vec!["linux/amd64".into()],
    };
    let failed = Target::Failed {
        reason: "not found".into(),
    };
    for (answers, want) in [
        (vec![(hub, missing()), (ghcr, there())], to(ghcr)),
        (vec![(hub, there()), (ghcr, there())], to(hub)),
        (vec![(hub, missing()), (ghcr, missing())], failed.clone()),
        (vec![(hub, missing())], failed),
    ] {
        assert_eq!(by_rule(&answers).target(hub), want, "{answers:?}");
    }
}

/// By rule, for a registry that has said something.
fn by_rule(answers: &[(&str, Answer)]) -> Mapping {
    let mut mapping = Mapping {
        registry: Some(ECR.into()),
        rule: Some(Layout::Full),
        ..Mapping::default()
    };
    let named = answers.iter().cloned();
    mapping.learn(
        named
            .map(|(name, answer)| (format!("{ECR}/{name}"), answer))
            .collect(),
    );
    mapping
}

fn there(digest: &str, platforms: &[&str]) -> Answer {
    Answer::There {
        digest: digest.into(),
        platforms: platforms.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_the_registry_says_goes_before_the_rule() {
    let missing = Answer::Missing("not found".into());
    let mapping = by_rule(&[
        ("a:1", there("sha256:a", &["linux/amd64"])),
        ("b:1", missing),
    ]);
    assert_eq!(mapping.target("a:1"), to("a:1"));
    let reason = "not found".to_owned();
    assert_eq!(mapping.target("b:1"), Target::Failed { reason });
    let unasked = Target::Mirrored {
        to: format!("{ECR}/c:1"),
        platforms: Vec::new(),
    };
    assert_eq!(mapping.target("c:1"), unasked);
}

#[test]
fn only_what_no_record_vouches_for_is_asked() {
    let mut silent = mirrored("silent:1", MirrorStatus::Copied);
    if let Input::Record(Record::Mirrored(record)) = &mut silent {
        record.platforms.clear();
    }
    let items = vec![
        mirrored("known:1", MirrorStatus::Copied),
        mirrored("later:1", MirrorStatus::Planned),
        silent,
    ];
    let mut mapping = Mapping::of_records(items, None).unwrap();
    let asked = |mapping: &Mapping, name: &str| mapping.open_question(name);
    assert_eq!(asked(&mapping, "known:1"), None);
    assert_eq!(asked(&mapping, "later:1"), None);
    assert_eq!(asked(&mapping, "other:1"), None);
    let private = format!("{ECR}/private:1");
    assert_eq!(asked(&mapping, &private), None);
    assert_eq!(asked(&mapping, "silent:1"), Some(format!("{ECR}/silent:1")));
    mapping.pin();
    assert_eq!(asked(&mapping, "known:1"), Some(format!("{ECR}/known:1")));
    assert_eq!(asked(&mapping, &private), Some(private));
}

#[test]
fn pinned_targets_have_the_digest_of_the_target() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let mut mapping = by_rule(&[
        ("a:1", there(&digest, &[])),
        ("kvisor-controller:1", there(&digest, &[])),
    ]);
    mapping.pin();
    let pinned = |literal: &str| match mapping.target(literal) {
        Target::Mirrored { to, .. } => to,
        other => format!("{other:?}"),
    };
    let want = format!("{ECR}/a:1@{digest}");
    assert_eq!(pinned("a:1"), want);
    // Once more: pinned already, and still so when only the tag is private.
    assert_eq!(pinned(&want), want);
    assert_eq!(pinned(&format!("{ECR}/a:1")), want);
    // Its scanners would be asked for under this digest.
    let controller = format!("{ECR}/kvisor-controller:1");
    assert_eq!(pinned("kvisor-controller:1"), controller);
    assert!(pinned("b:1").contains("nothing says which digest"));
}

#[test]
fn a_failure_names_its_reference_once() {
    let mut item = mirrored("busybox:1", MirrorStatus::Failed);
    if let Input::Record(Record::Mirrored(record)) = &mut item {
        record.error = Some(castlink_core::record::ErrorInfo {
            code: "failed".into(),
            message: "busybox:1: not found in docker.io".into(),
            hint: None,
        });
    }
    let mapping = Mapping::of_records(vec![item], None).unwrap();
    let reason = "busybox:1 was not mirrored: not found in docker.io".to_owned();
    assert_eq!(mapping.target("busybox:1"), Target::Failed { reason });
}

#[test]
fn several_targets_need_a_choice() {
    let other = |registry: &str| {
        let mut item = mirrored("busybox:1", MirrorStatus::Copied);
        if let Input::Record(Record::Mirrored(record)) = &mut item {
            record.target = format!("{registry}/busybox:1");
        }
        item
    };
    let items = || vec![other(ECR), other("r.example")];
    assert_eq!(
        Mapping::of_records(items(), None).unwrap_err().exit(),
        Exit::Usage
    );
    let mapping = Mapping::of_records(items(), Some("r.example".into())).unwrap();
    assert!(
        matches!(mapping.target("busybox:1"), Target::Mirrored { to, .. } if to == "r.example/busybox:1")
    );
}
