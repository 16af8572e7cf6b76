//! A repository somewhere: the unit that content is moved from and to.

use std::{fmt, sync::Arc};

use castlink_core::ImageRef;

/// A registry, by its name in references, and a repository in it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// `ghcr.io`, `123456789012.dkr.ecr.us-east-1.amazonaws.com`.
    pub(crate) registry: Arc<str>,
    /// `castai/images/agent`.
    pub(crate) repository: Arc<str>,
}

impl Place {
    /// Where `image` lives.
    pub(crate) fn of(image: &ImageRef) -> Self {
        Self {
            registry: image.registry().into(),
            repository: image.repository().into(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}
