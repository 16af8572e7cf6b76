//! Security groups.

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, ResourceType};
use castlink_core::Result;

use crate::{
    convert,
    model::{Group, Tags},
    network::{Network, filter},
    problem::{Problem, Refusal},
};

/// What each rule says of itself: EC2 shows it in the console.
pub const RULE_TEXT: &str = "castlink: HTTPS to the endpoints";

impl Network {
    /// All security groups of a VPC with their ingress rules.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn groups(&self, vpc: &str) -> Result<Vec<Group>> {
        let pages = self
            .ec2
            .describe_security_groups()
            .filters(filter("vpc-id", &[vpc]))
            .into_paginator();
        let found: Vec<_> = pages
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| self.failure("ec2:DescribeSecurityGroups", vpc, &err))?;
        Ok(found.into_iter().map(convert::group).collect())
    }

    /// Makes a security group without rules; answers with its id.
    ///
    /// # Errors
    /// [`Problem::Exists`] when the VPC has one of that name.
    pub async fn create_group(
        &self,
        vpc: &str,
        name: &str,
        text: &str,
        tags: &Tags,
    ) -> Result<String, Refusal> {
        let answer = self
            .ec2
            .create_security_group()
            .vpc_id(vpc)
            .group_name(name)
            .description(text)
            .tag_specifications(convert::tag_specification(
                ResourceType::SecurityGroup,
                tags,
            ))
            .send()
            .await
            .map_err(|err| {
                self.refusal(
                    "ec2:CreateSecurityGroup",
                    &format!("security group {name}"),
                    &err,
                )
            })?;
        Ok(answer.group_id.unwrap_or_default())
    }

    /// Lets TCP `port` in from each of `cidrs`, in one call. A rule that exists already
    /// fails the call with [`Problem::Exists`]; then each is sent by itself.
    ///
    /// # Errors
    /// [`Problem::Missing`] shortly after the group was made: worth trying again.
    pub async fn allow(&self, group: &str, port: i32, cidrs: &[String]) -> Result<(), Refusal> {
        match self.authorize(group, port, cidrs).await {
            Err(refusal) if refusal.problem == Problem::Exists => {
                for cidr in cidrs {
                    match self
                        .authorize(group, port, std::slice::from_ref(cidr))
                        .await
                    {
                        Err(refusal) if refusal.problem == Problem::Exists => {}
                        answer => answer?,
                    }
                }
                Ok(())
            }
            answer => answer,
        }
    }

    async fn authorize(&self, group: &str, port: i32, cidrs: &[String]) -> Result<(), Refusal> {
        self.ec2
            .authorize_security_group_ingress()
            .group_id(group)
            .ip_permissions(permission(port, cidrs))
            .send()
            .await
            .map_err(|err| {
                self.refusal(
                    "ec2:AuthorizeSecurityGroupIngress",
                    &format!("security group {group}"),
                    &err,
                )
            })?;
        Ok(())
    }

    /// Deletes a security group; one that is gone already counts as deleted.
    ///
    /// # Errors
    /// [`Problem::InUse`] while interfaces or other groups refer to it.
    pub async fn delete_group(&self, group: &str) -> Result<(), Refusal> {
        match self
            .ec2
            .delete_security_group()
            .group_id(group)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(err) => {
                let refusal = self.refusal(
                    "ec2:DeleteSecurityGroup",
                    &format!("security group {group}"),
                    &err,
                );
                match refusal.problem {
                    Problem::Missing => Ok(()),
                    _ => Err(refusal),
                }
            }
        }
    }
}

/// IPv4 and IPv6 sources have fields of their own.
fn permission(port: i32, cidrs: &[String]) -> IpPermission {
    let mut permission = IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(port)
        .to_port(port);
    for cidr in cidrs {
        permission = if cidr.contains(':') {
            permission.ipv6_ranges(
                Ipv6Range::builder()
                    .cidr_ipv6(cidr)
                    .description(RULE_TEXT)
                    .build(),
            )
        } else {
            permission.ip_ranges(
                IpRange::builder()
                    .cidr_ip(cidr)
                    .description(RULE_TEXT)
                    .build(),
            )
        };
    }
    permission.build()
}

#[cfg(test)]
mod tests {
    use super::permission;

    #[test]
    fn both_families_go_into_one_permission() {
        let got = permission(443, &["10.0.0.0/16".into(), "2600:1f18::/56".into()]);
        assert_eq!(got.ip_ranges().len(), 1);
        assert_eq!(got.ipv6_ranges()[0].cidr_ipv6(), Some("2600:1f18::/56"));
        assert_eq!((got.from_port(), got.to_port()), (Some(443), Some(443)));
    }
}
