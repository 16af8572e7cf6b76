//! EC2: the life of endpoints, and what they keep from being deleted.

use std::time::Duration;

use anyhow::ensure;
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;
use castlink_tests::process::wait_until;

use crate::harness::{Answer, Gates, with_gates};

pub(crate) const REST: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-0f648001d494b9a46";
const DEADLINE: Duration = Duration::from_secs(10);
/// Longer than any test: what it holds up waits until the test turns the knob.
pub(crate) const NEVER_MS: u64 = 600_000;

/// A VPC with a subnet in each of several zones, and a security group.
pub(crate) struct Network {
    pub(crate) vpc: String,
    /// a, b, c, d, and a second one in a.
    pub(crate) subnets: Vec<String>,
    pub(crate) group: String,
}

impl Gates {
    pub(crate) async fn network(&self) -> Network {
        let vpc = self
            .ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")])
            .await
            .one("vpcId");
        let on = [
            ("VpcId", vpc.as_str()),
            ("EnableDnsHostnames.Value", "true"),
        ];
        self.ec2("ModifyVpcAttribute", &on).await;
        let mut subnets = Vec::new();
        for (index, zone) in ["a", "b", "c", "d", "a"].iter().enumerate() {
            let (cidr, zone) = (format!("10.0.{index}.0/24"), format!("us-east-1{zone}"));
            let params = [
                ("VpcId", vpc.as_str()),
                ("CidrBlock", &cidr),
                ("AvailabilityZone", &zone),
            ];
            subnets.push(self.ec2("CreateSubnet", &params).await.one("subnetId"));
        }
        let params = [
            ("VpcId", vpc.as_str()),
            ("GroupName", "g"),
            ("GroupDescription", "g"),
        ];
        let group = self
            .ec2("CreateSecurityGroup", &params)
            .await
            .one("groupId");
        Network {
            vpc,
            subnets,
            group,
        }
    }

    pub(crate) async fn endpoint(&self, network: &Network, more: &[(&str, &str)]) -> Answer {
        let mut params = vec![
            ("VpcEndpointType", "Interface"),
            ("VpcId", network.vpc.as_str()),
            ("ServiceName", REST),
            ("SubnetId.1", network.subnets[0].as_str()),
            ("SecurityGroupId.1", network.group.as_str()),
            ("PrivateDnsEnabled", "true"),
        ];
        params.extend(more);
        self.ec2("CreateVpcEndpoint", &params).await
    }

    pub(crate) async fn state(&self, id: &str) -> Answer {
        self.ec2("DescribeVpcEndpoints", &[("VpcEndpointId.1", id)])
            .await
    }

    /// Changes the knobs while the emulator runs.
    pub(crate) fn turn(&self, change: impl FnOnce(&mut Knobs)) {
        self.shared.panel.set(change);
    }

    pub(crate) async fn reaches(&self, id: &str, state: &str) -> Answer {
        let what = format!("{id} is {state}");
        let looked = wait_until(&what, DEADLINE, async || {
            let answer = self.state(id).await;
            ensure!(
                answer.text.contains(&format!("<state>{state}</state>")),
                "{}",
                answer.text
            );
            Ok(answer)
        });
        looked.await.unwrap()
    }
}

pub(crate) fn quick() -> Knobs {
    Knobs {
        endpoint_pending_ms: 200,
        endpoint_modify_ms: 200,
        endpoint_delete_ms: 200,
        endpoint_listed_ms: NEVER_MS,
        ..Knobs::default()
    }
}

#[test]
fn an_endpoint_lives_from_pending_to_gone() {
    with_gates(quick(), async |gates| {
        let network = gates.network().await;
        let tag = [
            ("TagSpecification.1.ResourceType", "vpc-endpoint"),
            ("TagSpecification.1.Tag.1.Key", "owner"),
            ("TagSpecification.1.Tag.1.Value", "castlink"),
        ];
        let made = gates.endpoint(&network, &tag).await;
        assert_eq!(made.one("state"), "pending", "{}", made.text);
        let id = made.one("vpcEndpointId");
        let available = gates.reaches(&id, "available").await;
        assert!(available.text.contains("<dnsName>api.cast.ai</dnsName>"));
        let filters = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", network.vpc.as_str()),
            ("Filter.2.Name", "tag:owner"),
            ("Filter.2.Value.1", "castlink"),
            ("Filter.3.Name", "vpc-endpoint-state"),
            ("Filter.3.Value.1", "available"),
        ];
        let found = gates.ec2("DescribeVpcEndpoints", &filters).await;
        assert_eq!(found.all("vpcEndpointId"), [id.as_str()]);
        let group = [("GroupId", network.group.as_str())];
        assert_eq!(
            gates.ec2("DeleteSecurityGroup", &group).await.code(),
            "DependencyViolation"
        );
        gates.turn(|knobs| knobs.endpoint_delete_ms = NEVER_MS);
        let both = [
            ("VpcEndpointId.1", id.as_str()),
            ("VpcEndpointId.2", "vpce-0"),
        ];
        let deleted = gates.ec2("DeleteVpcEndpoints", &both).await;
        assert_eq!(deleted.status, 200);
        assert_eq!(deleted.all("resourceId"), ["vpce-0"]);
        assert_eq!(deleted.one("code"), "InvalidVpcEndpoint.NotFound");
        assert_eq!(
            gates.ec2("DeleteSecurityGroup", &group).await.code(),
            "DependencyViolation"
        );
        assert_eq!(gates.state(&id).await.one("state"), "deleting");
        gates.turn(|knobs| knobs.endpoint_delete_ms = 0);
        assert_eq!(gates.state(&id).await.one("state"), "deleted");
        assert_eq!(gates.ec2("DeleteSecurityGroup", &group).await.status, 200);
        gates.turn(|knobs| knobs.endpoint_listed_ms = 0);
        let gone = gates.state(&id).await;
        assert_eq!(gone.code(), "InvalidVpcEndpointId.NotFound");
    });
}

#[test]
fn a_client_token_makes_one_endpoint() {
    with_gates(quick(), async |gates| {
        let network = gates.network().await;
        let token = ("ClientToken", "token-1");
        gates
            .shared
            .faults
            .add(Fault::on("ec2", "CreateVpcEndpoint", Harm::Lost).times(1));
        let lost = tokio::time::timeout(DEADLINE, async {
            let form = format!(
                "Action=CreateVpcEndpoint&VpcEndpointType=Interface&VpcId={}&ServiceName={REST}\
                 &SubnetId.1={}&SecurityGroupId.1={}&PrivateDnsEnabled=true&ClientToken=token-1",
                network.vpc, network.subnets[0], network.group
            );
            let key = castlink_tests::aws_gate::ACCESS_KEY;
            let scope = format!("{key}/20260101/us-east-1/ec2/aws4_request");
            let signature =
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
            let request = gates
                .http
                .post(&gates.aws.url)
                .header("authorization", signature);
            request.body(form).send().await.err()
        });
        assert!(lost.await.unwrap().is_some(), "the answer is lost");
        // The creation itself was carried out: the same token finds it.
        let known = gates
            .ec2("DescribeVpcEndpoints", &[])
            .await
            .one("vpcEndpointId");
        let form = [token, ("Version", "")];
        let again = gates.endpoint(&network, &form[..1]).await;
        assert_eq!(again.one("vpcEndpointId"), known, "{}", again.text);
        let other = gates
            .endpoint(&network, &[token, ("PrivateDnsEnabled", "false")])
            .await;
        assert_eq!(other.code(), "IdempotentParameterMismatch");
    });
}

#[test]
fn modifications_are_deltas_and_come_one_at_a_time() {
    with_gates(quick(), async |gates| {
        let network = gates.network().await;
        let id = gates.endpoint(&network, &[]).await.one("vpcEndpointId");
        gates.reaches(&id, "available").await;
        gates.turn(|knobs| knobs.endpoint_modify_ms = NEVER_MS);
        let add = |subnet: usize| {
            [
                ("VpcEndpointId", id.as_str()),
                ("AddSubnetId.1", network.subnets[subnet].as_str()),
            ]
        };
        assert_eq!(
            gates.ec2("ModifyVpcEndpoint", &add(1)).await.one("return"),
            "true"
        );
        assert_eq!(
            gates.ec2("ModifyVpcEndpoint", &add(2)).await.code(),
            "OperationInProgress"
        );
        gates.turn(|knobs| knobs.endpoint_modify_ms = 0);
        let after = gates.reaches(&id, "available").await;
        assert!(after.text.contains(&network.subnets[1]));
        assert_eq!(
            gates.ec2("ModifyVpcEndpoint", &add(4)).await.code(),
            "DuplicateSubnetsInSameZone"
        );
        let mut swap = add(4).to_vec();
        swap.push(("RemoveSubnetId.1", &network.subnets[0]));
        assert_eq!(gates.ec2("ModifyVpcEndpoint", &swap).await.status, 200);
        let unknown = [("VpcEndpointId", "vpce-0")];
        assert_eq!(
            gates.ec2("ModifyVpcEndpoint", &unknown).await.code(),
            "InvalidVpcEndpointId.NotFound"
        );
    });
}

#[test]
fn a_provider_may_have_to_accept() {
    let mut knobs = quick();
    knobs.acceptance_required.insert("0f648001".to_owned());
    with_gates(knobs, async |gates| {
        let network = gates.network().await;
        let early = gates.endpoint(&network, &[]).await;
        assert!(
            early
                .text
                .contains("after the endpoint connection is accepted"),
            "{}",
            early.text
        );
        let made = gates
            .endpoint(&network, &[("PrivateDnsEnabled", "false")])
            .await;
        assert_eq!(made.one("state"), "pendingAcceptance");
        let id = made.one("vpcEndpointId");
        assert!(gates.aws.decide(&id, true));
        gates.reaches(&id, "available").await;
        let enable = [
            ("VpcEndpointId", id.as_str()),
            ("PrivateDnsEnabled", "true"),
        ];
        assert_eq!(gates.ec2("ModifyVpcEndpoint", &enable).await.status, 200);
        assert!(
            gates
                .reaches(&id, "available")
                .await
                .text
                .contains("<privateDnsEnabled>true<")
        );
    });
}

#[test]
fn endpoints_come_in_pages_and_late() {
    let knobs = Knobs {
        page_size: 2,
        endpoint_lag: 1,
        ..quick()
    };
    with_gates(knobs, async |gates| {
        let network = gates.network().await;
        let mut made = Vec::new();
        for _ in 0..3 {
            let one = gates
                .endpoint(&network, &[("PrivateDnsEnabled", "false")])
                .await;
            made.push(one.one("vpcEndpointId"));
        }
        assert_eq!(
            gates.state(&made[0]).await.code(),
            "InvalidVpcEndpointId.NotFound"
        );
        assert_eq!(gates.state(&made[0]).await.status, 200);
        made.sort();
        let late = gates.ec2("DescribeVpcEndpoints", &[]).await;
        assert!(
            late.all("vpcEndpointId").len() < made.len(),
            "lists are late too"
        );
        let first = gates.ec2("DescribeVpcEndpoints", &[]).await;
        assert_eq!(first.all("vpcEndpointId"), made[..2]);
        let token = first.one("nextToken");
        let second = gates
            .ec2("DescribeVpcEndpoints", &[("NextToken", &token)])
            .await;
        assert_eq!(second.all("vpcEndpointId"), made[2..]);
        assert_eq!(second.all("nextToken").len(), 0);
    });
}

#[test]
fn one_subnet_of_the_sandbox_is_public() {
    with_gates(Knobs::default(), async |gates| {
        let made = castlink_tests::network::Network::create(&gates.aws.url).await;
        let made = made.unwrap();
        let routed = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", made.vpc.as_str()),
            ("Filter.2.Name", "route.destination-cidr-block"),
            ("Filter.2.Value.1", "0.0.0.0/0"),
        ];
        let table = gates.ec2("DescribeRouteTables", &routed).await;
        let public = made.subnets.iter().find(|one| one.name == "public-a");
        assert_eq!(table.one("subnetId"), public.unwrap().id);
    });
}
