//! The least that an identity must be allowed for each verb, as an IAM policy. Pure.
//!
//! The table is the list of the calls that the code makes; a test compares it with what a
//! gate in front of AWS really saw.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::settings::{MANAGED, Settings};

/// What the policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum For {
    /// plan and export
    Plan,
    /// apply, and so plan
    Apply,
    /// status
    Status,
    /// destroy
    Destroy,
}

/// What the policy is narrowed to.
#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) vpc: Option<&'a str>,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) subnets: bool,
}

/// The policy document.
pub(crate) fn policy(verb: For, scope: &Scope<'_>, settings: &Settings) -> Value {
    let arns = Arns::new(&settings.region);
    let mut statements = vec![read(verb, scope)];
    statements.extend(scope.cluster.map(|cluster| find_cluster(&arns, cluster)));
    if matches!(verb, For::Plan | For::Apply) && settings.private_dns {
        // Without it, a name that is taken shows only when EC2 refuses.
        let zones = ["route53:ListHostedZonesByVPC"];
        statements.push(statement("FindTakenNames", &zones, json!("*"), None));
    }
    match verb {
        For::Plan | For::Status => {}
        For::Apply => {
            statements.extend(make(&arns, scope, settings));
            statements.extend(settings.enable_vpc_dns.then(|| vpc_dns(&arns, scope)));
        }
        For::Destroy => statements.extend(delete(&arns)),
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// What only reads knows no resources in EC2.
fn read(verb: For, scope: &Scope<'_>) -> Value {
    let mut actions = match verb {
        For::Plan | For::Apply => vec![
            "ec2:DescribeRouteTables",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcAttribute",
            "ec2:DescribeVpcEndpointServices",
            "ec2:DescribeVpcEndpoints",
            "ec2:DescribeVpcs",
        ],
        For::Status => vec!["ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints"],
        For::Destroy => vec![
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeVpcAttribute",
            "ec2:DescribeVpcEndpoints",
            "ec2:DescribeVpcs",
        ],
    };
    if verb == For::Destroy && scope.subnets {
        actions.insert(1, "ec2:DescribeSubnets");
    }
    statement("Read", &actions, json!("*"), None)
}

fn find_cluster(arns: &Arns, cluster: &str) -> Value {
    let actions = [
        "eks:DescribeCluster",
        "eks:DescribeNodegroup",
        "eks:ListNodegroups",
    ];
    let resources = [
        arns.eks(&format!("cluster/{cluster}")),
        arns.eks(&format!("nodegroup/{cluster}/*/*")),
    ];
    statement("FindTheCluster", &actions, json!(resources), None)
}

fn vpc_dns(arns: &Arns, scope: &Scope<'_>) -> Value {
    let vpc = arns.ec2(&format!("vpc/{}", scope.vpc.unwrap_or("*")));
    statement(
        "SwitchDnsAttributesOn",
        &["ec2:ModifyVpcAttribute"],
        json!(vpc),
        None,
    )
}

fn make(arns: &Arns, scope: &Scope<'_>, settings: &Settings) -> Vec<Value> {
    let vpc = arns.ec2(&format!("vpc/{}", scope.vpc.unwrap_or("*")));
    let (group, endpoint) = (arns.ec2("security-group/*"), arns.ec2("vpc-endpoint/*"));
    let used = ["route-table/*", "security-group/*", "subnet/*"].map(|kind| arns.ec2(kind));
    let tagged = || Some(equals("aws:RequestTag/", MANAGED.1));
    let with_vpc: Vec<&String> = used.iter().chain([&vpc]).collect();
    let services = json!({"StringEquals": {
        format!("aws:RequestTag/{}", MANAGED.0): MANAGED.1,
        "ec2:VpceServiceName": settings.names(),
    }});
    let makes = json!({"StringEquals": {
        "ec2:CreateAction": ["CreateSecurityGroup", "CreateVpcEndpoint"],
    }});
    let rules = equals("aws:ResourceTag/", MANAGED.1);
    let changed: Vec<&String> = used.iter().chain([&endpoint]).collect();
    let own = ["ec2:CreateSecurityGroup"];
    let create = ["ec2:CreateVpcEndpoint"];
    vec![
        statement("MakeTheGroup", &own, json!(group), tagged()),
        statement("MakeTheGroupInTheVpc", &own, json!(vpc), None),
        statement(
            "LetTheVpcIn",
            &["ec2:AuthorizeSecurityGroupIngress"],
            json!(group),
            Some(rules),
        ),
        statement("MakeEndpoints", &create, json!(endpoint), Some(services)),
        statement("MakeEndpointsWith", &create, json!(with_vpc), None),
        statement(
            "TagWhatIsMade",
            &["ec2:CreateTags"],
            json!([group, endpoint]),
            Some(makes),
        ),
        statement(
            "ChangeEndpoints",
            &["ec2:ModifyVpcEndpoint"],
            json!(changed),
            None,
        ),
        // EC2 does this in the caller's name for private DNS.
        statement(
            "PrivateDns",
            &["route53:AssociateVPCWithHostedZone"],
            json!("*"),
            None,
        ),
    ]
}

fn delete(arns: &Arns) -> Vec<Value> {
    let ours = || Some(equals("aws:ResourceTag/", MANAGED.1));
    vec![
        statement(
            "DeleteOurEndpoints",
            &["ec2:DeleteVpcEndpoints"],
            json!(arns.ec2("vpc-endpoint/*")),
            ours(),
        ),
        statement(
            "DeleteOurGroup",
            &["ec2:DeleteSecurityGroup"],
            json!(arns.ec2("security-group/*")),
            ours(),
        ),
    ]
}

/// The condition that castlink's tag has this value.
fn equals(key: &str, value: &str) -> Value {
    json!({"StringEquals": {format!("{key}{}", MANAGED.0): value}})
}

fn statement(id: &str, actions: &[&str], resource: Value, condition: Option<Value>) -> Value {
    let mut fields = Map::new();
    fields.insert("Sid".into(), json!(id));
    fields.insert("Effect".into(), json!("Allow"));
    fields.insert("Action".into(), json!(actions));
    fields.insert("Resource".into(), resource);
    if let Some(condition) = condition {
        fields.insert("Condition".into(), condition);
    }
    Value::Object(fields)
}

/// Names of resources: of the partition and the region, in any account.
struct Arns {
    partition: &'static str,
    region: String,
}

impl Arns {
    fn new(region: &str) -> Self {
        let partition = match region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        Self {
            partition,
            region: region.to_owned(),
        }
    }

    fn ec2(&self, resource: &str) -> String {
        format!("arn:{}:ec2:{}:*:{resource}", self.partition, self.region)
    }

    fn eks(&self, resource: &str) -> String {
        format!("arn:{}:eks:{}:*:{resource}", self.partition, self.region)
    }
}

#[cfg(test)]
mod tests {
    use castlink_core::config::Config;

    use super::*;

    fn text(verb: For, scope: &Scope<'_>) -> String {
        let settings = Settings::resolve(&Config::default(), "us-east-1").unwrap();
        policy(verb, scope, &settings).to_string()
    }

    #[test]
    fn each_verb_has_what_it_needs_and_no_more() {
        let scope = Scope::default();
        for (verb, has, not) in [
            (For::Plan, "ec2:DescribeVpcEndpointServices", "Create"),
            (For::Status, "ec2:DescribeVpcEndpoints", "Groups"),
            (For::Apply, "ec2:CreateVpcEndpoint", "Delete"),
            (
                For::Apply,
                "route53:ListHostedZonesByVPC",
                "ModifyVpcAttribute",
            ),
            (For::Destroy, "ec2:DeleteVpcEndpoints", "Create"),
        ] {
            let text = text(verb, &scope);
            assert!(text.contains(has) && !text.contains(not), "{text}");
        }
    }

    #[test]
    fn it_is_narrowed_to_what_is_named() {
        let scope = Scope {
            vpc: Some("vpc-1"),
            cluster: Some("prod"),
            subnets: false,
        };
        let text = text(For::Apply, &scope);
        for part in [
            "arn:aws:ec2:us-east-1:*:vpc/vpc-1",
            "arn:aws:eks:us-east-1:*:nodegroup/prod/*/*",
            "vpce-svc-03281b4e5730a84b6",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn partitions() {
        for (region, want) in [
            ("eu-west-1", "arn:aws:ec2:eu-west-1:*:x"),
            ("cn-north-1", "arn:aws-cn:ec2:cn-north-1:*:x"),
            ("us-gov-west-1", "arn:aws-us-gov:ec2:us-gov-west-1:*:x"),
        ] {
            assert_eq!(Arns::new(region).ec2("x"), want);
        }
    }
}
