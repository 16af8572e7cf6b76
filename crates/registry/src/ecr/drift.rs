//! What differs between the settings of a repository and the configuration: a pure
//! comparison. Only what was configured is compared.

use std::collections::BTreeMap;

use super::{
    document::Document,
    settings::{Encryption, Mutability, Settings},
};

/// A repository as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Actual {
    /// Its ARN.
    pub arn: String,
    /// Which tags can be moved.
    pub mutability: Mutability,
    /// Scanning on push.
    pub scan_on_push: bool,
    /// Encryption, where ECR says.
    pub encryption: Option<Encryption>,
    /// The lifecycle policy, where it was asked for.
    pub lifecycle: Option<String>,
    /// The repository policy, where it was asked for.
    pub policy: Option<String>,
    /// The tags, where they were asked for.
    pub tags: BTreeMap<String, String>,
}

/// What can be set on a repository, each with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// Which tags can be moved.
    Mutability,
    /// Scanning on push.
    Scanning,
    /// Encryption: at creation only.
    Encryption,
    /// The lifecycle policy.
    Lifecycle,
    /// The repository policy.
    Policy,
    /// Tags.
    Tags,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What would have to be set.
    pub setting: Setting,
    /// Its name for people: `tag mutability`, `tag team`.
    pub field: String,
    /// As it is; none when it is not set at all.
    pub from: Option<String>,
    /// As configured.
    pub to: String,
}

/// The differences of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Its ARN.
    pub arn: String,
    /// At least one.
    pub differences: Vec<Difference>,
}

impl Difference {
    /// False for what is fixed at creation.
    pub fn is_repairable(&self) -> bool {
        self.setting != Setting::Encryption
    }
}

impl Settings {
    /// What differs, of what was configured; none when nothing does.
    pub fn drift(&self, actual: &Actual) -> Option<Drift> {
        let found = [
            self.mutability_drift(actual),
            self.scanning_drift(actual),
            self.encryption_drift(actual),
            document_drift(
                Setting::Lifecycle,
                self.lifecycle.as_ref(),
                actual.lifecycle.as_deref(),
            ),
            document_drift(
                Setting::Policy,
                self.policy.as_ref(),
                actual.policy.as_deref(),
            ),
        ];
        let found = found.into_iter().flatten().chain(self.tag_drift(actual));
        let differences: Vec<_> = found.collect();
        (!differences.is_empty()).then(|| Drift {
            arn: actual.arn.clone(),
            differences,
        })
    }

    fn mutability_drift(&self, actual: &Actual) -> Option<Difference> {
        let wanted = self.mutability.as_ref()?;
        (!wanted.same(&actual.mutability)).then(|| Difference {
            setting: Setting::Mutability,
            field: "tag mutability".into(),
            from: Some(actual.mutability.to_string()),
            to: wanted.to_string(),
        })
    }

    fn scanning_drift(&self, actual: &Actual) -> Option<Difference> {
        let wanted = self.scan_on_push?;
        (wanted != actual.scan_on_push).then(|| Difference {
            setting: Setting::Scanning,
            field: "scan on push".into(),
            from: Some(actual.scan_on_push.to_string()),
            to: wanted.to_string(),
        })
    }

    fn encryption_drift(&self, actual: &Actual) -> Option<Difference> {
        let wanted = self.encryption.as_ref()?;
        let actual = actual.encryption.as_ref()?;
        (!wanted.is_met_by(actual)).then(|| Difference {
            setting: Setting::Encryption,
            field: "encryption".into(),
            from: Some(actual.to_string()),
            to: wanted.to_string(),
        })
    }

    fn tag_drift<'a>(&'a self, actual: &'a Actual) -> impl Iterator<Item = Difference> + 'a {
        let differs = |(key, value): &(&String, &String)| actual.tags.get(*key) != Some(value);
        self.tags
            .iter()
            .filter(differs)
            .map(|(key, value)| Difference {
                setting: Setting::Tags,
                field: format!("tag {key}"),
                from: actual.tags.get(key).cloned(),
                to: value.clone(),
            })
    }
}

fn document_drift(
    setting: Setting,
    wanted: Option<&Document>,
    actual: Option<&str>,
) -> Option<Difference> {
    let wanted = wanted?;
    if actual.is_some_and(|actual| wanted.says(actual)) {
        return None;
    }
    let field = match setting {
        Setting::Lifecycle => "lifecycle policy",
        _ => "repository policy",
    };
    Some(Difference {
        setting,
        field: field.into(),
        from: actual.map(str::to_owned),
        to: wanted.one_line(),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::types::EncryptionType;

    use super::*;

    fn mutability(immutable: bool, except: &[&str]) -> Mutability {
        Mutability {
            immutable,
            except: except.iter().map(ToString::to_string).collect(),
        }
    }

    fn encryption(kind: EncryptionType) -> Encryption {
        Encryption { kind, key: None }
    }

    fn actual() -> Actual {
        Actual {
            arn: "arn".into(),
            mutability: mutability(false, &[]),
            scan_on_push: false,
            encryption: Some(encryption(EncryptionType::Aes256)),
            lifecycle: Some(r#"{"rules": [ {"rulePriority": 1} ]}"#.into()),
            policy: None,
            tags: BTreeMap::from([("owner".into(), "somebody".into())]),
        }
    }

    fn fields(settings: &Settings) -> Vec<String> {
        let drift = settings.drift(&actual());
        let differences = drift.map(|drift| drift.differences).unwrap_or_default();
        let show = |difference: Difference| {
            let from = difference.from.unwrap_or_else(|| "-".into());
            format!("{}: {from} > {}", difference.field, difference.to)
        };
        differences.into_iter().map(show).collect()
    }

    #[test]
    fn what_nobody_configured_is_not_compared() {
        assert_eq!(fields(&Settings::default()), [""; 0]);
    }

    #[test]
    fn what_is_as_configured_is_no_difference() {
        let settings = Settings {
            mutability: Some(mutability(false, &[])),
            scan_on_push: Some(false),
            encryption: Some(encryption(EncryptionType::Aes256)),
            lifecycle: Some(Document::from_text(r#"{"rules":[{"rulePriority":1}]}"#)),
            policy: None,
            tags: BTreeMap::from([("owner".into(), "somebody".into())]),
        };
        assert_eq!(fields(&settings), [""; 0]);
    }

    #[test]
    fn every_setting_has_its_difference() {
        let settings = Settings {
            mutability: Some(mutability(true, &["latest", "dev-*"])),
            scan_on_push: Some(true),
            encryption: Some(encryption(EncryptionType::Kms)),
            lifecycle: Some(Document::from_text(r#"{"rules":[{"rulePriority":2}]}"#)),
            policy: Some(Document::from_text("{}")),
            tags: BTreeMap::from([
                ("owner".into(), "platform".into()),
                ("team".into(), "x".into()),
            ]),
        };
        assert_eq!(
            fields(&settings),
            [
                "tag mutability: mutable > immutable except latest, dev-*",
                "scan on push: false > true",
                "encryption: AES256 > KMS",
                r#"lifecycle policy: {"rules": [ {"rulePriority": 1} ]} > {"rules":[{"rulePriority":2}]}"#,
                "repository policy: - > {}",
                "tag owner: somebody > platform",
                "tag team: - > x",
            ]
        );
        let drift = settings.drift(&actual()).unwrap();
        let fixed = drift.differences.iter().filter(|one| !one.is_repairable());
        assert_eq!(fixed.count(), 1, "encryption alone");
    }

    #[test]
    fn the_order_of_filters_does_not_matter() {
        let rule = mutability(true, &["b", "a"]);
        assert!(rule.same(&mutability(true, &["a", "b"])));
        assert!(!rule.same(&mutability(true, &["a"])));
    }
}
