//! Where copies go, and what they are called there.

use std::sync::Arc;

use castlink_core::{ImageRef, Result, reference::Layout};

use crate::place::Address;

/// Where the copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To a registry.
    Registry {
        /// Its name, with an optional path prefix.
        name: String,
        /// How names are built.
        layout: Layout,
    },
    /// To the store of this name.
    Store(Arc<str>),
}

impl Destination {
    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Registry { name, .. } => name,
            Self::Store(name) => name,
        }
    }

    /// What `image` is called there.
    ///
    /// # Errors
    /// Exit 2 when no such name can be formed.
    pub(crate) fn address(&self, image: &ImageRef) -> Result<Address> {
        match self {
            Self::Registry { name, layout } => Ok(Address::of(&image.at(name, *layout)?)),
            Self::Store(store) => Ok(Address::in_store(store, image)),
        }
    }

    /// True when `image` names the destination itself.
    pub(super) fn is_named_by(&self, image: &ImageRef) -> bool {
        match self {
            Self::Registry { name, .. } => image.is_at(name),
            Self::Store(_) => false,
        }
    }
}
