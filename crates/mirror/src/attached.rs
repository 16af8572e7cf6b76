//! What is attached to an image: signatures, attestations, bills of materials. The names
//! they have, and what is known about them; where they are found: source/attached.rs.

use crate::content::{Digest, Tree};

/// Suffixes of the tags that cosign gives to what it attaches.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// One thing attached to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Its manifest, with everything below.
    pub(crate) tree: Tree,
    /// The manifest it belongs to.
    pub(crate) subject: Digest,
    /// The tag it is known by; none when it names its subject itself.
    pub(crate) tag: Option<String>,
    /// 0 for what belongs to the image, 1 for what belongs to that.
    pub(crate) depth: usize,
}

/// Why something attached stays behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What it is about: a tag or digest.
    pub(crate) what: String,
    /// What went wrong.
    pub(crate) why: String,
}

/// Everything that is attached to one image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    /// How many there are, whatever becomes of them.
    pub(crate) named: usize,
    /// What can be copied; nothing before what it belongs to.
    pub(crate) found: Vec<Attachment>,
    /// What cannot.
    pub(crate) troubles: Vec<Trouble>,
}

/// The tags under which cosign keeps what belongs to `digest`.
pub(crate) fn cosign_tags(digest: &Digest) -> impl Iterator<Item = String> {
    let stem = digest.as_str().replace(':', "-");
    COSIGN.into_iter().map(move |kind| format!("{stem}.{kind}"))
}

/// The tags under which signatures, attestations and referrers are found.
pub(crate) fn is_derived(tag: &str) -> bool {
    let Some((algorithm, rest)) = tag.split_once('-') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return false,
    };
    let digits = rest.split('.').next().unwrap_or_default();
    digits.len() == length && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Attachment {
    /// The tag or digest it is written under.
    pub(crate) fn selector(&self) -> &str {
        self.tag
            .as_deref()
            .unwrap_or(self.tree.root.digest.as_str())
    }
}

impl Attached {
    /// The same with other names for its tags.
    pub(crate) fn called(&self, name: impl Fn(&str) -> String) -> Self {
        let called = |attachment: &Attachment| Attachment {
            tag: attachment.tag.as_deref().map(&name),
            ..attachment.clone()
        };
        Self {
            named: self.named,
            found: self.found.iter().map(called).collect(),
            troubles: self.troubles.clone(),
        }
    }
}

impl Trouble {
    /// `what` stays behind because of `why`.
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
        }
    }
}
