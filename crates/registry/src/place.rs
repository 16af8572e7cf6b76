//! A repository somewhere, the unit that content is moved from and to; and what an image is
//! called there.

use std::{fmt, sync::Arc};

use castlink_core::ImageRef;

use crate::content::Digest;

/// What the names of stores begin with, as skopeo and others write them. A store's name
/// also has a slash, which no registry's has.
pub const STORE: &str = "oci:";

/// A registry, by its name in references, and a repository in it; or a store, which is one
/// repository for all images. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// `ghcr.io`, `123456789012.dkr.ecr.us-east-1.amazonaws.com`, `oci:./carry`.
    pub registry: Arc<str>,
    /// `castai/images/agent`; empty in a store.
    pub repository: Arc<str>,
}

/// What an image is called in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where it is.
    pub place: Place,
    /// The name that can be moved: a tag; in a store the whole reference.
    pub tag: Option<String>,
    /// The digest it is pinned to.
    pub digest: Option<Digest>,
    /// What goes before a tag in the names of a store; none in a registry.
    stem: Option<String>,
    text: String,
}

impl Place {
    /// Where `image` lives.
    pub fn of(image: &ImageRef) -> Self {
        Self {
            registry: image.registry().into(),
            repository: image.repository().into(),
        }
    }
}

/// True when `registry` is a store's name, and no registry's.
pub fn is_store(registry: &str) -> bool {
    registry.starts_with(STORE) && registry.contains('/')
}

impl Address {
    /// In the registry that `image` names.
    pub fn of(image: &ImageRef) -> Self {
        Self {
            place: Place::of(image),
            tag: image.tag().map(str::to_owned),
            digest: image.digest().and_then(Digest::parse),
            stem: None,
            text: image.literal().to_owned(),
        }
    }

    /// In the store called `store`: everything in one place, under the reference as it is
    /// written.
    pub fn in_store(store: &Arc<str>, image: &ImageRef) -> Self {
        Self {
            place: Place {
                registry: Arc::clone(store),
                repository: Arc::from(""),
            },
            tag: Some(image.literal().to_owned()),
            digest: None,
            stem: Some(image.literal_name().to_owned()),
            text: format!("{store}:{image}"),
        }
    }

    /// What another tag of the same repository is called in this place.
    pub fn sibling(&self, tag: &str) -> String {
        match &self.stem {
            Some(stem) => format!("{stem}:{tag}"),
            None => tag.to_owned(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.registry)?;
        match &*self.repository {
            "" => Ok(()),
            repository => write!(f, "/{repository}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
