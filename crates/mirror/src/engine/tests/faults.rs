//! Whole copies through stalls, lies about sizes, and indexes made to exhaust their reader.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::liar::Framing;

/// More than the sockets' buffers hold: an upload is under way before its end.
const LARGE: usize = 12_000_000;

/// Nothing here may hang, whatever the servers do.
async fn within<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(120), work).await;
    done.expect("it ends by itself")
}

/// Once, for the upload of something large.
fn first_large(
    lie: impl Fn() -> Reply + Send + Sync + 'static,
) -> impl Fn(&Asked, usize) -> Option<Reply> {
    let times = AtomicUsize::new(0);
    move |asked, _| {
        let large = is_put(asked) && asked.headers["content-length"].len() > 5;
        (large && times.fetch_add(1, SeqCst) == 0).then(&lie)
    }
}

#[tokio::test]
async fn a_target_that_takes_nothing_is_left_and_tried_again() {
    let source = Liar::honest().await;
    let target = Liar::start_early(first_large(Reply::silence)).await;
    source.put_image("a", "v1", &[&noise(5, LARGE)]);
    let run = within(copy(&source, &target, &["a:v1"])).await;
    assert_eq!(run.failures, [""; 0]);
    assert!(target.store().offences.is_empty());
}

#[tokio::test]
async fn a_target_that_takes_everything_and_says_nothing_is_left() {
    let source = Liar::honest().await;
    let target = Liar::start(first_large(Reply::silence)).await;
    source.put_image("a", "v1", &[&noise(5, 100_000)]);
    let run = within(copy(&source, &target, &["a:v1"])).await;
    assert_eq!(run.failures, [""; 0]);
    assert_eq!(
        target.asked("POST").len(),
        3,
        "two blobs, one of them twice"
    );
}

#[tokio::test]
async fn a_source_that_stalls_is_asked_for_the_rest_of_the_same_upload() {
    let large = noise(5, LARGE);
    let (body, digest) = (large.clone(), Digest::of(&large));
    let source = Liar::start(move |asked, before| {
        (asked.target.ends_with(digest.as_str()) && before == 0).then(|| Reply {
            hang: Some(LARGE / 2),
            ..Reply::status(200).body(body.clone())
        })
    })
    .await;
    let target = Liar::honest().await;
    source.put_image("a", "v1", &[&large]);
    let run = within(copy(&source, &target, &["a:v1"])).await;
    assert_eq!(run.failures, [""; 0]);
    assert_eq!(target.asked("POST").len(), 2, "one session a blob");
    assert!(source.asked("GET /v2/a/blobs").iter().any(|asked| {
        let range = asked.headers.get("range");
        range.is_some_and(|range| *range == format!("bytes={}-", LARGE / 2))
    }));
}

#[tokio::test]
async fn an_end_that_is_reported_too_early_is_not_believed() {
    let source = Liar::honest().await;
    let target = Liar::start_early(|asked, _| is_put(asked).then(|| Reply::status(201))).await;
    source.put_image("a", "v1", &[&noise(5, LARGE)]);
    let run = within(copy(&source, &target, &["a:v1"])).await;
    assert_eq!(run.failures.len(), 1);
    assert!(target.asked("PUT /v2/a/manifests").is_empty());
}

#[tokio::test]
async fn content_of_another_size_never_completes_an_upload() {
    let good = noise(5, 300_000);
    let digest = Digest::of(&good);
    for (framing, length) in [
        (Framing::Chunked, 300_001),
        (Framing::Close, 300_001),
        (Framing::Chunked, 299_999),
    ] {
        let (digest, body) = (digest.clone(), noise(5, length));
        let source = Liar::start(move |asked, _| {
            let reply = Reply::status(200).body(body.clone()).framing(framing);
            asked.target.ends_with(digest.as_str()).then_some(reply)
        })
        .await;
        let target = Liar::honest().await;
        source.put_image("a", "v1", &[&good]);
        let run = within(copy(&source, &target, &["a:v1"])).await;
        assert_eq!(run.failures.len(), 1, "{framing:?} {length}");
        let store = target.store();
        assert!(store.offences.is_empty(), "{:?}", store.offences);
        assert!(store.manifests.is_empty());
    }
}

#[tokio::test]
async fn an_empty_blob_has_the_digest_of_nothing() {
    let source = Liar::honest().await;
    let target = Liar::start(|asked, _| {
        let bad = is_put(asked) && asked.target.contains("/bad/");
        bad.then(|| Reply::status(201))
    })
    .await;
    source.put_image("good", "v1", &[b""]);
    let lie = serde_json::json!({"schemaVersion": 2, "layers": [
        {"mediaType": "m", "digest": Digest::of(b"something").as_str(), "size": 0},
    ]});
    source.put_manifest("bad", "v1", lie.to_string().as_bytes());
    let run = within(copy(&source, &target, &["good:v1", "bad:v1"])).await;
    assert_eq!(run.failures.len(), 1, "{:?}", run.failures);
    assert!(
        run.failures[0].contains("corrupt content"),
        "{:?}",
        run.failures
    );
    assert!(target.asked("PUT /v2/bad").is_empty());
}

#[tokio::test]
async fn sizes_beyond_reason_are_refused_and_sums_of_them_do_not_overflow() {
    let (source, target) = (Liar::honest().await, Liar::honest().await);
    let image = |sizes: &[u64]| {
        let layers: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(n, size)| {
                let digest = Digest::of(&n.to_le_bytes());
                serde_json::json!({"mediaType": "m", "digest": digest.as_str(), "size": size})
            })
            .collect();
        serde_json::json!({"schemaVersion": 2, "layers": layers}).to_string()
    };
    source.put_manifest("huge", "v1", image(&[u64::MAX]).as_bytes());
    source.put_manifest("sum", "v1", image(&[1 << 46; 30]).as_bytes());
    let run = within(copy(&source, &target, &["huge:v1", "sum:v1"])).await;
    assert_eq!(
        run.failures.len(),
        1,
        "the one that was planned: {:?}",
        run.failures
    );
    assert_eq!(run.plan.totals().read, 30 << 46);
    let Action::Leave(failure) = &run.plan.images[0].action else {
        panic!("{:?}", run.plan.images[0].action);
    };
    assert!(failure.one_line().contains("not believed"), "{failure}");
}

#[tokio::test]
async fn foreign_layers_are_neither_read_nor_asked_for() {
    let (source, target) = (Liar::honest().await, Liar::honest().await);
    let digest = source.put_blob("a", b"layer");
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let manifest = serde_json::json!({"schemaVersion": 2, "layers": [
        {"mediaType": "m", "digest": digest.as_str(), "size": 5},
        {"mediaType": foreign, "digest": Digest::of(b"far").as_str(), "size": 3, "urls": ["https://far.example/"]},
    ]});
    source.put_manifest("a", "v1", manifest.to_string().as_bytes());
    let run = within(copy(&source, &target, &["a:v1"])).await;
    assert_eq!(run.failures, [""; 0]);
    assert_eq!(target.asked("PUT /v2/a/blobs").len(), 1);
}

#[tokio::test]
async fn one_platform_may_be_listed_twice() {
    let (source, target) = (Liar::honest().await, Liar::honest().await);
    let (first, second) = (
        source.put_image("a", "x", &[b"x"]),
        source.put_image("a", "y", &[b"y"]),
    );
    let entry = |digest: &Digest| {
        serde_json::json!({"mediaType": "m", "digest": digest.as_str(), "size": 1,
            "platform": {"os": "linux", "architecture": "amd64"}})
    };
    let entries = [entry(&first), entry(&second), entry(&first)];
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    source.put_manifest("a", "v1", index.to_string().as_bytes());
    let run = within(copy(&source, &target, &["a:v1"])).await;
    assert_eq!(run.failures, [""; 0]);
    assert_eq!(target.asked("PUT /v2/a/manifests").len(), 3, "each once");
    assert!(target.store().offences.is_empty());
}
