//! Making and changing endpoints.

use std::error::Error;

use aws_sdk_ec2::types::{IpAddressType, ResourceType, VpcEndpointType};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use castlink_aws::{Kind, SdkError, code, kind, message};
use castlink_core::Failure;

use crate::{
    convert,
    model::{Endpoint, Tags},
    network::Network,
    problem::{Problem, Refusal},
    token::client_token,
};

/// An endpoint to make: a gateway when it has route tables, an interface endpoint otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where.
    pub vpc: String,
    /// What it leads to, by full service name.
    pub service: String,
    /// One subnet per zone.
    pub subnets: Vec<String>,
    /// Security groups; without one EC2 would take the VPC's default group.
    pub groups: Vec<String>,
    /// Always sent: EC2's default is not documented.
    pub private_dns: bool,
    /// Tags, set together with the creation.
    pub tags: Tags,
    /// Route tables of a gateway.
    pub route_tables: Vec<String>,
    /// IPv6 addresses as well.
    pub dual_stack: bool,
    /// The region of the service, when it is another than the VPC's.
    pub service_region: Option<String>,
}

impl EndpointSpec {
    /// True for a gateway endpoint.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        !self.route_tables.is_empty()
    }

    /// The idempotency token. `generation` tells a new endpoint from one with the same
    /// parameters that was made before and deleted since: EC2 remembers tokens of
    /// deleted endpoints too.
    #[must_use]
    pub fn token(&self, region: &str, generation: u32) -> String {
        let tags = self
            .tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        client_token(&[
            ("region", vec![region.to_owned()]),
            ("vpc", vec![self.vpc.clone()]),
            ("service", vec![self.service.clone()]),
            ("subnets", self.subnets.clone()),
            ("groups", self.groups.clone()),
            ("private dns", vec![self.private_dns.to_string()]),
            ("tags", tags.collect()),
            ("route tables", self.route_tables.clone()),
            ("dual stack", vec![self.dual_stack.to_string()]),
            (
                "service region",
                self.service_region.iter().cloned().collect(),
            ),
            ("generation", vec![generation.to_string()]),
        ])
    }
}

/// Changes of one endpoint, sent as one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// The endpoint.
    pub id: String,
    /// Subnets to add.
    pub add_subnets: Vec<String>,
    /// Subnets to leave; in the same call as an addition in the same zone.
    pub remove_subnets: Vec<String>,
    /// Security groups to add.
    pub add_groups: Vec<String>,
    /// Security groups to take off.
    pub remove_groups: Vec<String>,
    /// Private DNS on or off; nothing leaves it.
    pub private_dns: Option<bool>,
    /// Route tables to add to a gateway.
    pub add_route_tables: Vec<String>,
    /// IPv6 addresses as well; nothing leaves it.
    pub dual_stack: Option<bool>,
}

impl EndpointChange {
    /// True when it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lists = [
            &self.add_subnets,
            &self.remove_subnets,
            &self.add_groups,
            &self.remove_groups,
            &self.add_route_tables,
        ];
        self.private_dns.is_none()
            && self.dual_stack.is_none()
            && lists.iter().all(|list| list.is_empty())
    }
}

impl Network {
    /// Makes an endpoint. Sending the same specification again with the same
    /// `generation` answers with the same endpoint.
    ///
    /// # Errors
    /// What EC2 has against it.
    pub async fn create_endpoint(
        &self,
        spec: &EndpointSpec,
        generation: u32,
    ) -> Result<Endpoint, Refusal> {
        let request = self
            .ec2
            .create_vpc_endpoint()
            .vpc_id(&spec.vpc)
            .service_name(&spec.service)
            .set_service_region(spec.service_region.clone());
        let request = if spec.is_gateway() {
            request
                .vpc_endpoint_type(VpcEndpointType::Gateway)
                .set_route_table_ids(Some(spec.route_tables.clone()))
        } else {
            request
                .vpc_endpoint_type(VpcEndpointType::Interface)
                .set_subnet_ids(Some(spec.subnets.clone()))
                .set_security_group_ids(Some(spec.groups.clone()))
                .private_dns_enabled(spec.private_dns)
                .set_ip_address_type(spec.dual_stack.then_some(IpAddressType::Dualstack))
        };
        let answer = request
            .client_token(spec.token(self.region(), generation))
            .tag_specifications(convert::tag_specification(
                ResourceType::VpcEndpoint,
                &spec.tags,
            ))
            .send()
            .await;
        let subject = format!("endpoint service {}", spec.service);
        let answer = answer.map_err(|err| {
            let refusal = self.refusal("ec2:CreateVpcEndpoint", &subject, &err);
            let said = format!("{}: {}", code(&err).unwrap_or_default(), message(&err));
            needs(&subject, refusal, said)
        })?;
        Ok(answer
            .vpc_endpoint
            .map(convert::endpoint)
            .unwrap_or_default())
    }

    /// Changes an endpoint in place. EC2 takes one change of an endpoint at a time.
    ///
    /// # Errors
    /// What EC2 has against it; [`Problem::InProgress`] is worth trying again.
    pub async fn modify_endpoint(&self, change: &EndpointChange) -> Result<(), Refusal> {
        let list = |ids: &[String]| (!ids.is_empty()).then(|| ids.to_vec());
        self.ec2
            .modify_vpc_endpoint()
            .vpc_endpoint_id(&change.id)
            .set_add_subnet_ids(list(&change.add_subnets))
            .set_remove_subnet_ids(list(&change.remove_subnets))
            .set_add_security_group_ids(list(&change.add_groups))
            .set_remove_security_group_ids(list(&change.remove_groups))
            .set_private_dns_enabled(change.private_dns)
            .set_add_route_table_ids(list(&change.add_route_tables))
            .set_ip_address_type(change.dual_stack.map(address_type))
            .send()
            .await
            .map_err(|err| {
                let subject = format!("endpoint {}", change.id);
                let refusal = self.refusal("ec2:ModifyVpcEndpoint", &subject, &err);
                match refusal.problem {
                    Problem::Missing => Refusal {
                        failure: refusal
                            .failure
                            .hint("it was deleted since the plan: run it again"),
                        ..refusal
                    },
                    _ => refusal,
                }
            })?;
        Ok(())
    }

    /// What EC2 has against a change of `subject`.
    pub(crate) fn refusal<E>(&self, action: &str, subject: &str, err: &SdkError<E>) -> Refusal
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let problem = Problem::read(code(err), message(err));
        let mut failure = problem.refine(subject, self.failure(action, subject, err));
        if action == "ec2:CreateVpcEndpoint" && kind(err) == Kind::Denied {
            // Its lack is reported as a denial of the creation.
            failure = failure.hint(
                "allow ec2:CreateVpcEndpoint and ec2:CreateTags, and for private DNS route53:AssociateVPCWithHostedZone, for the identity in use; or choose another with --profile or --role-arn",
            );
        }
        Refusal { problem, failure }
    }
}

fn address_type(dual_stack: bool) -> IpAddressType {
    if dual_stack {
        IpAddressType::Dualstack
    } else {
        IpAddressType::Ipv4
    }
}

/// What does not exist is never the service itself: that has a code of its own.
fn needs(subject: &str, refusal: Refusal, said: String) -> Refusal {
    match refusal.problem {
        Problem::Missing => Refusal {
            failure: Failure::failed(format!("something that {subject} needs does not exist"))
                .because(said)
                .hint("a subnet or a security group was deleted since the plan: run it again"),
            ..refusal
        },
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EndpointSpec {
        EndpointSpec {
            vpc: "vpc-1".into(),
            service: "com.amazonaws.vpce.us-east-1.vpce-svc-1".into(),
            subnets: vec!["subnet-b".into(), "subnet-a".into()],
            groups: vec!["sg-1".into()],
            private_dns: true,
            tags: Tags::from([("a".into(), "b".into())]),
            ..EndpointSpec::default()
        }
    }

    #[test]
    fn a_token_follows_every_parameter_and_not_their_order() {
        let first = spec().token("us-east-1", 0);
        let mut sorted = spec();
        sorted.subnets.sort();
        assert_eq!(sorted.token("us-east-1", 0), first);
        let mut dns = spec();
        dns.private_dns = false;
        let mut tags = spec();
        tags.tags.clear();
        for other in [
            spec().token("us-east-2", 0),
            spec().token("us-east-1", 1),
            dns.token("us-east-1", 0),
            tags.token("us-east-1", 0),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn a_change_of_nothing_is_empty() {
        let mut change = EndpointChange {
            id: "vpce-1".into(),
            ..EndpointChange::default()
        };
        assert!(change.is_empty());
        change.private_dns = Some(true);
        assert!(!change.is_empty());
    }
}
