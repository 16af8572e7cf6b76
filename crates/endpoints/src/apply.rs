//! Makes it so: the group first, then all endpoints at once, then waits, then looks
//! again until nothing is left to do.

use std::{collections::BTreeMap, time::Duration};

use castlink_core::{
    Exit, Failure, Printer, Result,
    app::Outcome,
    printer::count,
    record::{ChangeStatus, Check, CheckStatus, Record},
    wait::{self, Poll},
};
use castlink_ec2::Network;
use futures::future::join_all;

use crate::{
    observe::{self, Scope},
    plan::{Item, Plan, Verdict},
    planner,
    settings::Settings,
    settle::{Settled, settle},
    show, steps,
};

/// Private DNS after an acceptance is a second round; a third would mean that somebody
/// else changes the same endpoints.
const ROUNDS: usize = 3;
/// What was changed shows up within seconds.
const VISIBLE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a command works with.
struct Run<'a> {
    printer: &'a Printer,
    network: &'a Network,
    scope: &'a Scope,
    settings: &'a Settings,
}

/// How it went, over all rounds.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failures: Vec<Failure>,
    /// Endpoints that wait for the provider, by role.
    acceptance: BTreeMap<String, String>,
}

/// Plans, shows, applies, waits, verifies, reports.
pub(crate) async fn run(
    printer: &Printer,
    network: &Network,
    scope: &Scope,
    settings: &Settings,
) -> Result<Outcome> {
    let run = Run {
        printer,
        network,
        scope,
        settings,
    };
    let first = run.plan().await?;
    show::show(printer, &first);
    show::stop(printer, &first)?;
    let outcome = show::counted(Exit::Done.into(), &first);
    let mut tally = Tally::default();
    let mut plan = Some(first);
    for _ in 0..ROUNDS {
        let Some(next) = plan.take() else { break };
        let moved = run.round(next, &mut tally).await?;
        if !moved || !tally.failures.is_empty() {
            break;
        }
        plan = run.left().await?;
    }
    if let Some(left) = plan.filter(|_| tally.failures.is_empty()) {
        show::show(printer, &left);
        tally.failures.push(
            Failure::failed("what was changed does not stay so").hint("somebody else changes the same endpoints: `castlink-endpoints plan` shows what differs"),
        );
    }
    Ok(run.report(outcome, &tally))
}

impl Run<'_> {
    async fn plan(&self) -> Result<Plan> {
        let world = observe::observe(self.network, self.scope, self.settings).await?;
        Ok(planner::plan(self.settings, &world))
    }

    /// Looks again: the plan that is left, if it does not become empty within seconds.
    async fn left(&self) -> Result<Option<Plan>> {
        let mut left = None;
        let looked = wait::until(VISIBLE, LOOK_EVERY, async || {
            let plan = self.plan().await?;
            if plan.is_empty() {
                return Ok::<_, Failure>(Poll::Ready(()));
            }
            left = Some(plan);
            Ok(Poll::Pending(String::new()))
        })
        .await?;
        Ok(left.filter(|_| looked.is_err()))
    }

    /// Does a plan and waits for what it began; true when something is now different.
    async fn round(&self, plan: Plan, tally: &mut Tally) -> Result<bool> {
        let mut moved = !plan.is_empty();
        self.dns(&plan).await?;
        let group = self.group(&plan).await?;
        let work = plan
            .items
            .iter()
            .map(|item| steps::run(self.network, item, group.as_deref(), self.settings));
        let mut results: BTreeMap<String, Result<String>> = plan
            .items
            .iter()
            .map(|item| item.service.role.clone())
            .zip(join_all(work).await)
            .collect();
        let waiting = waiting(&plan, &results);
        if !waiting.is_empty() {
            let settled = settle(
                self.printer,
                self.network,
                &self.scope.vpc,
                &waiting,
                self.settings,
            )
            .await?;
            for (role, end) in settled {
                match end {
                    Settled::Available => moved = true,
                    Settled::Acceptance => {
                        tally
                            .acceptance
                            .insert(role.clone(), waiting[&role].clone());
                    }
                    Settled::Failed(failure) => {
                        results.insert(role, Err(failure));
                    }
                }
            }
        }
        self.record(plan, results, tally);
        Ok(moved)
    }

    async fn dns(&self, plan: &Plan) -> Result<()> {
        for attribute in &plan.dns {
            steps::enable_dns(self.network, &self.scope.vpc, *attribute).await?;
            let change = show::dns_change(*attribute, ChangeStatus::Applied);
            self.printer.record(&Record::Change(change));
        }
        Ok(())
    }

    async fn group(&self, plan: &Plan) -> Result<Option<String>> {
        let Some(step) = &plan.group else {
            return Ok(None);
        };
        let id = steps::group(self.network, &self.scope.vpc, step, self.settings).await?;
        let change = show::group_change(step, ChangeStatus::Applied);
        self.printer.record(&Record::Change(change));
        Ok(Some(id))
    }

    /// One record per item, and the tally.
    fn record(&self, plan: Plan, mut results: BTreeMap<String, Result<String>>, tally: &mut Tally) {
        for item in plan.items {
            let result = results
                .remove(&item.service.role)
                .unwrap_or_else(|| Ok(String::new()));
            let failure = result.as_ref().err();
            let status = if failure.is_some() {
                ChangeStatus::Failed
            } else {
                ChangeStatus::Applied
            };
            let id = result.as_ref().ok().map(String::as_str);
            for change in show::changes(&item, status, id, failure) {
                self.printer.record(&Record::Change(change));
            }
            tally.add(item, result);
        }
    }

    fn report(&self, outcome: Outcome, tally: &Tally) -> Outcome {
        for failure in &tally.failures {
            self.printer.failure(failure);
        }
        for (role, id) in &tally.acceptance {
            self.printer.record(&Record::Check(acceptance(role, id)));
        }
        if let Some(failure) = tally.unaccepted() {
            self.printer.failure(&failure);
        }
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let counted = Outcome {
            exit: tally.exit(),
            ..outcome
        };
        counted
            .count("applied", number(tally.done))
            .count("failed", number(tally.failures.len()))
            .count("waiting_for_acceptance", number(tally.acceptance.len()))
    }
}

/// The endpoints to wait for: what was changed, and what was pending already.
fn waiting(plan: &Plan, results: &BTreeMap<String, Result<String>>) -> BTreeMap<String, String> {
    let unsettled = |item: &&Item| item.is_step() || matches!(item.verdict, Verdict::Pending(_));
    let items = plan.items.iter().filter(unsettled);
    let ids = items.filter_map(|item| {
        let id = results.get(&item.service.role)?.as_ref().ok()?;
        Some((item.service.role.clone(), id.clone()))
    });
    ids.collect()
}

fn acceptance(role: &str, id: &str) -> Check {
    Check {
        id: "endpoints.accepted".into(),
        status: CheckStatus::Warn,
        subject: format!("endpoint/{role}"),
        detail: format!("{id} is pendingAcceptance"),
        hint: Some("CAST AI has to accept it; then run it again for private DNS".into()),
    }
}

impl Tally {
    fn add(&mut self, item: Item, result: Result<String>) {
        let step = item.is_step();
        match (item.verdict, result) {
            (Verdict::Blocked(failure), _) | (_, Err(failure)) => self.failures.push(failure),
            (_, Ok(_)) => self.done += usize::from(step),
        }
    }

    /// Waiting for somebody else is not a failure of ours, and has its own message.
    fn unaccepted(&self) -> Option<Failure> {
        if self.acceptance.is_empty() {
            return None;
        }
        let ids: Vec<&str> = self.acceptance.values().map(String::as_str).collect();
        let what = count(ids.len(), "endpoint");
        Some(
            Failure::unreachable(format!(
                "{what} wait for CAST AI to accept them: {}",
                ids.join(", ")
            ))
            .hint("ask CAST AI to accept them, then run it again: it switches private DNS on; --wait-acceptance waits for it"),
        )
    }

    /// Partly done only when this run got something done.
    fn exit(&self) -> Exit {
        match self.failures.first() {
            None if self.acceptance.is_empty() => Exit::Done,
            None => Exit::Unreachable,
            Some(_) if self.done > 0 => Exit::Partial,
            Some(first) => first.exit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(done: usize, failures: &[Exit], waiting: bool) -> Exit {
        let tally = Tally {
            done,
            failures: failures
                .iter()
                .map(|exit| Failure::new(*exit, "x"))
                .collect(),
            acceptance: waiting
                .then(|| ("kvisor".to_owned(), "vpce-1".to_owned()))
                .into_iter()
                .collect(),
        };
        tally.exit()
    }

    #[test]
    fn exits() {
        for (done, failures, waiting, want) in [
            (0, &[][..], false, Exit::Done),
            (6, &[], false, Exit::Done),
            (6, &[], true, Exit::Unreachable),
            (5, &[Exit::Failed], false, Exit::Partial),
            (
                0,
                &[Exit::Credentials, Exit::Failed],
                false,
                Exit::Credentials,
            ),
            (1, &[Exit::Unreachable], true, Exit::Partial),
        ] {
            assert_eq!(
                tally(done, failures, waiting),
                want,
                "{done} {failures:?} {waiting}"
            );
        }
    }
}
