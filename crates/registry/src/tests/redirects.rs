//! Blobs that are somewhere else: a redirect to a signed address of the same host, as Artifact
//! Registry's are.

use super::*;

/// Redirects to `/signed/N`, where N counts the redirects. What is there is cut after
/// 100,000 bytes until it is asked for the rest; `refused` says which addresses have ended
/// when they are asked for a rest.
async fn redirecting(
    refused: impl Fn(usize) -> Option<u16> + Send + Sync + 'static,
) -> (Liar, Blob) {
    let bytes = noise(300_000);
    let body = bytes.clone();
    let liar = Liar::start(move |asked, before| {
        if is_blob(asked) {
            let address = format!("/signed/{before}?token=x");
            return Some(Reply::status(302).header("Location", address));
        }
        let path = asked.target.split('?').next()?;
        let number: usize = path.strip_prefix("/signed/")?.parse().ok()?;
        let range = asked.headers.get("range");
        let Some(start) = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
        else {
            return Some(Reply {
                cut: Some(100_000),
                ..Reply::status(200).body(body.clone())
            });
        };
        if let Some(status) = refused(number) {
            return Some(Reply::status(status));
        }
        let start: usize = start.parse().ok()?;
        let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
        let rest = Reply::status(206)
            .header("Content-Range", range)
            .body(&body[start..]);
        // Once more in the middle of the rest.
        let cut = (start == 100_000).then_some(100_000);
        Some(Reply { cut, ..rest })
    })
    .await;
    let blob = stored(&liar, &bytes);
    (liar, blob)
}

#[tokio::test]
async fn a_resume_goes_straight_to_where_the_bytes_came_from() {
    let (liar, blob) = redirecting(|_| None).await;
    assert_eq!(download(&liar, &blob).await.unwrap(), noise(300_000));
    assert_eq!(liar.asked("/blobs/").len(), 1, "the way is asked for once");
    let signed = liar.asked("/signed/0?token=x");
    let ranges: Vec<_> = signed
        .iter()
        .map(|asked| asked.headers.get("range"))
        .collect();
    let rests = ["bytes=100000-", "bytes=200000-"].map(str::to_owned);
    assert_eq!(ranges, [None, Some(&rests[0]), Some(&rests[1])]);
}

#[tokio::test]
async fn an_address_that_has_ended_is_asked_for_again() {
    for status in [403, 410, 404, 401, 400] {
        let (liar, blob) = redirecting(move |number| (number == 0).then_some(status)).await;
        assert_eq!(
            download(&liar, &blob).await.unwrap(),
            noise(300_000),
            "{status}"
        );
        assert_eq!(liar.asked("/blobs/").len(), 2, "{status}");
        assert_eq!(liar.asked("/signed/0").len(), 2, "{status}");
        assert_eq!(liar.asked("/signed/1").len(), 2, "{status}");
    }
}

#[tokio::test]
async fn a_signed_address_is_asked_without_credentials_of_ours() {
    let (liar, blob) = redirecting(|_| None).await;
    let registry = tokens::with_password(&liar).await;
    let mut download = Download::new(&registry, "r", &blob);
    let read = async {
        while download.next().await?.is_some() {}
        Ok::<_, super::super::error::Error>(())
    };
    within(read).await.unwrap();
    let rests = liar.asked("/signed/0").into_iter().skip(1);
    let carried: Vec<bool> = rests
        .map(|asked| asked.headers.contains_key("authorization"))
        .collect();
    assert_eq!(carried, [false, false]);
}
