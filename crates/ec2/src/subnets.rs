//! Subnets, the routes that make them public, and VPCs.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{RouteTable, VpcAttributeName};
use castlink_core::{Failure, Result};
use tokio::try_join;

use crate::{
    convert,
    model::{Routes, Subnet, Vpc},
    network::{FILTER_VALUES, Network, filter},
};

impl Network {
    /// The subnets with these ids, in no particular order.
    ///
    /// # Errors
    /// Exit 2 when one does not exist in this account and region; all unknown ids are
    /// named at once.
    pub async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>> {
        let mut found = Vec::new();
        // A filter leaves unknown ids out; asking by id would fail on the first.
        for batch in ids.chunks(FILTER_VALUES) {
            found.extend(self.subnets_where("subnet-id", batch).await?);
        }
        let unknown: Vec<&str> = ids
            .iter()
            .filter(|id| !found.iter().any(|subnet| subnet.id == **id))
            .map(String::as_str)
            .collect();
        if unknown.is_empty() {
            return Ok(found);
        }
        Err(Failure::usage(format!(
            "no such subnet in {}: {}",
            self.region(),
            unknown.join(", ")
        ))
        .hint(
            "check the id, --region and --profile; `aws ec2 describe-subnets` lists what there is",
        ))
    }

    /// All subnets of a VPC.
    ///
    /// # Errors
    /// When EC2 cannot be asked. A VPC that does not exist has no subnets.
    pub async fn subnets_of(&self, vpc: &str) -> Result<Vec<Subnet>> {
        self.subnets_where("vpc-id", &[vpc.to_owned()]).await
    }

    async fn subnets_where(&self, name: &str, values: &[String]) -> Result<Vec<Subnet>> {
        let pages = self
            .ec2
            .describe_subnets()
            .filters(filter(name, values))
            .into_paginator();
        let found: Vec<_> = pages
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| self.failure("ec2:DescribeSubnets", &some(values), &err))?;
        Ok(found.into_iter().map(convert::subnet).collect())
    }

    /// The subnets of a VPC that route to an internet gateway, with the gateway:
    /// those with such a route in their own table, or in the VPC's main table when
    /// they have none.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn public_subnets(&self, subnets: &[Subnet]) -> Result<BTreeMap<String, String>> {
        Ok(self.routes(subnets).await?.public)
    }

    /// Where the subnets route to: see [`Routes`].
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn routes(&self, subnets: &[Subnet]) -> Result<Routes> {
        let mut vpcs: Vec<&str> = subnets.iter().map(|subnet| subnet.vpc.as_str()).collect();
        vpcs.sort_unstable();
        vpcs.dedup();
        if vpcs.is_empty() {
            return Ok(Routes::default());
        }
        let pages = self
            .ec2
            .describe_route_tables()
            .filters(filter("vpc-id", &vpcs))
            .into_paginator();
        let tables: Vec<RouteTable> = pages
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| self.failure("ec2:DescribeRouteTables", &vpcs.join(", "), &err))?;
        Ok(Routes {
            public: public(subnets, &tables),
            tables: table_ids(subnets, &tables),
        })
    }

    /// A VPC with its CIDRs and DNS attributes.
    ///
    /// # Errors
    /// Exit 2 when it does not exist in this account and region; the hint lists those that do.
    pub async fn vpc(&self, id: &str) -> Result<Vpc> {
        let (found, dns_support, dns_hostnames) = try_join!(
            self.vpcs(Some(id)),
            self.attribute(id, VpcAttributeName::EnableDnsSupport),
            self.attribute(id, VpcAttributeName::EnableDnsHostnames),
        )?;
        let vpc = found.into_iter().find(|vpc| vpc.vpc_id() == Some(id));
        match vpc.zip(dns_support).zip(dns_hostnames) {
            Some(((vpc, dns_support), dns_hostnames)) => Ok(Vpc {
                id: id.to_owned(),
                cidrs: convert::cidrs(&vpc),
                dns_support,
                dns_hostnames,
            }),
            None => Err(self.no_vpc(id).await),
        }
    }

    /// One attribute per call is all that EC2 answers. Nothing when the VPC does not exist.
    async fn attribute(&self, id: &str, name: VpcAttributeName) -> Result<Option<bool>> {
        let answer = self
            .ec2
            .describe_vpc_attribute()
            .vpc_id(id)
            .attribute(name)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Some(
                [answer.enable_dns_support(), answer.enable_dns_hostnames()]
                    .into_iter()
                    .flatten()
                    .any(|value| value.value() == Some(true)),
            )),
            Err(err) if missing_vpc(castlink_aws::code(&err)) => Ok(None),
            Err(err) => Err(self.failure("ec2:DescribeVpcAttribute", id, &err)),
        }
    }

    async fn vpcs(&self, id: Option<&str>) -> Result<Vec<aws_sdk_ec2::types::Vpc>> {
        let mut request = self.ec2.describe_vpcs();
        if let Some(id) = id {
            request = request.filters(filter("vpc-id", &[id]));
        }
        request
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| self.failure("ec2:DescribeVpcs", id.unwrap_or("the region"), &err))
    }

    /// The failure for a VPC that does not exist: exit 2, with those that do.
    pub async fn no_vpc(&self, id: &str) -> Failure {
        let failure = Failure::usage(format!("no such VPC in {}: {id}", self.region()));
        let known = match self.vpcs(None).await {
            Ok(found) => found
                .into_iter()
                .filter_map(|vpc| vpc.vpc_id)
                .collect::<Vec<_>>(),
            // The list is only a courtesy.
            Err(_) => Vec::new(),
        };
        match known.as_slice() {
            [] => failure.hint("check the id, --region and --profile"),
            known => failure.hint(format!(
                "VPCs here: {}; or check --region and --profile",
                known.join(", ")
            )),
        }
    }
}

/// `InvalidVpcID.NotFound`, or `InvalidVpcID.Malformed` for an id that is none.
fn missing_vpc(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.to_ascii_lowercase().starts_with("invalidvpcid."))
}

fn some(values: &[String]) -> String {
    match values {
        [first, _, _, _, ..] => format!("{first} and {} more", values.len() - 1),
        values => values.join(", "),
    }
}

fn table_ids(subnets: &[Subnet], tables: &[RouteTable]) -> BTreeMap<String, String> {
    let id = |subnet: &Subnet| {
        let table = table_of(subnet, tables)?.route_table_id()?;
        Some((subnet.id.clone(), table.to_owned()))
    };
    subnets.iter().filter_map(id).collect()
}

/// Pure half of [`Network::public_subnets`].
fn public(subnets: &[Subnet], tables: &[RouteTable]) -> BTreeMap<String, String> {
    subnets
        .iter()
        .filter_map(|subnet| {
            let gateway = internet_gateway(table_of(subnet, tables)?)?;
            Some((subnet.id.clone(), gateway.to_owned()))
        })
        .collect()
}

fn table_of<'a>(subnet: &Subnet, tables: &'a [RouteTable]) -> Option<&'a RouteTable> {
    let own = |table: &&RouteTable| {
        let mut associations = table.associations().iter();
        associations.any(|association| association.subnet_id() == Some(subnet.id.as_str()))
    };
    let main = |table: &&RouteTable| {
        let mut associations = table.associations().iter();
        table.vpc_id() == Some(subnet.vpc.as_str())
            && associations.any(|association| association.main() == Some(true))
    };
    tables.iter().find(own).or_else(|| tables.iter().find(main))
}

/// Egress-only gateways are no way in, and have ids of their own (`eigw-`).
fn internet_gateway(table: &RouteTable) -> Option<&str> {
    table
        .routes()
        .iter()
        .filter_map(|route| route.gateway_id())
        .find(|id| id.starts_with("igw-"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{Route, RouteTableAssociation};

    use super::*;

    fn table(subnet: Option<&str>, gateway: &str) -> RouteTable {
        let association = RouteTableAssociation::builder()
            .set_subnet_id(subnet.map(Into::into))
            .main(subnet.is_none())
            .build();
        RouteTable::builder()
            .vpc_id("vpc-1")
            .associations(association)
            .routes(Route::builder().gateway_id("local").build())
            .routes(Route::builder().gateway_id(gateway).build())
            .build()
    }

    fn subnet(id: &str) -> Subnet {
        Subnet {
            id: id.into(),
            vpc: "vpc-1".into(),
            ..Subnet::default()
        }
    }

    #[test]
    fn the_own_table_wins_over_the_main_one() {
        let subnets = [subnet("a"), subnet("b"), subnet("c")];
        let tables = [
            table(None, "igw-main"),
            table(Some("a"), "nat-1"),
            table(Some("b"), "igw-own"),
        ];
        let want = [("b", "igw-own"), ("c", "igw-main")];
        let want: BTreeMap<String, String> = want
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        assert_eq!(public(&subnets, &tables), want);
    }

    #[test]
    fn a_vpc_that_is_not_there_has_several_codes() {
        for code in ["InvalidVpcID.NotFound", "InvalidVpcId.Malformed"] {
            assert!(missing_vpc(Some(code)), "{code}");
        }
        assert!(!missing_vpc(Some("UnauthorizedOperation")));
    }
}
