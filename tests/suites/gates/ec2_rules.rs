//! EC2 and EKS: what services are offered, and what a creation is refused for.

use castlink_tests::knobs::Knobs;
use reqwest::Method;
use serde_json::json;

use crate::ec2::{NEVER_MS, REST, quick};
use crate::harness::with_gates;

const GRPC: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-05e9e206a737781a7";

#[test]
fn services_are_described_as_their_provider_offers_them() {
    with_gates(Knobs::default(), async |gates| {
        let both = [("ServiceName.1", REST), ("ServiceName.2", GRPC)];
        let found = gates.ec2("DescribeVpcEndpointServices", &both).await;
        assert_eq!(found.all("serviceName"), [REST, GRPC]);
        assert!(
            found
                .text
                .contains("<privateDnsName>api.cast.ai</privateDnsName>")
        );
        assert!(found.text.contains("<item>us-east-1c</item>"));
        assert!(!found.text.contains("us-east-1d"));
        assert!(found.text.contains("<item>use1-az6</item>"));
        assert!(
            found
                .text
                .contains("<privateDnsNameVerificationState>verified<")
        );
        let bad = [
            ("ServiceName.1", REST),
            ("ServiceName.2", "com.amazonaws.vpce.us-east-1.vpce-svc-0"),
        ];
        let refused = gates.ec2("DescribeVpcEndpointServices", &bad).await;
        assert_eq!(refused.code(), "InvalidServiceName");
        let elsewhere = gates
            .ec2_in("us-east-2", "DescribeVpcEndpointServices", &both)
            .await;
        assert_eq!(elsewhere.code(), "InvalidServiceName");
        let hide = |knobs: &mut Knobs| knobs.hidden_services.insert("0f648001".to_owned());
        assert!(gates.shared.panel.set(hide));
        let hidden = gates.ec2("DescribeVpcEndpointServices", &both).await;
        assert_eq!(hidden.code(), "InvalidServiceName");
    });
}

/// Parameters, the code, a piece of the message.
type Refusal<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

#[test]
fn creation_is_refused_for_what_aws_refuses() {
    with_gates(quick(), async |gates| {
        let network = gates.network().await;
        let bare = gates
            .ec2("CreateVpc", &[("CidrBlock", "10.9.0.0/16")])
            .await
            .one("vpcId");
        let subnet = [
            ("VpcId", bare.as_str()),
            ("CidrBlock", "10.9.0.0/24"),
            ("AvailabilityZone", "us-east-1a"),
        ];
        let foreign = gates.ec2("CreateSubnet", &subnet).await.one("subnetId");
        let subnets: Vec<_> = network.subnets.iter().map(String::as_str).collect();
        let cases: [Refusal<'_>; 10] = [
            (
                &[("ServiceName", "com.amazonaws.vpce.us-east-1.vpce-svc-0")],
                "InvalidServiceName",
                "does not exist",
            ),
            (&[("VpcId", "vpc-0")], "InvalidVpcID.NotFound", ""),
            (
                &[("SubnetId.1", "subnet-0")],
                "InvalidSubnetID.NotFound",
                "",
            ),
            (
                &[("SecurityGroupId.1", "sg-0")],
                "InvalidGroup.NotFound",
                "",
            ),
            (
                &[("VpcEndpointType", "Gateway")],
                "InvalidParameter",
                "only supported for Interface",
            ),
            (
                &[("SubnetId.2", subnets[3])],
                "InvalidParameter",
                "does not support the availability zone",
            ),
            (
                &[("SubnetId.2", subnets[4])],
                "DuplicateSubnetsInSameZone",
                "Found another VPC endpoint subnet",
            ),
            (
                &[("SubnetId.1", &foreign)],
                "InvalidParameter",
                "does not belong to",
            ),
            (
                &[("VpcId", &bare), ("SubnetId.1", &foreign)],
                "InvalidParameter",
                "requires both enableDnsSupport",
            ),
            (&[("DryRun", "true")], "DryRunOperation", ""),
        ];
        for (more, code, message) in cases {
            let refused = gates.endpoint(&network, more).await;
            assert_eq!(refused.code(), code, "{more:?}: {}", refused.text);
            assert!(refused.text.contains(message), "{more:?}: {}", refused.text);
        }
        let none = gates.ec2("DescribeVpcEndpoints", &[]).await;
        assert_eq!(none.all("vpcEndpointId").len(), 0);
    });
}

#[test]
fn a_private_name_belongs_to_one_endpoint_of_a_vpc() {
    with_gates(quick(), async |gates| {
        let network = gates.network().await;
        let id = gates.endpoint(&network, &[]).await.one("vpcEndpointId");
        let second = gates.endpoint(&network, &[]).await;
        assert_eq!(second.code(), "InvalidParameter");
        assert!(
            second
                .text
                .contains("conflicting DNS domain for api.cast.ai"),
            "{}",
            second.text
        );
        let nameless = gates
            .endpoint(&network, &[("PrivateDnsEnabled", "false")])
            .await;
        assert_eq!(nameless.status, 200);
        let enable = [
            ("VpcEndpointId", nameless.one("vpcEndpointId")),
            ("PrivateDnsEnabled", "true".to_owned()),
        ];
        let enable: Vec<_> = enable
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        assert!(
            gates
                .ec2("ModifyVpcEndpoint", &enable)
                .await
                .text
                .contains("conflicting DNS domain")
        );
        gates.turn(|knobs| knobs.endpoint_delete_ms = NEVER_MS);
        gates
            .ec2("DeleteVpcEndpoints", &[("VpcEndpointId.1", &id)])
            .await;
        assert!(
            gates
                .endpoint(&network, &[])
                .await
                .text
                .contains("conflicting DNS domain")
        );
        gates.turn(|knobs| knobs.endpoint_delete_ms = 0);
        assert_eq!(gates.state(&id).await.one("state"), "deleted");
        assert_eq!(gates.endpoint(&network, &[]).await.status, 200);
    });
}

#[test]
fn clusters_know_their_vpc() {
    with_gates(Knobs::default(), async |gates| {
        let network = gates.network().await;
        let name = format!("cluster-of-{}", network.vpc);
        let input = json!({
            "name": name,
            "roleArn": "arn:aws:iam::123456789012:role/cluster",
            "resourcesVpcConfig": {"subnetIds": network.subnets[..2]},
        });
        gates.eks(Method::POST, "/clusters", input).await;
        let first = gates
            .eks(Method::GET, &format!("/clusters/{name}"), json!({}))
            .await
            .json();
        let config = &first["cluster"]["resourcesVpcConfig"];
        assert_eq!(config["vpcId"], json!(network.vpc));
        assert!(
            config["clusterSecurityGroupId"]
                .as_str()
                .unwrap()
                .starts_with("sg-")
        );
        let second = gates
            .eks(Method::GET, &format!("/clusters/{name}"), json!({}))
            .await
            .json();
        assert_eq!(&second["cluster"]["resourcesVpcConfig"], config);
        let absent = gates.eks(Method::GET, "/clusters/absent", json!({})).await;
        assert_eq!(
            (absent.status.as_u16(), absent.code().as_str()),
            (404, "ResourceNotFoundException")
        );
    });
}
