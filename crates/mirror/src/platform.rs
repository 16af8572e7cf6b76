//! Which platforms travel: what `--platform` says, and which platforms it means. What is
//! left of an index then: filter.rs.

use std::fmt;

use castlink_core::{Failure, Result};

/// `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// The platforms that are wanted; all when nobody said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection(Vec<Platform>);

impl Selection {
    /// Reads `linux/amd64`, `linux/arm/v7`. None of them selects everything.
    ///
    /// # Errors
    /// Exit 2 for a text that is no platform.
    pub(crate) fn parse(texts: &[String]) -> Result<Self> {
        let mut platforms = Vec::new();
        for text in texts {
            let platform = Platform::parse(text).ok_or_else(|| {
                Failure::usage(format!("`{text}` is not a platform"))
                    .hint("write os/architecture[/variant]: --platform linux/amd64,linux/arm64")
            })?;
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(Self(platforms))
    }

    /// True when nothing is left out.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// True when `platform`, as a manifest names it, is wanted.
    pub(crate) fn wants(&self, platform: &str) -> bool {
        let platform = Platform::parse(platform);
        self.is_all()
            || platform.is_some_and(|platform| self.0.iter().any(|wanted| wanted.is(&platform)))
    }

    /// The first wanted platform that is not among `there`.
    pub(crate) fn missing(&self, there: &[String]) -> Option<String> {
        let there: Vec<Platform> = there
            .iter()
            .filter_map(|text| Platform::parse(text))
            .collect();
        let missing = |wanted: &&Platform| !there.iter().any(|platform| wanted.is(platform));
        self.0.iter().find(missing).map(ToString::to_string)
    }
}

impl Platform {
    /// The names are Go's; those of `uname` are understood too.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let parts: Vec<&str> = text.split('/').collect();
        let ([os, architecture] | [os, architecture, _]) = parts[..] else {
            return None;
        };
        let is_name = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(is_name) {
            return None;
        }
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        // Every arm64 machine is a v8: leaving it away or not says the same.
        let variant = parts.get(2).copied();
        let variant = variant.filter(|variant| (architecture, *variant) != ("arm64", "v8"));
        Some(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }

    /// True when `platform` is what was asked for; without a variant any will do.
    fn is(&self, platform: &Self) -> bool {
        (&self.os, &self.architecture) == (&platform.os, &platform.architecture)
            && (self.variant.is_none() || self.variant == platform.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(texts: &[&str]) -> Selection {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Selection::parse(&texts).unwrap()
    }

    #[test]
    fn what_a_selection_wants() {
        for (selected, platform, want) in [
            (&[][..], "windows/amd64", true),
            (&["linux/amd64"], "linux/amd64", true),
            (&["linux/amd64"], "linux/arm64", false),
            (&["linux/amd64"], "windows/amd64", false),
            (&["linux/arm64"], "linux/arm64/v8", true),
            (&["linux/arm64/v8"], "linux/arm64", true),
            (&["linux/arm64"], "linux/arm64/v9", true),
            (&["linux/arm"], "linux/arm/v6", true),
            (&["linux/arm/v7"], "linux/arm/v6", false),
            (&["linux/arm/v7"], "linux/arm", false),
            (&["linux/amd64", "linux/arm64"], "linux/arm64", true),
            (&["Linux/x86_64"], "linux/amd64", true),
        ] {
            assert_eq!(
                selection(selected).wants(platform),
                want,
                "{selected:?} {platform}"
            );
        }
    }

    #[test]
    fn what_an_image_lacks() {
        let there = ["linux/amd64".to_owned(), "linux/arm64/v8".to_owned()];
        assert_eq!(selection(&["linux/arm64"]).missing(&there), None);
        assert_eq!(selection(&[]).missing(&there), None);
        let missing = selection(&["linux/amd64", "linux/s390x"]).missing(&there);
        assert_eq!(missing.as_deref(), Some("linux/s390x"));
    }

    #[test]
    fn what_is_no_platform_is_a_usage_error() {
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/arm/v7/x",
            "linux/a b",
        ] {
            let err = Selection::parse(&[text.to_owned()]).unwrap_err();
            assert_eq!(err.exit(), castlink_core::Exit::Usage, "{text}");
            assert!(err.hint_text().is_some());
        }
    }
}
