//! The design as a CloudFormation template, in JSON: its strings need no second thought.
//!
//! A template only makes things. What exists is referred to by its id and listed in the
//! template's metadata; what exists and is to be changed is not in it.

use castlink_ec2::Tags;
use serde_json::{Map, Value, json};

use super::design::{Design, Group, GroupRef, Planned};
use crate::admit::{HTTPS, RULE_TEXT};

/// The logical id of our security group.
const GROUP: &str = "SecurityGroup";
/// The parameter for what has to wait.
const ACCEPTED: &str = "Accepted";

/// The whole template.
pub(super) fn render(design: &Design) -> String {
    let mut template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!(
            "CAST AI endpoints of {} in {}, as castlink-endpoints plans them",
            design.vpc, design.region
        ),
        "Metadata": {"Castlink": metadata(design)},
    });
    if made(design).any(|one| one.after_acceptance) {
        template["Parameters"] = json!({ACCEPTED: {
            "Type": "String",
            "AllowedValues": ["false", "true"],
            "Default": "false",
            "Description": "Set to true once CAST AI has accepted the endpoints: EC2 takes private DNS only then",
        }});
    }
    template["Resources"] = Value::Object(resources(design));
    let ids: Map<String, Value> = made(design)
        .map(|one| (logical(one), json!({"Value": {"Ref": logical(one)}})))
        .collect();
    if !ids.is_empty() {
        template["Outputs"] = Value::Object(ids);
    }
    format!("{template:#}\n")
}

fn made(design: &Design) -> impl Iterator<Item = &Planned> {
    design.endpoints.iter().filter(|one| one.id.is_none())
}

fn metadata(design: &Design) -> Value {
    let existing = design.endpoints.iter().filter_map(|one| {
        let state = if one.change.is_some() {
            "to be changed outside"
        } else {
            "as wanted"
        };
        Some(json!({"Role": one.role, "Id": one.id.as_ref()?, "State": state}))
    });
    let left_out = design.left_out.iter();
    let left_out = left_out.map(|(role, why)| json!({"Role": role, "Reason": why}));
    json!({
        "Vpc": design.vpc,
        "Region": design.region,
        "Existing": existing.collect::<Vec<_>>(),
        "LeftOut": left_out.collect::<Vec<_>>(),
    })
}

fn resources(design: &Design) -> Map<String, Value> {
    let mut all = Map::new();
    match &design.group {
        Some(group) if group.id.is_none() => {
            all.insert(GROUP.into(), security_group(design, group));
        }
        Some(group) => all.extend(missing_rules(group)),
        None => {}
    }
    for endpoint in made(design) {
        all.insert(logical(endpoint), vpc_endpoint(design, endpoint));
    }
    if all.is_empty() {
        // A template needs a resource; this one makes nothing.
        all.insert(
            "Nothing".into(),
            json!({"Type": "AWS::CloudFormation::WaitConditionHandle"}),
        );
    }
    all
}

fn security_group(design: &Design, group: &Group) -> Value {
    json!({
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {
            "GroupName": group.name,
            "GroupDescription": group.text,
            "VpcId": design.vpc,
            "SecurityGroupIngress": group.admit.iter().map(|cidr| rule(cidr)).collect::<Vec<_>>(),
            "Tags": tags(&group.tags),
        },
    })
}

/// Rules of a group that exists are resources of their own.
fn missing_rules(group: &Group) -> impl Iterator<Item = (String, Value)> {
    let id = group.id.clone().unwrap_or_default();
    group.admit.iter().enumerate().map(move |(index, cidr)| {
        let mut properties = rule(cidr);
        properties["GroupId"] = json!(id);
        let name = format!("Ingress{}", index + 1);
        (
            name,
            json!({"Type": "AWS::EC2::SecurityGroupIngress", "Properties": properties}),
        )
    })
}

fn rule(cidr: &str) -> Value {
    let family = if cidr.contains(':') {
        "CidrIpv6"
    } else {
        "CidrIp"
    };
    json!({
        "IpProtocol": "tcp",
        "FromPort": HTTPS,
        "ToPort": HTTPS,
        family: cidr,
        "Description": RULE_TEXT,
    })
}

fn vpc_endpoint(design: &Design, endpoint: &Planned) -> Value {
    let mut properties = json!({
        "VpcEndpointType": if endpoint.gateway { "Gateway" } else { "Interface" },
        "VpcId": design.vpc,
        "ServiceName": endpoint.service,
    });
    if let Some(region) = &endpoint.service_region {
        properties["ServiceRegion"] = json!(region);
    }
    if endpoint.gateway {
        properties["RouteTableIds"] = json!(endpoint.route_tables);
    } else {
        let groups = endpoint.groups.iter().map(|group| group_ref(design, group));
        properties["SubnetIds"] = json!(endpoint.subnets);
        properties["SecurityGroupIds"] = groups.collect();
        properties["PrivateDnsEnabled"] = private_dns(endpoint);
        if endpoint.dual_stack {
            properties["IpAddressType"] = json!("dualstack");
        }
    }
    properties["Tags"] = tags(&endpoint.tags);
    json!({"Type": "AWS::EC2::VPCEndpoint", "Properties": properties})
}

fn private_dns(endpoint: &Planned) -> Value {
    if endpoint.after_acceptance {
        json!({"Ref": ACCEPTED})
    } else {
        json!(endpoint.private_dns)
    }
}

fn group_ref(design: &Design, group: &GroupRef) -> Value {
    let known = design.group.as_ref().and_then(|group| group.id.as_ref());
    match (group, known) {
        (GroupRef::Id(id), _) | (GroupRef::Own, Some(id)) => json!(id),
        (GroupRef::Own, None) => json!({"Fn::GetAtt": [GROUP, "GroupId"]}),
    }
}

fn tags(tags: &Tags) -> Value {
    let tags = tags.iter();
    tags.map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

/// `rest_api` as a logical id: `EndpointRestApi`. Letters and digits only; labels differ
/// in more than case and underscores.
fn logical(endpoint: &Planned) -> String {
    let words = endpoint.label.split('_').filter(|word| !word.is_empty());
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    let name: String = words.map(capital).collect();
    format!("Endpoint{name}")
}
