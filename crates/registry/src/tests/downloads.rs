//! Blobs that are read from servers that cut, stall, redirect and make up ranges.

use super::*;
use crate::liar::{ATTEMPTS, Framing};

/// A blob of `size` bytes at a server whose answers to GETs of blobs `lie` changes. The
/// number says which request it is.
async fn lying(
    size: usize,
    lie: impl Fn(&Asked, usize, &[u8]) -> Option<Reply> + Send + Sync + 'static,
) -> (Liar, Blob, Vec<u8>) {
    let bytes = noise(size);
    let body = bytes.clone();
    let hook = move |asked: &Asked, before| match is_blob(asked) {
        true => lie(asked, before, &body),
        false => None,
    };
    let liar = Liar::start(hook).await;
    let blob = stored(&liar, &bytes);
    (liar, blob, bytes)
}

#[tokio::test]
async fn a_cut_anywhere_is_made_up_for() {
    const SIZE: usize = 200_000;
    for cut in [0, 1, SIZE / 2, SIZE - 1] {
        let (liar, blob, bytes) = lying(SIZE, move |_, before, body| {
            (before == 0).then(|| Reply {
                cut: Some(cut),
                ..Reply::status(200).body(body)
            })
        })
        .await;
        assert_eq!(download(&liar, &blob).await.unwrap(), bytes, "cut at {cut}");
        let asked = liar.asked("GET");
        assert_eq!(asked.len(), 2, "cut at {cut}");
        let range = asked[1].headers.get("range").cloned();
        let want = (cut > 0).then(|| format!("bytes={cut}-"));
        assert_eq!(range, want, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_server_that_always_cuts_is_given_up() {
    let (liar, blob, _) = lying(200_000, |_, _, body| {
        Some(Reply {
            cut: Some(0),
            ..Reply::status(200).body(body)
        })
    })
    .await;
    let err = download(&liar, &blob).await.unwrap_err();
    assert_eq!(err.kind, Kind::Transport);
    assert_eq!(liar.asked("GET").len(), ATTEMPTS as usize);
    let text = err.into_failure().one_line();
    assert!(text.contains(blob.digest.short()), "{text}");
}

#[tokio::test]
async fn the_end_of_a_body_may_be_told_in_any_way() {
    for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
        let (liar, blob, bytes) = lying(300_000, move |_, _, body| {
            Some(Reply::status(200).body(body).framing(framing))
        })
        .await;
        assert_eq!(download(&liar, &blob).await.unwrap(), bytes, "{framing:?}");
        assert_eq!(liar.asked("GET").len(), 1, "{framing:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_short_is_completed() {
    const SIZE: usize = 100_000;
    for framing in [
        Framing::Chunked,
        Framing::Close,
        Framing::Claim(SIZE as u64),
    ] {
        let (liar, blob, bytes) = lying(SIZE, move |_, before, body| {
            (before == 0).then(|| Reply::status(200).body(&body[..60_000]).framing(framing))
        })
        .await;
        assert_eq!(download(&liar, &blob).await.unwrap(), bytes, "{framing:?}");
        let asked = liar.asked("GET");
        assert_eq!(asked[1].headers["range"], "bytes=60000-", "{framing:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_corrupt() {
    for framing in [Framing::Chunked, Framing::Close] {
        let (liar, blob, _) = lying(100_000, move |_, _, body| {
            let body = [body, b"and more"].concat();
            Some(Reply::status(200).body(body).framing(framing))
        })
        .await;
        let err = download(&liar, &blob).await.unwrap_err();
        assert_eq!(err.kind, Kind::Corrupt, "{framing:?}");
        assert_eq!(liar.asked("GET").len(), 1, "{framing:?}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    // Two bytes of header, and what a decoder would take for the end.
    let (liar, blob, _) = lying(10, |_, _, _| {
        let empty = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
        let reply = Reply::status(200).header("Content-Encoding", "gzip");
        Some(reply.body(*empty))
    })
    .await;
    let err = download(&liar, &blob).await.unwrap_err();
    assert_eq!(err.kind, Kind::Corrupt);
    let text = err.into_failure().one_line();
    assert!(text.contains("20 bytes instead of the 10"), "{text}");
}

#[tokio::test]
async fn ranges_of_something_else_are_not_taken() {
    for (range, want) in [
        ("bytes 150000-199999/200000", Kind::Refused),
        ("bytes 0-69999/200000", Kind::Refused),
        ("bytes 70000-199999/200001", Kind::Corrupt),
        ("bytes 70000-60000/200000", Kind::Refused),
        ("bytes=70000-", Kind::Refused),
        ("", Kind::Refused),
    ] {
        let (liar, blob, _) = lying(200_000, move |_, before, body| {
            Some(match before {
                0 => Reply {
                    cut: Some(70_000),
                    ..Reply::status(200).body(body)
                },
                _ => Reply::status(206)
                    .header("Content-Range", range)
                    .body(&body[70_000..]),
            })
        })
        .await;
        let err = download(&liar, &blob).await.unwrap_err();
        assert_eq!(err.kind, want, "{range}");
    }
}

#[tokio::test]
async fn a_range_may_start_earlier_than_asked() {
    let (liar, blob, bytes) = lying(200_000, |_, before, body| {
        Some(match before {
            0 => Reply {
                cut: Some(70_000),
                ..Reply::status(200).body(body)
            },
            _ => Reply::status(206)
                .header("Content-Range", "bytes 65536-199999/200000")
                .body(&body[65_536..]),
        })
    })
    .await;
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_refused_range_is_not_asked_for_again() {
    let (liar, blob, bytes) = lying(200_000, |asked, before, body| {
        Some(match (before, asked.headers.contains_key("range")) {
            (0, _) => Reply {
                cut: Some(70_000),
                ..Reply::status(200).body(body)
            },
            (_, true) => Reply::status(416),
            (_, false) => Reply::status(200).body(body),
        })
    })
    .await;
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
    assert_eq!(liar.asked("GET").len(), 3);
}

#[tokio::test]
async fn a_trickle_is_not_waited_for() {
    let (liar, blob, _) = lying(100_000, |_, _, body| {
        Some(Reply {
            drip: Some(Duration::from_millis(100)),
            ..Reply::status(200).body(body)
        })
    })
    .await;
    let err = download(&liar, &blob).await.unwrap_err();
    assert_eq!(err.kind, Kind::Transport);
    assert_eq!(liar.asked("GET").len(), ATTEMPTS as usize);
    let text = err.into_failure().one_line();
    assert!(text.contains(" bytes in 1 s"), "{text}");
}

#[tokio::test]
async fn headers_that_never_come_are_not_waited_for() {
    let (liar, blob, bytes) = lying(1_000, |_, before, _| (before == 0).then(Reply::silence)).await;
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
    assert_eq!(liar.asked("GET").len(), 2);
}

#[tokio::test]
async fn redirects_lead_to_web_servers_only() {
    for address in [
        "ftp://127.0.0.1/x",
        "file:///etc/hostname",
        "gopher://x/",
        "http://",
    ] {
        let (liar, blob, _) = lying(10, move |_, _, _| {
            Some(Reply::status(307).header("Location", address))
        })
        .await;
        let err = download(&liar, &blob).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{address}: {err}");
        assert_eq!(liar.asked("GET").len(), 1, "{address}");
    }
}

#[tokio::test]
async fn a_host_that_a_redirect_leads_to_gets_no_credentials_by_asking() {
    // The bait: a realm that a client with credentials would answer with them.
    let other = Liar::start(|asked, _| {
        let bait = format!(r#"Bearer realm="http://{}/token""#, asked.headers["host"]);
        Some(match asked.target.starts_with("/token") {
            true => Reply::status(200).body(r#"{"token":"t"}"#),
            false => Reply::status(401).header("WWW-Authenticate", bait),
        })
    })
    .await;
    let url = other.url.clone();
    let (liar, blob, _) = lying(10, move |asked, _, _| {
        Some(Reply::status(307).header("Location", format!("{url}{}", asked.target)))
    })
    .await;
    let registry = tokens::with_password(&liar).await;
    let err = within(Download::new(&registry, "r", &blob).next()).await;
    assert_eq!(err.unwrap_err().kind, Kind::Denied);
    assert_eq!(other.asked("/token").len(), 0);
    let carried = |asked: &Asked| asked.headers.contains_key("authorization");
    assert!(!other.asked("").iter().any(carried));
}

#[tokio::test]
async fn a_storm_of_refusals_ends_with_the_tries() {
    for (status, kind) in [(503, Kind::Unavailable), (429, Kind::Throttled)] {
        let (liar, blob, _) = lying(10, move |_, _, _| Some(Reply::status(status))).await;
        let err = download(&liar, &blob).await.unwrap_err();
        assert_eq!(err.kind, kind);
        assert_eq!(liar.asked("GET").len(), ATTEMPTS as usize);
        let failure = err.into_failure();
        assert_eq!(failure.exit(), castlink_core::Exit::Unreachable);
    }
}

#[tokio::test]
async fn a_wait_beyond_reason_is_an_end() {
    for asked in [
        "3600",
        "99999999999999999999",
        "Thu, 31 Dec 9998 23:59:59 GMT",
    ] {
        let (liar, blob, _) = lying(10, move |_, _, _| {
            Some(Reply::status(429).header("Retry-After", asked))
        })
        .await;
        let err = download(&liar, &blob).await.unwrap_err();
        assert_eq!(err.kind, Kind::Throttled, "{asked}");
        assert_eq!(liar.asked("GET").len(), 1, "{asked}");
        let text = err.into_failure().one_line();
        assert!(text.contains("to be tried again in"), "{text}");
    }
}

#[tokio::test]
async fn a_token_that_ends_on_the_way_is_renewed_where_the_blob_broke() {
    let bytes = noise(300_000);
    let (body, issued) = (bytes.clone(), AtomicUsize::new(0));
    let liar = Liar::start(move |asked, before| {
        if asked.target.starts_with("/token") {
            let number = issued.fetch_add(1, SeqCst) + 1;
            return Some(Reply::status(200).body(format!(r#"{{"token":"t{number}"}}"#)));
        }
        // The second token is needed once the first has brought a part.
        let wanted = if before < 2 { "Bearer t1" } else { "Bearer t2" };
        let challenge = ("WWW-Authenticate", r#"Bearer realm="/token""#);
        if asked.headers.get("authorization").map(String::as_str) != Some(wanted) {
            return Some(Reply::status(401).header(challenge.0, challenge.1));
        }
        (before == 1).then(|| Reply {
            cut: Some(100_000),
            ..Reply::status(200).body(body.clone())
        })
    })
    .await;
    let blob = stored(&liar, &bytes);
    assert_eq!(download(&liar, &blob).await.unwrap(), bytes);
    assert_eq!(liar.asked("/token").len(), 2);
    let last = liar.asked("GET /v2/").pop().unwrap();
    assert_eq!(last.headers["range"], "bytes=100000-");
}
