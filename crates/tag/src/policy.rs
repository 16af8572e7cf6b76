//! The IAM policy that these commands need: the calls they make, no more.

use serde_json::{Value, json};

use crate::plan::KEY;

/// What finds the subnets. EC2 and EKS know no resources for most of these.
const READS: [&str; 10] = [
    "ec2:DescribeInstances",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcAttribute",
    "ec2:DescribeVpcs",
    "eks:DescribeCluster",
    "eks:DescribeFargateProfile",
    "eks:DescribeNodegroup",
    "eks:ListFargateProfiles",
    "eks:ListNodegroups",
];

/// What sets and removes the tag.
const WRITES: [&str; 2] = ["ec2:CreateTags", "ec2:DeleteTags"];

/// The policy as JSON. Writing is allowed on subnets, for our key alone. `region` tells
/// the partition; nothing is the commercial one.
pub(crate) fn text(region: Option<&str>, read_only: bool) -> String {
    let mut statements = vec![json!({
        "Sid": "CastlinkTagRead",
        "Effect": "Allow",
        "Action": READS,
        "Resource": "*",
    })];
    if !read_only {
        statements.push(write(partition(region.unwrap_or_default())));
    }
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    format!("{policy:#}")
}

fn write(partition: &str) -> Value {
    json!({
        "Sid": "CastlinkTagWrite",
        "Effect": "Allow",
        "Action": WRITES,
        "Resource": format!("arn:{partition}:ec2:*:*:subnet/*"),
        // Without the second, a call that names no key would pass, and DeleteTags
        // without keys deletes them all.
        "Condition": {
            "ForAllValues:StringEquals": { "aws:TagKeys": [KEY] },
            "Null": { "aws:TagKeys": "false" },
        },
    })
}

fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_is_limited_to_our_key_and_can_be_left_out() {
        let policy: Value = serde_json::from_str(&text(Some("cn-north-1"), false)).unwrap();
        let write = &policy["Statement"][1];
        assert_eq!(write["Resource"], "arn:aws-cn:ec2:*:*:subnet/*");
        assert_eq!(
            write["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"][0],
            KEY
        );
        let policy: Value = serde_json::from_str(&text(None, true)).unwrap();
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
    }
}
