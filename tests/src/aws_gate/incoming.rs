//! A request to AWS, taken apart: which service, region and action, whether it changes
//! anything, and what it is about.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::Value;

use super::eks;
use super::query::Params;
use crate::wire::Entry;

/// An API's name as ECR's protocol spells it before the action.
const ECR_TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.";

/// One request, taken apart.
pub(super) struct Incoming {
    pub(super) service: String,
    pub(super) region: String,
    pub(super) action: String,
    pub(super) mutating: bool,
    pub(super) resource: String,
    pub(super) params: Params,
    pub(super) json: Value,
}

impl Incoming {
    pub(super) fn read(parts: &Parts, body: &[u8]) -> Self {
        let (region, service) = scope(&parts.headers);
        let target = parts
            .headers
            .get("x-amz-target")
            .and_then(|value| value.to_str().ok());
        let path = parts.uri.path();
        if let Some(action) = target.and_then(|target| target.strip_prefix(ECR_TARGET)) {
            let json: Value = serde_json::from_slice(body).unwrap_or_default();
            let named = json["repositoryName"]
                .as_str()
                .or(json["resourceArn"].as_str());
            let resource = named.unwrap_or_default().to_owned();
            let (service, params) = ("ecr".to_owned(), Params::parse(b""));
            let mutating = changes(action);
            return Self {
                service,
                region,
                action: action.to_owned(),
                mutating,
                resource,
                params,
                json,
            };
        }
        let params = Params::parse(body);
        let action = match (service.as_str(), params.get("Action")) {
            ("eks", _) | (_, None) => format!("{} {}", parts.method, path),
            (_, Some(action)) => action.to_owned(),
        };
        let mutating = match service.as_str() {
            "sts" => false,
            "eks" | "route53" => parts.method != http::Method::GET,
            _ => changes(&action),
        };
        let action = match service.as_str() {
            "eks" => eks::action(&parts.method, path),
            "route53" if path.ends_with("/hostedzonesbyvpc") => "ListHostedZonesByVPC".to_owned(),
            _ => action,
        };
        let resource = if service == "eks" {
            path.to_owned()
        } else {
            resource(&params)
        };
        Self {
            service,
            region,
            action,
            mutating,
            resource,
            params,
            json: Value::Null,
        }
    }

    /// What a fault's `contains` is looked for in.
    pub(super) fn subject(&self) -> String {
        format!("{} {:?} {}", self.resource, self.params.shown(), self.json)
    }

    pub(super) fn entry(&self, status: u16) -> Entry {
        let dry = self.params.flag("DryRun") == Some(true);
        Entry {
            seq: 0,
            at: Timestamp::now(),
            service: self.service.clone(),
            action: self.action.clone(),
            mutating: self.mutating && !dry,
            status,
            resource: self.resource.clone(),
            params: if self.service == "ec2" {
                self.params.shown()
            } else {
                BTreeMap::new()
            },
        }
    }
}

/// Whether an action changes something, by AWS's own naming.
fn changes(action: &str) -> bool {
    const READS: [&str; 6] = [
        "Describe",
        "Get",
        "List",
        "BatchGet",
        "BatchCheck",
        "Search",
    ];
    !READS.iter().any(|prefix| action.starts_with(prefix))
}

/// What an EC2, IAM or STS request is about.
fn resource(params: &Params) -> String {
    const NAMES: [&str; 10] = [
        "VpcEndpointId",
        "VpcEndpointId.1",
        "ServiceName",
        "ServiceName.1",
        "ResourceId.1",
        "GroupId",
        "GroupName",
        "SubnetId.1",
        "VpcId",
        "RoleName",
    ];
    let found = NAMES.iter().find_map(|name| params.get(name));
    found.unwrap_or_default().to_owned()
}

/// `Credential=KEY/date/region/service/aws4_request` of the signature.
fn credential(headers: &HeaderMap) -> Option<Vec<&str>> {
    let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let rest = header
        .strip_prefix("AWS4-HMAC-SHA256")?
        .split_once("Credential=")?
        .1;
    let scope: Vec<_> = rest.split(',').next()?.split('/').collect();
    (scope.len() == 5).then_some(scope)
}

pub(super) fn access_key(headers: &HeaderMap) -> Option<&str> {
    credential(headers).map(|scope| scope[0])
}

/// Region and service; what is unsigned is taken for EC2's and refused in its words.
fn scope(headers: &HeaderMap) -> (String, String) {
    match credential(headers) {
        Some(scope) => (scope[2].to_owned(), scope[3].to_owned()),
        None => ("us-east-1".to_owned(), "ec2".to_owned()),
    }
}
