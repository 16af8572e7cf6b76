//! Repository creation templates: where the organisation has said how a repository looks
//! that a push creates.

use aws_sdk_ecr::types::{RctAppliedFor, RepositoryCreationTemplate};
use castlink_aws::{Kind, kind};
use castlink_core::Result;

use super::Ecr;

/// The prefix of the template for repositories that no other one is for.
const ROOT: &str = "ROOT";

/// All templates in one answer.
const PAGE: i32 = 1_000;

/// A template, as far as it decides whether a push creates a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What the names of its repositories begin with, without the slash; `ROOT` = any.
    pub prefix: String,
    /// True when it is for pushes.
    pub on_push: bool,
}

impl Ecr {
    /// The templates of the registry, asked for once. Nobody is obliged to let us see them:
    /// a denial, or a region that does not know them, counts as none.
    ///
    /// # Errors
    /// When the question could not be asked at all: no credentials, throttled, unreachable.
    pub async fn templates(&self) -> Result<&[Template]> {
        let found = self.templates.get_or_try_init(|| self.fetch_templates());
        found.await.map(Vec::as_slice)
    }

    /// The template by which a push creates `repository`, as far as is known by now.
    pub fn creates_on_push(&self, repository: &str) -> Option<&Template> {
        template_of(self.templates.get()?, repository)
    }

    async fn fetch_templates(&self) -> Result<Vec<Template>> {
        let mut found = Vec::new();
        let mut next = None;
        loop {
            self.count();
            let call = self.client.describe_repository_creation_templates();
            let call = call.max_results(PAGE).set_next_token(next);
            let answer = match call.send().await {
                Ok(answer) => answer,
                Err(err) => match kind(&err) {
                    Kind::Credentials | Kind::Expired | Kind::Throttled | Kind::Unreachable => {
                        let action = "DescribeRepositoryCreationTemplates";
                        return Err(self.failure(action, "", &err));
                    }
                    _ => return Ok(Vec::new()),
                },
            };
            found.extend(
                answer
                    .repository_creation_templates()
                    .iter()
                    .map(Template::of),
            );
            next = answer.next_token;
            if next.is_none() {
                return Ok(found);
            }
        }
    }
}

impl Template {
    fn of(template: &RepositoryCreationTemplate) -> Self {
        Self {
            prefix: template.prefix().unwrap_or_default().to_owned(),
            on_push: template
                .applied_for()
                .contains(&RctAppliedFor::CreateOnPush),
        }
    }

    /// How many characters of `repository` it is for; none when it is not for it.
    fn covers(&self, repository: &str) -> Option<usize> {
        if self.prefix == ROOT {
            return Some(0);
        }
        let rest = repository.strip_prefix(&self.prefix)?;
        rest.starts_with('/').then_some(self.prefix.len())
    }
}

/// The template by which a push creates `repository`. The most specific one decides, also
/// when it is not for pushes: ROOT is for repositories that have no other.
pub fn template_of<'a>(templates: &'a [Template], repository: &str) -> Option<&'a Template> {
    let covering = templates
        .iter()
        .filter_map(|template| Some((template.covers(repository)?, template)));
    let (_, best) = covering.max_by_key(|(length, _)| *length)?;
    best.on_push.then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_template_decides() {
        let template = |prefix: &str, on_push| Template {
            prefix: prefix.into(),
            on_push,
        };
        let templates = [
            template("ROOT", true),
            template("team", true),
            template("team/cache", false),
            template("ghcr.io/castai", true),
        ];
        for (repository, want) in [
            ("busybox", Some("ROOT")),
            ("team", Some("ROOT")),
            ("teams/x", Some("ROOT")),
            ("team/x", Some("team")),
            ("team/cache/x", None),
            ("ghcr.io/castai/images/agent", Some("ghcr.io/castai")),
        ] {
            let found = template_of(&templates, repository);
            assert_eq!(found.map(|one| one.prefix.as_str()), want, "{repository}");
        }
        assert_eq!(template_of(&templates[1..], "busybox"), None);
    }
}
