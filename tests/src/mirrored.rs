//! Images put straight into the sandbox's ECR, as a finished mirror would have left them:
//! for suites about what comes after mirroring.

use anyhow::{Context, Result};
use aws_sdk_ecr::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ecr::error::ProvideErrorMetadata;
use oci_client::Reference;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::aws_gate::{ACCESS_KEY, SECRET_KEY};
use crate::aws_stack::{AwsStack, REGION};
use crate::seed::{Options, Seeded, Seeder};

/// A client of ECR's API behind the gate at `url`.
#[must_use]
pub fn ecr_client(url: &str, region: &str, (id, secret): (String, String)) -> aws_sdk_ecr::Client {
    let config = aws_sdk_ecr::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new(id, secret, None, None, "sandbox"))
        .build();
    aws_sdk_ecr::Client::from_conf(config)
}

/// Makes the images for `references` in ECR, each in the repository the full layout gives
/// it (`busybox:1` excepted: name the host), creating repositories as needed.
///
/// # Errors
/// When a reference is malformed or ECR refuses.
pub async fn mirror(aws: &AwsStack, references: &[&str], options: Options) -> Result<Vec<Seeded>> {
    let ecr = ecr_client(
        &aws.gate_url,
        REGION,
        (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()),
    );
    for reference in references {
        let parsed: Reference = reference.parse().context("malformed reference")?;
        let name = format!("{}/{}", parsed.registry(), parsed.repository());
        let created = ecr.create_repository().repository_name(&name).send().await;
        let exists = |error: &&_| {
            ProvideErrorMetadata::code(*error) == Some("RepositoryAlreadyExistsException")
        };
        if let Some(error) = created.as_ref().err().filter(|error| !exists(error)) {
            anyhow::bail!("cannot create repository {name}: {error:?}");
        }
    }
    let token = ecr.get_authorization_token().send().await?;
    let token = token
        .authorization_data()
        .first()
        .and_then(|data| data.authorization_token());
    let mut value = HeaderValue::from_str(&format!("Basic {}", token.context("no token")?))?;
    value.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let http = reqwest::Client::builder()
        .no_proxy()
        .default_headers(headers)
        .build()?;
    // ECR's budget for manifests is the product's business, not a fixture's.
    let knobs = aws.shared.panel.get();
    aws.shared.panel.set(|knobs| {
        (knobs.put_image_rate, knobs.put_image_burst) = (1e6, 1e6);
    });
    let seeded = Seeder::new(&aws.ecr_url, http, options)
        .seed_all(references)
        .await;
    aws.shared.panel.set(|now| {
        now.put_image_rate = knobs.put_image_rate;
        now.put_image_burst = knobs.put_image_burst;
    });
    seeded
}
