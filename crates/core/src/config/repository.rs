//! `[mirror.repository]`: how ECR repositories are to be. What is left unset is a default at
//! creation, and nothing that an existing repository is held against.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Failure, Result};

/// The most filters that ECR takes.
const MAX_FILTERS: usize = 5;

/// The longest filter that ECR takes.
const MAX_FILTER: usize = 128;

/// Settings of ECR repositories: of those that castlink creates, and with `--reconcile` of
/// those that exist.
///
/// Unset fields have a default at creation alone: a default that nobody wrote is no reason
/// to call somebody else's repository wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repository {
    /// Tags cannot be moved once pushed; true for new repositories when unset.
    pub immutable: Option<bool>,
    /// Wildcard filters of tags for which the opposite holds.
    #[serde(deserialize_with = "filters")]
    pub immutable_except: Vec<String>,
    /// Scan on push; true for new repositories when unset.
    pub scan_on_push: Option<bool>,
    /// Encryption, fixed at creation; KMS when only a key is given, else what ECR uses.
    pub encryption: Option<Encryption>,
    /// KMS key for the encryption; the account's key for ECR when unset.
    pub kms_key: Option<String>,
    /// JSON file with the lifecycle policy.
    pub lifecycle_policy: Option<PathBuf>,
    /// JSON file with the repository policy.
    pub repository_policy: Option<PathBuf>,
    /// Tags of the repository.
    pub tags: BTreeMap<String, String>,
}

/// How ECR encrypts what a repository holds, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Encryption {
    /// Keys of S3.
    Aes256,
    /// A key of KMS.
    Kms,
    /// A key of KMS, two layers.
    KmsDsse,
}

impl Repository {
    /// Looks for settings that contradict each other.
    ///
    /// # Errors
    /// Exit 2: a key for an encryption that takes none.
    pub(super) fn check(&self) -> Result<()> {
        if self.encryption == Some(Encryption::Aes256) && self.kms_key.is_some() {
            return Err(Failure::usage(
                "`mirror.repository.kms_key` is set, and `encryption` is AES256, which takes no key",
            )
            .hint("set `encryption` to KMS or KMS_DSSE, or leave one of the two out"));
        }
        Ok(())
    }
}

/// ECR's rule for mutability filters (ImageTagMutabilityExclusionFilter).
fn filters<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let filters = Vec::<String>::deserialize(from)?;
    if filters.len() > MAX_FILTERS {
        return Err(de::Error::custom(format!(
            "{} filters, ECR takes at most {MAX_FILTERS}",
            filters.len()
        )));
    }
    match filters.iter().find(|filter| !is_filter(filter)) {
        None => Ok(filters),
        Some(bad) => Err(de::Error::custom(format!(
            "`{bad}` is not a filter: 1 to {MAX_FILTER} of the characters 0-9 a-z A-Z . _ * -"
        ))),
    }
}

fn is_filter(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._*-".contains(c);
    (1..=MAX_FILTER).contains(&text.len()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Repository, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn filters_are_ecrs() {
        let long = "x".repeat(129);
        for (list, fits) in [
            (vec!["latest", "dev-*", "v1._-"], true),
            (vec!["*"; 5], true),
            (vec!["*"; 6], false),
            (vec![""], false),
            (vec!["a b"], false),
            (vec!["a/b"], false),
            (vec!["\u{e9}"], false),
            (vec![long.as_str()], false),
            (vec![&long[1..]], true),
        ] {
            let text = format!("immutable_except = {list:?}");
            assert_eq!(read(&text).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn encryption_is_spelt_as_ecr_does() {
        for (word, want) in [
            ("AES256", Encryption::Aes256),
            ("KMS", Encryption::Kms),
            ("KMS_DSSE", Encryption::KmsDsse),
        ] {
            let read = read(&format!("encryption = '{word}'")).unwrap();
            assert_eq!(read.encryption, Some(want));
        }
        assert!(read("encryption = 'kms'").is_err());
    }

    #[test]
    fn what_is_not_written_stays_unset() {
        assert_eq!(read("").unwrap(), Repository::default());
        let written = read("immutable = true").unwrap();
        assert_eq!(written.immutable, Some(true));
    }
}
