//! The endpoint services that exist: CAST AI's in the regions where it has them, and the
//! AWS services that a closed cluster needs.
//!
//! CAST AI's names are those of its public PrivateLink list (castai/privatelink-aws,
//! 2025-10). Their private DNS names are the hosts that its components are documented to
//! call; nobody states the one of the artifacts service, so that one is an assumption.

use super::query::Xml;
use crate::knobs::{self, Knobs};

/// Regions of CAST AI's list, in the column order of [`CASTAI`].
const REGIONS: [&str; 4] = ["us-east-1", "us-east-2", "ap-south-1", "ap-south-2"];

/// Private DNS name, then the service's id in each of [`REGIONS`].
const CASTAI: [(&str, [&str; 4]); 6] = [
    (
        "api.cast.ai",
        [
            "0f648001d494b9a46",
            "0504dcd21f12037fe",
            "07c813d8840493bcf",
            "0a2a5307bb44fab88",
        ],
    ),
    (
        "grpc.cast.ai",
        [
            "05e9e206a737781a7",
            "0681d838ee3b5e496",
            "028ad7f3e7879c47c",
            "00d1d87c025531c96",
        ],
    ),
    (
        "api-grpc.cast.ai",
        [
            "00d55140e30124b2f",
            "0678ed50f02956c7f",
            "0dd30c956893d640e",
            "009c9d91819071294",
        ],
    ),
    // An assumption, see above.
    (
        "files.assumed.cast.ai",
        [
            "0b611f59ee5494cc3",
            "0d1fad36f0230d84c",
            "0c4777e1cc92bf8a8",
            "05b723b65a7f5a0f9",
        ],
    ),
    (
        "kvisor.prod-master.cast.ai",
        [
            "03281b4e5730a84b6",
            "0a1da2d5a6fd29f32",
            "07a5d4fcc4dda21e5",
            "097740fd9404cde49",
        ],
    ),
    (
        "telemetry.prod-master.cast.ai",
        [
            "0c00cf3bb0688c735",
            "0bbbaa8913160adfb",
            "035536415724599aa",
            "0e31392ceacc29f9d",
        ],
    ),
];

/// AWS's own: last part of the service name, host of the private DNS name (`{}` is the
/// region). An empty host means a gateway endpoint.
const AWS: [(&str, &str); 13] = [
    ("autoscaling", "autoscaling.{}.amazonaws.com"),
    ("ec2", "ec2.{}.amazonaws.com"),
    ("ecr.api", "api.ecr.{}.amazonaws.com"),
    ("ecr.dkr", "*.dkr.ecr.{}.amazonaws.com"),
    ("eks", "eks.{}.amazonaws.com"),
    ("eks-auth", "eks-auth.{}.api.aws"),
    (
        "elasticloadbalancing",
        "elasticloadbalancing.{}.amazonaws.com",
    ),
    ("logs", "logs.{}.amazonaws.com"),
    ("s3", ""),
    ("ec2messages", "ec2messages.{}.amazonaws.com"),
    ("ssm", "ssm.{}.amazonaws.com"),
    ("ssmmessages", "ssmmessages.{}.amazonaws.com"),
    ("sts", "sts.{}.amazonaws.com"),
];

/// An endpoint service as one account sees it in one region.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// Where it is.
    pub(super) region: String,
    /// Asked for from another region: no zones are told.
    pub(super) remote: bool,
    pub(super) id: String,
    pub(super) gateway: bool,
    owner: &'static str,
    /// Name and id of each zone where it is offered.
    pub(super) zones: Vec<(String, String)>,
    pub(super) private_name: Option<String>,
    pub(super) verified: bool,
    pub(super) acceptance_required: bool,
    pub(super) failing: bool,
}

/// All services of `region` whose zones are `zones`.
pub(super) fn all(region: &str, zones: &[(String, String)], knobs: &Knobs) -> Vec<Service> {
    let offered =
        |zone: &&(String, String)| knobs.offered_zones.chars().any(|c| zone.0.ends_with(c));
    let castai_zones: Vec<_> = zones.iter().filter(offered).cloned().collect();
    let column = REGIONS.iter().position(|name| *name == region);
    let castai = column.into_iter().flat_map(|column| {
        let zones = castai_zones.clone();
        CASTAI
            .iter()
            .map(move |(dns, ids)| castai(region, dns, ids[column], zones.clone()))
    });
    let aws = AWS
        .iter()
        .map(|(name, host)| aws(region, name, host, zones.to_vec()));
    let seen = |service: &Service| !knobs::names(&knobs.hidden_services, &service.name);
    castai
        .chain(aws)
        .filter(seen)
        .map(|service| turned(service, knobs))
        .collect()
}

/// CAST AI's services of `region` as another one sees them. AWS's own are not among those
/// that can be reached from elsewhere.
pub(super) fn from_afar(region: &str, knobs: &Knobs) -> Vec<Service> {
    let mut found = all(region, &[], knobs);
    found.retain(|service| service.owner != "amazon" && !knobs.own_region_only);
    for service in &mut found {
        service.remote = true;
    }
    found
}

fn castai(region: &str, dns: &str, id: &str, zones: Vec<(String, String)>) -> Service {
    let id = format!("vpce-svc-{id}");
    Service {
        name: format!("com.amazonaws.vpce.{region}.{id}"),
        region: region.to_owned(),
        remote: false,
        id,
        gateway: false,
        owner: "111122223333",
        zones,
        private_name: Some(dns.to_owned()),
        verified: true,
        acceptance_required: false,
        failing: false,
    }
}

fn aws(region: &str, name: &str, host: &str, zones: Vec<(String, String)>) -> Service {
    Service {
        name: format!("com.amazonaws.{region}.{name}"),
        region: region.to_owned(),
        remote: false,
        id: format!(
            "vpce-svc-{}",
            super::invented_id(&format!("{region}/{name}"))
        ),
        gateway: host.is_empty(),
        owner: "amazon",
        zones,
        private_name: (!host.is_empty()).then(|| host.replace("{}", region)),
        verified: true,
        acceptance_required: false,
        failing: false,
    }
}

fn turned(service: Service, knobs: &Knobs) -> Service {
    let named = |parts| knobs::names(parts, &service.name);
    Service {
        acceptance_required: named(&knobs.acceptance_required),
        verified: !named(&knobs.unverified_services),
        failing: named(&knobs.failing_services),
        ..service
    }
}

impl Service {
    /// Writes what DescribeVpcEndpointServices says about it.
    pub(super) fn write(&self, knobs: &Knobs, xml: &mut Xml) {
        let region = &self.region;
        let kind = if self.gateway { "Gateway" } else { "Interface" };
        xml.leaf("serviceName", &self.name);
        xml.leaf("serviceId", &self.id);
        xml.items("serviceType", [kind], |xml, kind| {
            xml.leaf("serviceType", kind)
        });
        xml.leaf("serviceRegion", region);
        xml.texts(
            "availabilityZoneIdSet",
            self.zones.iter().map(|zone| &zone.1),
        );
        xml.texts("availabilityZoneSet", self.zones.iter().map(|zone| &zone.0));
        xml.leaf("owner", self.owner);
        let base = format!("{}.{region}.vpce.amazonaws.com", self.id);
        xml.texts("baseEndpointDnsNameSet", [base]);
        if let Some(name) = &self.private_name {
            xml.leaf("privateDnsName", name);
            xml.items("privateDnsNameSet", [name], |xml, name| {
                xml.leaf("privateDnsName", name)
            });
            let state = if self.verified {
                "verified"
            } else {
                "pendingVerification"
            };
            xml.leaf("privateDnsNameVerificationState", state);
        }
        xml.leaf("vpcEndpointPolicySupported", self.owner == "amazon");
        xml.leaf("acceptanceRequired", self.acceptance_required);
        xml.leaf("managesVpcEndpoints", false);
        let families: &[&str] = if knobs.dual_stack {
            &["ipv4", "ipv6"]
        } else {
            &["ipv4"]
        };
        xml.texts("supportedIpAddressTypeSet", families);
    }
}
