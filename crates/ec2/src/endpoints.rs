//! Endpoint services and endpoints: reading and deleting.

use std::collections::BTreeMap;

use aws_sdk_ec2::{
    operation::describe_vpc_endpoint_services::{
        DescribeVpcEndpointServicesError, builders::DescribeVpcEndpointServicesFluentBuilder,
    },
    types::{ServiceDetail, UnsuccessfulItem},
};
use castlink_aws::{Kind, SdkError, classify, code};
use castlink_core::{Failure, Result};
use futures::future::try_join_all;

use crate::{
    convert,
    model::{Endpoint, Service},
    network::{FILTER_VALUES, Network, filter},
};

/// EC2's code for a service name that is wrong, foreign, or not for this account.
const UNKNOWN_SERVICE: &str = "InvalidServiceName";

/// EC2 deletes endpoints in batches of at most this many.
const BATCH: usize = 25;

/// An endpoint that EC2 did not delete.
#[derive(Debug)]
pub struct Undeleted {
    /// The endpoint.
    pub id: String,
    /// Why.
    pub failure: Failure,
}

impl Network {
    /// The services of these names; those that EC2 does not know here are missing from
    /// the answer. One call when it knows them all: a single unknown name fails the call
    /// for all, and then each is asked by itself.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn services(&self, names: &[String]) -> Result<BTreeMap<String, Service>> {
        self.services_in(None, names).await
    }

    /// The same for services of another region.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn services_in(
        &self,
        region: Option<&str>,
        names: &[String],
    ) -> Result<BTreeMap<String, Service>> {
        let details = match self.service_details(region, names).await {
            Err(err) if code(&err) == Some(UNKNOWN_SERVICE) && names.len() > 1 => {
                let each = names
                    .iter()
                    .map(|name| self.known_details(region, std::slice::from_ref(name)));
                try_join_all(each).await?.concat()
            }
            answer => self.known(names, answer)?,
        };
        let services = details.into_iter().map(convert::service);
        Ok(services
            .map(|service| (service.name.clone(), service))
            .collect())
    }

    /// AWS's own services of these names, as far as the region has them. One call: a
    /// filter, unlike a list of names, leaves out what it does not know. A service that
    /// is there as a gateway and with interfaces counts as a gateway.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn aws_services(&self, names: &[String]) -> Result<BTreeMap<String, Service>> {
        let mut services = BTreeMap::new();
        for batch in names.chunks(FILTER_VALUES) {
            let request = self
                .ec2
                .describe_vpc_endpoint_services()
                .filters(filter("service-name", batch));
            let details = pages(request).await.map_err(|err| {
                self.failure("ec2:DescribeVpcEndpointServices", &batch.join(", "), &err)
            })?;
            for service in details.into_iter().map(convert::service) {
                if service.gateway || !services.contains_key(&service.name) {
                    services.insert(service.name.clone(), service);
                }
            }
        }
        Ok(services)
    }

    async fn known_details(
        &self,
        region: Option<&str>,
        names: &[String],
    ) -> Result<Vec<ServiceDetail>> {
        let answer = self.service_details(region, names).await;
        self.known(names, answer)
    }

    fn known(
        &self,
        names: &[String],
        answer: Result<Vec<ServiceDetail>, SdkError<DescribeVpcEndpointServicesError>>,
    ) -> Result<Vec<ServiceDetail>> {
        match answer {
            Err(err) if code(&err) == Some(UNKNOWN_SERVICE) => Ok(Vec::new()),
            answer => answer.map_err(|err| {
                self.failure("ec2:DescribeVpcEndpointServices", &names.join(", "), &err)
            }),
        }
    }

    async fn service_details(
        &self,
        region: Option<&str>,
        names: &[String],
    ) -> Result<Vec<ServiceDetail>, SdkError<DescribeVpcEndpointServicesError>> {
        let request = self
            .ec2
            .describe_vpc_endpoint_services()
            .set_service_names(Some(names.to_vec()))
            .set_service_regions(region.map(|region| vec![region.to_owned()]));
        pages(request).await
    }

    /// The endpoints of a VPC, also dead and leaving ones; of these services, or of all
    /// when `services` is empty.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn endpoints(&self, vpc: &str, services: &[String]) -> Result<Vec<Endpoint>> {
        let mut request = self
            .ec2
            .describe_vpc_endpoints()
            .filters(filter("vpc-id", &[vpc]));
        if !services.is_empty() {
            request = request.filters(filter("service-name", services));
        }
        let found: Vec<_> = request
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|err| self.failure("ec2:DescribeVpcEndpoints", vpc, &err))?;
        Ok(found.into_iter().map(convert::endpoint).collect())
    }

    /// Asks EC2 to delete endpoints. They stay `deleting` for a while. Those that are
    /// gone already count as deleted; what EC2 refuses is in the answer, which it gives
    /// with a 200.
    ///
    /// # Errors
    /// When EC2 cannot be asked.
    pub async fn delete_endpoints(&self, ids: &[String]) -> Result<Vec<Undeleted>> {
        let mut undeleted = Vec::new();
        for batch in ids.chunks(BATCH) {
            let request = self
                .ec2
                .delete_vpc_endpoints()
                .set_vpc_endpoint_ids(Some(batch.to_vec()));
            let answer = request
                .send()
                .await
                .map_err(|err| self.failure("ec2:DeleteVpcEndpoints", &batch.join(", "), &err))?;
            undeleted.extend(
                answer
                    .unsuccessful
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(refused),
            );
        }
        Ok(undeleted)
    }
}

/// The SDK has no paginator for this one.
async fn pages(
    request: DescribeVpcEndpointServicesFluentBuilder,
) -> Result<Vec<ServiceDetail>, SdkError<DescribeVpcEndpointServicesError>> {
    let mut details = Vec::new();
    let mut token = None;
    loop {
        let page = request.clone().set_next_token(token).send().await?;
        details.extend(page.service_details.unwrap_or_default());
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(details);
        }
    }
}

fn refused(item: UnsuccessfulItem) -> Option<Undeleted> {
    let id = item.resource_id.unwrap_or_default();
    let error = item.error;
    let code = error.as_ref().and_then(|error| error.code());
    let kind = classify(code, None);
    if kind == Kind::NotFound {
        return None;
    }
    let text = error
        .as_ref()
        .and_then(|error| error.message())
        .unwrap_or_default();
    let failure = Failure::new(kind.exit(), format!("endpoint {id} was not deleted"))
        .because(format!("{}: {text}", code.unwrap_or("no code")));
    Some(Undeleted { id, failure })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::UnsuccessfulItemError;
    use castlink_core::Exit;

    use super::*;

    fn item(code: &str) -> UnsuccessfulItem {
        let error = UnsuccessfulItemError::builder()
            .code(code)
            .message("m")
            .build();
        UnsuccessfulItem::builder()
            .resource_id("vpce-1")
            .error(error)
            .build()
    }

    #[test]
    fn gone_is_deleted_and_the_rest_is_told() {
        assert!(refused(item("InvalidVpcEndpoint.NotFound")).is_none());
        let denied = refused(item("UnauthorizedOperation")).unwrap();
        assert_eq!(denied.failure.exit(), Exit::Credentials);
        assert!(denied.failure.one_line().contains("vpce-1"));
    }
}
