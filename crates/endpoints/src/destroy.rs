//! Deletes what castlink made in a VPC: endpoints, then, when their interfaces are
//! gone, the security group. Nothing without our tag is touched.

use std::time::Duration;

use castlink_core::{
    Exit, Failure, Printer, Result,
    app::Outcome,
    confirm::confirm,
    printer::{count, symbol},
    progress::{Progress, Unit},
    record::{Change, ChangeStatus, Record},
    wait::{self, Poll},
};
use castlink_ec2::{Endpoint, Group, Network, Problem, State};
use tokio::try_join;

use crate::{
    observe::Scope,
    plan::own_group,
    settings::{Settings, is_managed},
    steps,
};

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is deleted, and why something of ours is not.
#[derive(Debug, Default)]
struct Plan {
    endpoints: Vec<Endpoint>,
    /// Deleted by an earlier run, not gone yet.
    leaving: Vec<Endpoint>,
    group: Option<Group>,
    kept: Option<Failure>,
}

impl Plan {
    /// True when something is to be deleted.
    fn deletes(&self) -> bool {
        !self.endpoints.is_empty() || self.group.is_some()
    }

    /// True when castlink has nothing here, not even something on its way out.
    fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
            && self.leaving.is_empty()
            && self.group.is_none()
            && self.kept.is_none()
    }
}

/// Shows what goes, asks, deletes, waits until it is gone.
pub(crate) async fn run(
    printer: &Printer,
    network: &Network,
    scope: &Scope,
    settings: &Settings,
    yes: bool,
) -> Result<Outcome> {
    let vpc = &scope.vpc;
    // Existence first: a typo must not pass for "nothing to delete".
    let (_, endpoints, groups) = try_join!(
        network.vpc(vpc),
        network.endpoints(vpc, &[]),
        network.groups(vpc)
    )?;
    let plan = plan(&endpoints, &groups, vpc);
    show(printer, &plan);
    if plan.is_empty() {
        printer.line(format!("no changes: castlink has nothing in {vpc}"));
        return Ok(Exit::Done.into());
    }
    if !yes && plan.deletes() {
        let what = format!("nodes in {vpc} lose CAST AI when this is gone");
        confirm(printer, &what, vpc).await?;
    }
    let mut failures = delete(printer, network, vpc, &plan, settings).await?;
    failures.extend(plan.kept);
    for failure in &failures {
        printer.failure(failure);
    }
    let total = plan.endpoints.len() + usize::from(plan.group.is_some());
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Ok(Outcome::from(exit(&failures, total))
        .count("deleted", number(total.saturating_sub(failures.len())))
        .count("failed", number(failures.len())))
}

fn plan(endpoints: &[Endpoint], groups: &[Group], vpc: &str) -> Plan {
    let ours = |endpoint: &&Endpoint| is_managed(&endpoint.tags);
    let group = own_group(groups, vpc)
        .filter(|group| is_managed(&group.tags))
        .cloned();
    let user = group.as_ref().and_then(|group| {
        let mut others = endpoints
            .iter()
            .filter(|endpoint| !is_managed(&endpoint.tags) && !endpoint.state.is_leaving());
        others.find(|endpoint| endpoint.groups.contains(&group.id))
    });
    Plan {
        endpoints: endpoints
            .iter()
            .filter(ours)
            .filter(|endpoint| !endpoint.state.is_leaving())
            .cloned()
            .collect(),
        leaving: endpoints
            .iter()
            .filter(ours)
            .filter(|endpoint| endpoint.state == State::Deleting)
            .cloned()
            .collect(),
        kept: user
            .zip(group.as_ref())
            .map(|(user, group)| kept(user, group)),
        group: group.filter(|_| user.is_none()),
    }
}

fn kept(user: &Endpoint, group: &Group) -> Failure {
    Failure::conflict(format!(
        "security group {} stays: {} uses it, which castlink did not make",
        group.id, user.id
    ))
    .hint(format!("take the group off {} first", user.id))
}

fn show(printer: &Printer, plan: &Plan) {
    for endpoint in &plan.endpoints {
        printer.line(format!(
            "{} {}  {}  {}",
            symbol('-'),
            endpoint.id,
            endpoint.state,
            endpoint.service
        ));
    }
    if let Some(group) = &plan.group {
        printer.line(format!("{} {}  {}", symbol('-'), group.id, group.name));
    }
}

/// Deletes it all, in order; what stays, with the reason.
async fn delete(
    printer: &Printer,
    network: &Network,
    vpc: &str,
    plan: &Plan,
    settings: &Settings,
) -> Result<Vec<Failure>> {
    let ids: Vec<String> = plan
        .endpoints
        .iter()
        .map(|endpoint| endpoint.id.clone())
        .collect();
    let undeleted = network.delete_endpoints(&ids).await?;
    for endpoint in &plan.endpoints {
        let failure = undeleted
            .iter()
            .find(|undeleted| undeleted.id == endpoint.id);
        let resource = format!("endpoint/{}", endpoint.id);
        printer.record(&gone_record(
            resource,
            &endpoint.service,
            failure.map(|undeleted| &undeleted.failure),
        ));
    }
    let going = plan
        .endpoints
        .iter()
        .chain(&plan.leaving)
        .map(|endpoint| endpoint.id.as_str());
    let going: Vec<&str> = going
        .filter(|id| !undeleted.iter().any(|undeleted| undeleted.id == *id))
        .collect();
    gone(printer, network, vpc, &going, settings).await?;
    printer.note(format!("deleted {}", count(going.len(), "endpoint")));
    let mut failures: Vec<Failure> = undeleted
        .into_iter()
        .map(|undeleted| undeleted.failure)
        .collect();
    if let (Some(group), true) = (&plan.group, failures.is_empty()) {
        let deleted = delete_group(network, group, settings).await;
        printer.record(&gone_record(
            format!("security-group/{}", group.name),
            &group.id,
            deleted.as_ref().err(),
        ));
        failures.extend(deleted.err());
    }
    Ok(failures)
}

/// Waits until EC2 lists none of `ids` any more.
async fn gone(
    printer: &Printer,
    network: &Network,
    vpc: &str,
    ids: &[&str],
    settings: &Settings,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let total = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    let progress = Progress::start(printer, "deleting endpoints", Unit::Items, total, total);
    let item = progress.item(vpc, total);
    let waited = wait::until(settings.deadline, LOOK_EVERY, async || {
        let found = network.endpoints(vpc, &[]).await?;
        let still = |endpoint: &&Endpoint| {
            ids.contains(&endpoint.id.as_str()) && endpoint.state != State::Deleted
        };
        let left: Vec<&str> = found
            .iter()
            .filter(still)
            .map(|endpoint| endpoint.id.as_str())
            .collect();
        item.say(format!("{} left", left.len()));
        Ok::<_, Failure>(if left.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending(left.join(", "))
        })
    })
    .await?;
    waited.map_err(|left| {
        Failure::unreachable(format!(
            "still being deleted after {} s: {left}",
            settings.deadline.as_secs()
        ))
        .hint("run it again later: it goes on where it was")
    })
}

/// The group can go when the endpoints' interfaces are gone, which is a little after EC2
/// stops listing the endpoints.
async fn delete_group(network: &Network, group: &Group, settings: &Settings) -> Result<()> {
    steps::retry(settings.deadline, Problem::InUse, async || {
        network.delete_group(&group.id).await
    })
    .await?;
    Ok(())
}

fn gone_record(resource: String, from: &str, failure: Option<&Failure>) -> Record {
    Record::Change(Change {
        resource,
        field: "existence".into(),
        from: Some(from.to_owned()),
        to: None,
        owner: None,
        status: if failure.is_some() {
            ChangeStatus::Failed
        } else {
            ChangeStatus::Applied
        },
        error: failure.map(Failure::info),
    })
}

fn exit(failures: &[Failure], total: usize) -> Exit {
    match failures.first() {
        None => Exit::Done,
        Some(_) if failures.len() < total => Exit::Partial,
        Some(first) => first.exit(),
    }
}

#[cfg(test)]
mod tests {
    use castlink_ec2::Tags;

    use super::*;
    use crate::settings::{MANAGED, ROLE};

    fn ours() -> Tags {
        [MANAGED, ROLE]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn endpoint(id: &str, state: State, tags: Tags) -> Endpoint {
        Endpoint {
            id: id.into(),
            state,
            tags,
            groups: vec!["sg-1".into()],
            ..Endpoint::default()
        }
    }

    fn group(tags: Tags) -> Group {
        Group {
            id: "sg-1".into(),
            name: "castlink-endpoints-vpc-1".into(),
            tags,
            ..Group::default()
        }
    }

    #[test]
    fn only_what_is_ours_and_still_there_goes() {
        let endpoints = [
            endpoint("a", State::Available, ours()),
            endpoint("b", State::Failed, ours()),
            endpoint("c", State::Deleting, ours()),
            endpoint("d", State::Deleted, Tags::new()),
        ];
        let plan = plan(&endpoints, &[group(ours())], "vpc-1");
        let ids: Vec<&str> = plan
            .endpoints
            .iter()
            .map(|endpoint| endpoint.id.as_str())
            .collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(plan.leaving.len(), 1);
        assert!(plan.group.is_some() && plan.kept.is_none());
    }

    #[test]
    fn a_group_that_somebody_else_uses_stays_and_so_does_one_without_our_tag() {
        let endpoints = [endpoint("theirs", State::Available, Tags::new())];
        let used = plan(&endpoints, &[group(ours())], "vpc-1");
        assert!(used.endpoints.is_empty() && used.group.is_none());
        assert_eq!(used.kept.expect("said why").exit(), Exit::Conflict);
        let untagged = plan(&[], &[group(Tags::new())], "vpc-1");
        assert!(untagged.group.is_none() && untagged.kept.is_none());
    }
}
