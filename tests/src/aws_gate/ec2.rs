//! EC2 as far as the emulator gets it wrong: VPC endpoints, their services, and the
//! refusals that endpoints cause elsewhere. Everything else is passed on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;

use super::answer::{ApiError, respond};
use super::create;
use super::endpoint::{Endpoint, Phase};
use super::modify;
use super::query::{Params, Xml};
use super::services::{self, Service};
use super::subnets::{self, Unseen};
use super::upstream::Upstream;
use crate::knobs::{self, Knobs};

/// The endpoints of all regions.
#[derive(Default)]
pub(super) struct Ec2 {
    endpoints: Mutex<BTreeMap<String, Endpoint>>,
    /// Client tokens of creations: the parameters they came with, the endpoint they made.
    pub(super) tokens: Mutex<BTreeMap<String, (String, String)>>,
    /// Tags of subnets that are not visible yet.
    pub(super) unseen_tags: Unseen,
}

/// One call: where it came in and what it may look at.
pub(super) struct Call<'a> {
    pub(super) ec2: &'a Ec2,
    pub(super) moto: &'a Upstream,
    pub(super) knobs: &'a Knobs,
    pub(super) account: &'a str,
    pub(super) region: &'a str,
    pub(super) params: &'a Params,
    pub(super) now: Instant,
}

/// What a call comes to: XML, or nothing when it is the emulator's business.
pub(super) type Answer = Result<Option<String>, ApiError>;

impl Ec2 {
    pub(super) fn endpoints(&self) -> MutexGuard<'_, BTreeMap<String, Endpoint>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider's side: accepts or rejects a connection that waits for it.
    pub(super) fn decide(&self, id: &str, accept: bool) -> bool {
        let mut endpoints = self.endpoints();
        let Some(endpoint) = endpoints.get_mut(id) else {
            return false;
        };
        endpoint.phase = match accept {
            true => Phase::Pending(Instant::now()),
            false => Phase::Rejected,
        };
        true
    }
}

/// Answers one call.
pub(super) async fn answer(
    call: &Call<'_>,
    action: &str,
    parts: &Parts,
    body: Bytes,
) -> Result<Response, ApiError> {
    let own = match action {
        "CreateVpcEndpoint" => create::create(call).await?,
        "DescribeVpcEndpoints" => describe(call)?,
        "ModifyVpcEndpoint" => modify::modify(call).await?,
        "DeleteVpcEndpoints" => delete(call)?,
        "DescribeVpcEndpointServices" => describe_services(call).await?,
        "CreateTags" | "DeleteTags" => tag(call, action)?,
        "DeleteSecurityGroup" | "DeleteSubnet" => in_use(call)?,
        "DescribeSubnets" => return subnets::describe(call, parts, body).await,
        _ => None,
    };
    match own {
        Some(xml) => Ok(respond(StatusCode::OK, "text/xml;charset=UTF-8", xml)),
        None => call.moto.forward(parts, body).await,
    }
}

impl Call<'_> {
    /// `DryRun` in EC2's way: success is an error too.
    pub(super) fn dry_run(&self) -> Result<(), ApiError> {
        match self.params.flag("DryRun") {
            Some(true) => Err(ApiError::new(
                412,
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            )),
            _ => Ok(()),
        }
    }

    /// The services that this account sees: those of `region`, from here.
    pub(super) async fn services(&self, region: &str) -> Result<Vec<Service>, ApiError> {
        if region != self.region {
            return Ok(services::from_afar(region, self.knobs));
        }
        let zones = self.moto.zones(self.region).await?;
        Ok(services::all(self.region, &zones, self.knobs))
    }
}

/// The error for a service that does not exist, is not here, or is not for this account:
/// AWS does not tell these apart.
pub(super) fn no_service(name: &str) -> ApiError {
    let message = format!("The Vpc Endpoint Service '{name}' does not exist");
    ApiError::bad("InvalidServiceName", message)
}

/// The error for an endpoint id that nothing (or nothing any more) answers to.
pub(super) fn no_endpoint(id: &str) -> ApiError {
    let message = format!("The Vpc Endpoint Id '{id}' does not exist");
    ApiError::bad("InvalidVpcEndpointId.NotFound", message)
}

fn describe(call: &Call<'_>) -> Answer {
    call.dry_run()?;
    let (ids, filters) = (call.params.list("VpcEndpointId"), call.params.filters());
    let mut endpoints = call.ec2.endpoints();
    for id in &ids {
        let known = endpoints
            .get_mut(id)
            .filter(|endpoint| endpoint.state(call).is_some());
        let endpoint = known.ok_or_else(|| no_endpoint(id))?;
        if endpoint.unseen > 0 {
            endpoint.unseen -= 1;
            return Err(no_endpoint(id));
        }
    }
    let wanted = |endpoint: &&Endpoint| {
        endpoint.region == call.region
            && endpoint.state(call).is_some()
            && (ids.is_empty() || ids.contains(&endpoint.id))
            && filters
                .iter()
                .all(|(name, values)| endpoint.passes(name, values, call))
    };
    let found: Vec<_> = endpoints
        .values()
        .filter(wanted)
        .filter(|endpoint| endpoint.unseen == 0 || !ids.is_empty())
        .collect();
    let (page, next) = page(call, &found)?;
    let answer = Xml::answer("DescribeVpcEndpoints", |xml| {
        xml.items("vpcEndpointSet", page, |xml, endpoint| {
            endpoint.write(call, xml);
        });
        if let Some(next) = next {
            xml.leaf("nextToken", next);
        }
    });
    // A listing is a look too.
    let looked = endpoints.values_mut().filter(|_| ids.is_empty());
    looked.for_each(|endpoint| endpoint.unseen = endpoint.unseen.saturating_sub(1));
    Ok(Some(answer))
}

/// The slice of `all` that `MaxResults` and `NextToken` ask for, and where to go on.
fn page<'a, T>(call: &Call<'_>, all: &'a [T]) -> Result<(&'a [T], Option<usize>), ApiError> {
    let number = |name| call.params.get(name).map(str::parse::<usize>).transpose();
    let bad = |_| ApiError::bad("InvalidParameterValue", "not a page of this list");
    let start = number("NextToken")
        .map_err(bad)?
        .unwrap_or(0)
        .min(all.len());
    let asked = number("MaxResults").map_err(bad)?.unwrap_or(usize::MAX);
    let end = start
        .saturating_add(asked.min(call.knobs.page_size))
        .min(all.len());
    Ok((&all[start..end], (end < all.len()).then_some(end)))
}

/// Answers 200 whatever happens; what was not deleted is in the answer.
fn delete(call: &Call<'_>) -> Answer {
    call.dry_run()?;
    let mut endpoints = call.ec2.endpoints();
    let mut refused = Vec::new();
    for id in call.params.list("VpcEndpointId") {
        let known = endpoints
            .get_mut(&id)
            .filter(|endpoint| endpoint.state(call).is_some());
        match known {
            Some(endpoint) if knobs::names(&call.knobs.kept_services, &endpoint.service.name) => {
                let message = format!("The Vpc Endpoint '{id}' is managed by another service");
                refused.push((id, "OperationNotPermitted", message));
            }
            Some(endpoint) => endpoint.delete(call),
            None => {
                let message = no_endpoint(&id).message;
                refused.push((id, "InvalidVpcEndpoint.NotFound", message));
            }
        }
    }
    Ok(Some(Xml::answer("DeleteVpcEndpoints", |xml| {
        xml.items("unsuccessful", refused, |xml, (id, code, message)| {
            xml.leaf("resourceId", &id);
            xml.node("error", |xml| {
                xml.leaf("code", code);
                xml.leaf("message", message);
            });
        });
    })))
}

async fn describe_services(call: &Call<'_>) -> Answer {
    call.dry_run()?;
    let (names, filters) = (call.params.list("ServiceName"), call.params.filters());
    let mut found = Vec::new();
    match call.params.list("ServiceRegion").as_slice() {
        [] => found.extend(call.services(call.region).await?),
        regions => {
            for region in regions {
                found.extend(call.services(region).await?);
            }
        }
    }
    // One unknown name fails the whole call.
    if let Some(name) = names
        .iter()
        .find(|name| !found.iter().any(|s| s.name == **name))
    {
        return Err(no_service(name));
    }
    // Without a name, only AWS's own services are listed.
    let by_name = |filter: &(String, Vec<String>), service: &Service| {
        filter.0 != "service-name" || filter.1.contains(&service.name)
    };
    let named = !names.is_empty() || filters.iter().any(|filter| filter.0 == "service-name");
    found.retain(|service| {
        (names.is_empty() || names.contains(&service.name))
            && (named || !service.name.contains("vpce"))
            && filters.iter().all(|filter| by_name(filter, service))
    });
    let (page, next) = page(call, &found)?;
    Ok(Some(Xml::answer("DescribeVpcEndpointServices", |xml| {
        xml.texts("serviceNameSet", page.iter().map(|service| &service.name));
        xml.items("serviceDetailSet", page, |xml, service| {
            service.write(call.knobs, xml)
        });
        if let Some(next) = next {
            xml.leaf("nextToken", next);
        }
    })))
}

/// Tags on endpoints are the gate's; a call about anything else is the emulator's.
fn tag(call: &Call<'_>, action: &str) -> Answer {
    let ids = call.params.list("ResourceId");
    if !ids.iter().any(|id| id.starts_with("vpce-")) {
        let keys = call.params.tags("Tag").into_keys().collect();
        call.ec2.unseen_tags.note(keys, call.knobs.tag_lag);
        return Ok(None);
    }
    call.dry_run()?;
    let mut endpoints = call.ec2.endpoints();
    if let Some(id) = ids.iter().find(|id| !endpoints.contains_key(*id)) {
        return Err(no_endpoint(id));
    }
    let tags = call.params.tags("Tag");
    for endpoint in endpoints
        .values_mut()
        .filter(|endpoint| ids.contains(&endpoint.id))
    {
        match action {
            "CreateTags" => endpoint.tags.extend(tags.clone()),
            _ => endpoint.tags.retain(|key, _| !tags.contains_key(key)),
        }
    }
    Ok(Some(Xml::answer(action, |xml| xml.leaf("return", true))))
}

/// What an endpoint uses cannot be deleted.
fn in_use(call: &Call<'_>) -> Answer {
    let target = call
        .params
        .get("GroupId")
        .or(call.params.get("SubnetId"))
        .unwrap_or_default();
    let endpoints = call.ec2.endpoints();
    let uses = |endpoint: &&Endpoint| {
        endpoint.holds(call)
            && (endpoint.groups.iter().any(|group| group.id == target)
                || endpoint.subnets.iter().any(|subnet| subnet.id == target))
    };
    match endpoints.values().find(uses) {
        None => Ok(None),
        Some(_) => Err(ApiError::bad(
            "DependencyViolation",
            format!("resource {target} has a dependent object"),
        )),
    }
}
