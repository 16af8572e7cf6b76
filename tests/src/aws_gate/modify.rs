//! ModifyVpcEndpoint: deltas, one at a time per endpoint.

use super::answer::ApiError;
use super::create::{check_families, check_name_free, check_private_dns, check_subnets};
use super::ec2::{Answer, Call, no_endpoint};
use super::endpoint::Endpoint;
use super::query::Xml;
use super::upstream::{Group, Subnet};

pub(super) async fn modify(call: &Call<'_>) -> Answer {
    let id = call.params.get("VpcEndpointId").unwrap_or_default();
    let before = current(call, id)?;
    let subnets = subnets_after(call, &before).await?;
    check_subnets(&before.vpc, &before.service, &subnets)?;
    check_families(call, &before.service, &subnets)?;
    let groups = groups_after(call, &before).await?;
    let private_dns = call
        .params
        .flag("PrivateDnsEnabled")
        .unwrap_or(before.private_dns);
    let enabling = private_dns && !before.private_dns;
    if enabling {
        let accepted = before.state(call) != Some("pendingAcceptance");
        check_private_dns(call, &before.vpc, &before.service, accepted).await?;
    }
    call.dry_run()?;
    let mut endpoints = call.ec2.endpoints();
    if enabling {
        check_name_free(call, &before.vpc, &before.service, Some(id), &endpoints)?;
    }
    let endpoint = endpoints.get_mut(id).ok_or_else(|| no_endpoint(id))?;
    // Looked at again under the lock: two calls may have come this far.
    refuse_overlap(call, endpoint)?;
    endpoint.subnets = subnets;
    endpoint.groups = groups;
    endpoint.private_dns = private_dns;
    if let Some(family) = call.params.get("IpAddressType") {
        endpoint.dual_stack = family == "dualstack";
    }
    endpoint
        .route_tables
        .extend(call.params.list("AddRouteTableId"));
    let removed = call.params.list("RemoveRouteTableId");
    endpoint
        .route_tables
        .retain(|table| !removed.contains(table));
    endpoint.modifying = Some(call.now);
    Ok(Some(Xml::answer("ModifyVpcEndpoint", |xml| {
        xml.leaf("return", true)
    })))
}

fn current(call: &Call<'_>, id: &str) -> Result<Endpoint, ApiError> {
    let endpoints = call.ec2.endpoints();
    let endpoint = endpoints.get(id).filter(|endpoint| endpoint.holds(call));
    let endpoint = endpoint.ok_or_else(|| no_endpoint(id))?;
    refuse_overlap(call, endpoint)?;
    Ok(endpoint.clone())
}

fn refuse_overlap(call: &Call<'_>, endpoint: &Endpoint) -> Result<(), ApiError> {
    match endpoint.under_modification(call) {
        true => {
            let message = "VpcEndpoint modify operation in progress";
            Err(ApiError::bad("OperationInProgress", message))
        }
        false => Ok(()),
    }
}

async fn subnets_after(call: &Call<'_>, before: &Endpoint) -> Result<Vec<Subnet>, ApiError> {
    let removed = call.params.list("RemoveSubnetId");
    let kept = before.subnets.iter().map(|subnet| &subnet.id);
    let mut after: Vec<_> = kept.filter(|id| !removed.contains(id)).cloned().collect();
    for added in call.params.list("AddSubnetId") {
        if !after.contains(&added) {
            after.push(added);
        }
    }
    // As they are now: a subnet may have got addresses since.
    call.moto.subnets(call.region, &after).await
}

async fn groups_after(call: &Call<'_>, before: &Endpoint) -> Result<Vec<Group>, ApiError> {
    let (added, removed) = (
        call.params.list("AddSecurityGroupId"),
        call.params.list("RemoveSecurityGroupId"),
    );
    let kept = before
        .groups
        .iter()
        .filter(|group| !removed.contains(&group.id));
    let mut after: Vec<_> = kept.cloned().collect();
    if !added.is_empty() {
        let mut added = call.moto.groups(call.region, &before.vpc, &added).await?;
        added.retain(|new| !after.iter().any(|group| group.id == new.id));
        after.extend(added);
    }
    if after.is_empty() && !before.groups.is_empty() {
        let message = "An interface endpoint needs at least one security group";
        return Err(ApiError::bad("InvalidParameter", message));
    }
    Ok(after)
}
