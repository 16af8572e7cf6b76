//! The grammar of image references, after distribution/reference: what Docker, containerd
//! and Kubernetes read, with their short names.
//!
//! Written out by hand: the usual regular expression costs more at every start than most
//! runs take, and tens of megabytes.

/// The registry of names that do not name one.
const DEFAULT_REGISTRY: &str = "docker.io";

/// An older name of the same registry.
const LEGACY_REGISTRY: &str = "index.docker.io";

/// Where the default registry keeps names of one element.
const OFFICIAL: &str = "library/";

/// The longest name, registry included.
const MAX_NAME: usize = 255;

/// The longest tag.
const MAX_TAG: usize = 128;

/// The parts of a reference, with what short names leave out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Parts {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

/// Reads `[registry/]repository[:tag][@digest]`; the error says which part is wrong.
pub(super) fn parse(text: &str) -> Result<Parts, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = match rest.rfind(':') {
        // A colon before the last slash belongs to a port.
        Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some(&rest[colon + 1..])),
        _ => (rest, None),
    };
    let (registry, path) = split_registry(name);
    if name.len() > MAX_NAME {
        return Err("the name is longer than 255 characters");
    }
    if !registry.is_none_or(is_registry) {
        return Err("the registry is not a host name");
    }
    if !path.split('/').all(is_component) {
        return Err("the repository is not of lower-case words separated by `/`, `.`, `_` and `-`");
    }
    if !tag.is_none_or(is_tag) {
        return Err("the tag is not of letters, digits, `_`, `.` and `-`");
    }
    if !digest.is_none_or(is_digest) {
        return Err("the digest is not an algorithm and the right number of hexadecimal digits");
    }
    Ok(complete(registry, path, tag, digest))
}

fn complete(registry: Option<&str>, path: &str, tag: Option<&str>, digest: Option<&str>) -> Parts {
    let registry = registry
        .filter(|name| *name != LEGACY_REGISTRY)
        .unwrap_or(DEFAULT_REGISTRY);
    let official = registry == DEFAULT_REGISTRY && !path.contains('/');
    let tag = tag.or(if digest.is_none() {
        Some("latest")
    } else {
        None
    });
    Parts {
        registry: registry.to_owned(),
        repository: format!("{}{path}", if official { OFFICIAL } else { "" }),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    }
}

/// The first element is a registry when it could not be part of a repository.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let number = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    port.is_none_or(number) && (is_ipv6(host) || host.split('.').all(is_label))
}

fn is_ipv6(text: &str) -> bool {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Words of lower-case letters and digits; between them `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| is_word(*b));
    let separators = text
        .split(|c: char| c.is_ascii() && is_word(c as u8))
        .filter(|between| !between.is_empty());
    edge(bytes.first()) && edge(bytes.last()) && separators.into_iter().all(is_separator)
}

fn is_separator(text: &str) -> bool {
    matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-')
}

/// True for what can stand after the colon of a reference.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= MAX_TAG
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn references_are_taken_apart() {
        for (text, registry, repository, tag) in [
            ("busybox", "docker.io", "library/busybox", Some("latest")),
            (
                "busybox:1.37.0-musl",
                "docker.io",
                "library/busybox",
                Some("1.37.0-musl"),
            ),
            (
                "docker.io/busybox:1",
                "docker.io",
                "library/busybox",
                Some("1"),
            ),
            ("index.docker.io/otel/x:1", "docker.io", "otel/x", Some("1")),
            ("localhost/a:1", "localhost", "a", Some("1")),
            (
                "localhost:5000/a/b",
                "localhost:5000",
                "a/b",
                Some("latest"),
            ),
            (
                "127.0.0.1:5000/a__b/c---d.e_f",
                "127.0.0.1:5000",
                "a__b/c---d.e_f",
                Some("latest"),
            ),
            (
                "[2001:db8::1]:5000/a:v1",
                "[2001:db8::1]:5000",
                "a",
                Some("v1"),
            ),
            ("[2001:db8::1]/a:v1", "[2001:db8::1]", "a", Some("v1")),
            ("Registry/a", "Registry", "a", Some("latest")),
            (
                "us-docker.pkg.dev/p/r/agent:v0",
                "us-docker.pkg.dev",
                "p/r/agent",
                Some("v0"),
            ),
            ("a/b:_tag", "docker.io", "a/b", Some("_tag")),
        ] {
            let parts = parse(text).unwrap_or_else(|err| panic!("{text}: {err}"));
            assert_eq!(
                (
                    &*parts.registry,
                    &*parts.repository,
                    parts.tag.as_deref(),
                    parts.digest
                ),
                (registry, repository, tag, None),
                "{text}"
            );
        }
    }

    #[test]
    fn digests_stand_with_and_without_a_tag() {
        let parts = parse(&format!("a/b:1@sha256:{HEX}")).unwrap();
        assert_eq!(
            (parts.tag.as_deref(), parts.digest),
            (Some("1"), Some(format!("sha256:{HEX}")))
        );
        let parts = parse(&format!("a/b@sha256:{HEX}")).unwrap();
        assert_eq!(parts.tag, None);
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("r.example/{}", "a".repeat(256));
        let tag = format!("a:{}", "t".repeat(129));
        let bad_digest = format!("a@sha256:{}", HEX.to_uppercase());
        for text in [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "a:",
            ":1",
            "a:-1",
            "a: 1",
            "a b",
            "a@",
            "a@sha256:abc",
            "a@md5:abc",
            "A",
            "a/B",
            "a..b",
            "a_-b",
            "a___b",
            "-a",
            "a-",
            "r.example:x/a",
            "r.example:/a",
            "-r.example/a",
            "[::g]/a",
            "http://x/y",
            "a@b@c",
            "ä",
            "a/ä:1",
            "a:ä",
            "r.ex_ample/a",
            "r..example/a",
            &long,
            &tag,
            &bad_digest,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
