//! The emulator behind the gate: requests passed on to it, and the facts that the gate
//! needs from it to judge (subnets, zones, security groups, VPC attributes).

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::request::Parts;
use roxmltree::{Document, Node};
use url::form_urlencoded;

use super::answer::ApiError;

/// What the gate needs to know about a subnet.
#[derive(Clone, Debug)]
pub(super) struct Subnet {
    pub(super) id: String,
    pub(super) vpc: String,
    pub(super) zone: String,
    pub(super) zone_id: String,
    pub(super) free_addresses: u64,
    /// It has an IPv6 range.
    pub(super) ipv6: bool,
}

/// A security group by its two names.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
}

/// The emulator.
pub(super) struct Upstream {
    url: String,
    http: reqwest::Client,
    access_key: String,
}

impl Upstream {
    pub(super) fn new(url: &str, access_key: &str) -> Self {
        let (url, access_key) = (url.to_owned(), access_key.to_owned());
        Self {
            url,
            http: reqwest::Client::new(),
            access_key,
        }
    }

    /// Passes a request on as it is.
    pub(super) async fn forward(&self, parts: &Parts, body: Bytes) -> Result<Response, ApiError> {
        let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = parts.headers.clone();
        headers.remove(http::header::HOST);
        headers.remove(http::header::TRANSFER_ENCODING);
        let request = self
            .http
            .request(parts.method.clone(), format!("{}{target}", self.url));
        let answer = request
            .headers(headers)
            .body(body)
            .send()
            .await
            .map_err(unavailable)?;
        let (status, kept) = (answer.status(), kept_headers(answer.headers()));
        let mut response = Response::new(Body::from(answer.bytes().await.map_err(unavailable)?));
        *response.status_mut() = status;
        *response.headers_mut() = kept;
        Ok(response)
    }

    /// One EC2 call of the gate's own.
    pub(super) async fn ec2(
        &self,
        region: &str,
        action: &str,
        params: &[(String, &str)],
    ) -> Result<String, ApiError> {
        // The emulator reads region and service from here and checks no signature.
        let scope = format!("{}/20260101/{region}/ec2/aws4_request", self.access_key);
        let signature =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let request = self
            .http
            .post(&self.url)
            .header(http::header::AUTHORIZATION, signature)
            .header(
                http::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(form(action, params));
        let answer = request.send().await.map_err(unavailable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unavailable)?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(refusal(status.as_u16(), &text))
        }
    }

    /// The subnets with these ids, or the error for the first unknown one.
    pub(super) async fn subnets(
        &self,
        region: &str,
        ids: &[String],
    ) -> Result<Vec<Subnet>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let text = self
            .ec2(region, "DescribeSubnets", &numbered("SubnetId", ids))
            .await?;
        let found: BTreeMap<_, _> = parse(&text, "subnetSet", |item| {
            let subnet = Subnet {
                id: leaf(item, "subnetId"),
                vpc: leaf(item, "vpcId"),
                zone: leaf(item, "availabilityZone"),
                zone_id: leaf(item, "availabilityZoneId"),
                free_addresses: leaf(item, "availableIpAddressCount").parse().unwrap_or(0),
                ipv6: item.descendants().any(|node| named(node, "ipv6CidrBlock")),
            };
            (subnet.id.clone(), subnet)
        })?
        .into_iter()
        .collect();
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect()) // in the caller's order
    }

    /// Fails as EC2 does when there is no such VPC.
    pub(super) async fn require_vpc(&self, region: &str, vpc: &str) -> Result<(), ApiError> {
        let id = [("VpcId.1".to_owned(), vpc)];
        self.ec2(region, "DescribeVpcs", &id).await.map(drop)
    }

    /// Whether the VPC has both attributes that private DNS needs.
    pub(super) async fn resolves_private_names(
        &self,
        region: &str,
        vpc: &str,
    ) -> Result<bool, ApiError> {
        for attribute in ["enableDnsSupport", "enableDnsHostnames"] {
            let params = [
                ("VpcId".to_owned(), vpc),
                ("Attribute".to_owned(), attribute),
            ];
            let text = self.ec2(region, "DescribeVpcAttribute", &params).await?;
            let document = Document::parse(&text).map_err(unreadable)?;
            if leaf(document.root_element(), "value") != "true" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The security groups with these ids; the VPC's default one when there are none.
    pub(super) async fn groups(
        &self,
        region: &str,
        vpc: &str,
        ids: &[String],
    ) -> Result<Vec<Group>, ApiError> {
        let default = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", vpc),
            ("Filter.2.Name", "group-name"),
            ("Filter.2.Value.1", "default"),
        ];
        let params = match ids {
            [] => default
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            ids => numbered("GroupId", ids),
        };
        let text = self.ec2(region, "DescribeSecurityGroups", &params).await?;
        parse(&text, "securityGroupInfo", |item| Group {
            id: leaf(item, "groupId"),
            name: leaf(item, "groupName"),
        })
    }

    /// Makes a security group; its id.
    pub(super) async fn create_group(
        &self,
        region: &str,
        vpc: &str,
        name: &str,
        description: &str,
    ) -> Result<String, ApiError> {
        let params = [
            ("VpcId", vpc),
            ("GroupName", name),
            ("GroupDescription", description),
        ];
        let params = params.map(|(key, value)| (key.to_owned(), value));
        let text = self.ec2(region, "CreateSecurityGroup", &params).await?;
        let document = Document::parse(&text).map_err(unreadable)?;
        Ok(leaf(document.root_element(), "groupId"))
    }

    /// The region's zones: name and id.
    pub(super) async fn zones(&self, region: &str) -> Result<Vec<(String, String)>, ApiError> {
        let text = self.ec2(region, "DescribeAvailabilityZones", &[]).await?;
        parse(&text, "availabilityZoneInfo", |item| {
            (leaf(item, "zoneName"), leaf(item, "zoneId"))
        })
    }
}

fn form(action: &str, params: &[(String, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action)
        .append_pair("Version", "2016-11-15");
    form.extend_pairs(params).finish()
}

/// `NAME.1=…`, `NAME.2=…`
pub(super) fn numbered<'a>(name: &str, values: &'a [String]) -> Vec<(String, &'a str)> {
    let key = |index: usize| format!("{name}.{}", index + 1);
    values
        .iter()
        .enumerate()
        .map(|(index, value)| (key(index), value.as_str()))
        .collect()
}

/// The text of the first descendant called `name`.
fn leaf(node: Node<'_, '_>, name: &str) -> String {
    let found = node.descendants().find(|node| named(*node, name));
    found
        .and_then(|node| node.text())
        .unwrap_or_default()
        .to_owned()
}

/// What `read` makes of each item of the set called `set`.
fn parse<T>(text: &str, set: &str, read: impl Fn(Node<'_, '_>) -> T) -> Result<Vec<T>, ApiError> {
    let document = Document::parse(text).map_err(unreadable)?;
    let found = document.descendants().find(|node| named(*node, set));
    let items = found.into_iter().flat_map(|node| node.children());
    Ok(items.filter(Node::is_element).map(read).collect())
}

/// Compares names whatever their namespace: AWS puts everything into one.
fn named(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

fn refusal(status: u16, text: &str) -> ApiError {
    let Ok(document) = Document::parse(text) else {
        return ApiError::new(status, "InternalError", "the emulator failed");
    };
    let part = |name| leaf(document.root_element(), name);
    ApiError::new(status, &part("Code"), part("Message"))
}

fn kept_headers(from: &http::HeaderMap) -> http::HeaderMap {
    let kept = |name: &str| {
        let name = name.to_ascii_lowercase();
        name == "content-type" || name.starts_with("x-amz")
    };
    let pairs = from.iter().filter(|(name, _)| kept(name.as_str()));
    pairs
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn unavailable(error: reqwest::Error) -> ApiError {
    ApiError::new(
        503,
        "Unavailable",
        format!("the emulator is unreachable: {error}"),
    )
}

fn unreadable(error: roxmltree::Error) -> ApiError {
    ApiError::new(
        500,
        "InternalError",
        format!("the emulator's answer is unreadable: {error}"),
    )
}
