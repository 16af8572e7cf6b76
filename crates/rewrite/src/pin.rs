//! References written with their digest, and the one image that must not be.

use castlink_core::ImageRef;

/// `reference` with `digest` behind its tag: the kubelet pulls by the digest, people read
/// the tag.
pub fn with_digest(reference: &str, digest: &str) -> String {
    format!("{reference}@{digest}")
}

/// True for an image from whose name another one's is derived at run time: kvisor's
/// controller asks for its scanners under its own tag and digest, and theirs is another.
pub fn derives(reference: &str) -> bool {
    let image = reference.parse::<ImageRef>();
    image.is_ok_and(|image| image.kvisor_scanners().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_of_kvisor_names_its_scanners() {
        for (reference, want) in [
            ("r.example/ghcr.io/castai/kvisor/kvisor-controller:v1", true),
            ("r.example/ghcr.io/castai/kvisor/kvisor-agent:v1", false),
            ("not a reference", false),
        ] {
            assert_eq!(derives(reference), want, "{reference}");
        }
    }
}
