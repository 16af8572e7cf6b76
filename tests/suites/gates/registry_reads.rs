//! The `/v2/` data plane: blobs, tags, and answers that go wrong.

use castlink_tests::ecr::digest;
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;
use reqwest::Method;
use serde_json::json;

use crate::harness::with_gates;
use crate::registry::{MANIFEST, manifest};

#[test]
fn blob_reads_are_redirected_to_a_store_that_takes_no_credentials() {
    with_gates(Knobs::default(), async |gates| {
        gates.repository("read", json!({})).await;
        gates.push_blob("read", "0123456789").await;
        let path = format!("/v2/read/blobs/{}", digest(b"0123456789"));
        let redirect = gates.v2(Method::GET, &path, "").await;
        assert_eq!(redirect.status, 307);
        let object = redirect.header("location").to_owned();
        assert_eq!(gates.bare(&object, &[]).await.text, "0123456789");
        let part = gates.bare(&object, &[("range", "bytes=4-")]).await;
        assert_eq!((part.status.as_u16(), part.text.as_str()), (206, "456789"));
        assert_eq!(gates.v2(Method::GET, &object, "").await.status, 400);
        let absent = format!("/v2/read/blobs/{}", digest(b"absent"));
        assert_eq!(
            gates.v2(Method::GET, &absent, "").await.code(),
            "BLOB_UNKNOWN"
        );
    });
}

#[test]
fn bodies_can_be_cut_and_corrupted() {
    with_gates(
        Knobs {
            redirect_blobs: false,
            ..Knobs::default()
        },
        async |gates| {
            gates.repository("spoilt", json!({})).await;
            gates.push_blob("spoilt", "0123456789").await;
            let path = format!(
                "{}/v2/spoilt/blobs/{}",
                gates.ecr.url,
                digest(b"0123456789")
            );
            let get = async || {
                let (token, _) = gates.shared.ecr.issue_token();
                gates
                    .http
                    .get(&path)
                    .basic_auth("AWS", Some(token))
                    .send()
                    .await?
                    .bytes()
                    .await
            };
            gates
                .shared
                .faults
                .add(Fault::on("registry", "GetBlob", Harm::Truncate { bytes: 4 }).times(1));
            get().await.expect_err("the connection breaks");
            gates
                .shared
                .faults
                .add(Fault::on("registry", "GetBlob", Harm::Corrupt).times(1));
            let changed = get().await.unwrap();
            assert_eq!((changed.len(), &changed[1..]), (10, &b"123456789"[..]));
            assert_eq!(&get().await.unwrap()[..], b"0123456789");
            gates
                .shared
                .faults
                .add(Fault::on("registry", "GetBlob", Harm::Reset).times(1));
            get().await.expect_err("there is no answer");
        },
    );
}

#[test]
fn tags_come_in_pages() {
    with_gates(
        Knobs {
            put_image_burst: 100.0,
            ..Knobs::default()
        },
        async |gates| {
            gates.repository("paged", json!({})).await;
            gates.push_blob("paged", "{}").await;
            gates.push_blob("paged", "layer").await;
            let tags = ["a", "b", "c", "d", "e"];
            for tag in tags {
                gates
                    .put_manifest("paged", tag, MANIFEST, &manifest("{}", "layer"))
                    .await;
            }
            let (mut seen, mut path) = (Vec::new(), "/v2/paged/tags/list?n=2".to_owned());
            loop {
                let page = gates.v2(Method::GET, &path, "").await;
                let names = page.json()["tags"].as_array().unwrap().clone();
                seen.extend(
                    names
                        .into_iter()
                        .map(|name| name.as_str().unwrap().to_owned()),
                );
                match page.header("link").split_once('>') {
                    None => break,
                    Some((next, _)) => path = next.trim_start_matches('<').to_owned(),
                }
            }
            assert_eq!(seen, tags);
            let greedy = gates
                .v2(Method::GET, "/v2/paged/tags/list?n=1001", "")
                .await;
            assert_eq!(greedy.status, 400);
        },
    );
}
