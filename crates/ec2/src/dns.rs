//! What decides whether names resolve to an endpoint in a VPC: the VPC's DNS attributes,
//! and private hosted zones.

use std::fmt;

use aws_sdk_ec2::types::AttributeBooleanValue;
use aws_sdk_route53::types::{HostedZoneSummary, VpcRegion};
use castlink_core::Result;

use crate::{model::HostedZone, network::Network};

/// An attribute of a VPC that private DNS needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsAttribute {
    /// The VPC's resolver answers.
    Support,
    /// Instances get names; off in new VPCs.
    Hostnames,
}

impl DnsAttribute {
    /// EC2's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Support => "enableDnsSupport",
            Self::Hostnames => "enableDnsHostnames",
        }
    }

    /// The flag of `aws ec2 modify-vpc-attribute` that switches it on.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Support => "--enable-dns-support",
            Self::Hostnames => "--enable-dns-hostnames",
        }
    }
}

impl fmt::Display for DnsAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Network {
    /// Switches an attribute of a VPC on. One attribute per call is all that EC2 takes.
    ///
    /// # Errors
    /// What EC2 has against it.
    pub async fn enable_dns(&self, vpc: &str, attribute: DnsAttribute) -> Result<()> {
        let on = AttributeBooleanValue::builder().value(true).build();
        let request = self.ec2.modify_vpc_attribute().vpc_id(vpc);
        let request = match attribute {
            DnsAttribute::Support => request.enable_dns_support(on),
            DnsAttribute::Hostnames => request.enable_dns_hostnames(on),
        };
        request
            .send()
            .await
            .map_err(|err| self.failure("ec2:ModifyVpcAttribute", vpc, &err))?;
        Ok(())
    }

    /// The private hosted zones that are associated with a VPC, whoever owns them.
    ///
    /// # Errors
    /// When Route 53 cannot be asked: it has no endpoint in most closed networks.
    pub async fn hosted_zones(&self, vpc: &str) -> Result<Vec<HostedZone>> {
        let request = self
            .route53
            .list_hosted_zones_by_vpc()
            .vpc_id(vpc)
            .vpc_region(VpcRegion::from(self.region()));
        let mut zones = Vec::new();
        let mut token = None;
        loop {
            let page = request
                .clone()
                .set_next_token(token)
                .send()
                .await
                .map_err(|err| self.failure("route53:ListHostedZonesByVPC", vpc, &err))?;
            zones.extend(page.hosted_zone_summaries.into_iter().map(zone));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(zones);
            }
        }
    }
}

/// Route 53 writes names with a final dot, and an asterisk as an octal escape.
fn zone(from: HostedZoneSummary) -> HostedZone {
    let owner = from.owner;
    HostedZone {
        id: from.hosted_zone_id,
        name: from.name.trim_end_matches('.').replace("\\052", "*"),
        account: owner
            .as_ref()
            .and_then(|owner| owner.owning_account.clone())
            .unwrap_or_default(),
        service: owner.and_then(|owner| owner.owning_service),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_names_are_read_as_people_write_them() {
        let from = |name: &str| {
            HostedZoneSummary::builder()
                .hosted_zone_id("Z1")
                .name(name)
                .build()
                .unwrap()
        };
        assert_eq!(zone(from("api.cast.ai.")).name, "api.cast.ai");
        assert_eq!(zone(from("\\052.dkr.ecr.")).name, "*.dkr.ecr");
    }
}
