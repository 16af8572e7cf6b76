//! What registries said about references. Asking them is presence.rs.

use std::collections::BTreeMap;

/// What a registry said about a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is there.
    There {
        digest: String,
        /// Empty where the image does not say.
        platforms: Vec<String>,
    },
    /// It is not; in the words of an error.
    Missing(String),
}

/// Answers by reference. What could not be asked is absent.
pub(crate) type Answers = BTreeMap<String, Answer>;
