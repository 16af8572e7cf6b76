//! Repository creation templates: repositories that come to be by being pushed into.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Database, Repository};

/// The prefix of the template for repositories that no other one is for.
const ROOT: &str = "ROOT";

/// A template.
#[derive(Clone, Debug)]
pub struct Template {
    /// What the names of its repositories begin with, without the slash; or `ROOT`.
    pub prefix: String,
    /// `CREATE_ON_PUSH`, `PULL_THROUGH_CACHE`, `REPLICATION`
    pub applied_for: Vec<String>,
    /// Mutability of tags.
    pub mutability: String,
    /// AWS tags.
    pub labels: BTreeMap<String, String>,
}

impl Template {
    /// One for pushes.
    #[must_use]
    pub fn on_push(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            applied_for: vec!["CREATE_ON_PUSH".to_owned()],
            mutability: "IMMUTABLE".to_owned(),
            labels: BTreeMap::from([("made-by".to_owned(), format!("template {prefix}"))]),
        }
    }

    /// As DescribeRepositoryCreationTemplates shows it.
    #[must_use]
    pub fn show(&self) -> Value {
        json!({
            "prefix": self.prefix,
            "appliedFor": self.applied_for,
            "imageTagMutability": self.mutability,
            "resourceTags": self.labels.iter()
                .map(|(key, value)| json!({"Key": key, "Value": value}))
                .collect::<Vec<_>>(),
        })
    }

    fn covers(&self, repository: &str) -> bool {
        let below = |rest: &str| rest.starts_with('/');
        self.prefix == ROOT || repository.strip_prefix(&self.prefix).is_some_and(below)
    }
}

impl Database {
    /// What a push into `repository` does when there is no such repository: creates it, where
    /// the template for it is for pushes.
    pub fn create_on_push(&mut self, repository: &str) {
        if self.repositories.contains_key(repository) {
            return;
        }
        let covering = self.templates.iter().filter(|one| one.covers(repository));
        // ROOT is shorter than no other prefix that covers, but comes last all the same.
        let length = |one: &&Template| {
            if one.prefix == ROOT {
                0
            } else {
                one.prefix.len()
            }
        };
        let Some(template) = covering.max_by_key(length).cloned() else {
            return;
        };
        if template
            .applied_for
            .iter()
            .any(|one| one == "CREATE_ON_PUSH")
        {
            let made = Repository {
                mutability: template.mutability,
                labels: template.labels,
                ..Repository::new(repository)
            };
            self.repositories.insert(repository.to_owned(), made);
        }
    }
}
