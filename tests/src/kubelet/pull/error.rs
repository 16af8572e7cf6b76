//! Names of images and what is said when they cannot be pulled, in containerd's and the
//! kubelet's words: people and tools read exactly these texts.

use std::fmt;

use oci_client::Reference;
use reqwest::StatusCode;

/// Why a pull failed; displayed as containerd's and the kubelet's message.
#[derive(Clone, Debug, PartialEq)]
pub enum PullError {
    /// Not a reference at all.
    InvalidName(String),
    /// `imagePullPolicy: Never`, and the node does not have it.
    Never(String),
    /// The host is not within reach.
    Unreachable(Name),
    /// The registry has no such manifest.
    NotFound(Name),
    /// The registry wants credentials that the node does not have.
    Unauthorized(Name),
    /// Any other answer to the request for the manifest.
    Status(Name, u16),
    /// A manifest or blob that belongs to the image is not there.
    Incomplete(Name, String),
    /// No manifest for the node's platform.
    NoPlatform(Name),
}

impl PullError {
    /// The reason a waiting container shows.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidName(_) => "InvalidImageName",
            Self::Never(_) => "ErrImageNeverPull",
            _ => "ErrImagePull",
        }
    }
}

impl PullError {
    /// Whether the registry did not like the credentials.
    pub(super) fn refused(&self) -> bool {
        matches!(self, Self::Unauthorized(_) | Self::Status(_, 403))
    }
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unpack = |name: &Name| format!("failed to pull and unpack image \"{name}\": ");
        let resolve =
            |name: &Name| unpack(name) + &format!("failed to resolve reference \"{name}\": ");
        match self {
            Self::InvalidName(image) => write!(
                f,
                "Failed to apply default image tag \"{image}\": couldn't parse image name \
                 \"{image}\": invalid reference format"
            ),
            Self::Never(image) => write!(
                f,
                "Container image \"{image}\" is not present with pull policy of Never"
            ),
            Self::Unreachable(name) => write!(
                f,
                "{}failed to do request: Head \"{}\": dial tcp: i/o timeout",
                resolve(name),
                name.url()
            ),
            Self::NotFound(name) => write!(
                f,
                "rpc error: code = NotFound desc = {}{name}: not found",
                resolve(name)
            ),
            Self::Unauthorized(name) => write!(
                f,
                "{}pull access denied, repository does not exist or may require authorization: \
                 authorization failed: no basic auth credentials",
                resolve(name)
            ),
            Self::Status(name, status) => {
                let status = StatusCode::from_u16(*status).unwrap_or_default();
                let url = name.url();
                write!(
                    f,
                    "{}unexpected status from HEAD request to {url}: {status}",
                    resolve(name)
                )
            }
            Self::Incomplete(name, digest) => write!(
                f,
                "rpc error: code = NotFound desc = {}failed to copy: httpReadSeeker: failed open: \
                 content at {digest} not found: not found",
                unpack(name)
            ),
            Self::NoPlatform(name) => write!(
                f,
                "rpc error: code = NotFound desc = {}no match for platform in manifest: not found",
                unpack(name)
            ),
        }
    }
}

/// An image reference in containerd's long form (`docker.io/library/busybox:1.37.0`).
#[derive(Clone, Debug, PartialEq)]
pub struct Name(Reference);

impl Name {
    /// Reads a reference as manifests write it; none when it is malformed.
    #[must_use]
    pub(crate) fn parse(image: &str) -> Option<Self> {
        Reference::try_from(image).ok().map(Self)
    }

    /// The registry's host.
    pub(super) fn registry(&self) -> &str {
        self.0.registry()
    }

    /// The repository below it.
    pub(super) fn repository(&self) -> &str {
        self.0.repository()
    }

    /// The digest, when it has one.
    pub(super) fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The tag or digest to ask the registry for; a digest wins.
    pub(super) fn version(&self) -> &str {
        let digest = self.0.digest().or_else(|| self.0.tag());
        digest.unwrap_or("latest")
    }

    /// What the kubelet shows as the `imageID`.
    pub(super) fn id(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.0.registry(), self.0.repository())
    }

    /// The URL a node without an endpoint for this registry would ask.
    fn url(&self) -> String {
        let host = match self.0.registry() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let (repository, version) = (self.0.repository(), self.version());
        format!("https://{host}/v2/{repository}/manifests/{version}")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(image: &str) -> Name {
        Name::parse(image).expect("a reference")
    }

    #[test]
    fn messages_are_containerds() {
        let cases = [
            (
                PullError::Unreachable(name("us-docker.pkg.dev/castai-hub/library/agent:v1")),
                r#"failed to pull and unpack image "us-docker.pkg.dev/castai-hub/library/agent:v1": failed to resolve reference "us-docker.pkg.dev/castai-hub/library/agent:v1": failed to do request: Head "https://us-docker.pkg.dev/v2/castai-hub/library/agent/manifests/v1": dial tcp: i/o timeout"#,
            ),
            (
                PullError::Unreachable(name("busybox:1.37.0")),
                r#"failed to pull and unpack image "docker.io/library/busybox:1.37.0": failed to resolve reference "docker.io/library/busybox:1.37.0": failed to do request: Head "https://registry-1.docker.io/v2/library/busybox/manifests/1.37.0": dial tcp: i/o timeout"#,
            ),
            (
                PullError::NotFound(name("r.test/a:1")),
                r#"rpc error: code = NotFound desc = failed to pull and unpack image "r.test/a:1": failed to resolve reference "r.test/a:1": r.test/a:1: not found"#,
            ),
            (
                PullError::Status(name("r.test/a:1"), 403),
                r#"failed to pull and unpack image "r.test/a:1": failed to resolve reference "r.test/a:1": unexpected status from HEAD request to https://r.test/v2/a/manifests/1: 403 Forbidden"#,
            ),
            (
                PullError::NoPlatform(name("r.test/a:1")),
                r#"rpc error: code = NotFound desc = failed to pull and unpack image "r.test/a:1": no match for platform in manifest: not found"#,
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn image_ids_drop_the_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let tagged = name(&format!("r.test/team/a:1@{digest}"));
        assert_eq!(tagged.id(&digest), format!("r.test/team/a@{digest}"));
        assert_eq!(tagged.version(), digest);
    }
}
