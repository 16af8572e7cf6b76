//! Shows every endpoint as it is. Reads only.

use std::collections::BTreeMap;

use castlink_core::{
    Exit, Printer, Result,
    app::Outcome,
    catalogue,
    printer::{count, symbol, table},
    record::{Check, CheckStatus, Record},
};
use castlink_ec2::{Endpoint, Network, State};
use tokio::try_join;

use crate::{aws, observe::Scope, plan::adopted, settings::Settings};

/// Names of the zones of subnets, by subnet id.
type ZoneOf = BTreeMap<String, String>;

/// One check per service; exit 3 when not all are available.
pub(crate) async fn run(
    printer: &Printer,
    network: &Network,
    scope: &Scope,
    settings: &Settings,
) -> Result<Outcome> {
    let names = settings.names();
    let (endpoints, subnets) = try_join!(
        network.endpoints(&scope.vpc, &names),
        network.subnets_of(&scope.vpc)
    )?;
    if subnets.is_empty() {
        // Tells a VPC that does not exist from one without endpoints.
        network.vpc(&scope.vpc).await?;
    }
    let zones: ZoneOf = subnets
        .into_iter()
        .map(|subnet| (subnet.id, subnet.zone))
        .collect();
    let mut services = settings.services.clone();
    services.extend(settings.aws.guess(&endpoints));
    let found: Vec<(&catalogue::Service, Option<&Endpoint>)> = services
        .iter()
        .map(|service| (service, shown(&endpoints, &service.name)))
        .collect();
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(service, endpoint)| row(service, *endpoint, &zones))
        .collect();
    for line in table(&rows) {
        printer.line(line);
    }
    for (service, endpoint) in &found {
        printer.record(&Record::Check(check(service, *endpoint, &zones)));
    }
    let available = found
        .iter()
        .filter(|(_, endpoint)| endpoint.is_some_and(is_available))
        .count();
    printer.line(format!(
        "{available} of {} available",
        count(found.len(), "endpoint")
    ));
    let exit = if available == found.len() {
        Exit::Done
    } else {
        Exit::Pending
    };
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Ok(Outcome::from(exit)
        .count("services", number(found.len()))
        .count("available", number(available)))
}

/// The endpoint that serves, else one that is of no use any more, to say so.
fn shown<'a>(endpoints: &'a [Endpoint], service: &str) -> Option<&'a Endpoint> {
    let dead = |endpoint: &&Endpoint| {
        endpoint.service == service
            && endpoint.gateway == aws::is_gateway(service)
            && endpoint.state != State::Deleted
    };
    adopted(endpoints, service).or_else(|| endpoints.iter().find(dead))
}

fn is_available(endpoint: &Endpoint) -> bool {
    endpoint.state == State::Available
}

fn row(service: &catalogue::Service, endpoint: Option<&Endpoint>, zones: &ZoneOf) -> Vec<String> {
    let Some(endpoint) = endpoint else {
        return vec![symbol('!').to_string(), service.role.clone(), "none".into()];
    };
    let sign = if is_available(endpoint) { '=' } else { '!' };
    vec![
        symbol(sign).to_string(),
        service.role.clone(),
        endpoint.state.to_string(),
        endpoint.id.clone(),
        zones_of(endpoint, zones).join(" "),
        format!(
            "private DNS {}",
            if endpoint.private_dns { "on" } else { "off" }
        ),
        endpoint.dns_names.first().cloned().unwrap_or_default(),
    ]
}

fn zones_of(endpoint: &Endpoint, zones: &ZoneOf) -> Vec<String> {
    let mut names: Vec<String> = endpoint
        .subnets
        .iter()
        .filter_map(|id| zones.get(id).cloned())
        .collect();
    names.sort_unstable();
    names
}

fn check(service: &catalogue::Service, endpoint: Option<&Endpoint>, zones: &ZoneOf) -> Check {
    let (status, detail, hint) = match endpoint {
        None => (
            CheckStatus::Fail,
            "no endpoint".to_owned(),
            Some("run `castlink-endpoints apply`"),
        ),
        Some(endpoint) => (
            verdict(endpoint),
            detail(endpoint, zones),
            hint(&endpoint.state),
        ),
    };
    Check {
        id: "endpoints.available".into(),
        status,
        subject: format!("endpoint/{}", service.role),
        detail,
        hint: hint.map(Into::into),
    }
}

fn verdict(endpoint: &Endpoint) -> CheckStatus {
    match endpoint.state {
        State::Available if endpoint.private_dns || endpoint.gateway => CheckStatus::Ok,
        State::Available => CheckStatus::Warn,
        _ => CheckStatus::Fail,
    }
}

fn detail(endpoint: &Endpoint, zones: &ZoneOf) -> String {
    let mut parts = vec![
        format!("{} is {}", endpoint.id, endpoint.state),
        format!("zones {}", zones_of(endpoint, zones).join(" ")),
        format!(
            "private DNS {}",
            if endpoint.private_dns { "on" } else { "off" }
        ),
    ];
    parts.extend(endpoint.dns_names.first().cloned());
    parts.extend(endpoint.last_error.clone());
    parts.join(", ")
}

fn hint(state: &State) -> Option<&'static str> {
    Some(match state {
        State::Available => return None,
        State::PendingAcceptance => "CAST AI has to accept it",
        State::Pending => "wait a few minutes",
        State::Rejected | State::Expired => {
            "ask CAST AI to accept endpoints of this AWS account, then run `castlink-endpoints apply`"
        }
        _ => "run `castlink-endpoints apply`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(id: &str, state: State) -> Endpoint {
        Endpoint {
            id: id.into(),
            service: "s".into(),
            state,
            ..Endpoint::default()
        }
    }

    #[test]
    fn a_live_endpoint_is_shown_before_a_dead_one_and_a_deleted_one_never() {
        for (states, want) in [
            (vec![State::Rejected, State::Pending], Some("1")),
            (vec![State::Deleted, State::Failed], Some("1")),
            (vec![State::Deleted], None),
            (vec![], None),
        ] {
            let all: Vec<Endpoint> = states
                .iter()
                .enumerate()
                .map(|(n, state)| endpoint(&n.to_string(), state.clone()))
                .collect();
            assert_eq!(
                shown(&all, "s").map(|endpoint| endpoint.id.as_str()),
                want,
                "{states:?}"
            );
        }
    }
}
