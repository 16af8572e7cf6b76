//! Policies: JSON that is kept in a file, sent as it is, and compared by what it says.

use std::path::Path;

use castlink_core::{Failure, Result};
use serde_json::Value;

/// A policy as it was written, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Sent to ECR as it is.
    pub text: String,
    json: Value,
}

impl Document {
    /// Reads the file that `mirror.repository.KEY` names, of at most `most` characters.
    ///
    /// # Errors
    /// Exit 2: it cannot be read, is too long, or is no JSON object.
    pub(super) fn read(key: &str, path: &Path, most: usize) -> Result<Self> {
        let name = format!("`mirror.repository.{key}`: {}", path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|err| Failure::usage(format!("{name} cannot be read")).because(err))?;
        let long = text.chars().count();
        if long > most {
            return Err(Failure::usage(format!(
                "{name} has {long} characters, ECR takes at most {most}"
            )));
        }
        let json: Value = serde_json::from_str(&text)
            .map_err(|err| Failure::usage(format!("{name} is not JSON")).because(err))?;
        if !json.is_object() {
            return Err(Failure::usage(format!("{name} is not a JSON object")));
        }
        let json = canonical(json);
        Ok(Self { text, json })
    }

    /// True when `text`, as ECR gave it back, says the same.
    pub(super) fn says(&self, text: &str) -> bool {
        serde_json::from_str(text).is_ok_and(|json| canonical(json) == self.json)
    }

    /// On one line, for a record.
    pub(super) fn one_line(&self) -> String {
        serde_json::from_str::<Value>(&self.text)
            .map_or_else(|_| self.text.clone(), |json| json.to_string())
    }
}

/// One form for all spellings of a policy: IAM gives a list of one back as its element, and
/// lists of strings in any order.
fn canonical(json: Value) -> Value {
    match json {
        Value::Object(map) => {
            let entries = map.into_iter().map(|(key, value)| (key, canonical(value)));
            Value::Object(entries.collect())
        }
        Value::Array(mut list) if list.iter().all(Value::is_string) => {
            list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            match list.as_slice() {
                [one] => one.clone(),
                _ => Value::Array(list),
            }
        }
        Value::Array(list) => Value::Array(list.into_iter().map(canonical).collect()),
        other => other,
    }
}

#[cfg(test)]
impl Document {
    /// A document that is in no file.
    pub(super) fn from_text(text: &str) -> Self {
        let json = canonical(serde_json::from_str(text).unwrap());
        let text = text.to_owned();
        Self { text, json }
    }
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit;

    use super::*;

    #[test]
    fn policies_are_compared_by_what_they_say() {
        let wanted = Document::from_text(
            r#"{"Version": "2012-10-17", "Statement": [{"Action": ["ecr:B", "ecr:A"], "Principal": {"AWS": ["x"]}}]}"#,
        );
        for (text, same) in [
            (
                r#"{"Statement":[{"Principal":{"AWS":"x"},"Action":["ecr:A","ecr:B"]}],"Version":"2012-10-17"}"#,
                true,
            ),
            (
                r#"{"Statement":[{"Principal":{"AWS":"y"},"Action":["ecr:A","ecr:B"]}],"Version":"2012-10-17"}"#,
                false,
            ),
            ("{}", false),
            ("no json", false),
        ] {
            assert_eq!(wanted.says(text), same, "{text}");
        }
    }

    #[test]
    fn files_that_are_no_policies_are_usage_errors() {
        let dir = std::env::temp_dir().join(format!("castlink-settings-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let long = format!("{{\"x\": \"{}\"}}", "y".repeat(10_240));
        for (name, text, message) in [
            ("missing", None, "cannot be read"),
            ("broken", Some("{\"rules\": ["), "is not JSON"),
            ("list", Some("[]"), "not a JSON object"),
            ("long", Some(long.as_str()), "at most 10240"),
        ] {
            let file = dir.join(name);
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let err = Document::read("repository_policy", &file, 10_240).unwrap_err();
            assert_eq!(err.exit(), Exit::Usage, "{name}");
            assert!(err.to_string().contains(message), "{err}");
        }
        // Lifecycle policies may be longer.
        assert!(Document::read("lifecycle_policy", &dir.join("long"), 30_720).is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
