//! The design as Terraform configuration. Everything is in it, what exists too: `import`
//! blocks bring that into the state, so that the first `terraform plan` shows the same
//! steps as ours.

use castlink_ec2::Rule;

use super::{
    design::{Design, Group, GroupRef, Planned},
    hcl::{Body, list, text, texts},
};
use crate::admit::{HTTPS, RULE_TEXT};

/// The address of our security group.
const GROUP: &str = "aws_security_group.castlink";
/// The variable for what has to wait.
const ACCEPTED: &str = "castlink_accepted";

/// The whole file.
pub(super) fn render(design: &Design) -> String {
    let mut file = head(design);
    if design.endpoints.iter().any(|one| one.after_acceptance) {
        file = file.block(format!("variable \"{ACCEPTED}\""), accepted());
    }
    if let Some(group) = &design.group {
        file = import(file, GROUP, group.id.as_deref());
        file = file.block(
            resource("aws_security_group", "castlink"),
            security_group(design, group),
        );
    }
    for endpoint in &design.endpoints {
        let address = format!("aws_vpc_endpoint.{}", endpoint.label);
        if let Some(id) = &endpoint.after {
            file = file.comment(&format!("{id} has the same service and must be gone first"));
        }
        file = import(file, &address, endpoint.id.as_deref());
        file = file.block(
            resource("aws_vpc_endpoint", &endpoint.label),
            vpc_endpoint(design, endpoint),
        );
    }
    file.render(0)
}

fn head(design: &Design) -> Body {
    let aws = "{\n      source  = \"hashicorp/aws\"\n      version = \">= 5.80\"\n    }";
    let providers = Body::default().set("aws", aws);
    let terraform = Body::default()
        .set("required_version", text(">= 1.5"))
        .block("required_providers", providers);
    let mut file = Body::default()
        .comment(&format!(
            "CAST AI endpoints of {} in {}, as castlink-endpoints plans them.",
            design.vpc, design.region
        ))
        .comment("What exists is imported: `terraform plan` shows what is still to be done.");
    for (role, why) in &design.left_out {
        file = file.comment(&format!("{role} is left out: {why}"));
    }
    file.block("terraform", terraform).block(
        "provider \"aws\"",
        Body::default().set("region", text(&design.region)),
    )
}

fn resource(kind: &str, label: &str) -> String {
    format!("resource \"{kind}\" \"{label}\"")
}

fn accepted() -> Body {
    Body::default()
        .set(
            "description",
            text("Set to true once CAST AI has accepted the endpoints: EC2 takes private DNS only then."),
        )
        .set("type", "bool")
        .set("default", "false")
}

fn import(file: Body, to: &str, id: Option<&str>) -> Body {
    match id {
        Some(id) => file.block("import", Body::default().set("to", to).set("id", text(id))),
        None => file,
    }
}

fn security_group(design: &Design, group: &Group) -> Body {
    let mut body = Body::default()
        .set("name", text(&group.name))
        .set("description", text(&group.text))
        .set("vpc_id", text(&design.vpc));
    for rule in &group.rules {
        body = body.block("ingress", ingress(rule));
    }
    if !group.admit.is_empty() {
        let rule = Rule {
            protocol: "tcp".into(),
            ports: Some((HTTPS, HTTPS)),
            cidrs: group.admit.clone(),
            references: Vec::new(),
        };
        body = body.block("ingress", ingress(&rule));
    }
    body.map("tags", &group.tags)
}

fn ingress(rule: &Rule) -> Body {
    let (v6, v4): (Vec<String>, Vec<String>) = rule
        .cidrs
        .iter()
        .cloned()
        .partition(|cidr| cidr.contains(':'));
    let (lists, groups): (Vec<String>, Vec<String>) = rule
        .references
        .iter()
        .cloned()
        .partition(|id| id.starts_with("pl-"));
    // Every protocol is from port 0 to 0 in Terraform.
    let (from, to) = rule.ports.unwrap_or((0, 0));
    let some = |values: Vec<String>| (!values.is_empty()).then(|| texts(&values));
    let described = rule.protocol == "tcp" && rule.ports == Some((HTTPS, HTTPS));
    Body::default()
        .set_if("description", described.then(|| text(RULE_TEXT)))
        .set("protocol", text(&rule.protocol))
        .set("from_port", from.to_string())
        .set("to_port", to.to_string())
        .set_if("cidr_blocks", some(v4))
        .set_if("ipv6_cidr_blocks", some(v6))
        .set_if("security_groups", some(groups))
        .set_if("prefix_list_ids", some(lists))
}

fn vpc_endpoint(design: &Design, endpoint: &Planned) -> Body {
    let kind = if endpoint.gateway {
        "Gateway"
    } else {
        "Interface"
    };
    let body = Body::default()
        .set("vpc_endpoint_type", text(kind))
        .set("vpc_id", text(&design.vpc))
        .set("service_name", text(&endpoint.service))
        .set_if(
            "service_region",
            endpoint.service_region.as_deref().map(text),
        );
    let body = if endpoint.gateway {
        body.set("route_table_ids", texts(&endpoint.route_tables))
    } else {
        body.set("subnet_ids", texts(&endpoint.subnets))
            .set(
                "security_group_ids",
                list(endpoint.groups.iter().map(group_ref)),
            )
            .set("private_dns_enabled", private_dns(endpoint))
            .set_if(
                "ip_address_type",
                endpoint.dual_stack.then(|| text("dualstack")),
            )
    };
    body.map("tags", &endpoint.tags)
}

fn private_dns(endpoint: &Planned) -> String {
    if endpoint.after_acceptance {
        format!("var.{ACCEPTED}")
    } else {
        endpoint.private_dns.to_string()
    }
}

fn group_ref(group: &GroupRef) -> String {
    match group {
        GroupRef::Own => format!("{GROUP}.id"),
        GroupRef::Id(id) => text(id),
    }
}
