//! ECR's API: repositories, their settings, and the registry's own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::ApiError;
use super::ecr_images;
use super::ecr_settings::{
    account_setting, document, labels, mutability, read_labels, read_mutability, scanning,
};
use crate::ecr::{Database, Ecr, Repository, Template};

/// What a call comes to.
pub(super) type Answer = Result<Value, ApiError>;

/// ECR's page sizes when nothing is asked for.
const DEFAULT_PAGE: usize = 100;

/// Answers one call.
pub(super) fn answer(ecr: &Ecr, action: &str, input: &Value) -> Answer {
    match action {
        "CreateRepository" => create(ecr, input),
        "DescribeRepositories" => describe(ecr, input),
        "DeleteRepository" => delete(ecr, input),
        "GetAuthorizationToken" => Ok(token(ecr)),
        "GetAccountSetting" | "PutAccountSetting" => account_setting(ecr, action, input),
        "TagResource" | "UntagResource" | "ListTagsForResource" => labels(ecr, action, input),
        "PutLifecyclePolicy"
        | "GetLifecyclePolicy"
        | "DeleteLifecyclePolicy"
        | "SetRepositoryPolicy"
        | "GetRepositoryPolicy"
        | "DeleteRepositoryPolicy" => document(ecr, action, input),
        "DescribeRepositoryCreationTemplates" => templates(ecr, input),
        "PutImageTagMutability" => mutability(ecr, input),
        "PutImageScanningConfiguration" => scanning(ecr, input),
        _ => ecr_images::answer(ecr, action, input),
    }
}

/// Runs `work` on the repository that the input names.
pub(super) fn on_repository<T>(
    ecr: &Ecr,
    input: &Value,
    work: impl FnOnce(&mut Repository) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let name = text(input, "repositoryName");
    let mut database = ecr.database();
    let found = database
        .repositories
        .get_mut(name)
        .filter(|_| same_account(ecr, input));
    work(found.ok_or_else(|| no_repository(ecr, name))?)
}

fn same_account(ecr: &Ecr, input: &Value) -> bool {
    input["registryId"]
        .as_str()
        .is_none_or(|id| id == ecr.account)
}

fn no_repository(ecr: &Ecr, name: &str) -> ApiError {
    let message = format!(
        "The repository with name '{name}' does not exist in the registry with id '{}'",
        ecr.account
    );
    ApiError::bad("RepositoryNotFoundException", message)
}

pub(super) fn text<'a>(input: &'a Value, key: &str) -> &'a str {
    input[key].as_str().unwrap_or_default()
}

/// ECR's times are seconds with a fraction.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// The slice of `all` for `maxResults` and `nextToken`, and the token to go on with.
pub(super) fn page<'a, T>(
    ecr: &Ecr,
    input: &Value,
    all: &'a [T],
) -> Result<(&'a [T], Value), ApiError> {
    let start = match input["nextToken"].as_str().map(str::parse::<usize>) {
        None => 0,
        Some(Ok(start)) => start.min(all.len()),
        Some(Err(_)) => {
            return Err(ApiError::bad(
                "InvalidParameterException",
                "Invalid parameter at 'nextToken'",
            ));
        }
    };
    let asked = input["maxResults"]
        .as_u64()
        .map_or(DEFAULT_PAGE, |asked| asked as usize);
    let end = (start + asked.min(ecr.knobs().page_size)).min(all.len());
    let next = if end < all.len() {
        json!(end.to_string())
    } else {
        Value::Null
    };
    Ok((&all[start..end], next))
}

/// `(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*`, 2 to 256 characters.
fn valid_name(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let word = |word: &str| !word.is_empty() && word.chars().all(alphanumeric);
    let part = |part: &str| part.split(['.', '_', '-']).all(word);
    (2..=256).contains(&name.len()) && name.split('/').all(part)
}

fn create(ecr: &Ecr, input: &Value) -> Answer {
    let name = text(input, "repositoryName");
    if !valid_name(name) {
        return Err(ApiError::bad(
            "InvalidParameterException",
            format!(
                "Invalid parameter at 'repositoryName' failed to satisfy constraint: '{name}' must satisfy the repository name pattern"
            ),
        ));
    }
    let mut database = ecr.database();
    if database.repositories.contains_key(name) {
        let message = format!(
            "The repository with name '{name}' already exists in the registry with id '{}'",
            ecr.account
        );
        return Err(ApiError::bad("RepositoryAlreadyExistsException", message));
    }
    let (mode, exclusions) = read_mutability(input)?;
    let encryption = match &input["encryptionConfiguration"] {
        Value::Null => json!({"encryptionType": "AES256"}),
        given => given.clone(),
    };
    let repository = Repository {
        mutability: mode,
        exclusions,
        scan_on_push: input["imageScanningConfiguration"]["scanOnPush"] == true,
        encryption,
        labels: read_labels(&input["tags"]),
        ..Repository::new(name)
    };
    let shown = show(ecr, &repository);
    database.repositories.insert(name.to_owned(), repository);
    Ok(json!({"repository": shown}))
}

fn show(ecr: &Ecr, repository: &Repository) -> Value {
    let filter = |pattern: &String| json!({"filter": pattern, "filterType": "WILDCARD"});
    let mut shown = json!({
        "repositoryArn": ecr.arn(&repository.name),
        "registryId": ecr.account,
        "repositoryName": repository.name,
        "repositoryUri": format!("{}/{}", ecr.host(), repository.name),
        "createdAt": seconds(repository.created),
        "imageTagMutability": repository.mutability,
        "imageScanningConfiguration": {"scanOnPush": repository.scan_on_push},
        "encryptionConfiguration": repository.encryption,
    });
    if !repository.exclusions.is_empty() {
        let filters: Vec<_> = repository.exclusions.iter().map(filter).collect();
        shown["imageTagMutabilityExclusionFilters"] = json!(filters);
    }
    shown
}

fn describe(ecr: &Ecr, input: &Value) -> Answer {
    let database = ecr.database();
    let names = input["repositoryNames"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found: Vec<_> = match names.as_slice() {
        [] => database.repositories.values().collect(),
        // One unknown name fails the whole call.
        names => find_all(ecr, &database, names)?,
    };
    let (page, next) = page(ecr, input, &found)?;
    let shown: Vec<_> = page
        .iter()
        .map(|repository| show(ecr, repository))
        .collect();
    Ok(with_next(json!({"repositories": shown}), next))
}

fn find_all<'a>(
    ecr: &Ecr,
    database: &'a Database,
    names: &[Value],
) -> Result<Vec<&'a Repository>, ApiError> {
    let find = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        database
            .repositories
            .get(name)
            .ok_or_else(|| no_repository(ecr, name))
    };
    names.iter().map(find).collect()
}

pub(super) fn with_next(mut answer: Value, next: Value) -> Value {
    if !next.is_null() {
        answer["nextToken"] = next;
    }
    answer
}

fn templates(ecr: &Ecr, input: &Value) -> Answer {
    let database = ecr.database();
    let shown: Vec<_> = database.templates.iter().map(Template::show).collect();
    let (page, next) = page(ecr, input, &shown)?;
    let answer = json!({"registryId": ecr.account, "repositoryCreationTemplates": page});
    Ok(with_next(answer, next))
}

fn delete(ecr: &Ecr, input: &Value) -> Answer {
    let name = text(input, "repositoryName");
    let mut database = ecr.database();
    let Some(repository) = database.repositories.get(name) else {
        return Err(no_repository(ecr, name));
    };
    if !repository.images.is_empty() && input["force"] != true {
        let message = format!(
            "The repository with name '{name}' cannot be deleted because it still contains images"
        );
        return Err(ApiError::bad("RepositoryNotEmptyException", message));
    }
    let shown = show(ecr, repository);
    database.repositories.remove(name);
    Ok(json!({"repository": shown}))
}

fn token(ecr: &Ecr) -> Value {
    let (token, ends) = ecr.issue_token();
    json!({"authorizationData": [{
        "authorizationToken": STANDARD.encode(format!("AWS:{token}")),
        "expiresAt": seconds(ends),
        "proxyEndpoint": format!("https://{}", ecr.host()),
    }]})
}

#[cfg(test)]
mod tests {
    use super::valid_name;

    #[test]
    fn repository_names() {
        for name in [
            "us-docker.pkg.dev/castai-hub/library/agent",
            "busybox",
            "a_b/c.d-e",
            "0x",
        ] {
            assert!(valid_name(name), "{name}");
        }
        for name in [
            "a", "", "Agent", "a//b", "/a", "a-", "a--b", "a:b", "sandbox/",
        ] {
            assert!(!valid_name(name), "{name}");
        }
    }
}
