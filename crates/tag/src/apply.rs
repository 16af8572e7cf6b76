//! Tags what the plan says, and waits until EC2 shows it.

use std::{collections::BTreeMap, time::Duration};

use castlink_core::{
    Exit, Failure, Printer, Result,
    app::Outcome,
    printer::count,
    record::{ChangeStatus, Record},
    wait::{self, Poll},
};
use castlink_ec2::{Network, Tags};

use crate::{
    plan::{Item, KEY, Plan, VALUE, Verdict},
    show,
};

/// EC2 promises only that tags show up eventually; seconds are usual.
const VISIBLE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What became of each subnet that was to be tagged.
type Results = BTreeMap<String, Result<()>>;

/// Shows the plan, does it, and reports every subnet.
pub(crate) async fn run(printer: &Printer, network: &Network, plan: Plan) -> Result<Outcome> {
    show::show(printer, &plan);
    let steps: Vec<String> = plan.steps().map(|item| item.id().to_owned()).collect();
    let mut results = tag(network, &steps).await?;
    confirm(network, &mut results).await?;
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

/// Tags all in batches. One bad subnet fails its batch as a whole, so then each is
/// tried by itself; when it is the identity or the network that fails, none is.
async fn tag(network: &Network, ids: &[String]) -> Result<Results> {
    let tags = Tags::from([(KEY.to_owned(), VALUE.to_owned())]);
    match network.tag(ids, &tags).await {
        Ok(()) => return Ok(ids.iter().map(|id| (id.clone(), Ok(()))).collect()),
        Err(failure) if matches!(failure.exit(), Exit::Credentials | Exit::Unreachable) => {
            return Err(failure);
        }
        Err(_) => {}
    }
    let mut results = Results::new();
    for id in ids {
        let result = network.tag(std::slice::from_ref(id), &tags).await;
        results.insert(id.clone(), result);
    }
    Ok(results)
}

/// Waits until EC2 shows what was tagged; what it does not show in time has failed.
async fn confirm(network: &Network, results: &mut Results) -> Result<()> {
    let tagged: Vec<String> = results
        .iter()
        .filter(|(_, result)| result.is_ok())
        .map(|(id, _)| id.clone())
        .collect();
    if tagged.is_empty() {
        return Ok(());
    }
    let mut hidden = Vec::new();
    let shown = wait::until(VISIBLE, LOOK_EVERY, async || -> Result<Poll<()>> {
        let subnets = network.subnets(&tagged).await?;
        let unseen = subnets
            .into_iter()
            .filter(|subnet| subnet.tags.get(KEY).is_none_or(|value| value != VALUE));
        hidden = unseen.map(|subnet| subnet.id).collect();
        Ok(match hidden.as_slice() {
            [] => Poll::Ready(()),
            left => Poll::Pending(left.join(", ")),
        })
    })
    .await?;
    if shown.is_err() {
        for id in hidden {
            let failure = Failure::unreachable(format!(
                "EC2 does not show the tag of {id} after {} s",
                VISIBLE.as_secs()
            ))
            .hint("run `castlink-tag verify` in a while");
            results.insert(id, Err(failure));
        }
    }
    Ok(())
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
        printer.note(format!("tagged {}", count(tagged, "subnet")));
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
