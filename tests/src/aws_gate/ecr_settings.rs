//! ECR's API: what can be set on a repository, and on the registry.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::ApiError;
use super::ecr_repositories::{Answer, on_repository, text};
use crate::ecr::Ecr;

pub(super) fn account_setting(ecr: &Ecr, action: &str, input: &Value) -> Answer {
    let name = text(input, "name");
    if name != "BLOB_MOUNTING" {
        return Err(ApiError::bad(
            "InvalidParameterException",
            format!("unknown setting '{name}'"),
        ));
    }
    let mut database = ecr.database();
    if action == "PutAccountSetting" {
        database.blob_mounting = text(input, "value") == "ENABLED";
    }
    let value = if database.blob_mounting {
        "ENABLED"
    } else {
        "DISABLED"
    };
    Ok(json!({"name": name, "value": value}))
}

pub(super) fn labels(ecr: &Ecr, action: &str, input: &Value) -> Answer {
    let resource = text(input, "resourceArn");
    let name = resource
        .split_once(":repository/")
        .map_or(resource, |(_, name)| name);
    on_repository(ecr, &json!({"repositoryName": name}), |repository| {
        let keys = input["tagKeys"].as_array().cloned().unwrap_or_default();
        match action {
            "TagResource" => repository.labels.extend(read_labels(&input["tags"])),
            "UntagResource" => repository
                .labels
                .retain(|key, _| !keys.contains(&json!(key))),
            _ => {
                let shown = |(key, value)| json!({"Key": key, "Value": value});
                return Ok(
                    json!({"tags": repository.labels.iter().map(shown).collect::<Vec<_>>()}),
                );
            }
        }
        Ok(json!({}))
    })
}

pub(super) fn read_labels(tags: &Value) -> BTreeMap<String, String> {
    let tag = |tag: &Value| (text(tag, "Key").to_owned(), text(tag, "Value").to_owned());
    tags.as_array().into_iter().flatten().map(tag).collect()
}

/// The two texts a repository carries: lifecycle policy and repository policy.
pub(super) fn document(ecr: &Ecr, action: &str, input: &Value) -> Answer {
    let lifecycle = action.contains("Lifecycle");
    let (field, missing) = match lifecycle {
        true => ("lifecyclePolicyText", "LifecyclePolicyNotFoundException"),
        false => ("policyText", "RepositoryPolicyNotFoundException"),
    };
    if let Some(text) = input[field].as_str() {
        check_document(text, field, if lifecycle { 30_720 } else { 10_240 })?;
    }
    let (registry, account) = (
        text(input, "repositoryName").to_owned(),
        ecr.account.clone(),
    );
    on_repository(ecr, input, |repository| {
        let slot = if lifecycle {
            &mut repository.lifecycle
        } else {
            &mut repository.policy
        };
        let given = input[field].as_str().map(str::to_owned);
        let kept = match &action[..3] {
            "Del" => slot.take(),
            "Get" => slot.clone(),
            _ => {
                *slot = given;
                slot.clone()
            }
        };
        let message = format!("no such policy on the repository with name '{registry}'");
        let kept = kept.ok_or_else(|| ApiError::bad(missing, message))?;
        let mut answer = json!({"registryId": account, "repositoryName": registry});
        answer[field] = json!(kept);
        Ok(answer)
    })
}

/// What ECR asks of both texts.
fn check_document(text: &str, field: &str, most: usize) -> Result<(), ApiError> {
    let json = serde_json::from_str::<Value>(text);
    if text.chars().count() <= most && json.is_ok_and(|json| json.is_object()) {
        return Ok(());
    }
    let message = format!("Invalid parameter at '{field}' failed to satisfy constraint");
    Err(ApiError::bad("InvalidParameterException", message))
}

fn is_filter(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._*-".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(allowed)
}

pub(super) fn read_mutability(input: &Value) -> Result<(String, Vec<String>), ApiError> {
    let mode = input["imageTagMutability"].as_str().unwrap_or("MUTABLE");
    let filters = input["imageTagMutabilityExclusionFilters"].as_array();
    let patterns: Vec<_> = filters
        .into_iter()
        .flatten()
        .map(|one| text(one, "filter").to_owned())
        .collect();
    // A mode with exclusions needs some, at most five, the others take none.
    let fits = match mode {
        "MUTABLE" | "IMMUTABLE" => patterns.is_empty(),
        "MUTABLE_WITH_EXCLUSION" | "IMMUTABLE_WITH_EXCLUSION" => {
            (1..=5).contains(&patterns.len()) && patterns.iter().all(|one| is_filter(one))
        }
        _ => false,
    };
    match fits {
        true => Ok((mode.to_owned(), patterns)),
        false => Err(ApiError::bad(
            "InvalidParameterException",
            format!(
                "Invalid parameter at 'imageTagMutability': {mode} with {} exclusion filters",
                patterns.len()
            ),
        )),
    }
}

pub(super) fn mutability(ecr: &Ecr, input: &Value) -> Answer {
    let (mode, exclusions) = read_mutability(input)?;
    on_repository(ecr, input, |repository| {
        repository.mutability = mode;
        repository.exclusions = exclusions;
        let answer =
            json!({"repositoryName": repository.name, "imageTagMutability": repository.mutability});
        Ok(answer)
    })
}

pub(super) fn scanning(ecr: &Ecr, input: &Value) -> Answer {
    on_repository(ecr, input, |repository| {
        repository.scan_on_push = input["imageScanningConfiguration"]["scanOnPush"] == true;
        let configuration = json!({"scanOnPush": repository.scan_on_push});
        let name = repository.name.clone();
        Ok(json!({"repositoryName": name, "imageScanningConfiguration": configuration}))
    })
}
