//! Which region to work in: the setting, else what the AWS tools would use.

use std::time::Duration;

use aws_config::{
    Region, environment::EnvironmentVariableRegionProvider, imds::region::ImdsRegionProvider,
    meta::region::ProvideRegion, profile::ProfileFileRegionProvider,
};
use castlink_core::{Failure, Result, config::Aws};

/// The instance metadata answers in milliseconds where it exists; elsewhere the SDK
/// would wait five seconds for it.
const METADATA: Duration = Duration::from_secs(1);

/// The region of `setting`, `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, or the
/// instance this runs on.
///
/// # Errors
/// Exit 2 when none says anything.
pub(crate) async fn resolve(setting: Option<&str>, profile: Option<&str>) -> Result<Region> {
    if let Some(name) = setting {
        return Ok(Region::new(name.to_owned()));
    }
    if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
        return Ok(region);
    }
    if let Some(region) = of_profile(profile).await {
        return Ok(region);
    }
    of_instance().await.ok_or_else(|| {
        let text = match profile {
            Some(profile) => format!("no AWS region is set, and profile {profile} has none"),
            None => "no AWS region is set".to_owned(),
        };
        Failure::usage(text).hint("give --region, set AWS_REGION, or aws.region in castlink.toml")
    })
}

/// The region that a session with these settings works in, without one.
///
/// # Errors
/// Exit 2 when nothing says which.
pub async fn region_of(settings: &Aws) -> Result<String> {
    let region = resolve(settings.region.as_deref(), settings.profile.as_deref()).await?;
    Ok(region.as_ref().to_owned())
}

async fn of_profile(name: Option<&str>) -> Option<Region> {
    let mut builder = ProfileFileRegionProvider::builder();
    if let Some(name) = name {
        builder = builder.profile_name(name);
    }
    builder.build().region().await
}

async fn of_instance() -> Option<Region> {
    let provider = ImdsRegionProvider::builder().build();
    tokio::time::timeout(METADATA, provider.region())
        .await
        .ok()
        .flatten()
}
