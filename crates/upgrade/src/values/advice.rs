//! Which values make the private images stay, by release. Pure: from what was seen, what
//! is known about the charts and where images are mirrored to.

use std::collections::{BTreeMap, BTreeSet};

use castlink_core::ImageRef;

use crate::{
    charts::{CHARTS, Chart, ChartImage, Umbrella, last},
    cluster::Observed,
    components::Component,
    mapping::{Mapping, Target},
    owner, scanners,
    values::labels::{labelled, namespace, release, split},
    workload::{ImageField, Kind, Workload},
};

/// What to tell the owner of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    /// None for workloads that no release installed.
    pub(crate) release: Option<String>,
    pub(crate) namespace: String,
    /// `castai-agent 0.161.1`.
    pub(crate) chart: Option<String>,
    pub(crate) manager: Manager,
    pub(crate) settings: Vec<Setting>,
    /// The images that no value changes, or that have no target.
    pub(crate) left: Vec<Left>,
    /// True when `global.registry` would be put in front of some of these values.
    pub(crate) global: bool,
}

/// Who installs a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manager {
    /// Somebody, with the helm command.
    Helm,
    /// castware-operator, by this Component.
    Operator(String),
    /// An application of Argo CD.
    Argo(String),
    /// A HelmRelease, or a Kustomization, of Flux.
    Flux(String),
    Terraform,
    /// Nobody with values: a manifest was applied.
    Manifest,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// `castai-agent.image.repository`.
    pub(crate) key: String,
    pub(crate) value: String,
    /// The image it is for, as it is now.
    pub(crate) image: String,
    pub(crate) note: Option<String>,
}

/// One image that no value is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Left {
    pub(crate) image: String,
    pub(crate) why: String,
    /// Nothing says where it is mirrored to.
    pub(crate) unmapped: bool,
}

impl Manager {
    /// As records name owners.
    pub(crate) fn owner(&self) -> Option<String> {
        match self {
            Self::Helm => Some("helm".into()),
            Self::Operator(_) => Some(owner::OPERATOR.into()),
            Self::Argo(name) => Some(format!("argocd:{name}")),
            Self::Flux(name) => Some(format!("flux:{name}")),
            Self::Terraform => Some("terraform".into()),
            Self::Manifest => None,
        }
    }
}

/// The advice for every release of the namespace, by name; what no release installed last.
pub(crate) fn advise(
    seen: &Observed,
    components: &[Component],
    mapping: &Mapping,
    tags: bool,
) -> Vec<Advice> {
    let mut releases: BTreeMap<Option<String>, Vec<&Workload>> = BTreeMap::new();
    let made =
        |workload: &&Workload| workload.id.kind != Kind::Job || workload.controller.is_none();
    for workload in seen.workloads.iter().filter(made) {
        releases
            .entry(release(workload))
            .or_default()
            .push(workload);
    }
    let loose = releases.remove(&None);
    let mut all: Vec<Advice> = releases
        .into_iter()
        .map(|(release, workloads)| of_release(release, &workloads, components, (mapping, tags)))
        .collect();
    all.extend(loose.map(|workloads| of_release(None, &workloads, components, (mapping, tags))));
    all.retain(|advice| !advice.settings.is_empty() || !advice.left.is_empty());
    all
}

fn of_release(
    release: Option<String>,
    workloads: &[&Workload],
    components: &[Component],
    (mapping, tags): (&Mapping, bool),
) -> Advice {
    let charts: BTreeSet<&str> = workloads.iter().filter_map(|one| labelled(one)).collect();
    let names: BTreeSet<&str> = charts.iter().map(|label| split(label).0).collect();
    let mut draft = Draft {
        umbrella: CHARTS.umbrellas.first().filter(|_| names.len() > 1),
        sole: names.first().copied().filter(|_| names.len() == 1),
        mapping,
        tags,
        settings: BTreeMap::new(),
        left: BTreeSet::new(),
        global: false,
    };
    let charted = release.is_some();
    for workload in workloads {
        let chart = charted.then(|| draft.chart_of(workload)).flatten();
        for field in &workload.fields {
            draft.add(workload, field, chart, charted);
        }
    }
    for chart in names.iter().filter_map(|name| CHARTS.chart(name)) {
        draft.add_hooks(chart);
    }
    if let Some(umbrella) = draft.umbrella {
        draft.leave_hooks(umbrella.hooks(&names));
    }
    Advice {
        namespace: namespace(workloads),
        chart: match (&draft.umbrella, charts.first()) {
            (Some(umbrella), _) => Some(umbrella.name.clone()),
            (None, Some(label)) => {
                Some(split(label)).map(|(name, version)| format!("{name} {version}"))
            }
            (None, None) => None,
        },
        manager: manager(release.as_deref(), workloads, draft.outer(), components),
        settings: draft.settings.into_values().collect(),
        left: draft.left.into_iter().collect(),
        global: draft.global,
        release,
    }
}

/// The advice for one release, while it is put together.
struct Draft<'a> {
    umbrella: Option<&'static Umbrella>,
    /// The one chart of the release.
    sole: Option<&'a str>,
    mapping: &'a Mapping,
    /// Tags are set as well.
    tags: bool,
    settings: BTreeMap<String, Setting>,
    left: BTreeSet<Left>,
    global: bool,
}

impl<'a> Draft<'a> {
    /// The chart that the release is of.
    fn outer(&self) -> Option<&'a str> {
        match self.umbrella {
            Some(umbrella) => Some(&umbrella.name),
            None => self.sole,
        }
    }

    /// The chart of a workload: by its label; else the one whose name its own begins with;
    /// else the only one of the release.
    fn chart_of(&self, workload: &Workload) -> Option<&'static Chart> {
        if let Some(label) = labelled(workload) {
            return CHARTS.chart(split(label).0);
        }
        let begins = |chart: &&Chart| workload.id.name.starts_with(&chart.name);
        let named = CHARTS.charts.iter().filter(begins);
        named
            .max_by_key(|chart| chart.name.len())
            .or_else(|| CHARTS.chart(self.sole?))
    }

    fn add(
        &mut self,
        workload: &Workload,
        field: &ImageField,
        chart: Option<&Chart>,
        charted: bool,
    ) {
        let Ok(image) = field.literal.parse::<ImageRef>() else {
            return;
        };
        let known = chart.and_then(|chart| chart.image(&image, &workload.id.name, &field.slot));
        let registry = chart.and_then(|chart| chart.registry.as_deref());
        match (chart, known, registry) {
            (Some(chart), Some(known), _) => self.add_known(chart, known, &image),
            (Some(chart), None, Some(key)) => self.add_registry(chart, key, &image),
            _ if charted => self.leave(&image, UNKNOWN, false),
            _ => self.leave(&image, LOOSE, false),
        }
    }

    fn add_known(&mut self, chart: &Chart, known: &ChartImage, image: &ImageRef) {
        if let Some(why) = &known.fixed {
            return self.leave(image, why, false);
        }
        let Some(key) = &known.repository else {
            return self.leave(image, UNKNOWN, false);
        };
        let Some(target) = self.target(image) else {
            return self.leave(image, UNMAPPED, true);
        };
        let Some(value) = target.literal_name().strip_suffix(&*known.suffix) else {
            let why = format!(
                "the chart adds `{}` to the value, and the mirrored name does not end so",
                known.suffix
            );
            return self.leave(image, &why, false);
        };
        self.global |= known.global;
        self.set(chart, key, value, image, None);
        if let (true, Some(key), Some(tag)) = (self.tags, &known.tag, target.tag()) {
            self.set(chart, key, tag, image, None);
        }
        self.add_scanners(chart, image, &target);
    }

    /// An image of a chart that puts one registry in front of all of them.
    fn add_registry(&mut self, chart: &Chart, key: &str, image: &ImageRef) {
        let Some(target) = self.target(image) else {
            return self.leave(image, UNMAPPED, true);
        };
        match target.literal_name().rsplit_once('/') {
            Some((registry, name)) if name == last(image) => {
                self.set(chart, key, registry, image, None);
            }
            _ => self.leave(image, UNKNOWN, false),
        }
    }

    /// kvisor's controller derives the name of its scanners from its own; where that does
    /// not lead to where they are mirrored, a variable says so.
    fn add_scanners(&mut self, chart: &Chart, image: &ImageRef, target: &ImageRef) {
        let Some(published) = image.kvisor_scanners() else {
            return;
        };
        let derived = scanners::started(target.literal());
        let Some(mirrored) = self.target(&published) else {
            return self.leave(&published, UNMAPPED, true);
        };
        if derived != mirrored.literal() {
            let note = format!("kvisor would look for {derived}");
            let key = "controller.additionalEnv.SCANNERS_IMAGE";
            self.set(chart, key, mirrored.literal(), &published, Some(note));
        }
    }

    /// Hook Jobs are made anew by every release, before anything else: without their image
    /// the release does not begin.
    fn add_hooks(&mut self, chart: &Chart) {
        for (known, default) in chart.hooks() {
            let Ok(image) = default.parse::<ImageRef>() else {
                continue;
            };
            match (&known.fixed, &known.repository, self.target(&image)) {
                (Some(why), _, _) => self.leave(&image, why, false),
                (None, Some(key), Some(target)) => {
                    let key = self.key(chart, key);
                    let setting = Setting {
                        value: target.literal_name().to_owned(),
                        image: default.to_owned(),
                        note: Some(format!(
                            "a hook Job; mirror {default} as well, in the tag that `helm show values` names"
                        )),
                        key: key.clone(),
                    };
                    self.global |= known.global;
                    self.settings.entry(key).or_insert(setting);
                }
                _ => self.leave(&image, HOOK, false),
            }
        }
    }

    /// Hook Jobs of the outer chart, which has their images written in.
    fn leave_hooks<'h>(&mut self, images: impl Iterator<Item = &'h str>) {
        for image in images.filter_map(|text| text.parse::<ImageRef>().ok()) {
            self.leave(&image, WRITTEN, false);
        }
    }

    fn set(
        &mut self,
        chart: &Chart,
        key: &str,
        value: &str,
        image: &ImageRef,
        note: Option<String>,
    ) {
        let key = self.key(chart, key);
        let setting = Setting {
            key: key.clone(),
            value: value.to_owned(),
            image: image.literal().to_owned(),
            note,
        };
        let known = self.settings.entry(key).or_insert_with(|| setting.clone());
        if known.value != setting.value {
            self.leave(
                image,
                "its value would be another than that of the image beside it",
                false,
            );
        }
    }

    fn key(&self, chart: &Chart, key: &str) -> String {
        match self.umbrella {
            Some(umbrella) => format!("{}.{key}", umbrella.section(&chart.name)),
            None => key.to_owned(),
        }
    }

    fn leave(&mut self, image: &ImageRef, why: &str, unmapped: bool) {
        self.left.insert(Left {
            image: image.literal().to_owned(),
            why: why.to_owned(),
            unmapped,
        });
    }

    fn target(&self, image: &ImageRef) -> Option<ImageRef> {
        match self.mapping.target(image.literal()) {
            Target::Mirrored { to, .. } | Target::Planned { to } => to.parse().ok(),
            Target::Private => Some(image.clone()),
            _ => None,
        }
    }
}

const UNKNOWN: &str = "which value names it is not known; look at `helm show values`, or use `castlink-upgrade rewrite` as a post-renderer";
const LOOSE: &str = "no release installed its workload; run the manifest through `castlink-upgrade rewrite` before it is applied again";
const UNMAPPED: &str = "nothing says where it is mirrored to";
const WRITTEN: &str =
    "a hook Job of the outer chart, which has it written in: without it no release begins";
const HOOK: &str = "a hook Job of the next release; no record says where it is mirrored to";

fn manager(
    release: Option<&str>,
    workloads: &[&Workload],
    chart: Option<&str>,
    components: &[Component],
) -> Manager {
    // A release of the same name, of another chart, is another's.
    let installs = |component: &&Component| {
        Some(component.chart.as_str()) == chart
            && release.is_none_or(|name| name == component.release)
    };
    let component = components.iter().filter(|one| !one.readonly).find(installs);
    if let Some(component) = component {
        return Manager::Operator(component.name.clone());
    }
    let owners = workloads.iter().filter_map(|one| one.owner.as_deref());
    let parts = |owner: &str| {
        let (tool, name) = owner.split_once(':').unwrap_or((owner, ""));
        (tool.to_owned(), name.to_owned())
    };
    for (tool, name) in owners.map(parts) {
        match tool.as_str() {
            "argocd" => return Manager::Argo(name),
            "flux" => return Manager::Flux(name),
            "terraform" => return Manager::Terraform,
            owner::OPERATOR => return Manager::Operator(chart.unwrap_or_default().to_owned()),
            _ => {}
        }
    }
    match release {
        Some(_) => Manager::Helm,
        None => Manager::Manifest,
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
