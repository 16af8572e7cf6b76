//! Which tag is the newest release: an order among tags that are written alike. Data in,
//! data out.
//!
//! Tags of container images are versions with habits: `v1.2.3`, `25.2.1.3085-alpine`,
//! `4.5.2-4.8.1-ubuntu22.04`, a commit. What stands behind the number is a variant, and
//! another variant is another image; only words like `rc` make it a pre-release.

use std::cmp::Ordering;

/// Words behind a number that say: not released yet.
const UNRELEASED: [&str; 10] = [
    "alpha", "beta", "rc", "pre", "preview", "dev", "snapshot", "canary", "nightly", "next",
];

/// What a tag says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    Version(Version),
    /// 40 hexadecimal digits: of a repository's history, without an order.
    Commit,
    /// `latest`, `stable`: it moves, and says nothing.
    Other,
}

/// A version, and everything that has to be alike in another one to be compared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: Vec<u64>,
    /// What stands between the numbers: `v#.#.#-ubuntu#.#`.
    shape: String,
    /// How many of the numbers are the version proper.
    proper: usize,
    unreleased: bool,
}

impl Tag {
    pub(crate) fn parse(text: &str) -> Self {
        if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Self::Commit;
        }
        Version::parse(text).map_or(Self::Other, Self::Version)
    }
}

impl Version {
    /// `1.2`, `v1.2.3`, `1.2.3.4` and whatever follows behind a dash. A number alone is none:
    /// it may be a date.
    fn parse(text: &str) -> Option<Self> {
        let (main, rest) = text.split_at(text.find(['-', '_', '+']).unwrap_or(text.len()));
        let digits = main.strip_prefix('v').unwrap_or(main);
        let proper = digits.split('.').count();
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !(2..=4).contains(&proper) || !digits.split('.').all(plain) {
            return None;
        }
        let (numbers, shape) = dissect(text)?;
        Some(Self {
            numbers,
            shape,
            proper,
            unreleased: words(rest).any(|word| UNRELEASED.contains(&word.as_str())),
        })
    }

    /// True when it is not released yet.
    pub(crate) fn is_prerelease(&self) -> bool {
        self.unreleased
    }

    /// True when `other` may take the place of this one: released, written alike, and the
    /// same variant. A pre-release is followed by others, and by releases.
    fn admits(&self, other: &Self) -> bool {
        if self.shape == other.shape {
            return true;
        }
        self.unreleased && other.numbers.len() == other.proper && self.stem() == other.shape
    }

    /// The shape without what stands behind the version proper.
    fn stem(&self) -> &str {
        self.shape.split(['-', '_', '+']).next().unwrap_or_default()
    }

    /// A release comes after its pre-releases.
    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        let proper = self.numbers[..self.proper].cmp(&other.numbers[..other.proper]);
        proper
            .then_with(|| other.unreleased.cmp(&self.unreleased))
            .then_with(|| self.shape.cmp(&other.shape))
            .then_with(|| self.numbers.cmp(&other.numbers))
    }
}

/// The newest of `tags` that may take the place of `current`; it may be the current one.
pub(crate) fn newest<'a>(
    current: &Version,
    tags: impl IntoIterator<Item = &'a str>,
) -> Option<(&'a str, Version)> {
    versions(tags)
        .filter(|(_, version)| current.admits(version))
        .max_by(|(_, one), (_, other)| one.cmp(other))
}

/// The newest released version without a variant, for an image whose own tag is none.
pub(crate) fn newest_plain<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = versions(tags).filter(|(_, version)| version.numbers.len() == version.proper);
    let newest = plain.max_by(|(_, one), (_, other)| one.cmp(other));
    newest.map(|(tag, _)| tag)
}

fn versions<'a>(
    tags: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (&'a str, Version)> {
    tags.into_iter()
        .filter_map(|tag| Some((tag, Version::parse(tag)?)))
}

/// The numbers of a text, and the text with `#` in their places. None for a number beyond
/// all bounds.
fn dissect(text: &str) -> Option<(Vec<u64>, String)> {
    let mut numbers = Vec::new();
    let mut shape = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let length = from
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len());
        numbers.push(from[..length].parse().ok()?);
        shape.push_str(before);
        shape.push('#');
        rest = &from[length..];
    }
    shape.push_str(rest);
    Some((numbers, shape))
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c";

    fn check(current: &str, tags: &[&str], want: Option<&str>) {
        let Tag::Version(version) = Tag::parse(current) else {
            panic!("{current} is a version");
        };
        let found = newest(&version, tags.iter().copied()).map(|(tag, _)| tag);
        assert_eq!(found, want, "{current} among {tags:?}");
    }

    #[test]
    fn versions_are_ordered_by_number() {
        check("v1.9.0", &["v1.10.0", "v1.9.3", "v1.2.0"], Some("v1.10.0"));
        check("0.1.29", &["0.1.29", "0.1.3"], Some("0.1.29"));
        check("1.2", &["1.3", "1.10"], Some("1.10"));
        check("v1.9.0", &["latest", COMMIT, "20260101", "2.0.0"], None);
    }

    #[test]
    fn a_variant_is_followed_by_the_same_variant() {
        let tags = ["1.37.0-musl", "1.38.0", "1.38.0-musl", "1.39.0-glibc"];
        check("1.37.0-musl", &tags, Some("1.38.0-musl"));
        check("1.37.0", &tags, Some("1.38.0"));
        check(
            "1.6.0-v2",
            &["1.6.0-v10", "1.6.0", "1.6.1-rc"],
            Some("1.6.0-v10"),
        );
        check(
            "25.2.1.3085-alpine",
            &[
                "25.2.1.3085-alpine",
                "25.10.1.1-alpine",
                "25.11",
                "25.11-alpine",
            ],
            Some("25.10.1.1-alpine"),
        );
        check(
            "3.3.7-3.5.0-ubuntu22.04",
            &["4.5.2-4.8.1-ubuntu22.04", "4.5.2-4.8.1-ubi9", "4.6.0"],
            Some("4.5.2-4.8.1-ubuntu22.04"),
        );
    }

    #[test]
    fn prereleases_are_for_those_who_run_one() {
        let tags = ["v1.0.0", "v1.1.0-rc.1", "v1.1.0-rc.2", "v1.1.0-beta.9"];
        check("v1.0.0", &tags, Some("v1.0.0"));
        check("v1.1.0-rc.1", &tags, Some("v1.1.0-rc.2"));
        let released = [&tags[..], &["v1.1.0", "v1.1.0-alpine"]].concat();
        check("v1.1.0-rc.1", &released, Some("v1.1.0"));
        check("v1.1.0", &["v1.1.0-rc.9", "v1.1.0"], Some("v1.1.0"));
    }

    #[test]
    fn what_has_no_order_is_told_apart() {
        assert_eq!(Tag::parse(COMMIT), Tag::Commit);
        for other in [
            "latest",
            "stable",
            "20260101",
            "v1",
            "",
            "1.2.3.4.5",
            "1..2",
            "1.2.x",
        ] {
            assert_eq!(Tag::parse(other), Tag::Other, "{other}");
        }
        let tags = ["latest", "v1.2.0", "v1.10.0", "v1.11.0-rc.1", COMMIT];
        assert_eq!(newest_plain(tags), Some("v1.10.0"));
        assert_eq!(newest_plain(["latest"]), None);
    }
}
