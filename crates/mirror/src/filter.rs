//! What is left of an index when only some of its platforms are wanted. Pure: what has to
//! be read to decide is read by source.rs.
//!
//! The entries that stay are the source's own, in the source's order, with every field of
//! the index around them; the manifests they name are not touched. So the digest of the
//! filtered index depends on the source and the selection alone: doing it again comes to
//! the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    content::{Child, Digest, Malformed, Manifest},
    platform::Selection,
};

/// What the index itself does not say, by the digest of the entry.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// The indexes within it.
    pub(crate) indexes: BTreeMap<Digest, Manifest>,
    /// The platforms of entries that name none; taken from their configurations.
    pub(crate) platforms: BTreeMap<Digest, String>,
}

/// What a selection leaves of an index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Everything: the index stays as it is.
    Whole,
    /// Some of it.
    Part {
        /// The filtered index.
        root: Manifest,
        /// Filtered indexes within it.
        indexes: Vec<Manifest>,
    },
    /// Nothing of it.
    Nothing,
}

/// What becomes of one entry.
enum Fate {
    Stays,
    Goes,
    Becomes(Manifest),
}

impl Inner {
    /// The entries of `index` that have to be read before it can be filtered.
    pub(crate) fn unknown<'a>(&'a self, index: &'a Manifest) -> impl Iterator<Item = &'a Child> {
        index
            .children()
            .iter()
            .filter(|child| child.nested || (child.platform.is_none() && child.attests.is_none()))
    }

    /// The platforms of `index` and of the indexes within it, each once, in their order.
    pub(crate) fn platforms_of(&self, index: &Manifest) -> Vec<String> {
        let mut all = Vec::new();
        for child in index.children() {
            let found = match self.indexes.get(&child.digest) {
                Some(inner) => self.platforms_of(inner),
                None => self
                    .platform(child)
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
            };
            for platform in found {
                if !all.contains(&platform) {
                    all.push(platform);
                }
            }
        }
        all
    }

    fn platform<'a>(&'a self, child: &'a Child) -> Option<&'a str> {
        let own = child.platform.as_ref();
        own.or_else(|| self.platforms.get(&child.digest))
            .map(String::as_str)
    }
}

/// Filters `index`. What is for no platform at all stays; what attests something stays with
/// what it attests.
///
/// # Errors
/// When the index, read before, cannot be written: never for one that a registry holds.
pub(crate) fn filter(
    index: &Manifest,
    selection: &Selection,
    inner: &Inner,
) -> Result<Left, Malformed> {
    let mut indexes = Vec::new();
    let mut fates = Vec::new();
    for child in index.children() {
        fates.push(match inner.indexes.get(&child.digest) {
            Some(nested) => match filter(nested, selection, inner)? {
                Left::Whole => Fate::Stays,
                Left::Nothing => Fate::Goes,
                Left::Part {
                    root,
                    indexes: below,
                } => {
                    indexes.extend(below);
                    indexes.push(root.clone());
                    Fate::Becomes(root)
                }
            },
            None => fate(child, selection, inner),
        });
    }
    leave_with_subject(index.children(), &mut fates);
    if fates.iter().all(|fate| matches!(fate, Fate::Stays)) {
        return Ok(Left::Whole);
    }
    if fates.iter().all(|fate| matches!(fate, Fate::Goes)) {
        return Ok(Left::Nothing);
    }
    let root = rewrite(index, &fates)?;
    Ok(Left::Part { root, indexes })
}

fn fate(child: &Child, selection: &Selection, inner: &Inner) -> Fate {
    match inner.platform(child) {
        Some(platform) if !selection.wants(platform) => Fate::Goes,
        _ => Fate::Stays,
    }
}

/// An attestation of what goes, goes; one of something outside this index stays.
fn leave_with_subject(children: &[Child], fates: &mut [Fate]) {
    for position in 0..children.len() {
        let Some(subject) = &children[position].attests else {
            continue;
        };
        let subject = children.iter().position(|child| child.digest == *subject);
        if subject.is_some_and(|subject| !matches!(fates[subject], Fate::Stays)) {
            fates[position] = Fate::Goes;
        }
    }
}

/// The same document with fewer entries.
fn rewrite(index: &Manifest, fates: &[Fate]) -> Result<Manifest, Malformed> {
    let shape = |err: serde_json::Error| Malformed::Shape(err.to_string());
    let mut document: Value = serde_json::from_slice(&index.bytes).map_err(shape)?;
    let entries = document["manifests"].as_array_mut().map(std::mem::take);
    let mut left = Vec::new();
    for (mut entry, fate) in entries.unwrap_or_default().into_iter().zip(fates) {
        match fate {
            Fate::Goes => continue,
            Fate::Stays => {}
            Fate::Becomes(manifest) => {
                entry["digest"] = json!(manifest.digest.as_str());
                entry["size"] = json!(manifest.bytes.len());
            }
        }
        left.push(entry);
    }
    document["manifests"] = Value::Array(left);
    let bytes = Bytes::from(document.to_string());
    Manifest::parse(bytes, Some(&index.media_type), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn entry(name: &str, platform: Option<&str>) -> Value {
        let mut entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(name).as_str(), "size": name.len(),
        });
        if let Some((os, architecture)) = platform.and_then(|text| text.split_once('/')) {
            entry["platform"] = json!({"os": os, "architecture": architecture});
        }
        entry
    }

    fn attestation(name: &str, of: &str) -> Value {
        let mut entry = entry(name, Some("unknown/unknown"));
        entry["annotations"] = json!({
            "vnd.docker.reference.digest": digest(of).as_str(),
            "vnd.docker.reference.type": "attestation-manifest",
        });
        entry
    }

    fn index(entries: &[Value]) -> Manifest {
        let document = json!({
            "schemaVersion": 2, "manifests": entries, "annotations": {"z": "1", "a": "2"}, "x": [1.0],
        });
        Manifest::parse(Bytes::from(document.to_string()), None, None).unwrap()
    }

    fn selection(texts: &[&str]) -> Selection {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Selection::parse(&texts).unwrap()
    }

    /// The entries left, `whole`, or `nothing`.
    fn left(index: &Manifest, selected: &[&str], inner: &Inner) -> Vec<Digest> {
        match filter(index, &selection(selected), inner).unwrap() {
            Left::Whole => vec![digest("whole")],
            Left::Nothing => Vec::new(),
            Left::Part { root, .. } => {
                let children = root.children().iter();
                children.map(|child| child.digest.clone()).collect()
            }
        }
    }

    #[test]
    fn entries_stay_by_platform_and_attestations_with_their_subject() {
        let all = index(&[
            entry("amd", Some("linux/amd64")),
            entry("arm", Some("linux/arm64")),
            attestation("amd-proof", "amd"),
            attestation("arm-proof", "arm"),
            attestation("proof-of-elsewhere", "elsewhere"),
            entry("notes", None),
        ]);
        for (selected, want) in [
            (
                &["linux/amd64"][..],
                &["amd", "amd-proof", "proof-of-elsewhere", "notes"][..],
            ),
            (
                &["linux/arm64"],
                &["arm", "arm-proof", "proof-of-elsewhere", "notes"],
            ),
            (&["linux/arm64", "linux/amd64"], &["whole"]),
            (&[], &["whole"]),
        ] {
            let want: Vec<Digest> = want.iter().map(|name| digest(name)).collect();
            assert_eq!(
                left(&all, selected, &Inner::default()),
                want,
                "{selected:?}"
            );
        }
        let windows = index(&[entry("w", Some("windows/amd64"))]);
        assert!(left(&windows, &["linux/amd64"], &Inner::default()).is_empty());
    }

    #[test]
    fn everything_else_of_the_index_is_kept_in_its_order() {
        let all = index(&[
            entry("amd", Some("linux/amd64")),
            entry("arm", Some("linux/arm64")),
        ]);
        let filtered = || filter(&all, &selection(&["linux/arm64"]), &Inner::default()).unwrap();
        let Left::Part { root, indexes } = filtered() else {
            panic!("a part")
        };
        let want = json!({
            "schemaVersion": 2, "manifests": [entry("arm", Some("linux/arm64"))],
            "annotations": {"z": "1", "a": "2"}, "x": [1.0],
        });
        assert_eq!(root.bytes, want.to_string(), "order counts: it is text");
        assert_eq!(
            (root.media_type.as_str(), indexes.len()),
            (all.media_type.as_str(), 0)
        );
        assert_eq!(filtered(), filtered(), "the same every time");
    }

    #[test]
    fn an_entry_without_a_platform_has_that_of_its_configuration() {
        let all = index(&[entry("plain", None), entry("arm", Some("linux/arm64"))]);
        let mut inner = Inner::default();
        inner
            .platforms
            .insert(digest("plain"), "linux/amd64".into());
        assert_eq!(inner.platforms_of(&all), ["linux/amd64", "linux/arm64"]);
        assert_eq!(left(&all, &["linux/arm64"], &inner), [digest("arm")]);
        assert_eq!(left(&all, &["linux/amd64"], &inner), [digest("plain")]);
    }

    #[test]
    fn indexes_within_are_filtered_and_named_anew() {
        let inside = index(&[
            entry("amd", Some("linux/amd64")),
            entry("s390", Some("linux/s390x")),
        ]);
        let mut nested = entry("", None);
        nested["digest"] = json!(inside.digest.as_str());
        nested["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
        let all = index(&[nested, entry("arm", Some("linux/arm64"))]);
        let inner = Inner {
            indexes: BTreeMap::from([(inside.digest.clone(), inside.clone())]),
            ..Inner::default()
        };
        assert_eq!(inner.unknown(&all).count(), 1);
        assert_eq!(
            inner.platforms_of(&all),
            ["linux/amd64", "linux/s390x", "linux/arm64"]
        );

        let Left::Part { root, indexes } =
            filter(&all, &selection(&["linux/amd64"]), &inner).unwrap()
        else {
            panic!("a part")
        };
        let [amd_only] = &indexes[..] else {
            panic!("one index within")
        };
        assert_eq!(amd_only.children().len(), 1);
        let document: Value = serde_json::from_slice(&root.bytes).unwrap();
        let entries = document["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["digest"], amd_only.digest.as_str());
        assert_eq!(entries[0]["size"], amd_only.bytes.len());

        let kept = left(&all, &["linux/amd64", "linux/s390x"], &inner);
        assert_eq!(kept, [inside.digest], "whole where all of it is wanted");
    }
}
