//! ECR's API: what the batch calls say about images and layers.

use serde_json::{Value, json};

use super::answer::ApiError;
use super::ecr_repositories::{Answer, on_repository, page, seconds, text, with_next};
use crate::ecr::{Ecr, Image, Repository};

/// Ids or digests that one batch call takes.
const BATCH: usize = 100;

pub(super) fn answer(ecr: &Ecr, action: &str, input: &Value) -> Answer {
    on_repository(ecr, input, |repository| match action {
        "BatchCheckLayerAvailability" => check_layers(repository, input),
        "BatchGetImage" => get_images(ecr, repository, input),
        "BatchDeleteImage" => delete_images(repository, input),
        "DescribeImages" => describe(ecr, repository, input),
        "ListImages" => list(ecr, repository, input),
        "ListImageReferrers" => referrers(repository, input),
        _ => Err(ApiError::bad(
            "UnknownOperationException",
            format!("{action} is not played here"),
        )),
    })
}

fn batch(input: &Value, key: &str) -> Result<Vec<Value>, ApiError> {
    let all = input[key].as_array().cloned().unwrap_or_default();
    match all.len() {
        1..=BATCH => Ok(all),
        count => Err(ApiError::bad(
            "InvalidParameterException",
            format!(
                "Invalid parameter at '{key}' failed to satisfy constraint: between 1 and {BATCH} members, not {count}"
            ),
        )),
    }
}

fn check_layers(repository: &Repository, input: &Value) -> Answer {
    let (mut layers, mut failures) = (Vec::new(), Vec::new());
    for digest in batch(input, "layerDigests")? {
        let digest = digest.as_str().unwrap_or_default();
        if !digest.starts_with("sha256:") {
            failures.push(json!({
                "layerDigest": digest,
                "failureCode": "InvalidLayerDigest",
                "failureReason": "Layer digest must satisfy the digest pattern",
            }));
            continue;
        }
        layers.push(match repository.blobs.get(digest) {
            Some(size) if repository.is_archived(digest) => {
                json!({"layerDigest": digest, "layerAvailability": "ARCHIVED", "layerSize": size})
            }
            Some(size) => {
                json!({"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": size})
            }
            None => json!({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"}),
        });
    }
    Ok(json!({"layers": layers, "failures": failures}))
}

/// The image that an id (`imageTag`, `imageDigest` or both) names.
fn find<'a>(repository: &'a Repository, id: &Value) -> Option<&'a Image> {
    match (id["imageTag"].as_str(), id["imageDigest"].as_str()) {
        (None, None) => None,
        (Some(tag), None) => repository
            .tags
            .get(tag)
            .and_then(|digest| repository.images.get(digest)),
        (None, Some(digest)) => repository.images.get(digest),
        (Some(tag), Some(digest)) => repository
            .images
            .get(digest)
            .filter(|_| repository.tags.get(tag).map(String::as_str) == Some(digest)),
    }
}

/// Ids with their images, and the failures of the other ids.
type Lookup<'a> = (Vec<(Value, &'a Image)>, Vec<Value>);

/// Each id's image, or what ECR says of an id that names none.
fn find_each<'a>(repository: &'a Repository, input: &Value) -> Result<Lookup<'a>, ApiError> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for id in batch(input, "imageIds")? {
        match find(repository, &id) {
            Some(image) => found.push((id, image)),
            None => failures.push(not_found(&id)),
        }
    }
    Ok((found, failures))
}

fn not_found(id: &Value) -> Value {
    json!({
        "imageId": id,
        "failureCode": "ImageNotFound",
        "failureReason": "Requested image not found",
    })
}

fn get_images(ecr: &Ecr, repository: &Repository, input: &Value) -> Answer {
    let (found, mut failures) = find_each(repository, input)?;
    let (archived, found): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, image)| image.archived);
    failures.extend(archived.into_iter().map(|(id, _)| not_found(&id)));
    let show = |(mut id, image): (Value, &Image)| {
        id["imageDigest"] = json!(image.digest);
        json!({
            "registryId": ecr.account,
            "repositoryName": repository.name,
            "imageId": id,
            "imageManifest": String::from_utf8_lossy(&image.bytes),
            "imageManifestMediaType": image.media_type,
        })
    };
    Ok(json!({"images": found.into_iter().map(show).collect::<Vec<_>>(), "failures": failures}))
}

fn delete_images(repository: &mut Repository, input: &Value) -> Answer {
    let (found, failures) = find_each(repository, input)?;
    let ids: Vec<_> = found
        .into_iter()
        .map(|(id, image)| (id, image.digest.clone()))
        .collect();
    let mut deleted = Vec::new();
    for (id, digest) in ids {
        // A tag alone takes the tag away, the last one takes the image with it.
        repository.remove(id["imageTag"].as_str().unwrap_or(&digest));
        if repository.tags_of(&digest).is_empty() {
            repository.remove(&digest);
        }
        let mut id = id;
        id["imageDigest"] = json!(digest);
        deleted.push(id);
    }
    Ok(json!({"imageIds": deleted, "failures": failures}))
}

fn describe(ecr: &Ecr, repository: &Repository, input: &Value) -> Answer {
    let images: Vec<_> = match &input["imageIds"] {
        Value::Null => repository.images.values().collect(),
        _ => {
            // Unlike BatchGetImage, one unknown id fails the whole call.
            let (found, failures) = find_each(repository, input)?;
            if let Some(failure) = failures.first() {
                let message = format!(
                    "The image with imageId {} does not exist within the repository with name '{}' in the registry with id '{}'",
                    failure["imageId"], repository.name, ecr.account
                );
                return Err(ApiError::bad("ImageNotFoundException", message));
            }
            found.into_iter().map(|(_, image)| image).collect()
        }
    };
    let (page, next) = page(ecr, input, &images)?;
    let details: Vec<_> = page
        .iter()
        .map(|image| detail(ecr, repository, image))
        .collect();
    Ok(with_next(json!({"imageDetails": details}), next))
}

fn detail(ecr: &Ecr, repository: &Repository, image: &Image) -> Value {
    let mut detail = json!({
        "registryId": ecr.account,
        "repositoryName": repository.name,
        "imageDigest": image.digest,
        "imageSizeInBytes": image.size(),
        "imagePushedAt": seconds(image.pushed),
        "imageManifestMediaType": image.media_type,
        "imageStatus": if image.archived { "ARCHIVED" } else { "ACTIVE" },
    });
    let tags = repository.tags_of(&image.digest);
    if !tags.is_empty() {
        detail["imageTags"] = json!(tags);
    }
    if let Some(kind) = &image.parts.artifact_type {
        detail["artifactMediaType"] = json!(kind);
    }
    detail
}

fn list(ecr: &Ecr, repository: &Repository, input: &Value) -> Answer {
    let status = text(&input["filter"], "tagStatus");
    let mut ids = Vec::new();
    for digest in repository.images.keys() {
        let tags = repository.tags_of(digest);
        if tags.is_empty() && status != "TAGGED" {
            ids.push(json!({"imageDigest": digest}));
        }
        if status != "UNTAGGED" {
            ids.extend(
                tags.iter()
                    .map(|tag| json!({"imageDigest": digest, "imageTag": tag})),
            );
        }
    }
    let (page, next) = page(ecr, input, &ids)?;
    Ok(with_next(json!({"imageIds": page}), next))
}

fn referrers(repository: &Repository, input: &Value) -> Answer {
    let subject = text(&input["subjectId"], "imageDigest");
    let attached = |image: &&Image| image.parts.subject.as_deref() == Some(subject);
    let show = |image: &Image| {
        json!({
            "digest": image.digest,
            "mediaType": image.media_type,
            "artifactType": image.parts.artifact_type,
            "size": image.bytes.len(),
            "artifactStatus": "ACTIVE",
        })
    };
    let found: Vec<_> = repository
        .images
        .values()
        .filter(attached)
        .map(show)
        .collect();
    Ok(json!({"referrers": found}))
}
