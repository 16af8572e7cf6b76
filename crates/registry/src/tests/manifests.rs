//! Manifests that are not what they are said to be, and writes that go elsewhere.

use super::*;
use crate::{
    content::{MAX_MANIFEST_PUSH, Manifest},
    liar::{ATTEMPTS, Framing},
};

const EMPTY: &str = r#"{"schemaVersion":2,"layers":[]}"#;

fn is_manifest(asked: &Asked) -> bool {
    asked.target.contains("/manifests/")
}

fn manifest(text: impl Into<Vec<u8>>) -> Manifest {
    Manifest::parse(text.into().into(), None, None).unwrap()
}

/// What came of asking for `r:v1`.
async fn get(liar: &Liar) -> Result<Manifest> {
    within(registry(liar).await.get_manifest("r", "v1")).await
}

/// What came of writing an empty manifest to `r:v1`.
async fn put(liar: &Liar) -> Result<()> {
    let registry = registry(liar).await;
    let put = within(registry.put_manifest("r", "v1", &manifest(EMPTY))).await;
    put.map(drop)
}

#[tokio::test]
async fn a_head_by_digest_is_about_that_digest() {
    let other = Digest::of(b"other");
    let liar = Liar::start(move |asked, _| {
        let reply = Reply::status(200).header("Docker-Content-Digest", other.to_string());
        is_manifest(asked).then_some(reply)
    })
    .await;
    let registry = registry(&liar).await;
    let asked = Digest::of(b"asked");
    let err = within(registry.head_manifest("r", asked.as_str())).await;
    let err = err.unwrap_err();
    assert_eq!(err.kind, Kind::Corrupt);
    let text = err.into_failure().one_line();
    assert!(text.contains(asked.as_str()), "{text}");
}

#[tokio::test]
async fn bytes_decide_when_they_were_asked_for_by_digest() {
    let liar = Liar::start(|asked, _| {
        let reply = Reply::status(200)
            .header("Docker-Content-Digest", Digest::of(b"other").to_string())
            .body(EMPTY);
        is_manifest(asked).then_some(reply)
    })
    .await;
    let digest = Digest::of(EMPTY.as_bytes());
    let registry = registry(&liar).await;
    let got = within(registry.get_manifest("r", digest.as_str())).await;
    assert_eq!(got.unwrap().digest, digest);
}

#[tokio::test]
async fn an_endless_manifest_is_not_read_to_its_end() {
    for framing in [Framing::Chunked, Framing::Close, Framing::Claim(1 << 40)] {
        let endless = vec![b' '; 9 << 20];
        let liar = Liar::start(move |asked, _| {
            let reply = Reply::status(200).body(endless.clone()).framing(framing);
            is_manifest(asked).then_some(reply)
        })
        .await;
        let err = get(&liar).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{framing:?}: {err}");
        assert_eq!(liar.asked("GET").len(), 1, "{framing:?}");
    }
}

#[tokio::test]
async fn a_manifest_that_breaks_off_is_asked_for_again() {
    let liar = Liar::start(|asked, before| {
        let short = Reply::status(200).framing(Framing::Claim(900)).body(EMPTY);
        (is_manifest(asked) && before == 0).then_some(short)
    })
    .await;
    liar.put_manifest("r", "v1", EMPTY.as_bytes());
    assert_eq!(get(&liar).await.unwrap().bytes, EMPTY);
    let liar = Liar::start(|asked, _| {
        let short = Reply::status(200).framing(Framing::Claim(900)).body(EMPTY);
        is_manifest(asked).then_some(short)
    })
    .await;
    assert_eq!(get(&liar).await.unwrap_err().kind, Kind::Transport);
    assert_eq!(liar.asked("GET").len(), ATTEMPTS as usize);
}

#[tokio::test]
async fn documents_that_are_no_manifests_are_named_and_not_repeated() {
    let huge = format!(r#"{{"mediaType":"{}"}}"#, "\u{1b}[2J".repeat(10_000));
    for body in ["", "null", "[]", "<html>sign in</html>", huge.as_str()] {
        let body = body.to_owned();
        let liar = Liar::start(move |asked, _| {
            is_manifest(asked).then(|| Reply::status(200).body(body.clone()))
        })
        .await;
        let err = get(&liar).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused);
        let text = err.into_failure().one_line();
        assert!(text.starts_with("liar.example/r:v1: refused by liar.example"));
        assert!(text.len() < 1_000 && !text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn errors_are_told_without_waiting_for_their_explanation() {
    let liar = Liar::start(|asked, _| {
        let endless = Reply {
            hang: Some(30),
            ..Reply::status(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)
        };
        is_manifest(asked).then_some(endless)
    })
    .await;
    let err = get(&liar).await.unwrap_err();
    assert_eq!(err.kind, Kind::NotFound, "{err}");
    let liar = Liar::start(|asked, _| {
        let huge = Reply::status(403).body(vec![b'x'; 4 << 20]);
        is_manifest(asked).then_some(huge)
    })
    .await;
    assert_eq!(get(&liar).await.unwrap_err().kind, Kind::Denied);
}

#[tokio::test]
async fn too_large_a_manifest_is_not_sent() {
    let liar = Liar::honest().await;
    let space = " ".repeat(MAX_MANIFEST_PUSH);
    let large = manifest(format!("{EMPTY}{space}"));
    let registry = registry(&liar).await;
    let err = registry.put_manifest("r", "v1", &large).await.unwrap_err();
    assert_eq!(err.kind, Kind::Refused);
    assert_eq!(liar.asked("").len(), 0);
}

#[tokio::test]
async fn what_is_stored_must_be_what_was_sent() {
    let liar = Liar::start(|asked, _| {
        let other = Digest::of(b"other").to_string();
        let reply = Reply::status(201).header("Docker-Content-Digest", other);
        (asked.method == "PUT").then_some(reply)
    })
    .await;
    assert_eq!(put(&liar).await.unwrap_err().kind, Kind::Corrupt);
}

#[tokio::test]
async fn a_write_that_is_redirected_is_no_success() {
    let other = Liar::start(|_, _| Some(Reply::status(200).body("welcome"))).await;
    for status in [301, 302, 303, 307, 308] {
        let login = format!("{}/login", other.url);
        let liar = Liar::start(move |asked, _| {
            let reply = Reply::status(status).header("Location", login.clone());
            (asked.method == "PUT").then_some(reply)
        })
        .await;
        let err = put(&liar).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{status}");
        let text = err.into_failure().one_line();
        assert!(text.contains("redirected, to 127.0.0.1"), "{text}");
    }
    let here = Liar::start(|asked, _| match asked.method.as_str() {
        "PUT" => Some(Reply::status(303).header("Location", "/done")),
        _ => Some(Reply::status(200)),
    })
    .await;
    assert_eq!(put(&here).await.unwrap_err().kind, Kind::Refused);
}

#[tokio::test]
async fn a_write_without_an_answer_is_repeated() {
    for reply in [Reply::nothing(), Reply::silence(), Reply::status(502)] {
        let liar = Liar::start(move |asked, before| {
            (asked.method == "PUT" && before == 0).then(|| reply.clone())
        })
        .await;
        put(&liar).await.unwrap();
        assert_eq!(liar.asked("PUT").len(), 2);
    }
}
