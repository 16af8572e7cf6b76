//! The index of a Helm repository: which version of a chart is the newest, and which
//! release of the application it installs.

use std::{collections::HashMap, path::Path};

use castlink_core::{Failure, Result, config::Config};
use castlink_registry::Registries;
use serde::Deserialize;

use super::version::{Tag, Version};

/// The largest index that is read; CAST AI's has a few megabytes.
const LIMIT: usize = 64 << 20;

/// The newest release of each chart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HelmIndex(HashMap<String, Release>);

/// One chart at its newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// The chart's own version.
    pub(crate) chart: String,
    /// What it installs: the tag of its images.
    pub(crate) app: String,
}

#[derive(Deserialize)]
struct Document {
    entries: HashMap<String, Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    version: String,
    app_version: Option<String>,
    #[serde(default)]
    deprecated: bool,
}

impl HelmIndex {
    /// Reads the index at an address, or in a file.
    ///
    /// # Errors
    /// Exit 2 when the file is not there or is no index, 8 when the server is not reached.
    pub(crate) async fn read(place: &str, config: &Config) -> Result<Self> {
        let text = match place.contains("://") {
            true => Registries::new(config).fetch(place, LIMIT).await?.to_vec(),
            false => std::fs::read(Path::new(place)).map_err(|err| {
                Failure::usage(format!("the Helm index {place} cannot be read")).because(err)
            })?,
        };
        Self::parse(&text).map_err(|err| {
            Failure::usage(format!("{place} is not the index of a Helm repository"))
                .because(err)
                .hint("it is the file index.yaml of the repository")
        })
    }

    fn parse(text: &[u8]) -> Result<Self, serde_yaml_ng::Error> {
        let document: Document = serde_yaml_ng::from_slice(text)?;
        let newest = document.entries.into_iter();
        let newest = newest.filter_map(|(name, entries)| Some((name, newest_of(entries)?)));
        Ok(Self(newest.collect()))
    }

    /// The newest release of a chart; none when the index does not have it, or its chart
    /// does not say what it installs.
    pub(crate) fn newest(&self, chart: &str) -> Option<&Release> {
        self.0.get(chart)
    }
}

/// The highest version that is released.
fn newest_of(entries: Vec<Entry>) -> Option<Release> {
    let released = entries.into_iter().filter(|entry| !entry.deprecated);
    let versions = released.filter_map(|entry| match Tag::parse(&entry.version) {
        Tag::Version(version) if !version.is_prerelease() => Some((version, entry)),
        _ => None,
    });
    let by_version = |(one, _): &(Version, Entry), (other, _): &(Version, Entry)| one.cmp(other);
    let (_, entry) = versions.max_by(by_version)?;
    Some(Release {
        chart: entry.version,
        app: entry.app_version?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "
apiVersion: v1
generated: '2026-08-21T00:00:00Z'
entries:
  castai-agent:
    - {version: 0.9.0, appVersion: v0.9.0, urls: [x]}
    - {version: 0.161.1, appVersion: v0.161.1}
    - {version: 0.162.0-rc.1, appVersion: v0.162.0-rc.1}
    - {version: 0.170.0, appVersion: v0.170.0, deprecated: true}
  castai-watchdog:
    - {version: 0.2.480}
";

    #[test]
    fn the_newest_released_version_says_what_it_installs() {
        let index = HelmIndex::parse(INDEX.as_bytes()).unwrap();
        let release = index.newest("castai-agent").unwrap();
        assert_eq!(
            (release.chart.as_str(), release.app.as_str()),
            ("0.161.1", "v0.161.1")
        );
        assert_eq!(index.newest("castai-watchdog"), None);
        assert_eq!(index.newest("unknown"), None);
    }

    #[tokio::test]
    async fn what_is_no_index_is_a_usage_error() {
        let config = Config::default();
        let err = HelmIndex::read("/nowhere/index.yaml", &config)
            .await
            .unwrap_err();
        assert_eq!(err.exit(), castlink_core::Exit::Usage);
        assert!(HelmIndex::parse(b"<html>").is_err());
        assert!(HelmIndex::parse(b"entries: []").is_err());
    }
}
