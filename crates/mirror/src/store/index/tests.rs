//! What `index.json` may hold, and what is made of it.

use super::*;

fn digest(fill: char) -> String {
    format!("sha256:{}", fill.to_string().repeat(64))
}

fn index(entries: &[(char, Option<&str>, Option<&str>)]) -> Index {
    let entries = entries.iter().map(|(fill, label, containerd)| {
        let mut annotations = Map::new();
        let mut add = |key: &str, value: &Option<&str>| {
            annotations.extend(value.map(|value| (key.to_owned(), value.into())));
        };
        add(REF_NAME, label);
        add(CONTAINERD_NAME, containerd);
        json!({"mediaType": "m", "digest": digest(*fill), "size": 2, "annotations": annotations})
    });
    let text = json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>()});
    Index::parse(text.to_string().as_bytes()).unwrap()
}

#[test]
fn what_the_tools_call_an_image() {
    for (label, containerd, want) in [
        // Ours, and crane's `--annotate-ref`.
        (Some("ghcr.io/x/a:v1"), None, Some("ghcr.io/x/a:v1")),
        (Some("busybox:1.37"), None, Some("busybox:1.37")),
        (
            Some("busybox"),
            Some("docker.io/library/busybox:latest"),
            Some("busybox"),
        ),
        // docker save: the tag beside the whole name.
        (Some("v1"), Some("ghcr.io/x/a:v1"), Some("ghcr.io/x/a:v1")),
        (None, Some("ghcr.io/x/a:v1"), Some("ghcr.io/x/a:v1")),
        // oras, skopeo with a tag alone, buildkit without a name.
        (Some("v1"), None, None),
        (None, None, None),
        (Some("No/Reference:At all"), None, None),
    ] {
        let index = index(&[('a', label, containerd)]);
        let image = index.entries()[0].image.as_ref();
        assert_eq!(
            image.map(ImageRef::literal),
            want,
            "{label:?} {containerd:?}"
        );
    }
}

#[test]
fn references_find_what_means_the_same() {
    let index = index(&[
        ('a', Some("docker.io/library/busybox:1"), None),
        ('b', Some("ghcr.io/x/a:v1"), None),
        ('c', Some("twice:1"), None),
        ('d', Some("twice:1"), None),
        ('e', Some("v1"), None),
    ]);
    let find = |text: &str| {
        let found = index.find(&text.parse().unwrap());
        found.map(|entry| entry.map(|entry| entry.target.clone().unwrap().digest))
    };
    let want = |fill| Some(Digest::parse(&digest(fill)).unwrap());
    assert_eq!(find("busybox:1").unwrap(), want('a'));
    assert_eq!(find("ghcr.io/x/a:v1").unwrap(), want('b'));
    assert_eq!(find("ghcr.io/x/a:v2").unwrap(), None);
    assert_eq!(find("v1").unwrap(), None, "a tag alone is nobody's name");
    assert!(find("twice:1").is_err());
}

#[test]
fn entries_can_be_given_names() {
    let mut index = index(&[('a', Some("v1"), None), ('b', None, None)]);
    let (first, second) = ("r.io/a:1".parse().unwrap(), "r.io/b:1".parse().unwrap());
    index.name("v1", &first).unwrap();
    index.name(&digest('b'), &second).unwrap();
    assert!(index.name("v2", &first).is_err());
    assert!(index.find(&first).unwrap().is_some() && index.find(&second).unwrap().is_some());
}

#[test]
fn a_name_has_one_entry_and_strangers_stay() {
    let mut index = index(&[('a', Some("r.io/a:1"), None), ('b', Some("v1"), None)]);
    let bytes = bytes::Bytes::from_static(b"{\"layers\":[]}");
    let manifest = Manifest::parse(bytes, None, None).unwrap();
    for name in ["r.io/a:1", "r.io/c:1", "r.io/a:1"] {
        index.set(&name.parse().unwrap(), &manifest);
    }
    let again = Index::parse(&index.bytes()).unwrap();
    let labels: Vec<_> = again
        .entries()
        .iter()
        .map(|entry| entry.label.as_deref())
        .collect();
    assert_eq!(labels, [Some("r.io/a:1"), Some("v1"), Some("r.io/c:1")]);
    assert_eq!(
        again.entries()[0].target.as_ref().unwrap().digest,
        manifest.digest
    );
    assert_eq!(again.entries()[1].target, index.entries()[1].target);
}

#[test]
fn what_makes_no_sense_is_named() {
    for bad in ["", "[]", "{}", r#"{"manifests":{}}"#] {
        assert!(Index::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for digest in [
        "../../../etc/passwd",
        "sha256:../x",
        "sha256:abc",
        "sha256:",
    ] {
        let text = json!({"manifests": [{"digest": digest, "size": 1}, 7]}).to_string();
        let index = Index::parse(text.as_bytes()).unwrap();
        let error = index.entries()[0].target.as_ref().unwrap_err();
        assert!(error.contains("malformed digest"), "{error}");
        assert!(index.entries()[1].target.is_err());
    }
}
