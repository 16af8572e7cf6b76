//! ECR's API: what a call needs to be allowed.

use serde_json::Value;

use super::answer::ApiError;
use super::ecr_repositories::text;
use super::incoming::Incoming;
use crate::ecr::Ecr;

/// Refuses what the policy in force does not allow.
pub(super) fn check(ecr: &Ecr, incoming: &Incoming) -> Result<(), ApiError> {
    for (action, resource) in needs(ecr, &incoming.action, &incoming.json) {
        ecr.permit(action, &resource)
            .map_err(|message| ApiError::bad("AccessDeniedException", message))?;
    }
    Ok(())
}

/// Actions and resources, by the service authorization reference.
fn needs<'a>(ecr: &Ecr, action: &'a str, input: &Value) -> Vec<(&'a str, String)> {
    let named = || ecr.arn(text(input, "repositoryName"));
    match action {
        "GetAuthorizationToken"
        | "GetAccountSetting"
        | "PutAccountSetting"
        | "DescribeRepositoryCreationTemplates" => vec![(action, "*".to_owned())],
        "DescribeRepositories" => {
            let names = input["repositoryNames"].as_array().into_iter().flatten();
            let named: Vec<_> = names
                .filter_map(Value::as_str)
                .map(|name| (action, ecr.arn(name)))
                .collect();
            match named.is_empty() {
                true => vec![(action, ecr.arn("*"))],
                false => named,
            }
        }
        "TagResource" | "UntagResource" | "ListTagsForResource" => {
            vec![(action, text(input, "resourceArn").to_owned())]
        }
        "CreateRepository" => {
            let tagged = input["tags"]
                .as_array()
                .is_some_and(|tags| !tags.is_empty());
            let tagging = tagged.then(|| ("TagResource", named()));
            [(action, named())].into_iter().chain(tagging).collect()
        }
        _ => vec![(action, named())],
    }
}
