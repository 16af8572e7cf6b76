//! Image references: parsed once, and never without the text they were written as.
//!
//! The literal text decides the name at the target, because that is what the charts'
//! `global.registry` produces: `R/us-docker.pkg.dev/castai-hub/library/agent`, but
//! `R/busybox` and not `R/docker.io/library/busybox`.

use std::{fmt, str::FromStr};

use crate::{Failure, Result};

mod ecr;
mod grammar;
#[cfg(test)]
mod property;

pub use ecr::EcrHost;
pub use grammar::is_tag;

/// Where CAST AI publishes the same images twice, with identical paths and tags.
const TWINS: [&str; 2] = [
    "us-docker.pkg.dev/castai-hub/library/",
    "ghcr.io/castai/images/",
];

/// An image reference as it was written, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    literal: String,
    parts: grammar::Parts,
}

/// How target repository names are built from the source reference.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The reference as it is written: `us-docker.pkg.dev/castai-hub/library/agent`.
    #[default]
    Full,
    /// Without the registry host: `castai-hub/library/agent`.
    Path,
    /// The last path element alone: `agent`.
    Flat,
}

impl ImageRef {
    /// The reference exactly as it was written.
    #[must_use]
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// The registry it is pulled from (`docker.io` for short names).
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.parts.registry
    }

    /// The repository within the registry (`library/busybox` for `busybox`).
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.parts.repository
    }

    /// The tag, `latest` when neither tag nor digest is written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.parts.tag.as_deref()
    }

    /// The digest, when one is written.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.parts.digest.as_deref()
    }

    /// What a manifest is asked for by: the digest, else the tag.
    #[must_use]
    pub fn selector(&self) -> &str {
        self.digest().or(self.tag()).unwrap_or("latest")
    }

    /// The literal text without tag and digest.
    #[must_use]
    pub fn literal_name(&self) -> &str {
        let name = self.literal.split('@').next().unwrap_or_default();
        match name.rfind(':') {
            Some(colon) if colon > name.rfind('/').unwrap_or(0) => &name[..colon],
            _ => name,
        }
    }

    /// True when the reference is served by `registry`, a host with an optional
    /// path prefix: nothing has to be mirrored.
    #[must_use]
    pub fn is_at(&self, registry: &str) -> bool {
        self.literal
            .strip_prefix(registry.trim_end_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The name of this image at `registry` (host, with an optional path prefix):
    /// same tag, same digest.
    ///
    /// # Errors
    /// Exit 2 when the registry cannot be part of a reference.
    pub fn at(&self, registry: &str, layout: Layout) -> Result<Self> {
        if self.is_at(registry) {
            return Ok(self.clone());
        }
        let mut text = format!(
            "{}/{}",
            registry.trim_end_matches('/'),
            self.target_name(layout)
        );
        if let Some(tag) = self.tag() {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = self.digest() {
            text.push('@');
            text.push_str(digest);
        }
        text.parse()
    }

    fn target_name(&self, layout: Layout) -> &str {
        match layout {
            Layout::Full => self.literal_name(),
            Layout::Path => self.repository(),
            Layout::Flat => self.repository().rsplit('/').next().unwrap_or_default(),
        }
    }

    /// The other public name of a CAST AI image: `ghcr.io/castai/images/X` and
    /// `us-docker.pkg.dev/castai-hub/library/X` are published together.
    #[must_use]
    pub fn twin(&self) -> Option<Self> {
        let [hub, ghcr] = TWINS;
        let swap = |from, to| Some(format!("{to}{}", self.literal.strip_prefix(from)?));
        swap(hub, ghcr).or_else(|| swap(ghcr, hub))?.parse().ok()
    }

    /// The scanner image that goes with a kvisor controller: kvisor derives it at run
    /// time from its own image name, so no manifest shows it.
    #[must_use]
    pub fn kvisor_scanners(&self) -> Option<Self> {
        let stem = self.literal_name().strip_suffix("kvisor-controller")?;
        format!("{stem}kvisor-scanners:{}", self.tag()?)
            .parse()
            .ok()
    }
}

impl FromStr for ImageRef {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let malformed = || {
            Failure::usage(format!("malformed image reference `{text}`"))
                .hint("write [registry/]repository[:tag][@sha256:digest], for example ghcr.io/castai/images/agent:v0.161.1")
        };
        let parts = grammar::parse(text).map_err(|err| malformed().because(err))?;
        Ok(Self {
            literal: text.to_owned(),
            parts,
        })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn image(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    #[test]
    fn the_target_name_follows_the_literal_text() {
        let pinned = format!("clickhouse/clickhouse-server:25.2-alpine@{DIGEST}");
        for (source, want) in [
            ("busybox", "busybox:latest"),
            ("busybox:1.37.0-musl", "busybox:1.37.0-musl"),
            ("otel/ebpf-instrument:v0.8.0", "otel/ebpf-instrument:v0.8.0"),
            (
                "ghcr.io/castai/images/agent:v1",
                "ghcr.io/castai/images/agent:v1",
            ),
            (
                "registry.k8s.io/cpa/cpvpa:v0.8.4",
                "registry.k8s.io/cpa/cpvpa:v0.8.4",
            ),
            (&pinned, &pinned),
        ] {
            let target = image(source).at(ECR, Layout::Full).unwrap();
            assert_eq!(target.literal(), format!("{ECR}/{want}"));
            assert_eq!(target.at(ECR, Layout::Full).unwrap(), target, "idempotent");
        }
    }

    #[test]
    fn other_layouts_drop_the_host_or_the_path() {
        let source = image("busybox:1");
        assert_eq!(
            source.at("r.example/p", Layout::Path).unwrap().literal(),
            "r.example/p/library/busybox:1"
        );
        let agent = image("us-docker.pkg.dev/castai-hub/library/agent:v1");
        assert_eq!(
            agent.at("r.example", Layout::Flat).unwrap().literal(),
            "r.example/agent:v1"
        );
    }

    #[test]
    fn malformed_references_are_usage_errors() {
        for text in [
            "",
            "r.example/UPPER/case:1",
            "a b",
            "x:",
            "repo@sha256:short",
            "http://x/y",
        ] {
            let err = text.parse::<ImageRef>().unwrap_err();
            assert_eq!(err.exit(), crate::Exit::Usage, "{text}");
        }
    }

    #[test]
    fn castai_images_have_a_twin() {
        let hub = image("us-docker.pkg.dev/castai-hub/library/agent:v1");
        let ghcr = image("ghcr.io/castai/images/agent:v1");
        assert_eq!(hub.twin().unwrap(), ghcr);
        assert_eq!(ghcr.twin().unwrap(), hub);
        assert_eq!(image("busybox").twin(), None);
        assert_eq!(
            image("ghcr.io/castai/kvisor/kvisor-controller:v1.2")
                .kvisor_scanners()
                .unwrap()
                .literal(),
            "ghcr.io/castai/kvisor/kvisor-scanners:v1.2"
        );
    }
}
