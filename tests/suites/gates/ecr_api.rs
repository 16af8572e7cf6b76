//! ECR's API, through the real SDK where its shapes matter.

use std::sync::Arc;

use aws_sdk_ecr::error::ProvideErrorMetadata;
use aws_sdk_ecr::types::{
    EncryptionType, ImageTagMutability, LayerAvailability, RctAppliedFor, Tag,
};
use castlink_tests::ecr::Template;
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::iam::Policy;
use castlink_tests::knobs::Knobs;
use serde_json::json;

use crate::harness::with_gates;

#[test]
fn the_sdk_reads_repositories_page_by_page() {
    with_gates(
        Knobs {
            page_size: 2,
            ..Knobs::default()
        },
        async |gates| {
            let client = gates.ecr_sdk();
            let names = ["a/one", "a/two", "b/three", "c/four", "d/five"];
            for name in names {
                let tag = Tag::builder()
                    .key("owner")
                    .value("castlink")
                    .build()
                    .unwrap();
                let made = client.create_repository().repository_name(name).tags(tag);
                let made = made
                    .image_tag_mutability(ImageTagMutability::Immutable)
                    .send()
                    .await
                    .unwrap();
                let made = made.repository.unwrap();
                let uri = format!("{}/{name}", gates.shared.ecr.host());
                assert_eq!(made.repository_uri(), Some(uri.as_str()));
                assert_eq!(
                    made.image_tag_mutability(),
                    Some(&ImageTagMutability::Immutable)
                );
                let encryption = made.encryption_configuration().unwrap();
                assert_eq!(encryption.encryption_type(), &EncryptionType::Aes256);
            }
            let mut pages = client.describe_repositories().into_paginator().send();
            let mut seen = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.unwrap();
                assert!(page.repositories().len() <= 2);
                seen.extend(
                    page.repositories()
                        .iter()
                        .map(|one| one.repository_name().unwrap().to_owned()),
                );
            }
            assert_eq!(seen, names);
            let arn = format!("arn:aws:ecr:us-east-1:123456789012:repository/{}", names[0]);
            let tags = client
                .list_tags_for_resource()
                .resource_arn(arn)
                .send()
                .await
                .unwrap();
            assert_eq!(tags.tags()[0].value(), "castlink");
        },
    );
}

#[test]
fn the_sdk_recognises_the_errors() {
    with_gates(Knobs::default(), async |gates| {
        let client = gates.ecr_sdk();
        let make = async || {
            client
                .create_repository()
                .repository_name("twice")
                .send()
                .await
        };
        make().await.unwrap();
        let again = make().await.unwrap_err().into_service_error();
        assert!(again.is_repository_already_exists_exception(), "{again:?}");
        let absent = client
            .describe_repositories()
            .repository_names("absent")
            .send()
            .await;
        let absent = absent.unwrap_err().into_service_error();
        assert!(absent.is_repository_not_found_exception(), "{absent:?}");
        let name = client
            .create_repository()
            .repository_name("Upper/Case")
            .send()
            .await;
        assert!(
            name.unwrap_err()
                .into_service_error()
                .is_invalid_parameter_exception()
        );
        let layers = client
            .batch_check_layer_availability()
            .repository_name("twice");
        let layers = layers
            .layer_digests(format!("sha256:{}", "0".repeat(64)))
            .send()
            .await
            .unwrap();
        assert_eq!(
            layers.layers()[0].layer_availability(),
            Some(&LayerAvailability::Unavailable)
        );
    });
}

#[test]
fn a_policy_is_kept_to() {
    with_gates(Knobs::default(), async |gates| {
        let policy = Policy::parse(
            r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:CreateRepository",
                "Resource": "arn:aws:ecr:us-east-1:123456789012:repository/team/*"}]}"#,
        );
        gates.shared.ecr.enforce(Arc::new(policy.unwrap()));
        let client = gates.ecr_sdk();
        let create = |name: &str| client.create_repository().repository_name(name);
        create("team/plain").send().await.unwrap();
        let tag = Tag::builder().key("a").value("b").build().unwrap();
        for (call, action) in [
            (create("other/plain"), "ecr:CreateRepository"),
            (create("team/tagged").tags(tag), "ecr:TagResource"),
        ] {
            let denied = call.send().await.unwrap_err().into_service_error();
            assert_eq!(denied.code(), Some("AccessDeniedException"));
            assert!(denied.message().unwrap().contains(action), "{denied:?}");
        }
        let templates = client.describe_repository_creation_templates().send().await;
        let denied = templates.unwrap_err().into_service_error();
        assert_eq!(denied.code(), Some("AccessDeniedException"));
    });
}

#[test]
fn templates_are_shown_as_the_sdk_reads_them() {
    with_gates(Knobs::default(), async |gates| {
        gates.shared.ecr.database().templates = vec![Template::on_push("ROOT")];
        let answer = gates
            .ecr_sdk()
            .describe_repository_creation_templates()
            .send();
        let found = answer.await.unwrap().repository_creation_templates.unwrap();
        assert_eq!(found[0].prefix(), Some("ROOT"));
        assert_eq!(found[0].applied_for(), [RctAppliedFor::CreateOnPush]);
        assert_eq!(found[0].resource_tags()[0].key(), "made-by");
    });
}

#[test]
fn a_token_ends_when_it_says() {
    with_gates(
        Knobs {
            token_life_s: 90,
            ..Knobs::default()
        },
        async |gates| {
            let answer = gates
                .ecr_sdk()
                .get_authorization_token()
                .send()
                .await
                .unwrap();
            let data = &answer.authorization_data()[0];
            let left = data.expires_at().unwrap().secs() - jiff::Timestamp::now().as_second();
            assert!((80..=90).contains(&left), "{left} s");
            assert_eq!(
                data.proxy_endpoint(),
                Some("https://123456789012.dkr.ecr.us-east-1.amazonaws.com")
            );
        },
    );
}

#[test]
fn each_service_refuses_in_its_own_words() {
    with_gates(Knobs::default(), async |gates| {
        let cases = [
            (
                Harm::Throttle,
                "RequestLimitExceeded",
                "ThrottlingException",
                "ThrottlingException",
            ),
            (
                Harm::Deny,
                "UnauthorizedOperation",
                "AccessDeniedException",
                "AccessDeniedException",
            ),
            (
                Harm::Expired,
                "RequestExpired",
                "ExpiredTokenException",
                "ExpiredTokenException",
            ),
        ];
        for (harm, ec2, ecr, eks) in cases {
            gates.shared.faults.clear();
            gates
                .shared
                .faults
                .add(Fault::on("ec2", "DescribeVpcs", harm.clone()));
            gates
                .shared
                .faults
                .add(Fault::on("ecr", "DescribeRepositories", harm.clone()));
            gates
                .shared
                .faults
                .add(Fault::on("eks", "DescribeCluster", harm.clone()));
            assert_eq!(gates.ec2("DescribeVpcs", &[]).await.code(), ec2);
            assert_eq!(
                gates.ecr("DescribeRepositories", json!({})).await.code(),
                ecr
            );
            let cluster = gates
                .eks(reqwest::Method::GET, "/clusters/any", json!({}))
                .await;
            assert_eq!(cluster.code(), eks);
        }
    });
}

#[test]
fn an_unknown_key_opens_nothing() {
    with_gates(Knobs::default(), async |gates| {
        let signature = "AWS4-HMAC-SHA256 Credential=AKIAWRONG/20260101/us-east-1/ecr/aws4_request, \
            SignedHeaders=host, Signature=0";
        let target = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
        let headers = [("authorization", signature), ("x-amz-target", target)];
        let answer = gates.bare(&gates.aws.url, &headers).await;
        assert_eq!(answer.code(), "UnrecognizedClientException");
        let unsigned = gates.bare(&gates.aws.url, &[]).await;
        assert_eq!(
            (unsigned.status.as_u16(), unsigned.code().as_str()),
            (401, "AuthFailure")
        );
    });
}

#[test]
fn the_journal_tells_reads_from_writes() {
    with_gates(Knobs::default(), async |gates| {
        gates
            .ecr("CreateRepository", json!({"repositoryName": "seen"}))
            .await;
        let mark = gates.shared.journal.mark();
        gates.ecr("DescribeRepositories", json!({})).await;
        gates.ec2("DescribeVpcs", &[]).await;
        gates
            .v2(reqwest::Method::GET, "/v2/seen/manifests/v1", "")
            .await;
        let dry = [("ResourceId.1", "vpce-1"), ("DryRun", "true")];
        gates.ec2("CreateTags", &dry).await;
        assert_eq!(gates.shared.journal.writes(mark).len(), 0);
        assert_eq!(gates.shared.journal.since(mark).len(), 4);
        gates
            .v2(reqwest::Method::POST, "/v2/seen/blobs/uploads/", "")
            .await;
        let writes = gates.shared.journal.writes(mark);
        assert_eq!(
            (writes[0].action.as_str(), writes[0].resource.as_str()),
            ("StartUpload", "seen")
        );
        let over_http = gates
            .bare(
                &format!("{}/_sandbox/requests?since={mark}", gates.aws.url),
                &[],
            )
            .await;
        assert_eq!(over_http.json().as_array().unwrap().len(), 5);
    });
}
