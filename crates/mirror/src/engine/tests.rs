//! Whole copies between servers that lie: observe, plan, run.

mod faults;
mod property;
mod twins;

use std::{sync::Arc, time::Duration};

use castlink_core::{
    Printer,
    cli::OutputArgs,
    progress::{Progress, Unit},
    reference::Layout,
    wait,
};

use super::{Tally, run};
use crate::{
    content::Digest,
    input::Request,
    liar::{Asked, HOST, Liar, Reply, config},
    observe::{Depth, Destination, Observation, Scope, observe},
    plan::{Action, Plan, plan},
    platform::Selection,
    registry::Registries,
    site::Sites,
};

const TARGET: &str = "target.example";

struct Run {
    plan: Plan,
    tally: Tally,
    failures: Vec<String>,
}

/// Copies `images` from one liar to the other.
async fn copy(source: &Liar, target: &Liar, images: &[&str]) -> Run {
    let images: Vec<String> = images.iter().map(|name| format!("{HOST}/{name}")).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    copy_between(&[(HOST, source), (TARGET, target)], &images).await
}

/// Copies images that are named in full to the target.
async fn copy_between(servers: &[(&str, &Liar)], images: &[&str]) -> Run {
    let config = config(servers);
    let sites = Arc::new(Sites::new(Registries::new(&config)));
    let plan = plan(look(&sites, images, Depth::Changed).await, true);
    let printer = Printer::new(&OutputArgs::default(), false);
    let progress = Arc::new(Progress::start(&printer, "test", Unit::Bytes, 1, 1));
    let mut failures = Vec::new();
    let done = |_, result: Result<super::Parity, crate::observe::Shared>| {
        failures.extend(result.err().map(|failure| failure.one_line()));
    };
    let tally = run(sites, &config.mirror, &plan, progress, done).await;
    Run {
        plan,
        tally,
        failures,
    }
}

async fn look(sites: &Sites, images: &[&str], depth: Depth) -> Observation {
    let to = Destination::Registry {
        name: TARGET.into(),
        layout: Layout::Path,
    };
    let request = |name: &&str| request(name);
    let scope = Scope {
        depth,
        platforms: &Selection::default(),
        attachments: true,
    };
    let requests = images.iter().map(request).collect();
    observe(sites, &[to], requests, scope).await.unwrap()
}

fn request(image: &str) -> Request {
    Request {
        image: image.parse().unwrap(),
        optional: false,
        locked: None,
    }
}

fn noise(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * seed + i / 251) as u8).collect()
}

fn is_put(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.target.contains("/blobs/uploads/")
}

#[tokio::test]
async fn images_arrive_whole_and_a_second_run_writes_nothing() {
    let (source, target) = (Liar::honest().await, Liar::honest().await);
    let shared = noise(3, 400_000);
    for name in ["a", "b", "c"] {
        source.put_image(name, "v1", &[&shared, name.as_bytes()]);
    }
    let images = ["a:v1", "b:v1", "c:v1"];
    let first = copy(&source, &target, &images).await;
    assert_eq!(first.failures, [""; 0]);
    assert_eq!(first.plan.totals().images, 3);
    assert_eq!(
        first.tally.sent(),
        400_000 + 2 + 3,
        "the shared blobs are sent once"
    );
    assert_eq!(first.tally.mounted(), 2 * (400_000 + 2));
    let blobs = source
        .asked("GET /v2/")
        .into_iter()
        .filter(|asked| asked.target.contains("/blobs/"));
    assert_eq!(blobs.count(), 5, "every distinct blob is read once");
    for name in ["a", "b", "c"] {
        let key = (name.to_owned(), "v1".to_owned());
        assert_eq!(
            source.store().manifests[&key],
            target.store().manifests[&key]
        );
    }
    let written = target.asked("PUT").len() + target.asked("POST").len();
    let second = copy(&source, &target, &images).await;
    assert!(second.plan.is_empty());
    assert_eq!(
        target.asked("PUT").len() + target.asked("POST").len(),
        written
    );
}

#[tokio::test]
async fn wrong_content_never_completes_an_upload() {
    // More than the sockets' buffers hold, so that the upload is under way before the end.
    const SIZE: usize = 12_000_000;
    let good = noise(5, SIZE);
    let mut bad = good.clone();
    bad[SIZE - 1] ^= 1;
    let digest = Digest::of(&good);
    let source = Liar::start(move |asked, _| {
        asked
            .target
            .ends_with(digest.as_str())
            .then(|| Reply::status(200).body(bad.clone()))
    })
    .await;
    // Takes whatever it is sent: only we can notice.
    let target = Liar::start(|asked, _| is_put(asked).then(|| Reply::status(201))).await;
    source.put_image("a", "v1", &[&good]);
    let run = copy(&source, &target, &["a:v1"]).await;
    assert_eq!(run.failures.len(), 1);
    assert!(
        run.failures[0].contains("corrupt content"),
        "{:?}",
        run.failures
    );
    // The target notes a cut request when it sees the connection end, a moment later.
    let large = wait::until(
        Duration::from_secs(10),
        Duration::from_millis(10),
        async || {
            let mut puts = target.asked("PUT");
            puts.retain(|asked| asked.headers["content-length"] == SIZE.to_string());
            Ok::<_, ()>(match puts.is_empty() {
                true => wait::Poll::Pending(String::new()),
                false => wait::Poll::Ready(puts),
            })
        },
    );
    let large = large.await.unwrap().expect("the upload had begun");
    assert!(
        large.iter().all(|asked| !asked.complete),
        "and was cut before its end"
    );
    assert!(
        target.asked("PUT /v2/a/manifests").is_empty(),
        "no manifest without its blobs"
    );
}

#[tokio::test]
async fn refused_mounts_use_their_sessions_and_are_not_tried_for_ever() {
    let source = Liar::honest().await;
    let target = Liar::start(|asked, _| {
        let mount = asked.method == "POST" && asked.target.contains("mount=");
        mount.then(|| Reply::status(202).header("Location", asked.target.replace("?", "/s1?")))
    })
    .await;
    let layers: Vec<Vec<u8>> = (1..=12).map(|seed| noise(seed, 50_000 + seed)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    for name in ["a", "b"] {
        source.put_image(name, "v1", &layers);
    }
    let run = copy(&source, &target, &["a:v1", "b:v1"]).await;
    assert_eq!(run.failures, [""; 0]);
    assert_eq!(run.tally.mounted(), 0);
    assert_eq!(target.asked("PUT /v2/b/blobs").len(), 13);
    let asked = target.asked("POST");
    let mounts = asked
        .iter()
        .filter(|asked| asked.target.contains("mount="))
        .count();
    assert!((1..13).contains(&mounts), "{mounts} mounts were tried");
}

#[tokio::test]
async fn a_cut_upload_starts_again_in_a_new_session() {
    let source = Liar::honest().await;
    let cuts = std::sync::atomic::AtomicUsize::new(0);
    let target = Liar::start(move |asked, _| {
        let first = is_put(asked) && cuts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        first.then(|| Reply {
            cut: Some(0),
            ..Reply::status(500).body("x")
        })
    })
    .await;
    source.put_image("a", "v1", &[&noise(9, 100_000)]);
    let run = copy(&source, &target, &["a:v1"]).await;
    assert_eq!(run.failures, [""; 0]);
    assert_eq!(
        target.asked("POST").len(),
        3,
        "two blobs, one of them twice"
    );
}

#[tokio::test]
async fn one_bad_image_does_not_hide_the_others() {
    let source = Liar::honest().await;
    let target = Liar::honest().await;
    source.put_image("a", "v1", &[b"a"]);
    let digest = source.put_image("b", "v1", &[b"gone"]);
    source.store().blobs.retain(|_, bytes| bytes != b"gone");
    let run = copy(&source, &target, &["a:v1", "b:v1", "missing:v1"]).await;
    assert_eq!(run.failures.len(), 1, "{:?}", run.failures);
    assert!(
        run.failures[0].contains("not found in liar.example"),
        "{:?}",
        run.failures
    );
    assert_eq!(
        run.plan.totals().images,
        2,
        "the missing one is not planned"
    );
    let there = target.store().manifests.keys().cloned().collect::<Vec<_>>();
    assert!(
        there.iter().all(|(repository, _)| repository == "a"),
        "{there:?}, not {digest}"
    );
}

#[tokio::test]
async fn a_missing_child_stops_its_index() {
    let (source, target) = (Liar::honest().await, Liar::honest().await);
    let child = source.put_image("a", "child", &[b"x"]);
    let gone = Digest::of(b"gone");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "m", "digest": child.as_str(), "size": 1},
        {"mediaType": "m", "digest": gone.as_str(), "size": 1},
    ]});
    source.put_manifest("a", "v1", index.to_string().as_bytes());
    let run = copy(&source, &target, &["a:v1"]).await;
    assert!(matches!(run.plan.images[0].action, Action::Leave(_)));
    assert!(target.asked("POST").is_empty());
}

#[tokio::test]
async fn verification_looks_below_the_tag() {
    let (source, target) = (Liar::honest().await, Liar::honest().await);
    source.put_image("a", "v1", &[b"layer"]);
    copy(&source, &target, &["a:v1"]).await;
    let config = config(&[(HOST, &source), (TARGET, &target)]);
    let sites = Sites::new(Registries::new(&config));
    let whole = plan(
        look(&sites, &[&format!("{HOST}/a:v1")], Depth::All).await,
        true,
    );
    assert!(whole.is_empty());
    target.store().blobs.retain(|_, bytes| bytes != b"layer");
    let broken = plan(
        look(&sites, &[&format!("{HOST}/a:v1")], Depth::All).await,
        true,
    );
    assert_eq!(broken.totals().blobs, 1);
}
