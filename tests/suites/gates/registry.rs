//! The `/v2/` data plane: who may do what, and what is taken.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castlink_tests::ecr::digest;
use castlink_tests::knobs::Knobs;
use castlink_tests::process::wait_until;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Answer, Gates, with_gates};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Gates {
    pub(crate) async fn repository(&self, name: &str, settings: Value) {
        let mut input = settings;
        input["repositoryName"] = json!(name);
        let made = self.ecr("CreateRepository", input).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }

    async fn start_upload(&self, name: &str) -> String {
        let started = self
            .v2(Method::POST, &format!("/v2/{name}/blobs/uploads/"), "")
            .await;
        assert_eq!(started.status, 202, "{}", started.text);
        started.header("location").to_owned()
    }

    pub(crate) async fn push_blob(&self, name: &str, content: &'static str) -> Answer {
        let session = self.start_upload(name).await;
        let digest = digest(content.as_bytes());
        self.v2(Method::PUT, &format!("{session}?digest={digest}"), content)
            .await
    }

    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        kind: &str,
        content: &str,
    ) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.v2_typed(Method::PUT, &path, kind, content.to_owned())
            .await
    }
}

/// A manifest over two blobs.
pub(crate) fn manifest(config: &str, layer: &str) -> String {
    let descriptor =
        |content: &str| json!({"digest": digest(content.as_bytes()), "size": content.len()});
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(config), "layers": [descriptor(layer)],
    })
    .to_string()
}

#[test]
fn requests_need_a_token_that_is_neither_unknown_nor_expired() {
    with_gates(Knobs::default(), async |gates| {
        let ping = format!("{}/v2/", gates.ecr.url);
        let anonymous = gates.bare(&ping, &[]).await;
        assert_eq!(anonymous.status, 401);
        assert!(
            anonymous
                .header("www-authenticate")
                .starts_with("Basic realm=")
        );
        let wrong = gates
            .bare(&ping, &[("authorization", "Basic QVdTOndyb25n")])
            .await;
        assert_eq!(
            (wrong.status.as_u16(), wrong.code().as_str()),
            (403, "DENIED")
        );
        let given = gates.ecr("GetAuthorizationToken", json!({})).await.json();
        let token = given["authorizationData"][0]["authorizationToken"]
            .as_str()
            .unwrap();
        let header = format!("Basic {token}");
        let good = gates.bare(&ping, &[("authorization", &header)]).await;
        assert_eq!(good.status, 200);
        gates.shared.ecr.expire_tokens();
        let late = gates.bare(&ping, &[("authorization", &header)]).await;
        assert_eq!(
            (late.status.as_u16(), late.code().as_str()),
            (403, "DENIED")
        );
        assert!(late.text.contains("token has expired"), "{}", late.text);
    });
}

#[test]
fn pushing_creates_no_repository() {
    with_gates(Knobs::default(), async |gates| {
        let started = gates
            .v2(Method::POST, "/v2/absent/thing/blobs/uploads/", "")
            .await;
        assert_eq!(
            (started.status.as_u16(), started.code().as_str()),
            (404, "NAME_UNKNOWN")
        );
        let put = gates
            .put_manifest("absent/thing", "v1", MANIFEST, "{}")
            .await;
        assert_eq!(put.code(), "NAME_UNKNOWN");
    });
}

#[test]
fn a_blob_goes_up_in_one_put() {
    with_gates(Knobs::default(), async |gates| {
        gates.repository("up/one", json!({})).await;
        let session = gates.start_upload("up/one").await;
        let patched = gates.v2(Method::PATCH, &session, "part").await;
        assert_eq!(
            (patched.status.as_u16(), patched.code().as_str()),
            (405, "UNSUPPORTED")
        );
        let digest = digest(b"whole");
        let wrong = gates
            .v2(Method::PUT, &format!("{session}?digest={digest}"), "other")
            .await;
        assert_eq!(
            (wrong.status.as_u16(), wrong.code().as_str()),
            (400, "DIGEST_INVALID")
        );
        let put = gates.push_blob("up/one", "whole").await;
        assert_eq!(put.status, 201, "{}", put.text);
        let head = gates
            .v2(Method::HEAD, &format!("/v2/up/one/blobs/{digest}"), "")
            .await;
        assert_eq!(
            (head.status.as_u16(), head.header("content-length")),
            (200, "5")
        );
    });
}

#[test]
fn a_session_that_has_seen_bytes_takes_no_second_try() {
    with_gates(Knobs::default(), async |gates| {
        gates.repository("up/broken", json!({})).await;
        let session = gates.start_upload("up/broken").await;
        let put = format!("{session}?digest={}", digest(b"whole"));
        break_off(gates, &session, &put).await;
        let again = gates.v2(Method::PUT, &put, "whole").await;
        assert_eq!(
            (again.status.as_u16(), again.code().as_str()),
            (416, "BLOB_UPLOAD_INVALID")
        );
        assert!(
            again
                .text
                .contains("First byte of the layer part is 0 instead of 4")
        );
    });
}

/// A PUT that announces more than it sends, and hangs up once that much has arrived.
async fn break_off(gates: &Gates, session: &str, put: &str) {
    let (token, _) = gates.shared.ecr.issue_token();
    let authorization = STANDARD.encode(format!("AWS:{token}"));
    let (host, path) = put.trim_start_matches("http://").split_once('/').unwrap();
    let request = format!(
        "PUT /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic {authorization}\r\n\
         content-length: 1000\r\n\r\nwhol"
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let id = session.rsplit('/').next().unwrap();
    let arrived = wait_until(
        "the bytes have arrived",
        Duration::from_secs(10),
        async || {
            anyhow::ensure!(
                gates.ecr.received(id) == Some(4),
                "{:?}",
                gates.ecr.received(id)
            );
            Ok(())
        },
    );
    arrived.await.unwrap();
}

#[test]
fn layers_come_before_their_manifest_and_children_before_their_index() {
    with_gates(Knobs::default(), async |gates| {
        gates.repository("order", json!({})).await;
        let manifest = manifest("{}", "layer");
        let early = gates.put_manifest("order", "v1", MANIFEST, &manifest).await;
        assert_eq!(
            (early.status.as_u16(), early.code().as_str()),
            (404, "BLOB_UNKNOWN")
        );
        let child = digest(manifest.as_bytes());
        let index =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": child}]});
        let early = gates
            .put_manifest("order", "v1", INDEX, &index.to_string())
            .await;
        assert_eq!(early.code(), "MANIFEST_BLOB_UNKNOWN");
        gates.push_blob("order", "{}").await;
        gates.push_blob("order", "layer").await;
        let by_digest = gates
            .put_manifest("order", &child, MANIFEST, &manifest)
            .await;
        assert_eq!(by_digest.status, 201, "{}", by_digest.text);
        assert_eq!(by_digest.header("location"), "");
        let by_tag = gates
            .put_manifest("order", "v1", INDEX, &index.to_string())
            .await;
        assert_eq!(by_tag.status, 201, "{}", by_tag.text);
        assert_ne!(by_tag.header("location"), "");
        let read = gates.v2(Method::GET, "/v2/order/manifests/v1", "").await;
        assert_eq!(
            (read.text, read.headers["content-type"].to_str().unwrap()),
            (index.to_string(), INDEX)
        );
        let other = format!("sha256:{}", "0".repeat(64));
        let wrong = gates
            .put_manifest("order", &other, MANIFEST, &manifest)
            .await;
        assert_eq!(
            (wrong.status.as_u16(), wrong.code().as_str()),
            (400, "MANIFEST_INVALID")
        );
    });
}

#[test]
fn both_planes_say_the_same() {
    with_gates(Knobs::default(), async |gates| {
        gates.repository("agree", json!({})).await;
        let manifest = manifest("{}", "layer");
        gates.push_blob("agree", "{}").await;
        gates.push_blob("agree", "layer").await;
        gates.put_manifest("agree", "v1", MANIFEST, &manifest).await;
        let absent = digest(b"absent");
        let layers = json!({"repositoryName": "agree", "layerDigests": [digest(b"layer"), absent]});
        let layers = gates
            .ecr("BatchCheckLayerAvailability", layers)
            .await
            .json();
        assert_eq!(layers["layers"][0]["layerAvailability"], "AVAILABLE");
        assert_eq!(layers["layers"][0]["layerSize"], 5);
        assert_eq!(layers["layers"][1]["layerAvailability"], "UNAVAILABLE");
        let ids = json!([{"imageTag": "v1"}, {"imageTag": "v2"}, {"imageDigest": digest(manifest.as_bytes())}]);
        let input = json!({"repositoryName": "agree", "imageIds": ids});
        let images = gates.ecr("BatchGetImage", input).await.json();
        assert_eq!(images["images"][0]["imageManifest"], json!(manifest));
        assert_eq!(
            images["images"][0]["imageId"]["imageDigest"],
            json!(digest(manifest.as_bytes()))
        );
        assert_eq!(images["images"].as_array().unwrap().len(), 2);
        assert_eq!(images["failures"][0]["failureCode"], "ImageNotFound");
        let many: Vec<_> = (0..101)
            .map(|n| json!({"imageTag": format!("t{n}")}))
            .collect();
        let many = gates
            .ecr(
                "BatchGetImage",
                json!({"repositoryName": "agree", "imageIds": many}),
            )
            .await;
        assert_eq!(many.code(), "InvalidParameterException");
    });
}

#[test]
fn immutable_tags_refuse_even_the_same_manifest() {
    with_gates(Knobs::default(), async |gates| {
        let filters = json!([{"filter": "dev-*", "filterType": "WILDCARD"}]);
        let settings = json!({
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": filters,
        });
        gates.repository("fixed", settings).await;
        gates.push_blob("fixed", "{}").await;
        gates.push_blob("fixed", "layer").await;
        let manifest = manifest("{}", "layer");
        for (tag, second) in [("v1", 400), ("dev-1", 201)] {
            assert_eq!(
                gates
                    .put_manifest("fixed", tag, MANIFEST, &manifest)
                    .await
                    .status,
                201
            );
            let again = gates.put_manifest("fixed", tag, MANIFEST, &manifest).await;
            assert_eq!(again.status, second, "{tag}: {}", again.text);
        }
        let again = gates.put_manifest("fixed", "v1", MANIFEST, &manifest).await;
        assert_eq!(again.code(), "TAG_INVALID");
    });
}

#[test]
fn manifest_puts_have_a_budget() {
    let knobs = Knobs {
        put_image_rate: 0.001,
        put_image_burst: 3.0,
        ..Knobs::default()
    };
    with_gates(knobs, async |gates| {
        gates.repository("budget", json!({})).await;
        gates.push_blob("budget", "{}").await;
        gates.push_blob("budget", "layer").await;
        let manifest = manifest("{}", "layer");
        for tag in ["a", "b", "c"] {
            assert_eq!(
                gates
                    .put_manifest("budget", tag, MANIFEST, &manifest)
                    .await
                    .status,
                201
            );
        }
        let fourth = gates.put_manifest("budget", "d", MANIFEST, &manifest).await;
        assert_eq!(
            (fourth.status.as_u16(), fourth.code().as_str()),
            (429, "TOOMANYREQUESTS")
        );
    });
}

#[test]
fn what_is_no_manifest_is_unsupported() {
    with_gates(Knobs::default(), async |gates| {
        gates.repository("invalid", json!({})).await;
        let huge = format!("{{\"annotations\": \"{}\"}}", "x".repeat(4 << 20));
        for content in ["not json", &huge] {
            let put = gates.put_manifest("invalid", "v1", MANIFEST, content).await;
            assert_eq!(
                (put.status.as_u16(), put.code().as_str()),
                (405, "UNSUPPORTED")
            );
        }
    });
}

#[test]
fn a_blob_is_mounted_only_when_switched_on_and_referred_to() {
    with_gates(Knobs::default(), async |gates| {
        gates.repository("from", json!({})).await;
        gates.repository("into", json!({})).await;
        gates.push_blob("from", "{}").await;
        gates.push_blob("from", "layer").await;
        let layer = digest(b"layer");
        let mount = format!("/v2/into/blobs/uploads/?mount={layer}&from=from");
        assert_eq!(
            gates.v2(Method::POST, &mount, "").await.status,
            202,
            "switched off"
        );
        let on = json!({"name": "BLOB_MOUNTING", "value": "ENABLED"});
        assert_eq!(
            gates.ecr("PutAccountSetting", on).await.json()["value"],
            "ENABLED"
        );
        assert_eq!(
            gates.v2(Method::POST, &mount, "").await.status,
            202,
            "no manifest refers to it"
        );
        gates
            .put_manifest("from", "v1", MANIFEST, &manifest("{}", "layer"))
            .await;
        let mounted = gates.v2(Method::POST, &mount, "").await;
        assert_eq!(mounted.status, 201, "{}", mounted.text);
        let head = gates
            .v2(Method::HEAD, &format!("/v2/into/blobs/{layer}"), "")
            .await;
        assert_eq!(head.status, 200);
        assert_eq!(gates.shared.journal.counts(0)["registry:MountBlob"], 3);
    });
}
