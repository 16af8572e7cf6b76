//! CreateVpcEndpoint with the checks of the real one, in its order: what exists, what fits
//! together, what private DNS needs, what is taken already.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use jiff::Timestamp;

use super::answer::ApiError;
use super::ec2::{Answer, Call, no_service};
use super::endpoint::{Endpoint, Phase};
use super::query::Xml;
use super::services::Service;
use super::upstream::{Group, Subnet};

/// Zones that cannot reach services of other regions.
const SECLUDED: [&str; 1] = ["use1-az3"];

/// A request that has passed all checks.
struct Order {
    vpc: String,
    service: Service,
    subnets: Vec<Subnet>,
    groups: Vec<Group>,
    private_dns: bool,
}

pub(super) async fn create(call: &Call<'_>) -> Answer {
    if let Some(known) = replay(call, &call.ec2.endpoints())? {
        return Ok(Some(known));
    }
    let order = check(call).await?;
    call.dry_run()?;
    // Judged and entered under one lock: of two requests for one name, one loses.
    let mut endpoints = call.ec2.endpoints();
    if let Some(known) = replay(call, &endpoints)? {
        return Ok(Some(known));
    }
    check_free(call, &order, &endpoints)?;
    let endpoint = enter(call, order, endpoints.len());
    remember(call, &endpoint.id);
    let answer = write(call, &endpoint);
    endpoints.insert(endpoint.id.clone(), endpoint);
    Ok(Some(answer))
}

fn write(call: &Call<'_>, endpoint: &Endpoint) -> String {
    Xml::answer("CreateVpcEndpoint", |xml| {
        xml.node("vpcEndpoint", |xml| endpoint.write(call, xml));
        if let Some(token) = call.params.get("ClientToken") {
            xml.leaf("clientToken", token);
        }
    })
}

/// The parameters that make two requests with one client token the same.
fn parameters(call: &Call<'_>) -> String {
    format!("{:?} {}", call.params.shown(), call.region)
}

/// The answer to a request that has been carried out before under the same token.
/// (Locks: always the endpoints before the tokens.)
fn replay(call: &Call<'_>, endpoints: &BTreeMap<String, Endpoint>) -> Answer {
    let Some(token) = call.params.get("ClientToken") else {
        return Ok(None);
    };
    let tokens = call
        .ec2
        .tokens
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let Some((known, id)) = tokens.get(token) else {
        return Ok(None);
    };
    if *known != parameters(call) {
        return Err(ApiError::bad(
            "IdempotentParameterMismatch",
            "The client token has been used with different parameters.",
        ));
    }
    Ok(endpoints.get(id).map(|endpoint| write(call, endpoint)))
}

fn remember(call: &Call<'_>, id: &str) {
    if let Some(token) = call.params.get("ClientToken") {
        let mut tokens = call
            .ec2
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.to_owned(), (parameters(call), id.to_owned()));
    }
}

async fn check(call: &Call<'_>) -> Result<Order, ApiError> {
    let (params, region) = (call.params, call.region);
    let required = |name| params.get(name).ok_or_else(|| missing(name));
    let (vpc, name) = (required("VpcId")?, required("ServiceName")?);
    call.moto.require_vpc(region, vpc).await?;
    let service = call
        .services(params.get("ServiceRegion").unwrap_or(region))
        .await?
        .into_iter()
        .find(|service| service.name == name);
    let service = service.ok_or_else(|| no_service(name))?;
    let subnets = call.moto.subnets(region, &params.list("SubnetId")).await?;
    check_kind(call, &service, &subnets)?;
    check_subnets(vpc, &service, &subnets)?;
    check_families(call, &service, &subnets)?;
    let groups = match service.gateway {
        true => Vec::new(),
        false => {
            call.moto
                .groups(region, vpc, &params.list("SecurityGroupId"))
                .await?
        }
    };
    // Not said means wanted, when the service has a name to offer.
    let wanted = params
        .flag("PrivateDnsEnabled")
        .unwrap_or(service.private_name.is_some());
    let private_dns = wanted && !service.gateway;
    if private_dns {
        check_private_dns(call, vpc, &service, !service.acceptance_required).await?;
    }
    Ok(Order {
        vpc: vpc.to_owned(),
        service,
        subnets,
        groups,
        private_dns,
    })
}

fn missing(name: &str) -> ApiError {
    let message = format!("The request must contain the parameter {name}");
    ApiError::bad("MissingParameter", message)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::bad("InvalidParameter", message)
}

/// The type defaults to Gateway, whatever the service is.
fn check_kind(call: &Call<'_>, service: &Service, subnets: &[Subnet]) -> Result<(), ApiError> {
    let kind = call.params.get("VpcEndpointType").unwrap_or("Gateway");
    if kind == "Gateway" && !subnets.is_empty() {
        return Err(invalid(
            "Subnet IDs are only supported for Interface and GatewayLoadBalancer type VPC Endpoints",
        ));
    }
    if (kind == "Gateway") != service.gateway {
        let name = &service.name;
        return Err(invalid(format!(
            "Endpoint type ({kind}) does not match available service types for {name}"
        )));
    }
    Ok(())
}

/// IPv6 needs the service's and every subnet's consent.
pub(super) fn check_families(
    call: &Call<'_>,
    service: &Service,
    subnets: &[Subnet],
) -> Result<(), ApiError> {
    if call.params.get("IpAddressType") != Some("dualstack") {
        return Ok(());
    }
    if !call.knobs.dual_stack {
        let name = &service.name;
        return Err(invalid(format!(
            "The service {name} does not support dualstack"
        )));
    }
    match subnets.iter().find(|subnet| !subnet.ipv6) {
        None => Ok(()),
        Some(subnet) => Err(invalid(format!(
            "The subnet {} has no IPv6 CIDR block",
            subnet.id
        ))),
    }
}

/// One subnet per zone, each in the VPC, with room, in a zone that the service offers.
pub(super) fn check_subnets(
    vpc: &str,
    service: &Service,
    subnets: &[Subnet],
) -> Result<(), ApiError> {
    let mut zones = BTreeMap::new();
    for subnet in subnets {
        let id = &subnet.id;
        if subnet.vpc != vpc {
            return Err(invalid(format!(
                "The subnet ID '{id}' does not belong to {vpc}"
            )));
        }
        if service.remote && SECLUDED.contains(&subnet.zone_id.as_str()) {
            return Err(invalid(
                "Only the following availability zones are supported for remote access: use1-az1, use1-az2, use1-az4, use1-az5, use1-az6",
            ));
        }
        if !service.remote && !service.zones.iter().any(|zone| zone.1 == subnet.zone_id) {
            return Err(invalid(format!(
                "The VPC endpoint service {} does not support the availability zone of the subnet: {id}.",
                service.name
            )));
        }
        if zones.insert(&subnet.zone, id).is_some() {
            return Err(ApiError::bad(
                "DuplicateSubnetsInSameZone",
                format!("Found another VPC endpoint subnet in the availability zone of {id}"),
            ));
        }
        if subnet.free_addresses == 0 {
            return Err(ApiError::bad(
                "InsufficientFreeAddressesInSubnet",
                format!("There are not enough free addresses in subnet '{id}'"),
            ));
        }
    }
    Ok(())
}

/// What private DNS needs of the service and of the VPC.
pub(super) async fn check_private_dns(
    call: &Call<'_>,
    vpc: &str,
    service: &Service,
    accepted: bool,
) -> Result<(), ApiError> {
    let name = &service.name;
    if service.private_name.is_none() || !service.verified {
        return Err(invalid(format!(
            "Private DNS can't be enabled because the service {name} does not provide a private DNS name."
        )));
    }
    if !accepted {
        return Err(invalid(format!(
            "Private DNS can only be enabled after the endpoint connection is accepted by the owner of {name}."
        )));
    }
    if !call.moto.resolves_private_names(call.region, vpc).await? {
        return Err(invalid(format!(
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {vpc}"
        )));
    }
    Ok(())
}

fn check_free(
    call: &Call<'_>,
    order: &Order,
    endpoints: &BTreeMap<String, Endpoint>,
) -> Result<(), ApiError> {
    if order.private_dns {
        check_name_free(call, &order.vpc, &order.service, None, endpoints)?;
    }
    let counted = |one: &&Endpoint| one.vpc == order.vpc && !one.service.gateway && one.holds(call);
    if !order.service.gateway
        && endpoints.values().filter(counted).count() >= call.knobs.endpoint_limit
    {
        return Err(ApiError::bad(
            "VpcEndpointLimitExceeded",
            "The maximum number of VPC endpoints has been reached.",
        ));
    }
    Ok(())
}

/// One private name resolves to one endpoint of a VPC. `but` is the endpoint that asks.
pub(super) fn check_name_free(
    call: &Call<'_>,
    vpc: &str,
    service: &Service,
    but: Option<&str>,
    endpoints: &BTreeMap<String, Endpoint>,
) -> Result<(), ApiError> {
    let rival = |one: &&Endpoint| {
        one.private_dns
            && one.vpc == vpc
            && one.holds(call)
            && Some(one.id.as_str()) != but
            && one.service.private_name == service.private_name
    };
    match endpoints.values().find(rival) {
        None => Ok(()),
        Some(_) => Err(invalid(format!(
            "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {} in the VPC {vpc}",
            service.private_name.as_deref().unwrap_or_default()
        ))),
    }
}

fn enter(call: &Call<'_>, order: Order, count: usize) -> Endpoint {
    let created = Timestamp::now();
    let seed = format!("{created}/{count}/{}/{}", order.vpc, order.service.name);
    let phase = match (order.service.acceptance_required, order.service.gateway) {
        (true, _) => Phase::AwaitingAcceptance,
        (false, true) => Phase::Settled,
        (false, false) => Phase::Pending(call.now),
    };
    Endpoint {
        id: format!("vpce-{}", super::invented_id(&seed)),
        region: call.region.to_owned(),
        vpc: order.vpc,
        service: order.service,
        subnets: order.subnets,
        groups: order.groups,
        route_tables: call.params.list("RouteTableId"),
        private_dns: order.private_dns,
        dual_stack: call.params.get("IpAddressType") == Some("dualstack"),
        tags: call.params.new_tags("vpc-endpoint"),
        created,
        phase,
        modifying: None,
        unseen: call.knobs.endpoint_lag,
    }
}
