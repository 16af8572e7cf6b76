//! EKS: the emulator's clusters, with what it leaves out of DescribeCluster put in (the
//! VPC, the cluster security group) and, when known, an API server that exists.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::body::{Bytes, to_bytes};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::MAX_BODY;
use super::answer::{ApiError, respond};
use super::upstream::Upstream;
use crate::knobs::Knobs;

/// VPC and cluster security group by the cluster's region and name, found out once.
#[derive(Default)]
pub(super) struct Clusters(Mutex<BTreeMap<(String, String), (String, String)>>);

/// The API's name for a request.
pub(super) fn action(method: &Method, path: &str) -> String {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let name = match (method.as_str(), parts.as_slice()) {
        ("GET", ["clusters"]) => "ListClusters",
        ("POST", ["clusters"]) => "CreateCluster",
        ("GET", ["clusters", _]) => "DescribeCluster",
        ("DELETE", ["clusters", _]) => "DeleteCluster",
        ("GET", ["clusters", _, "node-groups"]) => "ListNodegroups",
        ("POST", ["clusters", _, "node-groups"]) => "CreateNodegroup",
        ("GET", ["clusters", _, "node-groups", _]) => "DescribeNodegroup",
        ("GET", ["clusters", _, "fargate-profiles"]) => "ListFargateProfiles",
        ("GET", ["clusters", _, "fargate-profiles", _]) => "DescribeFargateProfile",
        _ => return format!("{method} {path}"),
    };
    name.to_owned()
}

impl Clusters {
    pub(super) async fn answer(
        &self,
        moto: &Upstream,
        knobs: &Knobs,
        region: &str,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        let response = moto.forward(parts, body).await?;
        let whole = matches!(
            action(&parts.method, parts.uri.path()).as_str(),
            "DescribeCluster" | "CreateCluster"
        );
        if !whole || !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, MAX_BODY)
            .await
            .map_err(|error| broken(&error))?;
        let mut answer: Value = serde_json::from_slice(&bytes).map_err(|error| broken(&error))?;
        self.complete(moto, knobs, region, &mut answer["cluster"])
            .await?;
        let mut response = respond(head.status, "application/json", answer.to_string());
        response.headers_mut().extend(head.headers);
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }

    async fn complete(
        &self,
        moto: &Upstream,
        knobs: &Knobs,
        region: &str,
        cluster: &mut Value,
    ) -> Result<(), ApiError> {
        let name = cluster["name"].as_str().unwrap_or_default().to_owned();
        let network = &mut cluster["resourcesVpcConfig"];
        let subnets = network["subnetIds"].as_array().cloned().unwrap_or_default();
        let first: Vec<_> = subnets
            .iter()
            .take(1)
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if let Some((vpc, group)) = self.network(moto, region, &name, &first).await? {
            network["vpcId"] = json!(vpc);
            network["clusterSecurityGroupId"] = json!(group);
        }
        if let Some(access) = &knobs.cluster {
            cluster["endpoint"] = json!(access.endpoint);
            cluster["certificateAuthority"] = json!({"data": access.ca_base64});
        }
        Ok(())
    }

    /// The VPC of the cluster's first subnet, and a security group made for the cluster
    /// there, as EKS makes one. Nothing when the subnet does not exist.
    async fn network(
        &self,
        moto: &Upstream,
        region: &str,
        name: &str,
        subnet: &[String],
    ) -> Result<Option<(String, String)>, ApiError> {
        let key = (region.to_owned(), name.to_owned());
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(vpc) = moto
            .subnets(region, subnet)
            .await
            .unwrap_or_default()
            .pop()
            .map(|subnet| subnet.vpc)
        else {
            return Ok(None);
        };
        let group = format!("eks-cluster-sg-{name}-{}", &super::invented_id(name)[..9]);
        let id = moto
            .create_group(region, &vpc, &group, "EKS created security group")
            .await?;
        let found = (vpc, id);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, found.clone());
        Ok(Some(found))
    }
}

fn broken(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(
        500,
        "ServerException",
        format!("the emulator's answer is unreadable: {error}"),
    )
}
