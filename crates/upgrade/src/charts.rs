//! What is known about CAST AI's charts: which Helm values hold which images, and where the
//! charts are published. A dated data file, compiled in; what it does not list is said to
//! be unknown, never guessed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use castlink_core::ImageRef;
use serde::Deserialize;

use crate::workload::Slot;

/// What the data file says.
pub(crate) static CHARTS: LazyLock<Charts> = LazyLock::new(|| {
    toml::from_str(include_str!("../data/charts.toml")).expect("a test reads the file")
});

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Charts {
    /// When it was compared with the charts.
    pub(crate) dated: String,
    /// Where the charts are published.
    pub(crate) index: String,
    #[serde(rename = "chart")]
    pub(crate) charts: Vec<Chart>,
    #[serde(rename = "umbrella")]
    pub(crate) umbrellas: Vec<Umbrella>,
}

/// One chart.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chart {
    pub(crate) name: String,
    /// The value that names the registry of all images that are not listed.
    pub(crate) registry: Option<String>,
    pub(crate) images: Vec<ChartImage>,
}

/// One image of a chart; the data file says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChartImage {
    pub(crate) image: String,
    pub(crate) repository: Option<String>,
    pub(crate) tag: Option<String>,
    #[serde(default)]
    pub(crate) suffix: String,
    #[serde(default)]
    pub(crate) release: bool,
    #[serde(default)]
    pub(crate) global: bool,
    pub(crate) env: Option<String>,
    pub(crate) workload: Option<String>,
    pub(crate) hook: Option<String>,
    pub(crate) fixed: Option<String>,
}

/// A chart made of charts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Umbrella {
    pub(crate) name: String,
    section: String,
    exceptions: BTreeMap<String, String>,
    hooks: BTreeMap<String, String>,
}

impl Charts {
    /// The chart called `name`.
    pub(crate) fn chart(&self, name: &str) -> Option<&Chart> {
        self.charts.iter().find(|chart| chart.name == name)
    }

    /// The chart whose appVersion is the release of `image`; none where several charts, or
    /// none, are released with it.
    pub(crate) fn released_with(&self, image: &ImageRef) -> Option<&Chart> {
        let name = last(image);
        let mut charts = self.charts.iter().filter(|chart| {
            let mut images = chart.images.iter();
            images.any(|known| known.release && known.image == name)
        });
        // An exporter runs the image of the component: the component's chart comes first.
        charts.next()
    }
}

impl Chart {
    /// The entry for `image` in `slot` of a workload.
    pub(crate) fn image(
        &self,
        image: &ImageRef,
        workload: &str,
        slot: &Slot,
    ) -> Option<&ChartImage> {
        let name = last(image);
        self.images
            .iter()
            .find(|known| known.image == name && known.is_for(workload, slot))
    }

    /// The entries that the namespace does not show between releases.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = (&ChartImage, &str)> {
        self.images
            .iter()
            .filter_map(|image| Some((image, image.hook.as_deref()?)))
    }
}

impl ChartImage {
    fn is_for(&self, workload: &str, slot: &Slot) -> bool {
        let variable = match slot {
            Slot::Env { name, .. } => Some(name),
            _ => None,
        };
        let ends = |suffix: &String| workload.ends_with(suffix.as_str());
        self.env.as_ref() == variable && self.workload.as_ref().is_none_or(ends)
    }
}

impl Umbrella {
    /// The key below which the values of `chart` lie.
    pub(crate) fn section(&self, chart: &str) -> String {
        let section = self.exceptions.get(chart).unwrap_or(&self.section);
        format!("{section}.{chart}")
    }

    /// The images of its own hook Jobs that come with `charts`.
    pub(crate) fn hooks<'a>(&'a self, charts: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
        let with = |(chart, _): &(&String, &String)| charts.contains(chart.as_str());
        self.hooks.iter().filter(with).map(|(_, image)| &**image)
    }
}

/// The last part of a repository: what an image is called, wherever it lies.
pub(crate) fn last(image: &ImageRef) -> &str {
    let repository = image.repository();
    repository.rsplit('/').next().unwrap_or(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    #[test]
    fn the_file_is_complete() {
        let charts = &*CHARTS;
        assert!(charts.dated.parse::<jiff::civil::Date>().is_ok());
        for chart in &charts.charts {
            for known in &chart.images {
                let settable = known.repository.is_some();
                let said = settable || known.fixed.is_some() || known.release;
                assert!(said, "{} of {} says nothing", known.image, chart.name);
                assert!(!(settable && known.fixed.is_some()), "{}", known.image);
                assert!(known.tag.is_none() || settable, "{}", known.image);
                if let Some(hook) = &known.hook {
                    assert_eq!(last(&image(hook)), known.image, "{}", chart.name);
                }
            }
        }
    }

    #[test]
    fn images_are_found_by_their_name_wherever_they_lie() {
        let container = Slot::Container("x".into());
        let kvisor = CHARTS.chart("castai-kvisor").unwrap();
        let collector = image("r.example/l/reliability-metrics-otel-collector:v1");
        for (workload, want) in [
            (
                "castai-kvisor-agent",
                "agent.reliabilityMetrics.collector.image.repository",
            ),
            (
                "castai-kvisor-controller",
                "controller.reliabilityMetrics.collector.image.repository",
            ),
        ] {
            let known = kvisor.image(&collector, workload, &container).unwrap();
            assert_eq!(known.repository.as_deref(), Some(want));
        }
        assert!(kvisor.image(&collector, "other", &container).is_none());
        let autoscaler = CHARTS.chart("castai-workload-autoscaler").unwrap();
        let init = image("l/jmx-exporter-init:1");
        let env = Slot::Env {
            container: "x".into(),
            name: "JMX_EXPORTER_INIT_IMAGE".into(),
        };
        assert!(autoscaler.image(&init, "w", &env).is_some());
        assert!(autoscaler.image(&init, "w", &container).is_none());
    }

    #[test]
    fn releases_are_the_charts() {
        for (text, want) in [
            ("ghcr.io/castai/images/agent:v1", Some("castai-agent")),
            (
                "r.example/castai/kvisor/kvisor-agent:v1",
                Some("castai-kvisor"),
            ),
            (
                "l/workload-autoscaler:v1",
                Some("castai-workload-autoscaler"),
            ),
            ("registry.k8s.io/cpa/cpvpa:v1", None),
            ("busybox", None),
        ] {
            let chart = CHARTS.released_with(&image(text));
            assert_eq!(chart.map(|chart| chart.name.as_str()), want, "{text}");
        }
    }
}
