//! Waits until every endpoint is available, or has ended another way. One call per look
//! for all of them together.

use std::{collections::BTreeMap, time::Duration};

use castlink_core::{
    Exit, Failure, Printer, Result,
    progress::{Item, Progress, Unit},
    wait::{self, Poll},
};
use castlink_ec2::{Endpoint, Network, State};

use crate::settings::Settings;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where an endpoint ended up.
#[derive(Debug)]
pub(crate) enum Settled {
    /// In service.
    Available,
    /// The provider has to accept it; nothing more to do here.
    Acceptance,
    /// It will not become available, or not in time.
    Failed(Failure),
}

/// Waits for the endpoints in `ids` (by role); how each ended, by role.
///
/// # Errors
/// When EC2 cannot be asked for another reason than being unreachable for a moment.
pub(crate) async fn settle(
    printer: &Printer,
    network: &Network,
    vpc: &str,
    ids: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<BTreeMap<String, Settled>> {
    let total = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    let progress = Progress::start(printer, "endpoints", Unit::Items, total, total);
    let mut waiting: BTreeMap<&String, (&String, Item)> = ids
        .iter()
        .map(|(role, id)| (role, (id, progress.item(role, 1))))
        .collect();
    let mut settled = BTreeMap::new();
    let names = settings.names();
    let waited = wait::until(settings.deadline, LOOK_EVERY, async || {
        let found = match network.endpoints(vpc, &names).await {
            Err(failure) if failure.exit() == Exit::Unreachable => {
                return Ok(Poll::Pending(failure.one_line()));
            }
            found => found?,
        };
        waiting.retain(|role, (id, item)| {
            let Some(end) = look(role, id, &found, item) else {
                settled.remove(*role);
                return true;
            };
            let goes_on = settings.wait_acceptance && matches!(end, Settled::Acceptance);
            if !goes_on {
                item.advance(1);
                progress.finished(line(role, id, &end));
            }
            settled.insert((*role).clone(), end);
            goes_on
        });
        let left: Vec<&str> = waiting.keys().map(|role| role.as_str()).collect();
        Ok::<_, Failure>(if left.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending(left.join(", "))
        })
    })
    .await?;
    if waited.is_err() {
        for (role, (id, _)) in &waiting {
            settled
                .entry((*role).clone())
                .or_insert_with(|| late(role, id, settings.deadline));
        }
    }
    Ok(settled)
}

/// How the endpoint ended, if it has.
fn look(role: &str, id: &str, found: &[Endpoint], item: &Item) -> Option<Settled> {
    let Some(endpoint) = found.iter().find(|endpoint| endpoint.id == id) else {
        // Right after it was made, EC2 may not list it yet.
        item.say("not visible yet");
        return None;
    };
    item.say(endpoint.state.name());
    match &endpoint.state {
        State::Available => Some(Settled::Available),
        State::PendingAcceptance => Some(Settled::Acceptance),
        state if state.is_dead() || state.is_leaving() => {
            Some(Settled::Failed(ended(role, endpoint)))
        }
        _ => None,
    }
}

fn ended(role: &str, endpoint: &Endpoint) -> Failure {
    let (id, state) = (&endpoint.id, &endpoint.state);
    let failure = match state {
        State::Rejected => {
            Failure::failed(format!("CAST AI rejected the endpoint of {role} ({id})"))
                .hint("ask CAST AI to accept endpoints of this AWS account, then run it again")
        }
        State::Expired => Failure::failed(format!(
            "CAST AI did not accept the endpoint of {role} ({id}) in time"
        ))
        .hint("run it again for a new one, and ask CAST AI to accept it"),
        State::Failed => {
            Failure::failed(format!("AWS could not make the endpoint of {role} ({id})"))
                .hint("`castlink-endpoints destroy` removes it; then run it again")
        }
        _ => Failure::failed(format!(
            "the endpoint of {role} ({id}) is {state}: somebody deleted it"
        ))
        .hint("run it again"),
    };
    match &endpoint.last_error {
        Some(error) => failure.because(error.clone()),
        None => failure,
    }
}

fn late(role: &str, id: &str, deadline: Duration) -> Settled {
    Settled::Failed(
        Failure::unreachable(format!(
            "the endpoint of {role} ({id}) is not available after {} s",
            deadline.as_secs()
        ))
        .hint("run it again: it goes on waiting; or give --timeout"),
    )
}

fn line(role: &str, id: &str, end: &Settled) -> String {
    match end {
        Settled::Available => format!("{role}: {id} is available"),
        Settled::Acceptance => format!("{role}: {id} waits for CAST AI to accept it"),
        Settled::Failed(failure) => format!("{role}: {failure}"),
    }
}
