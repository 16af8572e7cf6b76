//! What becomes of one reference, and when not to pin it.
//!
//! Never here: bytes, files, output.

use std::collections::HashMap;

use super::proxy::Proxy;
use crate::mapping::{Mapping, Target};

/// How manifests are rewritten.
pub struct Rules {
    /// What becomes of references.
    pub mapping: Mapping,
    /// Digests by target, when targets are to be pinned.
    pub pins: Option<HashMap<String, String>>,
    /// Manifests in ConfigMaps too.
    pub configmaps: bool,
    /// Changes are told one by one, not only counted.
    pub tell_changes: bool,
    /// Variables to add to the containers of CAST AI.
    pub proxy: Option<Proxy>,
}

/// The decision for one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stays.
    Keep,
    /// It becomes this.
    Replace(String),
    /// Nothing says what it becomes.
    Unmapped(String),
}

/// May the target have its digest behind it?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// It may.
    Allowed,
    /// Another name is made from this one at run time.
    Derived,
}

impl Rules {
    /// What becomes of `literal`.
    #[must_use]
    pub fn decide(&self, literal: &str, pin: Pin) -> Decision {
        let target = match self.mapping.target(literal) {
            Target::Private => literal.to_owned(),
            Target::Mirrored { to, .. } => to,
            Target::Planned { .. } => return unmapped("it is not mirrored yet, only planned"),
            Target::Failed { reason } => return Decision::Unmapped(reason),
            Target::Unknown => return unmapped(self.mapping.unknown()),
            Target::Invalid => return unmapped("this is not an image reference"),
        };
        let Some(target) = self.pinned(target, pin) else {
            return unmapped("no digest is known to pin it to");
        };
        match target == literal {
            true => Decision::Keep,
            false => Decision::Replace(target),
        }
    }

    /// `target` with its digest, where it is to have one; none where none is known.
    fn pinned(&self, target: String, pin: Pin) -> Option<String> {
        match &self.pins {
            Some(pins) if pin == Pin::Allowed && !target.contains('@') => {
                let digest = pins.get(&target)?;
                Some(format!("{target}@{digest}"))
            }
            _ => Some(target),
        }
    }
}

fn unmapped(why: &str) -> Decision {
    Decision::Unmapped(why.to_owned())
}
