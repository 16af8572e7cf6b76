//! What is offered to whom, as cases.

use castlink_core::Failure;
use jiff::Timestamp;

use super::*;

const COMMITS: [&str; 2] = [
    "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
    "ffffffffffffffffffffffffffffffffffffffff",
];

fn image(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn tags(names: &[&str]) -> Vec<castlink_registry::Tag> {
    let tag = |name: &&str| castlink_registry::Tag {
        name: (*name).to_owned(),
        digest: None,
        uploaded: None,
    };
    names.iter().map(tag).collect()
}

/// `image newer`, and the note if there is one.
fn told(available: &Available) -> String {
    let newer = match available.newer {
        Some(true) => "newer",
        Some(false) => "same",
        None => "unknown",
    };
    let image = available.image.as_deref().unwrap_or("nothing");
    format!("{image} {newer}")
}

#[test]
fn tags_offer_the_newest_release() {
    let all = tags(&["v1.0.0", "v1.2.0", "v1.3.0-rc.1", "latest", COMMITS[0]]);
    for (current, want) in [
        ("r.example/a:v1.0.0", "r.example/a:v1.2.0 newer"),
        ("r.example/a:v1.2.0", "r.example/a:v1.2.0 same"),
        ("r.example/a:v9.0.0", "r.example/a:v1.2.0 same"),
        ("r.example/a:1.0.0", "nothing unknown"),
        ("r.example/a:latest", "r.example/a:v1.2.0 unknown"),
        ("r.example/a", "r.example/a:v1.2.0 unknown"),
    ] {
        let available = by_tags(&image(current), &all);
        assert_eq!(told(&available), want, "{current}");
        assert_eq!(
            available.note.is_some(),
            available.newer.is_none(),
            "{current}"
        );
    }
    let commit = by_tags(&image(&format!("r.example/a:{}", COMMITS[0])), &all);
    assert_eq!(told(&commit), "r.example/a:v1.2.0 unknown");
    assert!(commit.note.unwrap().contains("commit"));
}

#[test]
fn commits_are_ordered_where_the_registry_says_when_they_came() {
    let mut all = tags(&COMMITS);
    let current = image(&format!("r.example/a:{}", COMMITS[0]));
    all[0].uploaded = Some(Timestamp::from_second(1).unwrap());
    all[1].uploaded = Some(Timestamp::from_second(2).unwrap());
    let want = format!("r.example/a:{} newer", COMMITS[1]);
    assert_eq!(told(&by_tags(&current, &all)), want);
    all[0].uploaded = Some(Timestamp::from_second(3).unwrap());
    let want = format!("r.example/a:{} same", COMMITS[0]);
    assert_eq!(told(&by_tags(&current, &all)), want);
}

#[test]
fn a_chart_says_what_it_installs() {
    let release = Release {
        chart: "0.162.0".into(),
        app: "v0.162.0".into(),
    };
    for (tag, want) in [
        ("v0.161.1", "newer"),
        ("v0.162.0", "same"),
        ("v0.163.0", "same"),
        (COMMITS[0], "unknown"),
    ] {
        let available = by_chart(
            &image(&format!("r.example/agent:{tag}")),
            "castai-agent",
            &release,
        );
        assert_eq!(told(&available), format!("r.example/agent:v0.162.0 {want}"));
        assert_eq!(available.by.as_deref(), Some("chart castai-agent 0.162.0"));
    }
}

#[test]
fn a_mirrored_image_is_released_under_its_public_name() {
    let ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let mut config = Config::default();
    let check = |config: &Config, literal: &str, want: &str| {
        assert_eq!(origin(&image(literal), config).literal(), want);
    };
    let hub = "us-docker.pkg.dev/castai-hub/library/agent:v1";
    check(&config, hub, hub);
    check(&config, &format!("{ecr}/{hub}"), hub);
    check(&config, &format!("{ecr}/busybox:1"), "busybox:1");
    config.mirror.to = Some(format!("{ecr}/team"));
    check(&config, &format!("{ecr}/team/{hub}"), hub);
    config.mirror.layout = Layout::Flat;
    let flat = format!("{ecr}/team/agent:v1");
    check(&config, &flat, &flat);
}

#[test]
fn only_unreachable_registries_are_worth_trying_later() {
    let error = |failure: Failure| Available {
        error: Some(failure.info()),
        ..Available::default()
    };
    let check = |found: Vec<Available>, want: Exit| {
        let found = found.into_iter().enumerate();
        let found = found.map(|(index, one)| (index.to_string(), one)).collect();
        assert_eq!(exit(&found), want);
    };
    let unreachable = || error(Failure::unreachable("x"));
    check(vec![], Exit::Done);
    check(vec![Available::default()], Exit::Done);
    check(vec![unreachable(), unreachable()], Exit::Unreachable);
    check(vec![unreachable(), Available::default()], Exit::Partial);
    check(vec![error(Failure::failed("x"))], Exit::Partial);
}
