//! What the target lacks of an image, by platform: for people who ask what differs, and where.

use std::{collections::BTreeSet, fmt};

use castlink_core::printer::count;

use crate::{
    content::{Blob, Digest, Manifest},
    plan::Copy,
};

/// What is lacking, in the order of the index; empty when nothing is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(Vec<Gap>);

#[derive(Debug, PartialEq, Eq)]
struct Gap {
    /// `linux/arm64`; the digest of what has no platform; none for an image without an index.
    part: Option<String>,
    lack: Lack,
}

#[derive(Debug, PartialEq, Eq)]
enum Lack {
    /// The manifest, and with it everything.
    Manifest,
    /// Some blobs.
    Blobs(usize),
}

/// A manifest below the root, as far as it is known.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// What it is called; none for the root.
    pub(super) name: Option<&'a str>,
    /// Its blobs; none when the manifest itself is not there.
    pub(super) blobs: Option<&'a [Blob]>,
}

impl Gaps {
    /// Compares parts with the blobs that are missing.
    pub(super) fn of<'a>(
        parts: impl IntoIterator<Item = Part<'a>>,
        missing: &BTreeSet<&Digest>,
    ) -> Self {
        let gaps = parts.into_iter().filter_map(|part| {
            let lack = match part.blobs {
                None => Lack::Manifest,
                Some(blobs) => {
                    let lacking = blobs.iter().filter(|blob| missing.contains(&blob.digest));
                    Some(lacking.count())
                        .filter(|number| *number > 0)
                        .map(Lack::Blobs)?
                }
            };
            let part = part.name.map(str::to_owned);
            Some(Gap { part, lack })
        });
        Self(gaps.collect())
    }

    /// What a copy would still have to bring.
    pub(super) fn of_copy(copy: &Copy) -> Self {
        let children: BTreeSet<&Digest> = copy.children.iter().map(|child| &child.digest).collect();
        let missing = copy.blobs.iter().map(|blob| &blob.digest).collect();
        let names = names(&copy.tree.manifests().collect::<Vec<_>>());
        let parts = copy.tree.manifests().map(|manifest| Part {
            name: name(&names, &manifest.digest),
            blobs: (!children.contains(&manifest.digest)).then(|| manifest.blobs()),
        });
        Self::of(parts, &missing)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the manifests below an index are called, by their digests.
pub(super) fn names(manifests: &[&Manifest]) -> Vec<(Digest, String)> {
    let children = manifests.iter().flat_map(|manifest| manifest.children());
    let names = children.map(|child| {
        let name = child.platform.as_deref().unwrap_or(child.digest.short());
        (child.digest.clone(), name.to_owned())
    });
    names.collect()
}

/// The name of a manifest; none for the root.
pub(super) fn name<'a>(names: &'a [(Digest, String)], digest: &Digest) -> Option<&'a str> {
    let found = names.iter().find(|(other, _)| other == digest)?;
    Some(&found.1)
}

impl fmt::Display for Gaps {
    /// `linux/arm64 is missing, linux/amd64 lacks 2 blobs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Gap { part, lack }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match (part, lack) {
                (Some(part), Lack::Manifest) => write!(f, "{part} is missing")?,
                (Some(part), Lack::Blobs(number)) => {
                    write!(f, "{part} lacks {}", count(*number, "blob"))?;
                }
                (None, Lack::Manifest) => f.write_str("its manifest is missing")?,
                (None, Lack::Blobs(number)) => write!(f, "it lacks {}", count(*number, "blob"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_said_by_platform() {
        let blob = |text: &str| Blob {
            digest: Digest::of(text.as_bytes()),
            size: 1,
        };
        let (base, arm, lost) = (blob("base"), blob("arm"), blob("lost"));
        let amd_blobs = [base.clone(), blob("amd")];
        let arm_blobs = [base.clone(), arm.clone(), lost.clone()];
        let part = |name, blobs| Part { name, blobs };
        let parts = [
            part(Some("linux/amd64"), Some(&amd_blobs[..])),
            part(Some("linux/arm64"), Some(&arm_blobs[..])),
            part(Some("linux/s390x"), None),
            part(None, Some(&[][..])),
        ];
        let missing = BTreeSet::from([&arm.digest, &lost.digest]);
        let gaps = Gaps::of(parts, &missing);
        assert_eq!(
            gaps.to_string(),
            "linux/arm64 lacks 2 blobs, linux/s390x is missing"
        );
        let whole = [part(None, Some(&amd_blobs[..]))];
        assert!(Gaps::of(whole, &missing).is_empty());
        let single = [part(None, Some(&arm_blobs[..]))];
        assert_eq!(Gaps::of(single, &missing).to_string(), "it lacks 2 blobs");
    }
}
