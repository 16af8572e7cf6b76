//! The customer's network in the emulated account: a VPC, its subnets, an EKS cluster with
//! a node group. Made through the gate with plain requests, as anything outside would.
//!
//! The layout has the traps a real one has: two subnets in one zone, one in a zone where
//! CAST AI's services are not offered, a public one, and a second address range.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::aws_gate::ACCESS_KEY;
use crate::aws_stack::{ACCOUNT, REGION};

/// The EKS cluster's name.
pub const CLUSTER: &str = "castlink-sandbox";
/// The VPC's address ranges; the second is for pods.
const RANGES: [&str; 2] = ["10.0.0.0/16", "100.64.0.0/16"];
/// The subnet that routes to the internet gateway.
const PUBLIC: &str = "public-a";
/// (name, zone letter, range, in the cluster's configuration, in the node group)
const SUBNETS: [(&str, char, &str, bool, bool); 6] = [
    ("private-a", 'a', "10.0.1.0/24", true, true),
    ("private-a-pods", 'a', "10.0.11.0/24", false, true),
    ("private-b", 'b', "10.0.2.0/24", true, true),
    ("private-c", 'c', "10.0.3.0/24", true, true),
    ("private-d", 'd', "10.0.4.0/24", false, true),
    (PUBLIC, 'a', "10.0.101.0/24", false, false),
];

/// What was made.
#[derive(Clone, Debug)]
pub struct Network {
    /// The VPC's id.
    pub vpc: String,
    /// In the order of the table above.
    pub subnets: Vec<Subnet>,
}

/// One subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its `Name` tag.
    pub name: &'static str,
    /// Its availability zone.
    pub zone: String,
    /// Whether nodes run in it.
    pub nodes: bool,
    /// Whether it is in the cluster's VPC configuration.
    pub cluster: bool,
}

impl Network {
    /// Makes it all behind the gate at `url`.
    ///
    /// # Errors
    /// When a request is refused, with the answer.
    pub async fn create(url: &str) -> Result<Self> {
        let http = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()?;
        let account = Account { http, url };
        let vpc = account.vpc().await.context("cannot create the VPC")?;
        let mut subnets = Vec::new();
        for (name, letter, range, cluster, nodes) in SUBNETS {
            let zone = format!("{REGION}{letter}");
            let id = account.subnet(&vpc, name, &zone, range).await;
            let id = id.with_context(|| format!("cannot create subnet {name}"))?;
            subnets.push(Subnet {
                id,
                name,
                zone,
                nodes,
                cluster,
            });
        }
        let network = Self { vpc, subnets };
        let public = network.subnets.iter().find(|one| one.name == PUBLIC);
        let public = public.context("no public subnet")?;
        account
            .internet(&network.vpc, &public.id)
            .await
            .context("cannot create the internet gateway")?;
        account
            .cluster(&network)
            .await
            .context("cannot create the EKS cluster")?;
        Ok(network)
    }

    /// The ids of the subnets that nodes run in.
    #[must_use]
    pub fn node_subnets(&self) -> Vec<&str> {
        let nodes = self.subnets.iter().filter(|subnet| subnet.nodes);
        nodes.map(|subnet| subnet.id.as_str()).collect()
    }

    fn cluster_subnets(&self) -> Vec<&str> {
        let cluster = self.subnets.iter().filter(|subnet| subnet.cluster);
        cluster.map(|subnet| subnet.id.as_str()).collect()
    }
}

struct Account<'a> {
    http: Client,
    url: &'a str,
}

impl Account<'_> {
    async fn vpc(&self) -> Result<String> {
        let tags = name_tag("vpc", "castlink-sandbox");
        let answer = self
            .ec2("CreateVpc", &[("CidrBlock", RANGES[0])], &tags)
            .await?;
        let vpc = element(&answer, "vpcId")?;
        let more = [("VpcId", vpc.as_str()), ("CidrBlock", RANGES[1])];
        self.ec2("AssociateVpcCidrBlock", &more, &[]).await?;
        for attribute in ["EnableDnsSupport.Value", "EnableDnsHostnames.Value"] {
            let change = [("VpcId", vpc.as_str()), (attribute, "true")];
            self.ec2("ModifyVpcAttribute", &change, &[]).await?;
        }
        Ok(vpc)
    }

    async fn subnet(&self, vpc: &str, name: &str, zone: &str, range: &str) -> Result<String> {
        let fields = [
            ("VpcId", vpc),
            ("CidrBlock", range),
            ("AvailabilityZone", zone),
        ];
        let answer = self
            .ec2("CreateSubnet", &fields, &name_tag("subnet", name))
            .await?;
        element(&answer, "subnetId")
    }

    /// An internet gateway, and a route to it from one subnet: that makes it public.
    async fn internet(&self, vpc: &str, subnet: &str) -> Result<()> {
        let answer = self.ec2("CreateInternetGateway", &[], &[]).await?;
        let gateway = element(&answer, "internetGatewayId")?;
        let attach = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc)];
        self.ec2("AttachInternetGateway", &attach, &[]).await?;
        let answer = self.ec2("CreateRouteTable", &[("VpcId", vpc)], &[]).await?;
        let table = element(&answer, "routeTableId")?;
        let route = [
            ("RouteTableId", table.as_str()),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", &gateway),
        ];
        self.ec2("CreateRoute", &route, &[]).await?;
        let associate = [("RouteTableId", table.as_str()), ("SubnetId", subnet)];
        self.ec2("AssociateRouteTable", &associate, &[]).await?;
        Ok(())
    }

    async fn cluster(&self, network: &Network) -> Result<()> {
        let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        let cluster = json!({
            "name": CLUSTER, "version": "1.36", "roleArn": role("eks-cluster"),
            "resourcesVpcConfig": {"subnetIds": network.cluster_subnets()},
        });
        self.eks("/clusters", &cluster).await?;
        let group = json!({
            "nodegroupName": "general", "nodeRole": role("eks-nodes"),
            "subnets": network.node_subnets(),
            "scalingConfig": {"minSize": 3, "maxSize": 9, "desiredSize": 5},
        });
        self.eks(&format!("/clusters/{CLUSTER}/node-groups"), &group)
            .await
    }

    async fn ec2(
        &self,
        action: &str,
        fields: &[(&str, &str)],
        more: &[(String, String)],
    ) -> Result<String> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", "2016-11-15");
        form.extend_pairs(fields).extend_pairs(more);
        let request = self
            .http
            .request(Method::POST, self.url)
            .body(form.finish());
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let request = request.header("Authorization", authorization("ec2"));
        accepted(request.send().await?).await
    }

    async fn eks(&self, path: &str, body: &Value) -> Result<()> {
        let request = self
            .http
            .request(Method::POST, format!("{}{path}", self.url));
        let request = request
            .header("Authorization", authorization("eks"))
            .json(body);
        accepted(request.send().await?).await?;
        Ok(())
    }
}

async fn accepted(answer: Response) -> Result<String> {
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{status}: {text}");
    Ok(text)
}

/// The gate wants a signature that names a known key; nobody verifies it.
fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

fn name_tag(resource: &str, name: &str) -> Vec<(String, String)> {
    let field = |suffix: &str| format!("TagSpecification.1.{suffix}");
    vec![
        (field("ResourceType"), resource.to_owned()),
        (field("Tag.1.Key"), "Name".to_owned()),
        (field("Tag.1.Value"), name.to_owned()),
    ]
}

/// The text of the first element called `name`; EC2's answers need no more than that.
fn element(xml: &str, name: &str) -> Result<String> {
    let start = format!("<{name}>");
    let rest = xml.split_once(&start).map(|(_, rest)| rest);
    let text = rest
        .and_then(|rest| rest.split_once('<'))
        .map(|(text, _)| text);
    Ok(text
        .with_context(|| format!("no {name} in {xml}"))?
        .to_owned())
}
