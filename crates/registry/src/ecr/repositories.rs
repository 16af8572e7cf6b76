//! Repositories: what there is, how one is created, and how its settings are read and set.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

use aws_sdk_ecr::types::{ImageScanningConfiguration, ImageTagMutability, Repository};
use castlink_aws::{Kind, kind};
use castlink_core::{Failure, Result, reference::EcrHost};

use super::{
    Ecr,
    drift::{Actual, Setting},
    settings::{Encryption, Mutability, Settings},
};

/// The most names that DescribeRepositories takes.
const BATCH: usize = 100;

impl Ecr {
    /// Which tags of the repository can be moved; none when there is no such repository.
    pub async fn mutability(&self, repository: &str) -> Result<Option<Mutability>> {
        let mut found = self.describe(&[repository.to_owned()]).await?;
        Ok(found.remove(repository).map(|actual| actual.mutability))
    }

    /// The repositories as far as one call for a hundred of them says. All must exist.
    pub async fn describe(&self, repositories: &[String]) -> Result<BTreeMap<String, Actual>> {
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
            let answered = answer.repositories().iter();
            found.extend(answered.map(|repository| {
                let name = repository.repository_name().unwrap_or_default();
                (name.to_owned(), actual(repository))
            }));
        }
        Ok(found)
    }

    /// Adds to what is known of a repository what `settings` speak of beyond it.
    pub async fn complete(
        &self,
        repository: &str,
        mut actual: Actual,
        settings: &Settings,
    ) -> Result<Actual> {
        if settings.lifecycle.is_some() {
            actual.lifecycle = self.lifecycle(repository).await?;
        }
        if settings.policy.is_some() {
            actual.policy = self.policy(repository).await?;
        }
        if !settings.tags.is_empty() {
            actual.tags = self.tags(repository, &actual.arn).await?;
        }
        Ok(actual)
    }

    async fn lifecycle(&self, repository: &str) -> Result<Option<String>> {
        self.count();
        let call = self.client.get_lifecycle_policy();
        let call = call.registry_id(&self.account).repository_name(repository);
        match call.send().await {
            Ok(answer) => Ok(answer.lifecycle_policy_text),
            Err(err) if castlink_aws::code(&err) == Some("LifecyclePolicyNotFoundException") => {
                Ok(None)
            }
            Err(err) => Err(self.failure("GetLifecyclePolicy", repository, &err)),
        }
    }

    async fn policy(&self, repository: &str) -> Result<Option<String>> {
        self.count();
        let call = self.client.get_repository_policy();
        let call = call.registry_id(&self.account).repository_name(repository);
        match call.send().await {
            Ok(answer) => Ok(answer.policy_text),
            Err(err) if castlink_aws::code(&err) == Some("RepositoryPolicyNotFoundException") => {
                Ok(None)
            }
            Err(err) => Err(self.failure("GetRepositoryPolicy", repository, &err)),
        }
    }

    async fn tags(&self, repository: &str, arn: &str) -> Result<BTreeMap<String, String>> {
        self.count();
        let answer = self.client.list_tags_for_resource().resource_arn(arn);
        let answer = answer.send().await;
        let answer = answer.map_err(|err| self.failure("ListTagsForResource", repository, &err))?;
        let tags = answer.tags.unwrap_or_default().into_iter();
        Ok(tags.map(|tag| (tag.key, tag.value)).collect())
    }

    /// Creates the repository with everything that `settings` say. It is no error when
    /// somebody else was faster; what they made is theirs.
    ///
    /// # Errors
    /// Also when the repository was created and one of its policies could not be set: nothing
    /// is to be pushed into a repository that is open in ways it should not be.
    pub async fn create(&self, repository: &str, settings: &Settings) -> Result<()> {
        self.count();
        let (mode, filters) = Mutability::at_creation(settings.mutability.as_ref()).sdk();
        let scan = ImageScanningConfiguration::builder()
            .scan_on_push(settings.scan_on_push.unwrap_or(true));
        let answer = self
            .client
            .create_repository()
            .registry_id(&self.account)
            .repository_name(repository)
            .image_tag_mutability(mode)
            .set_image_tag_mutability_exclusion_filters(filters)
            .image_scanning_configuration(scan.build())
            .set_encryption_configuration(settings.encryption.as_ref().map(Encryption::sdk))
            .set_tags(settings.sdk_tags())
            .send()
            .await;
        match answer {
            Ok(_) => {}
            Err(err) if castlink_aws::code(&err) == Some("RepositoryAlreadyExistsException") => {
                return Ok(());
            }
            // Either permission may be the one that is missing; AWS names it in the cause.
            Err(err) if !settings.tags.is_empty() => {
                let action = "CreateRepository with ecr:TagResource";
                return Err(self.failure(action, repository, &err));
            }
            Err(err) => return Err(self.failure("CreateRepository", repository, &err)),
        }
        let unfinished = |failure: Failure| {
            failure.context(format!(
                "repository {repository} of {} was created, but is not as configured",
                self.host
            ))
        };
        let policies = [
            (settings.lifecycle.is_some(), Setting::Lifecycle),
            (settings.policy.is_some(), Setting::Policy),
        ];
        for (_, setting) in policies.into_iter().filter(|(wanted, _)| *wanted) {
            self.set(repository, "", setting, settings)
                .await
                .map_err(unfinished)?;
        }
        Ok(())
    }

    /// Makes one setting of a repository what `settings` say; `arn` is needed for its tags.
    ///
    /// # Errors
    /// As the call; encryption cannot be set at all.
    pub async fn set(
        &self,
        repository: &str,
        arn: &str,
        setting: Setting,
        settings: &Settings,
    ) -> Result<()> {
        match setting {
            Setting::Mutability => self.set_mutability(repository, settings).await,
            Setting::Scanning => self.set_scanning(repository, settings).await,
            Setting::Lifecycle => self.set_lifecycle(repository, settings).await,
            Setting::Policy => self.set_policy(repository, settings).await,
            Setting::Tags => self.set_tags(repository, arn, settings).await,
            Setting::Encryption => Err(Failure::failed(format!(
                "the encryption of repository {repository} cannot be changed"
            ))),
        }
    }

    async fn set_mutability(&self, repository: &str, settings: &Settings) -> Result<()> {
        self.count();
        let (mode, filters) = Mutability::at_creation(settings.mutability.as_ref()).sdk();
        let call = self.client.put_image_tag_mutability();
        let call = call.registry_id(&self.account).repository_name(repository);
        let call = call
            .image_tag_mutability(mode)
            .set_image_tag_mutability_exclusion_filters(filters);
        let answer = call.send().await;
        answer.map_err(|err| self.failure("PutImageTagMutability", repository, &err))?;
        Ok(())
    }

    async fn set_scanning(&self, repository: &str, settings: &Settings) -> Result<()> {
        self.count();
        let scan = ImageScanningConfiguration::builder()
            .scan_on_push(settings.scan_on_push.unwrap_or(true));
        let call = self.client.put_image_scanning_configuration();
        let call = call.registry_id(&self.account).repository_name(repository);
        let answer = call.image_scanning_configuration(scan.build()).send().await;
        answer.map_err(|err| self.failure("PutImageScanningConfiguration", repository, &err))?;
        Ok(())
    }

    async fn set_lifecycle(&self, repository: &str, settings: &Settings) -> Result<()> {
        self.count();
        let text = settings
            .lifecycle
            .as_ref()
            .map(|policy| policy.text.clone());
        let call = self.client.put_lifecycle_policy();
        let call = call.registry_id(&self.account).repository_name(repository);
        let answer = call.set_lifecycle_policy_text(text).send().await;
        answer.map_err(|err| self.failure("PutLifecyclePolicy", repository, &err))?;
        Ok(())
    }

    async fn set_policy(&self, repository: &str, settings: &Settings) -> Result<()> {
        self.count();
        let text = settings.policy.as_ref().map(|policy| policy.text.clone());
        let call = self.client.set_repository_policy();
        let call = call.registry_id(&self.account).repository_name(repository);
        let answer = call.set_policy_text(text).send().await;
        answer.map_err(|err| self.failure("SetRepositoryPolicy", repository, &err))?;
        Ok(())
    }

    async fn set_tags(&self, repository: &str, arn: &str, settings: &Settings) -> Result<()> {
        self.count();
        let call = self.client.tag_resource().resource_arn(arn);
        let answer = call.set_tags(settings.sdk_tags()).send().await;
        answer.map_err(|err| self.failure("TagResource", repository, &err))?;
        Ok(())
    }

    /// Whether a repository exists into which a push was refused; none when that cannot be
    /// found out. What is known to exist is not asked for again unless `doubtful`.
    pub async fn exists(&self, repository: &str, doubtful: bool) -> Option<bool> {
        if !doubtful && self.known().contains(repository) {
            return Some(true);
        }
        self.count();
        let call = self.client.describe_repositories();
        let call = call.registry_id(&self.account).repository_names(repository);
        match call.send().await {
            Ok(_) => {
                self.known().insert(repository.to_owned());
                Some(true)
            }
            Err(err) if kind(&err) == Kind::NotFound => Some(false),
            Err(_) => None,
        }
    }

    fn known(&self) -> MutexGuard<'_, std::collections::BTreeSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A repository that is not there, with what creates it.
pub fn missing(host: &str, repository: &str) -> Failure {
    let region = EcrHost::parse(host).map_or_else(String::new, |parts| parts.region);
    Failure::failed(format!("repository {repository} does not exist in {host}")).hint(format!(
        "create it, with `aws ecr create-repository --region {region} --repository-name {repository}` or as \
         `resource \"aws_ecr_repository\" {{ name = \"{repository}\" }}` in Terraform, or let castlink do so with `--create-repos auto`"
    ))
}

fn actual(repository: &Repository) -> Actual {
    let immutable = matches!(
        repository.image_tag_mutability(),
        Some(ImageTagMutability::Immutable | ImageTagMutability::ImmutableWithExclusion)
    );
    let filters = repository.image_tag_mutability_exclusion_filters();
    let except = filters.iter().map(|filter| filter.filter().to_owned());
    let scanning = repository.image_scanning_configuration();
    let encryption = repository.encryption_configuration();
    Actual {
        arn: repository.repository_arn().unwrap_or_default().to_owned(),
        mutability: Mutability {
            immutable,
            except: except.collect(),
        },
        scan_on_push: scanning.is_some_and(ImageScanningConfiguration::scan_on_push),
        encryption: encryption.map(|encryption| Encryption {
            kind: encryption.encryption_type().clone(),
            key: encryption.kms_key().map(str::to_owned),
        }),
        lifecycle: None,
        policy: None,
        tags: BTreeMap::new(),
    }
}
