//! Before anything moves: may we do all of it, and would the server accept each patch?

use std::collections::BTreeMap;

use castlink_core::{Failure, Result};
use futures::{StreamExt, future::try_join_all, stream};
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{
        ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
    },
};
use kube::{Api, api::PostParams};

use crate::{
    client::Cluster,
    patch::Mode,
    plan::{Plan, Step},
    rights::{Right, needed},
    workload::Id,
};

/// Dry runs under way at once.
const PARALLEL: usize = 8;

impl Cluster {
    /// Asks the server for every right that `plan` needs, before the first is used.
    ///
    /// # Errors
    /// Exit 7, naming each missing right and the user.
    pub(crate) async fn check_rights(&self, plan: &Plan) -> Result<()> {
        let missing = self.missing(needed(plan)).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let (user, namespace) = (self.user().await, &self.namespace);
        let names: Vec<String> = missing
            .iter()
            .map(|(verb, on)| format!("{verb} {}", on.full_name()))
            .collect();
        Err(Failure::credentials(format!(
            "{user} may not {} in namespace {namespace}",
            names.join(", ")
        ))
        .hint(format!(
            "nothing was changed; an administrator grants it with `castlink-upgrade rbac -n {namespace} {} | kubectl apply -f -`",
            subject(&user)
        )))
    }

    /// The rights that the user lacks. One request lists the rules of the namespace; the
    /// list may be incomplete (webhooks, EKS access policies), so whatever it does not
    /// cover is asked for by itself.
    async fn missing(&self, wanted: Vec<Right>) -> Result<Vec<Right>> {
        let rules = self.rules().await;
        let open: Vec<Right> = wanted
            .into_iter()
            .filter(|right| !rules.iter().any(|rule| covers(rule, *right)))
            .collect();
        let answers = try_join_all(open.iter().map(|right| self.may(*right))).await?;
        let denied = open.into_iter().zip(answers);
        Ok(denied
            .filter_map(|(right, allowed)| (!allowed).then_some(right))
            .collect())
    }

    /// The user's rules in the namespace; none when the server does not tell.
    async fn rules(&self) -> Vec<ResourceRule> {
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec {
                namespace: Some(self.namespace.clone()),
            },
            ..SelfSubjectRulesReview::default()
        };
        let api: Api<SelfSubjectRulesReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.ok().and_then(|review| review.status);
        status
            .map(|status| status.resource_rules)
            .unwrap_or_default()
    }

    /// Lets the server judge every patch without keeping it: admission policies and
    /// immutable fields show now. Answers by workload; absent = accepted.
    pub(crate) async fn dry_run(&self, plan: &Plan) -> BTreeMap<Id, Failure> {
        let try_one = async |step: &Step| {
            let result = self
                .patch(&step.id, step.replacements(), Mode::DryRun)
                .await;
            Some((step.id.clone(), result.err()?))
        };
        stream::iter(plan.patches())
            .map(try_one)
            .buffer_unordered(PARALLEL)
            .filter_map(async |one| one)
            .collect()
            .await
    }

    async fn may(&self, (verb, on): Right) -> Result<bool> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    verb: Some(verb.into()),
                    group: Some(on.group().into()),
                    resource: Some(on.plural().into()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|err| self.explain(err, "asking for access rights"))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// The user's name, for a message.
    async fn user(&self) -> String {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let answer = api
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await;
        let name = || answer.ok()?.status?.user_info?.username;
        name().map_or_else(|| "this user".into(), |name| format!("user {name}"))
    }
}

/// True when `rule` allows `right` on every object. A rule for named objects does not.
fn covers(rule: &ResourceRule, (verb, on): Right) -> bool {
    let has = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
    let everywhere = rule
        .resource_names
        .as_deref()
        .unwrap_or_default()
        .is_empty();
    everywhere
        && has(&rule.verbs, verb)
        && has(rule.api_groups.as_deref().unwrap_or_default(), on.group())
        && has(rule.resources.as_deref().unwrap_or_default(), on.plural())
}

/// The flag of `rbac` that binds a role to `user`, as a message names it.
fn subject(user: &str) -> String {
    let name = user.strip_prefix("user ").unwrap_or("NAME");
    match name.strip_prefix("system:serviceaccount:") {
        Some(account) => format!("--service-account {account}"),
        None => format!("--user {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rights::On, workload::Kind};

    fn rule(verbs: &[&str], group: &str, resource: &str, name: Option<&str>) -> ResourceRule {
        ResourceRule {
            verbs: verbs.iter().map(ToString::to_string).collect(),
            api_groups: Some(vec![group.into()]),
            resources: Some(vec![resource.into()]),
            resource_names: name.map(|name| vec![name.into()]),
        }
    }

    #[test]
    fn a_rule_covers_what_it_names_and_no_more() {
        let right = ("patch", On::Workload(Kind::Deployment));
        for (rule, want) in [
            (rule(&["patch"], "apps", "deployments", None), true),
            (rule(&["*"], "*", "*", None), true),
            (rule(&["get"], "apps", "deployments", None), false),
            (rule(&["patch"], "", "deployments", None), false),
            (rule(&["patch"], "apps", "deployments/scale", None), false),
            (rule(&["patch"], "apps", "deployments", Some("web")), false),
        ] {
            assert_eq!(covers(&rule, right), want, "{rule:?}");
        }
    }

    #[test]
    fn the_hint_binds_whoever_lacks_the_rights() {
        for (user, want) in [
            ("user jane", "--user jane"),
            (
                "user system:serviceaccount:ci:bot",
                "--service-account ci:bot",
            ),
            ("this user", "--user NAME"),
        ] {
            assert_eq!(subject(user), want);
        }
    }
}
