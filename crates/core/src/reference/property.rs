//! What holds of every text that is read as a reference, and of every other.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{ImageRef, Layout};

const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const PIECES: [&str; 26] = [
    "a",
    "b1",
    "A",
    "registry",
    "localhost",
    "example.com",
    "index.docker.io",
    "docker.io",
    "library",
    "::1",
    "[::1]",
    "[",
    "]",
    ":",
    "5000",
    "/",
    "//",
    ".",
    "..",
    "_",
    "__",
    "-",
    "@",
    "@sha256:",
    "sha512:",
    HEX,
];

/// Texts of the pieces that references are made of, and of anything else.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => select(&PIECES[..]).prop_map(str::to_owned),
        1 => "\\PC{0,5}",
        1 => any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// References as they are written.
fn references() -> impl Strategy<Value = String> {
    let component = "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}";
    let host = prop_oneof![
        "[a-z0-9]{1,8}\\.[a-z]{2,5}",
        "localhost",
        Just("[2001:db8::1]".to_owned())
    ];
    let registry = (host, proptest::option::of(1u16..)).prop_map(|(host, port)| match port {
        Some(port) => format!("{host}:{port}/"),
        None => format!("{host}/"),
    });
    let tag = proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}");
    (
        proptest::option::of(registry),
        vec(component, 1..4),
        tag,
        any::<bool>(),
    )
        .prop_map(|(registry, path, tag, pinned)| {
            let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = if pinned {
                format!("@sha256:{HEX}")
            } else {
                String::new()
            };
            format!(
                "{}{}{tag}{digest}",
                registry.unwrap_or("team/".to_owned()),
                path.join("/")
            )
        })
}

/// What must hold of a text that was read.
fn check(image: &ImageRef, text: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(image.to_string(), text.trim());
    prop_assert_eq!(&image.to_string().parse::<ImageRef>().unwrap(), image);
    prop_assert!(image.literal().starts_with(image.literal_name()));
    prop_assert!(image.tag().is_some() || image.digest().is_some());
    // What becomes part of an address has nothing in it that leads elsewhere.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    prop_assert!(image.repository().chars().all(plain));
    prop_assert!(
        image
            .repository()
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
    );
    if let Some(twin) = image.twin() {
        prop_assert_eq!(twin.twin(), Some(image.clone()));
    }
    let _ = image.kvisor_scanners();
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in texts()) {
        if let Ok(image) = text.parse::<ImageRef>() {
            check(&image, &text)?;
        }
    }

    #[test]
    fn references_are_read_and_keep_what_they_say_at_a_target(
        text in references(),
        layout in select(&[Layout::Full, Layout::Path, Layout::Flat][..]),
    ) {
        let image: ImageRef = text.parse().unwrap();
        check(&image, &text)?;
        let registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        // A name may become too long, or a port part of it.
        if let Ok(target) = image.at(registry, layout) {
            prop_assert_eq!(target.registry(), registry);
            prop_assert_eq!((target.tag(), target.digest()), (image.tag(), image.digest()));
            prop_assert_eq!(target.at(registry, layout).unwrap(), target);
        }
    }
}
