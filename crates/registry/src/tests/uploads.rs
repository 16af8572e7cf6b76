//! Uploads into sessions that lead elsewhere, end early, or store something else.

use super::*;
use crate::liar::ATTEMPTS;

/// A server whose upload sessions are at `location`, and which answers PUTs with `reply`.
async fn sessions(location: Option<String>, reply: Reply) -> Liar {
    Liar::start(move |asked, _| match asked.method.as_str() {
        "POST" => Some(match &location {
            Some(location) => Reply::status(202).header("Location", location.clone()),
            None => Reply::status(202),
        }),
        "PUT" => Some(reply.clone()),
        _ => None,
    })
    .await
}

fn blob(bytes: &[u8]) -> Blob {
    Blob {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

/// Uploads `bytes` to the registry.
async fn send(registry: &Registry, bytes: &[u8]) -> Result<()> {
    let blob = blob(bytes);
    let work = async {
        match registry.start_upload("r", &blob, None).await? {
            Started::Session(upload) => {
                let body = bytes.to_vec();
                registry.finish_upload(upload, &blob, body.into()).await
            }
            Started::Mounted => panic!("nobody asked for a mount"),
        }
    };
    within(work).await
}

#[tokio::test]
async fn a_session_may_be_anywhere_on_the_web() {
    let other = Liar::honest().await;
    let elsewhere = format!("{}/v2/r/blobs/uploads/7?_state=a%2Fb%3D", other.url);
    let liar = sessions(Some(elsewhere), Reply::default()).await;
    let registry = tokens::with_password(&liar).await;
    send(&registry, b"layer").await.unwrap();
    let put = other.asked("PUT").remove(0);
    assert!(!put.headers.contains_key("authorization"));
    let digest = Digest::of(b"layer").to_string().replace(':', "%3A");
    let want = format!("/v2/r/blobs/uploads/7?_state=a%2Fb%3D&digest={digest}");
    assert_eq!(put.target, want, "the server's own part as it was");
    assert!(other.store().offences.is_empty());
}

#[tokio::test]
async fn sessions_at_impossible_addresses_are_refused() {
    for location in [
        None,
        Some("http://"),
        Some("ftp://127.0.0.1/upload"),
        Some("file:///etc/passwd"),
        Some("http://user:secret@127.0.0.1:1/upload"),
        Some("http://[::g]/upload"),
    ] {
        let liar = sessions(location.map(str::to_owned), Reply::status(201)).await;
        let err = send(&*registry(&liar).await, b"layer").await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{location:?}");
        let text = err.into_failure().one_line();
        assert!(
            text.contains("session") && !text.contains("secret"),
            "{text}"
        );
        assert_eq!(liar.asked("PUT").len(), 0, "{location:?}");
    }
}

#[tokio::test]
async fn what_is_stored_must_be_the_blob() {
    let digest = Digest::of(b"other").to_string();
    let reply = Reply::status(201).header("Docker-Content-Digest", digest.clone());
    let liar = sessions(Some("/v2/r/blobs/uploads/1".into()), reply).await;
    let err = send(&*registry(&liar).await, b"layer").await.unwrap_err();
    assert_eq!(err.kind, Kind::Corrupt);
    let liar = Liar::start(move |_, _| {
        let reply = Reply::status(201).header("Docker-Content-Digest", digest.clone());
        Some(reply)
    })
    .await;
    let registry = registry(&liar).await;
    let err = within(registry.start_upload("r", &blob(b"layer"), Some("s"))).await;
    assert_eq!(err.unwrap_err().kind, Kind::Corrupt);
}

#[tokio::test]
async fn refusals_of_the_data_are_told_by_what_helps() {
    for (status, kind) in [
        (400, Kind::Refused),
        (403, Kind::Denied),
        // A new session helps.
        (404, Kind::Unavailable),
        (409, Kind::Unavailable),
        (416, Kind::Unavailable),
        (429, Kind::Throttled),
        (500, Kind::Unavailable),
        (302, Kind::Refused),
    ] {
        let location = Some("/v2/r/blobs/uploads/1".to_owned());
        let liar = sessions(location, Reply::status(status)).await;
        let err = send(&*registry(&liar).await, b"layer").await.unwrap_err();
        assert_eq!(err.kind, kind, "{status}");
        assert_eq!(liar.asked("PUT").len(), 1, "sent once: {status}");
    }
}

#[tokio::test]
async fn an_error_before_the_end_of_the_body_is_heard() {
    // More than the sockets' buffers hold: the client is still sending when it comes.
    let bytes = noise(12_000_000);
    let liar = Liar::start_early(|asked, _| {
        let denied = Reply::status(403).body(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#);
        (asked.method == "PUT").then_some(denied)
    })
    .await;
    let err = send(&*registry(&liar).await, &bytes).await.unwrap_err();
    assert_eq!(err.kind, Kind::Denied, "{err}");
}

#[tokio::test]
async fn a_post_without_an_answer_is_repeated() {
    for reply in [Reply::nothing(), Reply::silence(), Reply::status(503)] {
        let trouble = reply.clone();
        let once = Liar::start(move |asked, before| {
            (asked.method == "POST" && before == 0).then(|| trouble.clone())
        })
        .await;
        send(&*registry(&once).await, b"layer").await.unwrap();
        assert_eq!(once.asked("POST").len(), 2);
        let always = Liar::start(move |_, _| Some(reply.clone())).await;
        let err = send(&*registry(&always).await, b"layer").await.unwrap_err();
        assert!(err.kind.is_transient());
        assert_eq!(always.asked("POST").len(), ATTEMPTS as usize);
        let text = err.into_failure().one_line();
        assert!(text.starts_with("upload of sha256:"), "{text}");
    }
}
