//! An identity policy that the gates keep to, and what of it was used.
//!
//! Enough of IAM for policies that allow: actions and resources with `*`, no conditions, no
//! denials. What is not allowed is denied, in each gate's own words.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::aws_gate::matches;

/// What the caller may do.
#[derive(Debug, Default)]
pub struct Policy {
    statements: Vec<Statement>,
    used: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Statement {
    actions: Vec<String>,
    resources: Vec<String>,
}

/// One thing that a request needs to be allowed: an action, on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// `ecr:PutImage`
    pub action: String,
    /// An ARN, or `*` where the action knows no resource.
    pub resource: String,
}

impl Policy {
    /// Reads a policy document.
    ///
    /// # Errors
    /// When it is none, or says more than is understood here.
    pub fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).context("a policy is JSON")?;
        ensure!(
            json["Version"] == "2012-10-17",
            "unknown version of policies"
        );
        let statements = json["Statement"].as_array().context("no statements")?;
        let read = statements.iter().map(Statement::read);
        Ok(Self {
            statements: read.collect::<Result<_>>()?,
            used: Mutex::default(),
        })
    }

    /// Whether the caller may do this; remembers it when so.
    pub fn allows(&self, need: &Need) -> bool {
        let allowed = self.statements.iter().any(|one| one.allows(need));
        if allowed {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.insert(need.action.clone());
        }
        allowed
    }

    /// Every action that it names.
    #[must_use]
    pub fn actions(&self) -> BTreeSet<String> {
        let actions = self.statements.iter().flat_map(|one| &one.actions);
        actions.cloned().collect()
    }

    /// Every action that was asked for and allowed.
    #[must_use]
    pub fn used(&self) -> BTreeSet<String> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.clone()
    }
}

impl Statement {
    fn read(json: &Value) -> Result<Self> {
        ensure!(json["Effect"] == "Allow", "only what allows is understood");
        ensure!(
            json.get("Condition").is_none(),
            "conditions are not understood"
        );
        Ok(Self {
            actions: strings(&json["Action"])?,
            resources: strings(&json["Resource"])?,
        })
    }

    fn allows(&self, need: &Need) -> bool {
        let any =
            |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        any(&self.actions, &need.action) && any(&self.resources, &need.resource)
    }
}

/// A string, or a list of them.
fn strings(json: &Value) -> Result<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = match json {
        Value::Array(list) => list.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    };
    list.context("neither a string nor a list of strings")
}

#[cfg(test)]
mod tests {
    use super::{Need, Policy};

    #[test]
    fn what_is_not_allowed_is_denied() {
        let policy = Policy::parse(
            r#"{"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
                {"Effect": "Allow", "Action": ["ecr:PutImage"], "Resource": ["arn:x:repository/team/*"]}
            ]}"#,
        );
        let policy = policy.unwrap();
        let allows = |action: &str, resource: &str| {
            policy.allows(&Need {
                action: action.to_owned(),
                resource: resource.to_owned(),
            })
        };
        assert!(allows("ecr:PutImage", "arn:x:repository/team/agent"));
        assert!(!allows("ecr:PutImage", "arn:x:repository/other"));
        assert!(!allows("ecr:BatchGetImage", "arn:x:repository/team/agent"));
        assert_eq!(
            policy.used().into_iter().collect::<Vec<_>>(),
            ["ecr:PutImage"]
        );
        assert_eq!(policy.actions().len(), 2);
        assert!(
            Policy::parse(r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny"}]}"#)
                .is_err()
        );
    }
}
