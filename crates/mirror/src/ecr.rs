//! Amazon ECR's own API, for what the registry protocol has no words for: repositories,
//! questions about a hundred things at once, and the token of the data plane.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use aws_sdk_ecr::{
    Client,
    types::{
        EncryptionConfiguration, EncryptionType, ImageFailureCode, ImageIdentifier,
        ImageScanningConfiguration, ImageTagMutability, LayerAvailability, Tag,
    },
};
use bytes::Bytes;
use castlink_aws::{SdkError, Session};
use castlink_core::{Failure, Result, config, reference::EcrHost};
use reqwest::header::HeaderValue;

use crate::{
    content::{Digest, MANIFEST_TYPES, Manifest},
    registry::{
        auth::{Token, TokenCell},
        error::{self, Subject},
    },
};

/// The most ids that BatchGetImage and BatchCheckLayerAvailability take.
const BATCH: usize = 100;

/// What a token is believed to live when ECR does not say.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// The account setting that allows mounting layers between repositories.
const MOUNTING: &str = "BLOB_MOUNTING";

/// One ECR registry: an account in a region.
#[derive(Debug)]
pub(crate) struct Ecr {
    client: Client,
    session: Session,
    host: String,
    account: String,
    token: TokenCell,
    calls: AtomicU64,
}

/// What a repository holds of what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Tags, with what they point at.
    pub(crate) tags: BTreeMap<String, Digest>,
    /// Digests of manifests.
    pub(crate) manifests: BTreeSet<Digest>,
    /// The platforms of those that are an index, where the registry showed it.
    pub(crate) platforms: BTreeMap<Digest, Vec<String>>,
}

/// Which tags of a repository can be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mutability {
    /// The rule for tags that no filter matches.
    pub(crate) immutable: bool,
    /// Wildcard filters of tags for which the opposite holds.
    pub(crate) except: Vec<String>,
}

impl Mutability {
    /// True when `tag` keeps what it points at.
    pub(crate) fn is_immutable(&self, tag: &str) -> bool {
        self.immutable != self.except.iter().any(|filter| wildcard(filter, tag))
    }
}

impl Ecr {
    /// The registry at `host`, whose parts are `parts`. No call is made.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub(crate) async fn open(host: &str, parts: &EcrHost, aws: &config::Aws) -> Result<Self> {
        let session = Session::load(aws, Some(&parts.region)).await?;
        let mut config = aws_sdk_ecr::config::Builder::from(session.sdk_config());
        if parts.fips {
            config.set_use_fips(Some(true));
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            session,
            host: host.to_owned(),
            account: parts.account.clone(),
            token: TokenCell::default(),
            calls: AtomicU64::new(0),
        })
    }

    /// API calls made so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// The `Authorization` header of the data plane: one token for all repositories.
    pub(crate) async fn token(&self, subject: &Subject) -> error::Result<HeaderValue> {
        let fetch = async {
            self.fetch_token()
                .await
                .map_err(|failure| subject.fatal(failure))
        };
        self.token.get(fetch).await
    }

    /// Drops a token that the data plane refused.
    pub(crate) async fn drop_refused(&self, used: &HeaderValue) {
        self.token.drop_refused(used).await;
    }

    async fn fetch_token(&self) -> Result<Token> {
        self.count();
        let answer = self.client.get_authorization_token().send().await;
        let answer = answer.map_err(|err| self.failure("GetAuthorizationToken", "", &err))?;
        let data = answer
            .authorization_data
            .unwrap_or_default()
            .into_iter()
            .next();
        let life = data
            .as_ref()
            .and_then(|data| SystemTime::try_from(*data.expires_at()?).ok())
            .map_or(TOKEN_LIFE, |end| {
                end.duration_since(SystemTime::now()).unwrap_or_default()
            });
        data.and_then(|data| Token::new(&format!("Basic {}", data.authorization_token()?), life))
            .ok_or_else(|| {
                Failure::failed(format!("{} handed out no authorization token", self.host))
            })
    }

    /// What the repository holds of `ids`; none when the repository does not exist.
    pub(crate) async fn images(
        &self,
        repository: &str,
        ids: &[ImageIdentifier],
    ) -> Result<Option<Held>> {
        let mut held = Held::default();
        for ids in ids.chunks(BATCH) {
            self.count();
            let answer = self
                .client
                .batch_get_image()
                .registry_id(&self.account)
                .repository_name(repository)
                .set_image_ids(Some(ids.to_vec()))
                .set_accepted_media_types(Some(MANIFEST_TYPES.map(str::to_owned).to_vec()))
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(err) if castlink_aws::code(&err) == Some("RepositoryNotFoundException") => {
                    return Ok(None);
                }
                Err(err) => return Err(self.failure("BatchGetImage", repository, &err)),
            };
            for failure in answer.failures() {
                self.check_missing(repository, failure)?;
            }
            answer.images().iter().for_each(|image| held.add(image));
        }
        Ok(Some(held))
    }

    /// Anything but "not found" (an archived image, a lost key) is nothing to copy over.
    fn check_missing(
        &self,
        repository: &str,
        failure: &aws_sdk_ecr::types::ImageFailure,
    ) -> Result<()> {
        let code = failure.failure_code();
        if code == Some(&ImageFailureCode::ImageNotFound) {
            return Ok(());
        }
        let code = code.map_or("unknown failure", ImageFailureCode::as_str);
        let reason = failure.failure_reason().unwrap_or_default();
        Err(Failure::failed(format!(
            "an image of {}/{repository} cannot be read: {code} {reason}",
            self.host
        )))
    }

    /// Which of `digests` the repository can serve as blobs.
    pub(crate) async fn blobs(
        &self,
        repository: &str,
        digests: &[Digest],
    ) -> Result<BTreeSet<Digest>> {
        let mut found = BTreeSet::new();
        for digests in digests.chunks(BATCH) {
            self.count();
            let answer = self
                .client
                .batch_check_layer_availability()
                .registry_id(&self.account)
                .repository_name(repository)
                .set_layer_digests(Some(digests.iter().map(ToString::to_string).collect()))
                .send()
                .await
                .map_err(|err| self.failure("BatchCheckLayerAvailability", repository, &err))?;
            let available = answer
                .layers()
                .iter()
                .filter(|layer| layer.layer_availability() == Some(&LayerAvailability::Available))
                .filter_map(|layer| Digest::parse(layer.layer_digest()?));
            found.extend(available);
        }
        Ok(found)
    }

    /// Which tags of the repositories can be moved.
    pub(crate) async fn mutability(
        &self,
        repositories: &[String],
    ) -> Result<BTreeMap<String, Mutability>> {
        let mut found = BTreeMap::new();
        for names in repositories.chunks(BATCH) {
            self.count();
            let answer = self
                .client
                .describe_repositories()
                .registry_id(&self.account)
                .set_repository_names(Some(names.to_vec()))
                .send()
                .await
                .map_err(|err| self.failure("DescribeRepositories", &names.join(", "), &err))?;
            for repository in answer.repositories() {
                let rule = repository.image_tag_mutability();
                let immutable = matches!(
                    rule,
                    Some(
                        ImageTagMutability::Immutable | ImageTagMutability::ImmutableWithExclusion
                    )
                );
                let filters = repository.image_tag_mutability_exclusion_filters();
                let except = filters
                    .iter()
                    .map(|filter| filter.filter().to_owned())
                    .collect();
                let name = repository.repository_name().unwrap_or_default().to_owned();
                found.insert(name, Mutability { immutable, except });
            }
        }
        Ok(found)
    }

    /// Creates the repository; it is no error when somebody else was faster.
    pub(crate) async fn create(
        &self,
        repository: &str,
        settings: &config::Repository,
    ) -> Result<()> {
        self.count();
        let mutability = if settings.immutable {
            ImageTagMutability::Immutable
        } else {
            ImageTagMutability::Mutable
        };
        let scan = ImageScanningConfiguration::builder().scan_on_push(settings.scan_on_push);
        let answer = self
            .client
            .create_repository()
            .registry_id(&self.account)
            .repository_name(repository)
            .image_tag_mutability(mutability)
            .image_scanning_configuration(scan.build())
            .set_encryption_configuration(encryption(settings)?)
            .set_tags(tags(settings)?)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(err) if castlink_aws::code(&err) == Some("RepositoryAlreadyExistsException") => {
                Ok(())
            }
            Err(err) => Err(self.failure("CreateRepository", repository, &err)),
        }
    }

    /// True when the account allows mounting. An account that cannot be asked (the setting
    /// is newer than many policies) is taken as one that does not.
    pub(crate) async fn mounting(&self) -> bool {
        self.count();
        let answer = self
            .client
            .get_account_setting()
            .name(MOUNTING)
            .send()
            .await;
        answer.is_ok_and(|answer| answer.value() == Some("ENABLED"))
    }

    fn count(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    fn failure<E>(&self, action: &str, repository: &str, err: &SdkError<E>) -> Failure
    where
        E: aws_sdk_ecr::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let subject = match repository {
            "" => format!("registry {}", self.host),
            name => format!("repository {name} of {}", self.host),
        };
        self.session
            .failure(&format!("ecr:{action}"), &subject, err)
    }
}

impl Held {
    fn add(&mut self, image: &aws_sdk_ecr::types::Image) {
        let Some(id) = image.image_id() else { return };
        let Some(digest) = id.image_digest().and_then(Digest::parse) else {
            return;
        };
        self.manifests.insert(digest.clone());
        self.platforms.insert(digest.clone(), platforms(image));
        if let Some(tag) = id.image_tag() {
            self.tags.insert(tag.to_owned(), digest);
        }
    }

    /// The platforms of a manifest, as far as known.
    pub(crate) fn platforms_of(&self, digest: &Digest) -> Vec<String> {
        self.platforms.get(digest).cloned().unwrap_or_default()
    }
}

fn platforms(image: &aws_sdk_ecr::types::Image) -> Vec<String> {
    let text = image.image_manifest().unwrap_or_default().to_owned();
    let manifest = Manifest::parse(Bytes::from(text), image.image_manifest_media_type(), None);
    manifest
        .map(|manifest| manifest.platforms())
        .unwrap_or_default()
}

fn encryption(settings: &config::Repository) -> Result<Option<EncryptionConfiguration>> {
    let Some(key) = &settings.kms_key else {
        return Ok(None);
    };
    let encryption = EncryptionConfiguration::builder()
        .encryption_type(EncryptionType::Kms)
        .kms_key(key);
    let built = encryption.build();
    built
        .map(Some)
        .map_err(|err| Failure::usage("`mirror.repository.kms_key` is not usable").because(err))
}

fn tags(settings: &config::Repository) -> Result<Option<Vec<Tag>>> {
    let tags: Result<Vec<Tag>, _> = settings
        .tags
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    let tags =
        tags.map_err(|err| Failure::usage("`mirror.repository.tags` are not usable").because(err))?;
    // An empty list would ask for ecr:TagResource all the same.
    Ok((!tags.is_empty()).then_some(tags))
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
}
