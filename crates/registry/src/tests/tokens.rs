//! Token servers that are down, talk nonsense, or ask for what is not theirs.

use std::io::Write as _;

use super::*;
use crate::liar::{ATTEMPTS, Framing};

const EMPTY: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;

/// The registry of `liar`, with a user name and a password for it.
pub(super) async fn with_password(liar: &Liar) -> Arc<Registry> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hunter2\n").unwrap();
    let mut config = config(&[(HOST, liar)]);
    let settings = config.registries.get_mut(HOST).unwrap();
    settings.username = Some("me".into());
    settings.password_file = Some(file.path().to_owned());
    Registries::new(&config).get(HOST).await.unwrap()
}

/// A registry whose tokens come from a server that gives `answer` to requests for them.
async fn tokens(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Liar {
    let liar = Liar::start(move |asked, before| {
        if asked.target.starts_with("/token") {
            return Some(answer(before));
        }
        let known = asked.headers.contains_key("authorization");
        let challenge = r#"Bearer realm="/token",service="liar""#;
        (!known).then(|| Reply::status(401).header("WWW-Authenticate", challenge))
    })
    .await;
    liar.put_manifest("r", "v1", EMPTY);
    liar
}

/// What came of asking it for a manifest.
async fn head(liar: &Liar) -> Result<Option<Digest>> {
    within(registry(liar).await.head_manifest("r", "v1")).await
}

#[tokio::test]
async fn what_a_token_server_fails_with_is_not_said_of_the_image() {
    for (status, kind, tries) in [
        (401, Kind::Denied, 1),
        (403, Kind::Denied, 1),
        (404, Kind::Refused, 1),
        (409, Kind::Refused, 1),
        (400, Kind::Refused, 1),
        (429, Kind::Throttled, ATTEMPTS),
        (500, Kind::Unavailable, ATTEMPTS),
    ] {
        let liar = tokens(move |_| Reply::status(status)).await;
        let err = head(&liar).await.unwrap_err();
        assert_eq!(err.kind, kind, "{status}");
        assert_eq!(liar.asked("/token").len(), tries as usize, "{status}");
        let text = err.into_failure().one_line();
        assert!(text.contains("asking 127.0.0.1 for a token"), "{text}");
        assert!(text.contains("liar.example/r:v1"), "{text}");
    }
}

#[tokio::test]
async fn an_answer_without_a_token_is_nonsense() {
    let huge = format!(r#"{{"token":"{}"}}"#, "x".repeat(2 << 20));
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "<html>",
        r#"{"token":""}"#,
        r#"{"token":7}"#,
        r#"{"token":"a\nb"}"#,
        r#"{"access_token":null}"#,
        r#"{"token":"secret","expires_in":"soon"}"#,
        huge.as_str(),
    ] {
        let reply = Reply::status(200).body(body);
        let liar = tokens(move |_| reply.clone()).await;
        let err = head(&liar).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{err}");
        assert_eq!(liar.asked("/token").len(), 1);
        let text = err.into_failure().one_line();
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let endless = Reply::status(200).body(vec![b' '; 4 << 20]);
    let liar = tokens(move |_| endless.clone().framing(Framing::Chunked)).await;
    assert_eq!(head(&liar).await.unwrap_err().kind, Kind::Refused);
}

#[tokio::test]
async fn any_life_of_a_token_will_do() {
    for life in ["18446744073709551615", "1e300", "-1", "0", "299.5", "null"] {
        let body = format!(r#"{{"access_token":"t","expires_in":{life}}}"#);
        let liar = tokens(move |_| Reply::status(200).body(body.clone())).await;
        assert!(head(&liar).await.is_ok(), "{life}");
    }
}

#[tokio::test]
async fn a_token_server_that_is_back_is_asked_again() {
    for trouble in [Reply::nothing(), Reply::status(503)] {
        let liar = tokens(move |before| match before {
            0 => trouble.clone(),
            _ => Reply::status(200).body(r#"{"token":"t"}"#),
        })
        .await;
        assert!(head(&liar).await.is_ok());
        assert_eq!(liar.asked("/token").len(), 2);
    }
}

#[tokio::test]
async fn a_password_goes_to_the_token_server_alone() {
    let liar = tokens(|_| Reply::status(200).body(r#"{"token":"t"}"#)).await;
    let registry = with_password(&liar).await;
    within(registry.head_manifest("r", "v1")).await.unwrap();
    let of = |text: &str| -> Vec<Option<String>> {
        let asked = liar.asked(text).into_iter();
        asked
            .map(|asked| asked.headers.get("authorization").cloned())
            .collect()
    };
    assert_eq!(of("/token"), [Some("Basic bWU6aHVudGVyMg==".to_owned())]);
    assert_eq!(of("/v2/"), [None, Some("Bearer t".to_owned())]);
}

#[tokio::test]
async fn a_realm_elsewhere_gets_no_password_without_encryption() {
    // Another host than the registry's, as far as names go.
    let elsewhere = Liar::honest().await;
    let port = elsewhere.url.rsplit_once(':').unwrap().1.to_owned();
    let liar = Liar::start(move |_, _| {
        let challenge = format!(r#"Bearer realm="http://castlink.invalid:{port}/token""#);
        Some(Reply::status(401).header("WWW-Authenticate", challenge))
    })
    .await;
    let registry = with_password(&liar).await;
    let err = within(registry.head_manifest("r", "v1")).await.unwrap_err();
    assert_eq!(err.kind, Kind::Denied);
    let text = err.into_failure().one_line();
    assert!(
        text.contains("castlink.invalid") && text.contains("not encrypted"),
        "{text}"
    );
    assert!(elsewhere.asked("").is_empty());
}
