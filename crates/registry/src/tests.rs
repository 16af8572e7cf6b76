//! The data plane against servers that lie.

mod downloads;
mod fuzz;
mod manifests;
mod redirects;
mod tokens;
mod uploads;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    Download, Registries, Registry, Started,
    error::{Kind, Result},
    liar::{Asked, HOST, Liar, Reply, config},
};
use crate::content::{Blob, Digest};

/// Nothing here may hang, whatever the server does.
async fn within<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let done = tokio::time::timeout(limit, work).await;
    done.expect("it ends by itself")
}

async fn registry(liar: &Liar) -> Arc<Registry> {
    Registries::new(&config(&[(HOST, liar)]))
        .get(HOST)
        .await
        .unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Downloads everything.
async fn download(liar: &Liar, blob: &Blob) -> Result<Vec<u8>> {
    let registry = registry(liar).await;
    let mut download = Download::new(&registry, "r", blob);
    let read = async {
        let mut all = Vec::new();
        while let Some(bytes) = download.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    };
    within(read).await
}

fn stored(liar: &Liar, bytes: &[u8]) -> Blob {
    Blob {
        digest: liar.put_blob("r", bytes),
        size: bytes.len() as u64,
    }
}

fn is_blob(asked: &Asked) -> bool {
    asked.method == "GET" && asked.target.contains("/blobs/")
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_broke() {
    let bytes = noise(300_000);
    let body = bytes.clone();
    let liar = Liar::start(move |asked, before| {
        (is_blob(asked) && before == 0).then(|| Reply {
            cut: Some(100_000),
            ..Reply::status(200).body(body.clone())
        })
    })
    .await;
    let blob = stored(&liar, &bytes);
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
    let asked = liar.asked("GET");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].headers["range"], "bytes=100000-");
}

#[tokio::test]
async fn a_server_without_ranges_is_skipped_through() {
    let bytes = noise(300_000);
    let body = bytes.clone();
    let liar = Liar::start(move |asked, before| {
        let cut = (before == 0).then_some(120_000);
        is_blob(asked).then(|| Reply {
            cut,
            ..Reply::status(200).body(body.clone())
        })
    })
    .await;
    let blob = stored(&liar, &bytes);
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_stalled_download_is_cut_and_resumed() {
    let bytes = noise(200_000);
    let body = bytes.clone();
    let liar = Liar::start(move |asked, before| {
        (is_blob(asked) && before == 0).then(|| Reply {
            hang: Some(50_000),
            ..Reply::status(200).body(body.clone())
        })
    })
    .await;
    let blob = stored(&liar, &bytes);
    let start = Instant::now();
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_body_of_another_length_is_corrupt_before_anything_is_sent() {
    let bytes = noise(1_000);
    for served in [999, 1_001] {
        let liar = Liar::start(move |asked, _| {
            is_blob(asked).then(|| Reply::status(200).body(noise(served)))
        })
        .await;
        let blob = stored(&liar, &bytes);
        let err = download(&liar, &blob).await.unwrap_err();
        assert_eq!(err.kind, Kind::Corrupt, "{err}");
        assert_eq!(liar.asked("GET").len(), 1);
    }
}

#[tokio::test]
async fn a_range_that_starts_elsewhere_is_refused() {
    let bytes = noise(200_000);
    let body = bytes.clone();
    let liar = Liar::start(move |asked, before| {
        is_blob(asked).then(|| match before {
            0 => Reply {
                cut: Some(70_000),
                ..Reply::status(200).body(body.clone())
            },
            _ => Reply::status(206)
                .header("Content-Range", "bytes 150000-199999/200000")
                .body(&body[150_000..]),
        })
    })
    .await;
    let blob = stored(&liar, &bytes);
    assert_eq!(
        download(&liar, &blob).await.unwrap_err().kind,
        Kind::Refused
    );
}

#[tokio::test]
async fn a_manifest_must_have_its_digest() {
    let liar = Liar::start(|asked, _| {
        asked.target.contains("/manifests/").then(|| {
            Reply::status(200)
                .header("Docker-Content-Digest", Digest::of(b"other").to_string())
                .body(r#"{"schemaVersion":2,"layers":[]}"#)
        })
    })
    .await;
    let registry = registry(&liar).await;
    assert_eq!(
        registry.get_manifest("r", "v1").await.unwrap_err().kind,
        Kind::Corrupt
    );
    let pinned = Digest::of(b"pinned");
    let err = registry
        .get_manifest("r", pinned.as_str())
        .await
        .unwrap_err();
    assert_eq!(err.kind, Kind::Corrupt);
}

#[tokio::test]
async fn manifests_over_the_limit_are_not_read() {
    let liar = Liar::start(|_, _| Some(Reply::status(200).body(vec![b' '; (8 << 20) + 1]))).await;
    let err = registry(&liar)
        .await
        .get_manifest("r", "v1")
        .await
        .unwrap_err();
    assert_eq!(err.kind, Kind::Refused, "{err}");
}

#[tokio::test]
async fn throttling_is_waited_out_as_long_as_the_server_says() {
    let liar = Liar::start(|asked, before| {
        (asked.method == "HEAD" && before == 0)
            .then(|| Reply::status(429).header("Retry-After", "1"))
    })
    .await;
    let digest = liar.put_manifest("r", "v1", br#"{"schemaVersion":2,"layers":[]}"#);
    let start = Instant::now();
    let found = registry(&liar)
        .await
        .head_manifest("r", "v1")
        .await
        .unwrap();
    assert_eq!(found, Some(digest));
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_is_missing_is_asked_for_once() {
    let liar = Liar::honest().await;
    let err = registry(&liar)
        .await
        .head_manifest("r", "v9")
        .await
        .unwrap_err();
    assert_eq!(err.kind, Kind::NotFound);
    assert_eq!(liar.asked("").len(), 1);
}

/// A registry with bearer tokens `t1`, `t2`, …; `valid` says which one it takes.
async fn bearer(valid: Arc<AtomicUsize>, life: u64) -> Liar {
    let issued = AtomicUsize::new(0);
    Liar::start(move |asked, _| {
        if asked.target.starts_with("/token") {
            let number = issued.fetch_add(1, SeqCst) + 1;
            let body = format!(r#"{{"token":"t{number}","expires_in":{life}}}"#);
            return Some(Reply::status(200).body(body));
        }
        let wanted = format!("Bearer t{}", valid.load(SeqCst));
        (asked.headers.get("authorization") != Some(&wanted)).then(|| {
            Reply::status(401).header(
                "WWW-Authenticate",
                r#"Bearer realm="/token",service="liar""#,
            )
        })
    })
    .await
}

#[tokio::test]
async fn many_first_requests_fetch_one_token() {
    let liar = bearer(Arc::new(AtomicUsize::new(1)), 300).await;
    liar.put_manifest("r", "v1", br#"{"schemaVersion":2,"layers":[]}"#);
    let registry = registry(&liar).await;
    let answers = join_all((0..8).map(|_| registry.head_manifest("r", "v1"))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Some(_)))));
    let tokens = liar.asked("/token");
    assert_eq!(tokens.len(), 1);
    assert!(
        tokens[0].target.contains("scope=repository%3Ar%3Apull"),
        "{}",
        tokens[0].target
    );
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let valid = Arc::new(AtomicUsize::new(1));
    let liar = bearer(Arc::clone(&valid), 300).await;
    liar.put_manifest("r", "v1", br#"{"schemaVersion":2,"layers":[]}"#);
    let registry = registry(&liar).await;
    registry.head_manifest("r", "v1").await.unwrap();
    valid.store(2, SeqCst);
    registry.head_manifest("r", "v1").await.unwrap();
    assert_eq!(liar.asked("/token").len(), 2);
    valid.store(99, SeqCst);
    let err = registry.head_manifest("r", "v1").await.unwrap_err();
    assert_eq!(err.kind, Kind::Denied);
    assert_eq!(liar.asked("/token").len(), 3);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let valid = Arc::new(AtomicUsize::new(1));
    let liar = bearer(Arc::clone(&valid), 0).await;
    liar.put_manifest("r", "v1", br#"{"schemaVersion":2,"layers":[]}"#);
    let registry = registry(&liar).await;
    registry.head_manifest("r", "v1").await.unwrap();
    valid.store(2, SeqCst);
    registry.head_manifest("r", "v1").await.unwrap();
    assert_eq!(
        liar.asked("HEAD").len(),
        3,
        "the second request went with a new token at once"
    );
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let other = Liar::honest().await;
    let bytes = noise(1_000);
    other.put_blob("r", &bytes);
    let url = other.url.clone();
    let liar = Liar::start(move |asked, _| {
        if asked.target.starts_with("/token") {
            return Some(Reply::status(200).body(r#"{"token":"secret"}"#));
        }
        let known = asked.headers.contains_key("authorization");
        Some(match known {
            true => Reply::status(307).header("Location", format!("{url}{}", asked.target)),
            false => Reply::status(401).header("WWW-Authenticate", r#"Bearer realm="/token""#),
        })
    })
    .await;
    let blob = Blob {
        digest: Digest::of(&bytes),
        size: 1_000,
    };
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
    let followed = other.asked("GET");
    assert_eq!(followed.len(), 1);
    assert!(!followed[0].headers.contains_key("authorization"));
    assert_eq!(
        followed[0].headers["user-agent"],
        concat!("castlink/", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let liar = Liar::start(|asked, _| {
        is_blob(asked).then(|| Reply::status(302).header("Location", asked.target.clone()))
    })
    .await;
    let blob = stored(&liar, b"x");
    assert_eq!(
        download(&liar, &blob).await.unwrap_err().kind,
        Kind::Refused
    );
}

#[tokio::test]
async fn a_mount_is_granted_or_becomes_a_session() {
    let liar = Liar::honest().await;
    let blob = stored(&liar, b"layer");
    let registry = registry(&liar).await;
    let granted = registry.start_upload("s", &blob, Some("r")).await.unwrap();
    assert!(matches!(granted, Started::Mounted));
    let refused = registry
        .start_upload("s", &blob, Some("nobody"))
        .await
        .unwrap();
    let Started::Session(upload) = refused else {
        panic!("mounted from nowhere");
    };
    registry
        .finish_upload(upload, &blob, "layer".into())
        .await
        .unwrap();
    assert_eq!(liar.asked("PUT").len(), 1);
}
