//! Writes or removes the tags as the plan says, and waits until EC2 shows it.

use std::{collections::BTreeMap, time::Duration};

use castlink_core::{
    Exit, Failure, Printer, Result,
    app::Outcome,
    confirm::confirm,
    printer::count,
    record::{ChangeStatus, Record},
    wait::{self, Poll},
};
use castlink_ec2::{Network, Tags};

use crate::{
    plan::{Goal, Item, KEY, Plan, VALUE, Verdict},
    show,
};

/// EC2 promises only that tags show up eventually; seconds are usual.
const VISIBLE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Subnets per call: EC2 takes up to 1000 resources and recommends fewer.
const BATCH: usize = 100;

/// What became of each subnet that was to be tagged.
type Results = BTreeMap<String, Result<()>>;

/// Shows the plan, does it, and reports every subnet.
pub(crate) async fn run(printer: &Printer, network: &Network, plan: Plan) -> Result<Outcome> {
    show::show(printer, &plan);
    carry_out(printer, network, plan).await
}

/// Shows the plan of a removal, asks unless `yes`, does it, and reports every subnet.
pub(crate) async fn remove(
    printer: &Printer,
    network: &Network,
    plan: Plan,
    yes: bool,
) -> Result<Outcome> {
    show::show(printer, &plan);
    let subnets = plan.steps().count();
    if !yes && subnets > 0 {
        let what = format!(
            "CAST AI no longer counts {} as reachable without {KEY}",
            count(subnets, "subnet")
        );
        confirm(printer, &what, "remove").await?;
    }
    carry_out(printer, network, plan).await
}

async fn carry_out(printer: &Printer, network: &Network, plan: Plan) -> Result<Outcome> {
    let steps: Vec<String> = plan.steps().map(|item| item.id().to_owned()).collect();
    let mut results = write(network, plan.goal, &steps).await?;
    settle(network, plan.goal, &mut results).await?;
    report(printer, &plan, &results);
    let failed = results.values().filter(|result| result.is_err()).count();
    let outcome = Outcome::from(exit(&plan, &results))
        .count("applied", as_count(results.len() - failed))
        .count("failed", as_count(failed));
    Ok(show::counted(outcome, &plan))
}

fn as_count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Writes batch by batch. One bad subnet fails its batch as a whole, so then each of it
/// is tried by itself; when it is the identity or the network that fails, none is.
async fn write(network: &Network, goal: Goal, ids: &[String]) -> Result<Results> {
    let mut results = Results::new();
    for batch in ids.chunks(BATCH) {
        match write_batch(network, goal, batch).await {
            Ok(()) => results.extend(batch.iter().map(|id| (id.clone(), Ok(())))),
            Err(failure) if results.is_empty() && is_general(&failure) => return Err(failure),
            Err(_) => {
                for id in batch {
                    let result = write_batch(network, goal, std::slice::from_ref(id)).await;
                    results.insert(id.clone(), result);
                }
            }
        }
    }
    Ok(results)
}

/// True for what would fail for every other subnet too.
fn is_general(failure: &Failure) -> bool {
    matches!(failure.exit(), Exit::Credentials | Exit::Unreachable)
}

async fn write_batch(network: &Network, goal: Goal, ids: &[String]) -> Result<()> {
    let tags = Tags::from([(KEY.to_owned(), VALUE.to_owned())]);
    match goal {
        Goal::Tagged => network.tag(ids, &tags).await,
        Goal::Untagged => network.untag(ids, &tags).await,
    }
}

/// Waits until EC2 shows what was written; what it does not show in time has failed.
async fn settle(network: &Network, goal: Goal, results: &mut Results) -> Result<()> {
    let written: Vec<String> = results
        .iter()
        .filter(|(_, result)| result.is_ok())
        .map(|(id, _)| id.clone())
        .collect();
    if written.is_empty() {
        return Ok(());
    }
    let want = match goal {
        Goal::Tagged => Some(VALUE),
        Goal::Untagged => None,
    };
    let mut hidden = Vec::new();
    let shown = wait::until(VISIBLE, LOOK_EVERY, async || -> Result<Poll<()>> {
        let subnets = network.subnets(&written).await?;
        let unseen = subnets
            .into_iter()
            .filter(|subnet| subnet.tags.get(KEY).map(String::as_str) != want);
        hidden = unseen.map(|subnet| subnet.id).collect();
        Ok(match hidden.as_slice() {
            [] => Poll::Ready(()),
            left => Poll::Pending(left.join(", ")),
        })
    })
    .await?;
    if shown.is_err() {
        results.extend(hidden.into_iter().map(|id| {
            let failure = unseen(&id);
            (id, Err(failure))
        }));
    }
    Ok(())
}

fn unseen(id: &str) -> Failure {
    Failure::unreachable(format!(
        "EC2 does not show the change of {id} after {} s",
        VISIBLE.as_secs()
    ))
    .hint("run `castlink-tag verify` in a while")
}

fn report(printer: &Printer, plan: &Plan, results: &Results) {
    for item in &plan.items {
        let failure = failure(item, results);
        let status = if failure.is_some() {
            ChangeStatus::Failed
        } else {
            ChangeStatus::Applied
        };
        printer.record(&Record::Change(show::change(item, status, failure)));
        match (failure, &item.verdict) {
            (Some(failure), _) => printer.failure(failure),
            (None, Verdict::Conflict(value)) => printer.failure(&show::conflict(item, value)),
            _ => {}
        }
    }
    let tagged = results.values().filter(|result| result.is_ok()).count();
    if tagged > 0 {
        let done = match plan.goal {
            Goal::Tagged => "tagged",
            Goal::Untagged => "took the tag off",
        };
        printer.note(format!("{done} {}", count(tagged, "subnet")));
    }
}

fn failure<'a>(item: &Item, results: &'a Results) -> Option<&'a Failure> {
    results
        .get(item.id())
        .and_then(|result| result.as_ref().err())
}

/// A conflict is what running again does not solve, so it goes first.
fn exit(plan: &Plan, results: &Results) -> Exit {
    let failures: Vec<&Failure> = results
        .values()
        .filter_map(|result| result.as_ref().err())
        .collect();
    match (plan.exit(), failures.as_slice()) {
        (Exit::Done, []) => Exit::Done,
        (Exit::Done, failures) if failures.len() < results.len() => Exit::Partial,
        (Exit::Done, [first, ..]) => first.exit(),
        (exit, _) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{observe::Candidate, plan};

    fn exit_of(failures: &[Option<Exit>]) -> Exit {
        let results = failures.iter().enumerate().map(|(n, failure)| {
            let result = failure.map_or(Ok(()), |exit| Err(Failure::new(exit, "x")));
            (format!("subnet-{n}"), result)
        });
        exit(
            &plan::plan(vec![Candidate::default()], plan::Policy::default()),
            &results.collect(),
        )
    }

    #[test]
    fn exits() {
        assert_eq!(exit_of(&[]), Exit::Done);
        assert_eq!(exit_of(&[None, None]), Exit::Done);
        assert_eq!(exit_of(&[None, Some(Exit::Credentials)]), Exit::Partial);
        assert_eq!(exit_of(&[Some(Exit::Credentials)]), Exit::Credentials);
    }
}
