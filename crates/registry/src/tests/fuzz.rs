//! Parsers of what servers and files say, fed with anything: they may refuse, and they neither
//! panic nor take what makes no sense. Longer: docs/testing.md.

use proptest::{collection::vec, prelude::*};

use crate::{
    auth::{Scheme, offers},
    content::{Digest, Manifest},
    credentials::docker,
    download::Range,
    error::delay,
    tags::links,
};

/// Texts of these pieces and of anything else.
fn texts(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(pieces).prop_map(str::to_owned),
        1 => "\\PC{0,5}",
        1 => any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const CHALLENGES: &[&str] = &[
    "Bearer ",
    "Basic ",
    "Digest ",
    "bearer",
    "realm",
    "service",
    "scope",
    "=",
    "\"",
    "\\",
    ",",
    " ",
    "realm=\"https://auth.example/token\"",
    "realm=\"/token\"",
    "realm=\"//x\"",
    "realm=\"ftp://x\"",
    "realm=\"http://u:p@x\"",
    "service=\"a\"",
    "repository:a:pull",
    "\t",
    "é",
    "\u{0}",
];

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "\"\"",
    "\"schemaVersion\":2",
    "\"mediaType\":",
    "\"config\":",
    "\"layers\":[",
    "\"manifests\":[",
    "\"urls\":[]",
    "\"digest\":\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
    "\"size\":7",
    "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}",
    "\"application/vnd.oci.image.index.v1+json\"",
    "\"application/vnd.oci.image.manifest.v1+json\"",
    "\"auths\":{",
    "\"auth\":",
    "\"ghcr.io\":",
    "\"bWU6cHc=\"",
    "\"credHelpers\":{",
    "\"credsStore\":",
    "\"identitytoken\":",
    "\\u0000",
    " ",
    "\n",
];

const RANGES: &[&str] = &[
    "bytes ",
    "bytes=",
    "-",
    "/",
    "*",
    "0",
    "1",
    "99",
    "100",
    "18446744073709551615",
    "99999999999999999999",
    " ",
];

const LINKS: &[&str] = &[
    "<",
    ">",
    ";",
    ",",
    "rel=next",
    "rel=\"next\"",
    " rel = ",
    "\"",
    "\\",
    "</v2/a/tags/list?last=x>",
    "<https://x/>",
    " ",
    "é",
];

const DATES: &[&str] = &[
    "Sun, ",
    "06 ",
    "Nov ",
    "1994 ",
    "08:49:37 ",
    "GMT",
    "+0000",
    "-",
    "0",
    "9",
    "31 Dec 9999 ",
    "60",
    ":",
    " ",
];

proptest! {
    #[test]
    fn challenges(text in texts(CHALLENGES)) {
        let asked = "https://registry.example/v2/".parse().unwrap();
        for offer in offers(&text, &asked) {
            if let Scheme::Bearer { realm, safe, .. } = offer {
                prop_assert!(matches!(realm.scheme(), "http" | "https"), "{realm}");
                prop_assert_eq!(safe, realm.scheme() == "https");
                prop_assert!(realm.password().is_none() && realm.username().is_empty());
            }
        }
    }

    #[test]
    fn manifests(text in texts(JSON)) {
        if let Ok(manifest) = Manifest::parse(text.clone().into(), None, None) {
            prop_assert_eq!(&manifest.bytes, &text);
            prop_assert_eq!(&manifest.digest, &Digest::of(text.as_bytes()));
            prop_assert_eq!(text.trim_start().bytes().next(), Some(b'\x7b'));
            prop_assert!(manifest.children().is_empty() || manifest.blobs().is_empty());
            let again = Manifest::parse(text.into(), Some(&manifest.media_type), Some(&manifest.digest));
            prop_assert_eq!(again.unwrap(), manifest);
        }
    }

    #[test]
    fn manifests_of_any_bytes(bytes in vec(any::<u8>(), 0..200), kind in texts(JSON)) {
        let _ = Manifest::parse(bytes.into(), Some(&kind), None);
    }

    #[test]
    fn docker_configurations(text in texts(JSON), host in texts(&["ghcr.io", "docker.io", ":", "/"])) {
        match docker(&text) {
            Ok(docker) => {
                let _ = (docker.stored(&host), docker.helper(&host));
            }
            // A place, and nothing of what is there.
            Err(error) => prop_assert!(error.len() < 100, "{error}"),
        }
    }

    #[test]
    fn ranges(text in texts(RANGES)) {
        if let Some(range) = Range::parse(&text) {
            prop_assert!(range.first <= range.last);
            prop_assert!(range.total.is_none_or(|total| range.last < total));
        }
    }

    #[test]
    fn ranges_are_read_as_they_are_written(first: u64, length in 0u64..1 << 40, more in 1u64..9, known: bool) {
        let last = first.saturating_add(length);
        let total = last.checked_add(more).filter(|_| known);
        let end = total.map_or("*".to_owned(), |total| total.to_string());
        let range = Range::parse(&format!("bytes {first}-{last}/{end}"));
        prop_assert_eq!(range, Some(Range { first, last, total }));
    }

    #[test]
    fn link_headers(text in texts(LINKS)) {
        for (address, parameters) in links(&text) {
            prop_assert!(text.contains(address) && text.contains(parameters));
        }
    }

    #[test]
    fn delays(text in texts(DATES)) {
        let _ = delay(&text);
    }

    #[test]
    fn delays_in_seconds(seconds: u64) {
        let delay = delay(&seconds.to_string());
        prop_assert_eq!(delay.map(|delay| delay.as_secs()), Some(seconds));
    }

    #[test]
    fn digests(text in texts(&["sha256:", "sha512:", "aaaaaaaa", "0123456789abcdef", "A", "é", ":"])) {
        if let Some(digest) = Digest::parse(&text) {
            prop_assert_eq!(digest.as_str(), text.as_str());
            prop_assert!(text.starts_with(digest.short()));
        }
    }
}
