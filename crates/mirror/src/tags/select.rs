//! Which tags are wanted, and in which order: data in, data out.

use std::cmp::Ordering;

use regex::bytes::Regex;
use semver::{BuildMetadata, Prerelease, Version, VersionReq};

use crate::{attached::is_derived, registry::Tag};

/// What is wanted.
#[derive(Debug, Default)]
pub(super) struct Filter<'a> {
    /// Only versions in this range.
    pub(super) range: Option<&'a VersionReq>,
    /// Only names in which this is found.
    pub(super) pattern: Option<&'a Regex>,
    /// Only so many, the newest.
    pub(super) newest: Option<usize>,
    /// Also pre-releases.
    pub(super) prerelease: bool,
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// The tags, newest first.
    pub(super) tags: Vec<Tag>,
    /// How many were left out only because they are pre-releases.
    pub(super) prereleases: usize,
}

/// Chooses from all tags of a repository. Versions come first, the highest at the top;
/// then the others, those uploaded last at the top, and those of unknown age by name. Tags
/// that registries and signing tools make up (`sha256-<digits>.sig`) are never among them.
pub(super) fn select(tags: Vec<Tag>, filter: &Filter<'_>) -> Selection {
    let mut chosen = Vec::new();
    let mut prereleases = 0;
    for tag in tags {
        if is_derived(&tag.name) {
            continue;
        }
        let version = version(&tag.name);
        match filter.verdict(&tag.name, version.as_ref()) {
            Verdict::Wanted => chosen.push((version, tag)),
            Verdict::Prerelease => prereleases += 1,
            Verdict::Unwanted => {}
        }
    }
    chosen.sort_by(newest_first);
    chosen.truncate(filter.newest.unwrap_or(usize::MAX));
    Selection {
        tags: chosen.into_iter().map(|(_, tag)| tag).collect(),
        prereleases,
    }
}

enum Verdict {
    Wanted,
    /// Wanted, were it not a pre-release.
    Prerelease,
    Unwanted,
}

impl Filter<'_> {
    fn verdict(&self, name: &str, version: Option<&Version>) -> Verdict {
        if self
            .pattern
            .is_some_and(|pattern| !pattern.is_match(name.as_bytes()))
        {
            return Verdict::Unwanted;
        }
        let Some(version) = version else {
            return match self.range {
                Some(_) => Verdict::Unwanted,
                None => Verdict::Wanted,
            };
        };
        // A range that names a pre-release itself asks for it.
        if version.pre.is_empty() || self.range.is_some_and(|range| range.matches(version)) {
            return match self.range.is_none_or(|range| range.matches(version)) {
                true => Verdict::Wanted,
                false => Verdict::Unwanted,
            };
        }
        match self
            .range
            .is_none_or(|range| holds_prerelease(range, version))
        {
            true if self.prerelease => Verdict::Wanted,
            true => Verdict::Prerelease,
            false => Verdict::Unwanted,
        }
    }
}

/// Ranges leave pre-releases out, except those of a version that they name with one. Here,
/// where they are asked for, one is in the range when its release is.
fn holds_prerelease(range: &VersionReq, version: &Version) -> bool {
    let named = range.comparators.iter().any(|comparator| {
        !comparator.pre.is_empty()
            && comparator.major == version.major
            && comparator.minor == Some(version.minor)
            && comparator.patch == Some(version.patch)
    });
    let release = Version {
        pre: Prerelease::EMPTY,
        ..version.clone()
    };
    !named && range.matches(&release)
}

/// The version a tag stands for: `1.2.3`, `v1.2.3-rc.1`, `25.2-alpine`. One number alone is
/// none: it may be a date or the beginning of a commit.
fn version(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let (numbers, pre) = match text.split_once('-') {
        Some((_, "")) => return None,
        Some((numbers, pre)) => (numbers, Prerelease::new(pre).ok()?),
        None => (text, Prerelease::EMPTY),
    };
    let mut parts = numbers.split('.').map(number);
    let (major, minor) = (parts.next()??, parts.next()??);
    let patch = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then_some(Version {
        major,
        minor,
        patch,
        pre,
        build: BuildMetadata::EMPTY,
    })
}

fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

type Versioned = (Option<Version>, Tag);

fn newest_first((one, left): &Versioned, (other, right): &Versioned) -> Ordering {
    let age = match (one, other) {
        (Some(one), Some(other)) => other.cmp(one),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => right.uploaded.cmp(&left.uploaded),
    };
    age.then_with(|| left.name.cmp(&right.name))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const COMMIT: &str = "1234567890123456789012345678901234567890";

    fn tag(name: &str, uploaded: Option<i64>) -> Tag {
        Tag {
            name: name.to_owned(),
            digest: None,
            uploaded: uploaded.map(|at| Timestamp::from_second(at).unwrap()),
        }
    }

    fn check(names: &[&str], filter: &Filter<'_>, want: &[&str], prereleases: usize) {
        let selection = select(names.iter().map(|name| tag(name, None)).collect(), filter);
        let got: Vec<&str> = selection.tags.iter().map(|tag| tag.name.as_str()).collect();
        assert_eq!(got, want);
        assert_eq!(selection.prereleases, prereleases);
    }

    #[test]
    fn versions_are_ordered_by_number_and_come_first() {
        check(
            &[
                "latest", "v0.9.0", "0.10.0", "v0.10.0", "1.2", "edge", COMMIT, "20240101",
            ],
            &Filter::default(),
            &[
                "1.2", "0.10.0", "v0.10.0", "v0.9.0", COMMIT, "20240101", "edge", "latest",
            ],
            0,
        );
    }

    #[test]
    fn others_are_ordered_by_age_and_then_by_name() {
        let tags = vec![
            tag("b", None),
            tag("old", Some(1)),
            tag("a", None),
            tag("new", Some(2)),
            tag("v1.0.0", Some(0)),
        ];
        let selection = select(tags, &Filter::default());
        let names: Vec<&str> = selection.tags.iter().map(|tag| tag.name.as_str()).collect();
        assert_eq!(names, ["v1.0.0", "new", "old", "a", "b"]);
    }

    #[test]
    fn what_is_made_up_from_digests_is_hidden() {
        let hex = "a".repeat(64);
        let names = [
            format!("sha256-{hex}"),
            format!("sha256-{hex}.sig"),
            format!("sha256-{hex}.att"),
            "sha256-short".to_owned(),
            format!("v1-{hex}"),
        ];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        check(&names, &Filter::default(), &["sha256-short", names[4]], 0);
    }

    #[test]
    fn ranges_patterns_and_the_newest() {
        let names = [
            "v1.0.0",
            "v1.2.0",
            "1.37.0",
            "1.37.0-musl",
            "2.0.0",
            "latest",
            COMMIT,
        ];
        let range = VersionReq::parse(">=1.1, <2").unwrap();
        let in_range = Filter {
            range: Some(&range),
            ..Filter::default()
        };
        check(&names, &in_range, &["1.37.0", "v1.2.0"], 1);
        let newest = Filter {
            newest: Some(1),
            ..Filter::default()
        };
        check(&names, &newest, &["2.0.0"], 1);
        let pattern = Regex::new("^v|musl").unwrap();
        let matching = Filter {
            pattern: Some(&pattern),
            prerelease: true,
            ..Filter::default()
        };
        check(&names, &matching, &["1.37.0-musl", "v1.2.0", "v1.0.0"], 0);
    }

    #[test]
    fn prereleases_are_in_a_range_when_their_release_is() {
        let names = [
            "1.9.0-rc.1",
            "2.0.0-rc.1",
            "2.0.0-rc.3",
            "2.0.0",
            "2.1.0-rc.1",
        ];
        for (range, prerelease, want, left_out) in [
            ("^2", false, &["2.0.0"][..], 3),
            (
                "^2",
                true,
                &["2.1.0-rc.1", "2.0.0", "2.0.0-rc.3", "2.0.0-rc.1"],
                0,
            ),
            ("<2", true, &["1.9.0-rc.1"], 0),
            (">=2.0.0-rc.2, <2.1", false, &["2.0.0", "2.0.0-rc.3"], 0),
            (
                ">=2.0.0-rc.2",
                true,
                &["2.1.0-rc.1", "2.0.0", "2.0.0-rc.3"],
                0,
            ),
        ] {
            let range = VersionReq::parse(range).unwrap();
            let filter = Filter {
                range: Some(&range),
                prerelease,
                ..Filter::default()
            };
            check(&names, &filter, want, left_out);
        }
    }

    #[test]
    fn what_is_a_version() {
        for text in [
            "1.2.3",
            "v1.2.3",
            "25.2-alpine",
            "1.37.0-musl",
            "v0.0.0",
            "2024.1.15",
        ] {
            assert!(version(text).is_some(), "{text}");
        }
        for text in [
            "1",
            "v1",
            "20240101",
            COMMIT,
            "1.2.3.4",
            "01.2.3",
            "1.2.x",
            "1..2",
            "vv1.2.3",
            "1.2.3-",
            "1.2.3-a_b",
            "v",
            "",
            "1.2.99999999999999999999",
        ] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
