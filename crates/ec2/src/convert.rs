//! From SDK types to domain values. Every field of the SDK is optional; what is
//! missing becomes empty, as an emulator or a newer EC2 may leave anything out.

use aws_sdk_ec2::types as sdk;

use crate::model::{Endpoint, Group, Instance, Rule, Service, State, Subnet, Tags};

pub(crate) fn subnet(from: sdk::Subnet) -> Subnet {
    Subnet {
        id: from.subnet_id.unwrap_or_default(),
        vpc: from.vpc_id.unwrap_or_default(),
        zone: from.availability_zone.unwrap_or_default(),
        zone_id: from.availability_zone_id.unwrap_or_default(),
        cidr: from.cidr_block.unwrap_or_default(),
        ipv6: from
            .ipv6_cidr_block_association_set
            .is_some_and(|set| !set.is_empty()),
        free: from
            .available_ip_address_count
            .and_then(|count| count.try_into().ok())
            .unwrap_or_default(),
        owner: from.owner_id.unwrap_or_default(),
        tags: tags(from.tags),
    }
}

/// Nothing for an instance without a subnet: it is on its way out.
pub(crate) fn instance(from: sdk::Instance) -> Option<Instance> {
    Some(Instance {
        id: from.instance_id?,
        subnet: from.subnet_id.filter(|id| !id.is_empty())?,
        tags: tags(from.tags),
    })
}

/// All CIDRs that are associated, not those on their way in or out.
pub(crate) fn cidrs(from: &sdk::Vpc) -> Vec<String> {
    let associated = |state: Option<&sdk::VpcCidrBlockState>| {
        state
            .and_then(|state| state.state())
            .is_none_or(|state| state.as_str() == "associated")
    };
    let v4 = from
        .cidr_block_association_set()
        .iter()
        .filter(|set| associated(set.cidr_block_state()))
        .filter_map(|set| set.cidr_block());
    let v6 = from
        .ipv6_cidr_block_association_set()
        .iter()
        .filter(|set| associated(set.ipv6_cidr_block_state()))
        .filter_map(|set| set.ipv6_cidr_block());
    let mut all: Vec<String> = v4.chain(v6).map(ToOwned::to_owned).collect();
    if all.is_empty() {
        all.extend(from.cidr_block.clone());
    }
    all
}

pub(crate) fn service(from: sdk::ServiceDetail) -> Service {
    let mut private_names: Vec<String> = from
        .private_dns_names()
        .iter()
        .filter_map(|detail| detail.private_dns_name().map(ToOwned::to_owned))
        .collect();
    if private_names.is_empty() {
        private_names.extend(from.private_dns_name.clone());
    }
    let gateway = from
        .service_type()
        .iter()
        .filter_map(|detail| detail.service_type())
        .any(|kind| kind.as_str() == "Gateway");
    let families = from.supported_ip_address_types();
    let dual_stack = ["ipv4", "ipv6"]
        .iter()
        .all(|family| families.iter().any(|known| known.as_str() == *family));
    Service {
        gateway,
        dual_stack,
        region: from.service_region.clone().unwrap_or_default(),
        name: from.service_name.unwrap_or_default(),
        zones: from.availability_zones.unwrap_or_default(),
        zone_ids: from.availability_zone_ids.unwrap_or_default(),
        private_names,
        names_verified: from
            .private_dns_name_verification_state
            .is_none_or(|state| state.as_str().eq_ignore_ascii_case("verified")),
        acceptance: from.acceptance_required.unwrap_or_default(),
    }
}

pub(crate) fn endpoint(from: sdk::VpcEndpoint) -> Endpoint {
    let last_error = from.last_error.as_ref().map(|err| {
        let parts = [
            err.code().unwrap_or_default(),
            err.message().unwrap_or_default(),
        ];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": ")
    });
    Endpoint {
        id: from.vpc_endpoint_id.unwrap_or_default(),
        service: from.service_name.unwrap_or_default(),
        state: from
            .state
            .map(|state| State::parse(state.as_str()))
            .unwrap_or_default(),
        subnets: from.subnet_ids.unwrap_or_default(),
        groups: from
            .groups
            .unwrap_or_default()
            .into_iter()
            .filter_map(|group| group.group_id)
            .collect(),
        private_dns: from.private_dns_enabled.unwrap_or_default(),
        dns_names: from
            .dns_entries
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| entry.dns_name)
            .collect(),
        last_error: last_error
            .or(from.failure_reason)
            .filter(|text| !text.is_empty()),
        tags: tags(from.tags),
        gateway: from
            .vpc_endpoint_type
            .is_some_and(|kind| kind.as_str() == "Gateway"),
        route_tables: from.route_table_ids.unwrap_or_default(),
        dual_stack: from
            .ip_address_type
            .map(|kind| kind.as_str() == "dualstack"),
    }
}

pub(crate) fn group(from: sdk::SecurityGroup) -> Group {
    Group {
        id: from.group_id.unwrap_or_default(),
        name: from.group_name.unwrap_or_default(),
        ingress: from
            .ip_permissions
            .unwrap_or_default()
            .into_iter()
            .map(rule)
            .collect(),
        tags: tags(from.tags),
    }
}

fn rule(from: sdk::IpPermission) -> Rule {
    let v4 = from.ip_ranges().iter().filter_map(|range| range.cidr_ip());
    let v6 = from
        .ipv6_ranges()
        .iter()
        .filter_map(|range| range.cidr_ipv6());
    let groups = from
        .user_id_group_pairs()
        .iter()
        .filter_map(|pair| pair.group_id());
    let lists = from
        .prefix_list_ids()
        .iter()
        .filter_map(|list| list.prefix_list_id());
    Rule {
        cidrs: v4.chain(v6).map(ToOwned::to_owned).collect(),
        references: groups.chain(lists).map(ToOwned::to_owned).collect(),
        ports: from.from_port.zip(from.to_port),
        protocol: from.ip_protocol.unwrap_or_default(),
    }
}

pub(crate) fn tags(from: Option<Vec<sdk::Tag>>) -> Tags {
    from.unwrap_or_default()
        .into_iter()
        .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
        .collect()
}

/// The other way: tags for a resource that is made.
pub(crate) fn tag_specification(kind: sdk::ResourceType, tags: &Tags) -> sdk::TagSpecification {
    sdk::TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(sdk_tags(tags)))
        .build()
}

pub(crate) fn sdk_tags(tags: &Tags) -> Vec<sdk::Tag> {
    tags.iter()
        .map(|(key, value)| sdk::Tag::builder().key(key).value(value).build())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn association(cidr: &str, state: &str) -> sdk::VpcCidrBlockAssociation {
        let state = sdk::VpcCidrBlockState::builder()
            .state(state.into())
            .build();
        sdk::VpcCidrBlockAssociation::builder()
            .cidr_block(cidr)
            .cidr_block_state(state)
            .build()
    }

    #[test]
    fn only_associated_cidrs_count() {
        let vpc = sdk::Vpc::builder()
            .cidr_block("10.0.0.0/16")
            .cidr_block_association_set(association("10.0.0.0/16", "associated"))
            .cidr_block_association_set(association("100.64.0.0/10", "associated"))
            .cidr_block_association_set(association("10.9.0.0/16", "disassociating"))
            .build();
        assert_eq!(cidrs(&vpc), ["10.0.0.0/16", "100.64.0.0/10"]);
        let bare = sdk::Vpc::builder().cidr_block("10.0.0.0/16").build();
        assert_eq!(cidrs(&bare), ["10.0.0.0/16"]);
    }

    #[test]
    fn an_endpoint_in_wire_case_is_read_and_missing_parts_are_empty() {
        let from = sdk::VpcEndpoint::builder()
            .vpc_endpoint_id("vpce-1")
            .state("available".into())
            .build();
        let endpoint = endpoint(from);
        assert_eq!(endpoint.state, State::Available);
        assert!(endpoint.groups.is_empty() && endpoint.last_error.is_none());
    }
}
