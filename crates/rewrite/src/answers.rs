//! What registries said about references. Asking them is presence.rs.

use std::collections::BTreeMap;

/// What a registry said about a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    There {
        /// Its digest.
        digest: String,
        /// Empty where the image does not say.
        platforms: Vec<String>,
    },
    /// It is not; in the words of an error.
    Missing(String),
}

/// Answers by reference. What could not be asked is absent.
pub type Answers = BTreeMap<String, Answer>;
