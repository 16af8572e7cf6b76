//! How repositories are to look: `[mirror.repository]` with its files read and checked, in
//! ECR's terms. What the user did not write is none of it.

use std::{collections::BTreeMap, fmt};

use aws_sdk_ecr::types::{
    EncryptionConfiguration, EncryptionType, ImageTagMutability, ImageTagMutabilityExclusionFilter,
    ImageTagMutabilityExclusionFilterType, Tag,
};
use castlink_core::{Result, config};

use super::document::Document;

/// The longest lifecycle policy that ECR takes, in characters.
const MAX_LIFECYCLE: usize = 30_720;

/// The longest repository policy that ECR takes, in characters.
const MAX_POLICY: usize = 10_240;

/// What was configured; none = not written, which is a default at creation and nothing to
/// hold against a repository that exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Which tags can be moved.
    pub mutability: Option<Mutability>,
    /// Scanning on push.
    pub scan_on_push: Option<bool>,
    /// Encryption, fixed at creation.
    pub encryption: Option<Encryption>,
    /// The lifecycle policy.
    pub lifecycle: Option<Document>,
    /// The repository policy.
    pub policy: Option<Document>,
    /// Tags; others that a repository has are left alone.
    pub tags: BTreeMap<String, String>,
}

/// Which tags of a repository can be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutability {
    /// The rule for tags that no filter matches.
    pub immutable: bool,
    /// Wildcard filters of tags for which the opposite holds.
    pub except: Vec<String>,
}

/// How what a repository holds is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// The kind, in ECR's words.
    pub kind: EncryptionType,
    /// The KMS key: an id, an ARN or an alias.
    pub key: Option<String>,
}

impl Settings {
    /// Reads the files that `given` names.
    ///
    /// # Errors
    /// Exit 2: a file cannot be read, is not JSON, or is longer than ECR takes.
    pub fn load(given: &config::Repository) -> Result<Self> {
        let written = given.immutable.is_some() || !given.immutable_except.is_empty();
        let file = |key: &str, path: &Option<std::path::PathBuf>, most| {
            let path = path.as_deref();
            path.map(|path| Document::read(key, path, most)).transpose()
        };
        Ok(Self {
            mutability: written.then(|| Mutability {
                immutable: given.immutable.unwrap_or(true),
                except: given.immutable_except.clone(),
            }),
            scan_on_push: given.scan_on_push,
            encryption: Encryption::of(given),
            lifecycle: file("lifecycle_policy", &given.lifecycle_policy, MAX_LIFECYCLE)?,
            policy: file("repository_policy", &given.repository_policy, MAX_POLICY)?,
            tags: given.tags.clone(),
        })
    }

    /// True when there is nothing to hold a repository against.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Calls that it takes to create a repository.
    pub fn calls(&self) -> usize {
        1 + usize::from(self.lifecycle.is_some()) + usize::from(self.policy.is_some())
    }

    /// The tags in ECR's terms; none without any, because an empty list would ask for
    /// ecr:TagResource all the same.
    pub(super) fn sdk_tags(&self) -> Option<Vec<Tag>> {
        let tag = |(key, value)| {
            let tag = Tag::builder().key(key).value(value).build();
            tag.expect("key and value are set")
        };
        (!self.tags.is_empty()).then(|| self.tags.iter().map(tag).collect())
    }
}

impl Mutability {
    /// What new repositories have when nothing is written: tags stay.
    pub(super) fn at_creation(given: Option<&Self>) -> Self {
        let default = || Self {
            immutable: true,
            except: Vec::new(),
        };
        given.cloned().unwrap_or_else(default)
    }

    /// True when `tag` keeps what it points at.
    pub fn is_immutable(&self, tag: &str) -> bool {
        self.immutable != self.except.iter().any(|filter| wildcard(filter, tag))
    }

    /// The same rule, whatever order its filters were given in.
    pub(super) fn same(&self, other: &Self) -> bool {
        let sorted = |rule: &Self| {
            let mut filters = rule.except.clone();
            filters.sort();
            filters.dedup();
            filters
        };
        self.immutable == other.immutable && sorted(self) == sorted(other)
    }

    /// In ECR's terms: the mode, and its filters when it has some.
    pub(super) fn sdk(
        &self,
    ) -> (
        ImageTagMutability,
        Option<Vec<ImageTagMutabilityExclusionFilter>>,
    ) {
        let mode = match (self.immutable, self.except.is_empty()) {
            (true, true) => ImageTagMutability::Immutable,
            (true, false) => ImageTagMutability::ImmutableWithExclusion,
            (false, true) => ImageTagMutability::Mutable,
            (false, false) => ImageTagMutability::MutableWithExclusion,
        };
        let filter = |text: &String| {
            let filter = ImageTagMutabilityExclusionFilter::builder()
                .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
                .filter(text);
            filter.build().expect("type and filter are set")
        };
        let filters: Vec<_> = self.except.iter().map(filter).collect();
        (mode, (!filters.is_empty()).then_some(filters))
    }
}

impl fmt::Display for Mutability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.immutable {
            "immutable"
        } else {
            "mutable"
        })?;
        match self.except.as_slice() {
            [] => Ok(()),
            filters => write!(f, " except {}", filters.join(", ")),
        }
    }
}

impl Encryption {
    fn of(given: &config::Repository) -> Option<Self> {
        let kind = match given.encryption {
            Some(config::Encryption::Aes256) => EncryptionType::Aes256,
            Some(config::Encryption::Kms) => EncryptionType::Kms,
            Some(config::Encryption::KmsDsse) => EncryptionType::KmsDsse,
            None if given.kms_key.is_some() => EncryptionType::Kms,
            None => return None,
        };
        let key = given.kms_key.clone();
        Some(Self { kind, key })
    }

    pub(super) fn sdk(&self) -> EncryptionConfiguration {
        let encryption = EncryptionConfiguration::builder()
            .encryption_type(self.kind.clone())
            .set_kms_key(self.key.clone());
        encryption.build().expect("the type is set")
    }

    /// True when `actual`, whose key ECR names by its ARN, is what is meant. An alias cannot
    /// be compared without asking KMS, and is believed.
    pub(super) fn is_met_by(&self, actual: &Self) -> bool {
        let key = match (&self.key, &actual.key) {
            (None, _) => true,
            (Some(wanted), _) if is_alias(wanted) => true,
            (Some(wanted), Some(arn)) => arn == wanted || arn.ends_with(&format!("/{wanted}")),
            (Some(_), None) => false,
        };
        self.kind == actual.kind && key
    }
}

fn is_alias(key: &str) -> bool {
    key.starts_with("alias/") || key.contains(":alias/")
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match &self.key {
            Some(key) => write!(f, " with {key}"),
            None => Ok(()),
        }
    }
}

/// ECR's filters: `*` stands for any characters, everything else for itself.
fn wildcard(filter: &str, text: &str) -> bool {
    match filter.split_once('*') {
        None => filter == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len())
                .any(|skip| text.is_char_boundary(skip) && wildcard(rest, &text[skip..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_turn_the_rule_around() {
        let rule = |immutable, except: &[&str]| Mutability {
            immutable,
            except: except.iter().map(ToString::to_string).collect(),
        };
        for (rule, tag, want) in [
            (rule(true, &[]), "v1", true),
            (rule(true, &["latest", "dev-*"]), "latest", false),
            (rule(true, &["latest", "dev-*"]), "dev-7", false),
            (rule(true, &["latest", "dev-*"]), "v1-dev-7", true),
            (rule(false, &["v*.*"]), "v1.2", true),
            (rule(false, &["v*.*"]), "v1", false),
        ] {
            assert_eq!(rule.is_immutable(tag), want, "{tag} under {rule:?}");
        }
    }

    #[test]
    fn keys_are_compared_as_far_as_can_be() {
        let of = |key: Option<&str>| Encryption {
            kind: EncryptionType::Kms,
            key: key.map(str::to_owned),
        };
        let arn = "arn:aws:kms:us-east-1:123456789012:key/1234-abcd";
        for (wanted, met) in [
            (of(None), true),
            (of(Some(arn)), true),
            (of(Some("1234-abcd")), true),
            (of(Some("234-abcd")), false),
            (of(Some("alias/mirror")), true),
            (
                Encryption {
                    kind: EncryptionType::Aes256,
                    key: None,
                },
                false,
            ),
        ] {
            assert_eq!(wanted.is_met_by(&of(Some(arn))), met, "{wanted}");
        }
    }

    #[test]
    fn what_nobody_wrote_is_not_a_setting() {
        let none = Settings::load(&config::Repository::default()).unwrap();
        assert!(none.is_empty());
        let default = Mutability::at_creation(none.mutability.as_ref());
        assert_eq!(default.to_string(), "immutable");
        let except = config::Repository {
            immutable_except: vec!["latest".into()],
            ..config::Repository::default()
        };
        let settings = Settings::load(&except).unwrap();
        assert_eq!(
            settings.mutability.unwrap().to_string(),
            "immutable except latest"
        );
    }
}
