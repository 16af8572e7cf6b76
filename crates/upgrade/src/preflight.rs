//! Before anything moves: may we do all of it, and would the server accept each patch?

use std::collections::{BTreeMap, BTreeSet};

use castlink_core::{Failure, Result};
use futures::{StreamExt, future::try_join_all, stream};
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};

use crate::{
    client::Cluster,
    patch::Mode,
    plan::{Plan, Step},
    workload::{Id, Kind},
};

/// Dry runs under way at once.
const PARALLEL: usize = 8;

type Right = (&'static str, Kind);

impl Cluster {
    /// Asks the server for every right that `plan` needs, before the first is used.
    ///
    /// # Errors
    /// Exit 7, naming each missing right and the user.
    pub(crate) async fn check_rights(&self, plan: &Plan) -> Result<()> {
        let rights = rights(plan);
        let answers = try_join_all(rights.iter().map(|right| self.may(*right))).await?;
        let missing: Vec<String> = rights
            .iter()
            .zip(answers)
            .filter(|(_, allowed)| !allowed)
            .map(|((verb, kind), _)| format!("{verb} {}", full_name(*kind)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let user = self.user().await;
        Err(Failure::credentials(format!(
            "{user} may not {} in namespace {}",
            missing.join(", "),
            self.namespace
        ))
        .hint("nothing was changed; ask for a Role with these rights, or use another --context"))
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

    async fn may(&self, (verb, kind): Right) -> Result<bool> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    verb: Some(verb.into()),
                    group: Some(kind.group().into()),
                    resource: Some(kind.plural().into()),
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

/// What the plan needs: patch, and watch what becomes of it. A StatefulSet that replaces
/// its pods in order needs a push when one of them is broken.
fn rights(plan: &Plan) -> Vec<Right> {
    let mut rights = BTreeSet::new();
    rights.extend(plan.patches().map(|step| ("patch", step.id.kind)));
    for step in plan.patches().chain(plan.watches()) {
        rights.extend(["get", "list", "watch"].map(|verb| (verb, step.id.kind)));
        if step.ordered {
            rights.insert(("delete", Kind::Pod));
        }
    }
    if !rights.is_empty() {
        rights.extend(["list", "watch"].map(|verb| (verb, Kind::Pod)));
    }
    rights.into_iter().collect()
}

fn full_name(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}
