//! Single steps: the security group, one endpoint made, one endpoint changed.

use std::{convert::Infallible, time::Duration};

use castlink_core::{
    Failure, Result,
    wait::{self, Poll},
};
use castlink_ec2::{
    DnsAttribute, Endpoint, EndpointChange, EndpointSpec, Network, Problem, Refusal, State,
};

use crate::{
    admit::HTTPS,
    plan::{GroupStep, Item, Verdict, adopted, own_group},
    settings::Settings,
};

/// How often EC2 is asked whether something has become possible.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was just made shows up within seconds.
const VISIBLE: Duration = Duration::from_secs(30);
/// EC2 remembers the tokens of deleted endpoints: so many deletions of the very same
/// endpoint within that memory are met with a fresh token.
const GENERATIONS: u32 = 4;

/// Switches a DNS attribute of the VPC on, and waits until EC2 shows it.
///
/// # Errors
/// What EC2 has against it, or that it does not show it.
pub(crate) async fn enable_dns(
    network: &Network,
    vpc: &str,
    attribute: DnsAttribute,
) -> Result<()> {
    network.enable_dns(vpc, attribute).await?;
    let shown = wait::until(VISIBLE, LOOK_EVERY, async || {
        let vpc = network.vpc(vpc).await?;
        let on = match attribute {
            DnsAttribute::Support => vpc.dns_support,
            DnsAttribute::Hostnames => vpc.dns_hostnames,
        };
        Ok::<_, Failure>(match on {
            true => Poll::Ready(()),
            false => Poll::Pending(String::new()),
        })
    })
    .await?;
    shown.map_err(|_| {
        Failure::unreachable(format!("EC2 does not show {attribute} of {vpc} as on"))
            .hint("run it again in a while")
    })
}

/// Makes our security group if it is missing, and lets in who is missing; its id.
///
/// # Errors
/// What EC2 has against it.
pub(crate) async fn group(
    network: &Network,
    vpc: &str,
    step: &GroupStep,
    settings: &Settings,
) -> Result<String> {
    let id = match &step.id {
        Some(id) => id.clone(),
        None => make_group(network, vpc, step, settings).await?,
    };
    if step.admit.is_empty() {
        return Ok(id);
    }
    // Right after it was made, EC2 may not know the group yet.
    retry(VISIBLE, Problem::Missing, async || {
        network.allow(&id, HTTPS, &step.admit).await
    })
    .await?;
    Ok(id)
}

/// What our security group says of itself.
pub(crate) fn group_text(vpc: &str) -> String {
    format!("castlink: HTTPS from {vpc} to the CAST AI endpoints")
}

async fn make_group(
    network: &Network,
    vpc: &str,
    step: &GroupStep,
    settings: &Settings,
) -> Result<String> {
    let made = network
        .create_group(
            vpc,
            &step.name,
            &group_text(vpc),
            &settings.tags_for(&step.name),
        )
        .await;
    match made {
        Err(refusal) if refusal.problem == Problem::Exists => {
            // Another run was faster, or the group was not visible when we looked.
            let groups = network.groups(vpc).await?;
            own_group(&groups, vpc)
                .map(|group| group.id.clone())
                .ok_or(refusal.failure)
        }
        made => Ok(made?),
    }
}

/// Does the step of one service; the id of the endpoint.
///
/// # Errors
/// What stood in the way.
pub(crate) async fn run(
    network: &Network,
    item: &Item,
    group: Option<&str>,
    settings: &Settings,
) -> Result<String> {
    match &item.verdict {
        Verdict::Create {
            spec,
            own_group,
            after,
        } => {
            let mut spec = spec.clone();
            spec.groups
                .extend(group.filter(|_| *own_group).map(Into::into));
            if let Some(id) = after {
                gone(network, &spec, id, settings.deadline).await?;
            }
            create(network, &spec, settings.deadline).await
        }
        Verdict::Modify { change, own_group } => {
            let mut change = change.clone();
            change
                .add_groups
                .extend(group.filter(|_| *own_group).map(Into::into));
            modify(network, &change, settings.deadline).await?;
            Ok(change.id)
        }
        Verdict::Present | Verdict::Pending(_) | Verdict::Blocked(_) => Ok(item
            .endpoint
            .as_ref()
            .map(|endpoint| endpoint.id.clone())
            .unwrap_or_default()),
    }
}

async fn create(network: &Network, spec: &EndpointSpec, deadline: Duration) -> Result<String> {
    let patience = VISIBLE.min(deadline);
    for generation in 0..GENERATIONS {
        // A security group that was made a moment ago may not be known yet.
        let made = retry(patience, Problem::Missing, async || {
            network.create_endpoint(spec, generation).await
        });
        match made.await {
            // The token of an endpoint that was deleted since.
            Ok(endpoint) if endpoint.state.is_leaving() || endpoint.state.is_dead() => {}
            Ok(endpoint) => return Ok(endpoint.id),
            Err(refusal)
                if matches!(refusal.problem, Problem::NameTaken | Problem::TokenReused) =>
            {
                return adopt(network, spec, refusal, patience).await;
            }
            Err(refusal) => return Err(refusal.failure),
        }
    }
    Err(Failure::conflict(format!(
        "EC2 answers with deleted endpoints of {}",
        spec.service
    ))
    .hint("wait an hour: EC2 forgets them"))
}

/// EC2 refuses because an endpoint of this service is there that we did not see: made
/// by a run that was cut off, or by somebody else just now.
async fn adopt(
    network: &Network,
    spec: &EndpointSpec,
    refusal: Refusal,
    patience: Duration,
) -> Result<String> {
    // A taken name is visible at once or belongs to something else; a token is ours.
    let patience = if refusal.problem == Problem::TokenReused {
        patience
    } else {
        Duration::ZERO
    };
    let found = wait::until(patience, LOOK_EVERY, async || {
        Ok::<_, Failure>(match live(network, spec).await? {
            Some(endpoint) => Poll::Ready(endpoint.id),
            None => Poll::Pending(String::new()),
        })
    })
    .await?;
    found.map_err(|_| refusal.failure)
}

async fn live(network: &Network, spec: &EndpointSpec) -> Result<Option<Endpoint>> {
    let found = network
        .endpoints(&spec.vpc, std::slice::from_ref(&spec.service))
        .await?;
    Ok(adopted(&found, &spec.service).cloned())
}

/// Waits until a deleted endpoint of the same service is gone: until then it keeps the name.
async fn gone(network: &Network, spec: &EndpointSpec, id: &str, deadline: Duration) -> Result<()> {
    let services = [spec.service.clone()];
    let waited = wait::until(deadline, LOOK_EVERY, async || {
        let found = network.endpoints(&spec.vpc, &services).await?;
        let still = found
            .iter()
            .any(|endpoint| endpoint.id == id && endpoint.state != State::Deleted);
        Ok::<_, Failure>(if still {
            Poll::Pending(String::new())
        } else {
            Poll::Ready(())
        })
    })
    .await?;
    waited.map_err(|_| {
        Failure::unreachable(format!(
            "{id} is still being deleted after {} s",
            deadline.as_secs()
        ))
        .hint("run it again later, or give --timeout")
    })
}

/// EC2 takes one change of an endpoint at a time, from whomever.
async fn modify(network: &Network, change: &EndpointChange, deadline: Duration) -> Result<()> {
    retry(deadline, Problem::InProgress, async || {
        network.modify_endpoint(change).await
    })
    .await?;
    Ok(())
}

/// Tries again while EC2 refuses for this one reason; what the last attempt came to.
///
/// # Errors
/// Any other refusal at once, this one at the deadline.
pub(crate) async fn retry<T>(
    deadline: Duration,
    reason: Problem,
    mut attempt: impl AsyncFnMut() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut last = None;
    let look = async || {
        let answer = attempt().await;
        let again = matches!(&answer, Err(refusal) if refusal.problem == reason);
        last = Some(answer);
        Ok::<_, Infallible>(match again {
            true => Poll::Pending(String::new()),
            false => Poll::Ready(()),
        })
    };
    // Whether the deadline has passed is in the answer itself.
    let _ended = wait::until(deadline, LOOK_EVERY, look).await;
    last.expect("it looks at least once")
}
