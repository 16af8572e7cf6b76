//! Manifests as they are met: what is read from them, and which are refused.

use serde_json::{Value, json};

use super::*;

fn descriptor(fill: char, media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", fill.to_string().repeat(64)), "size": 3})
}

fn parse(value: &Value) -> Result<Manifest, Malformed> {
    Manifest::parse(Bytes::from(value.to_string()), None, None)
}

#[test]
fn an_index_lists_children_and_real_platforms() {
    let mut amd = descriptor('a', OCI_IMAGE_MEDIA_TYPE);
    amd["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut arm = descriptor('b', OCI_IMAGE_MEDIA_TYPE);
    arm["platform"] = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
    let mut proof = descriptor('c', OCI_IMAGE_MEDIA_TYPE);
    proof["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let index =
        parse(&json!({"schemaVersion": 2, "manifests": [amd, arm, proof], "x": 1})).unwrap();
    assert_eq!(index.media_type, OCI_IMAGE_INDEX_MEDIA_TYPE);
    assert_eq!(index.children().len(), 3);
    assert_eq!(index.platforms(), ["linux/amd64", "linux/arm/v7"]);
}

#[test]
fn foreign_layers_stay_where_they_are() {
    let mut foreign = descriptor(
        'c',
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    );
    foreign["urls"] = json!(["https://example.com/layer"]);
    let image = parse(&json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST_MEDIA_TYPE,
        "config": descriptor('a', "config"), "layers": [descriptor('b', "layer"), foreign],
    }));
    let blobs: Vec<_> = image
        .unwrap()
        .blobs()
        .iter()
        .map(|blob| blob.digest.short().to_owned())
        .collect();
    assert_eq!(blobs, ["sha256:aaaaaaaaaaaa", "sha256:bbbbbbbbbbbb"]);
}

#[test]
fn unusable_documents_are_refused() {
    let layer = descriptor('a', "layer");
    for bad in [
        json!([]),
        json!({"schemaVersion": 1, "fsLayers": []}),
        json!({"mediaType": "text/html"}),
        json!({"mediaType": OCI_IMAGE_MEDIA_TYPE, "manifests": []}),
        json!({"mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "layers": []}),
        json!({"manifests": [], "layers": [layer]}),
        json!({"layers": [{"digest": "sha256:x", "size": 1}]}),
        json!({"layers": [{"digest": layer["digest"], "size": -1}]}),
        json!({"layers": [{"digest": layer["digest"], "size": u64::MAX}]}),
        json!([2, OCI_IMAGE_MEDIA_TYPE, null, [], null]),
    ] {
        assert!(matches!(parse(&bad), Err(Malformed::Shape(_))), "{bad}");
    }
}

#[test]
fn the_digest_is_of_the_bytes() {
    let bytes = Bytes::from_static(b"{ \"schemaVersion\":2,\"layers\":[] }");
    let manifest = Manifest::parse(bytes.clone(), None, None).unwrap();
    assert_eq!(manifest.digest, Digest::of(&bytes));
    let err = Manifest::parse(bytes, None, Some(&Digest::of(b"other"))).unwrap_err();
    assert!(matches!(err, Malformed::Digest { .. }));
}

#[test]
fn artifacts_are_kept_as_they_are_and_name_their_subject() {
    let subject = descriptor('d', OCI_IMAGE_MEDIA_TYPE);
    let empty = descriptor('e', "application/vnd.oci.empty.v1+json");
    let image_form = json!({
        "schemaVersion": 2, "mediaType": OCI_IMAGE_MEDIA_TYPE, "artifactType": "application/spdx+json",
        "config": empty, "layers": [descriptor('a', "application/spdx+json")], "subject": subject,
    });
    let old_form = json!({
        "mediaType": "application/vnd.oci.artifact.manifest.v1+json", "artifactType": "application/spdx+json",
        "blobs": [descriptor('a', "application/spdx+json")], "subject": subject,
    });
    for (document, blobs) in [(image_form, 2), (old_form, 1)] {
        let artifact = parse(&document).unwrap();
        assert_eq!(artifact.bytes, document.to_string());
        assert_eq!(artifact.media_type, document["mediaType"]);
        assert_eq!(artifact.blobs().len(), blobs);
        assert_eq!(artifact.subject.unwrap().as_str(), subject["digest"]);
        assert_eq!(
            Manifest::config(&parse(&document).unwrap()),
            None,
            "for no platform"
        );
    }
}
