//! What a workload says about the release and the chart that it is of.
//!
//! Never here: who manages the release, and which values it has.

use crate::{owner, workload::Workload};

/// The release that installed a workload: Helm's own mark, or the name that charts write on
/// what others render.
pub(super) fn release(workload: &Workload) -> Option<String> {
    let metadata = &workload.object.metadata;
    let mark = owner::value(metadata, "meta.helm.sh/release-name");
    let rendered = || {
        labelled(workload)?;
        owner::value(metadata, "app.kubernetes.io/instance")
    };
    mark.or_else(rendered).map(str::to_owned)
}

/// The namespace that a release is in, wherever its workloads are.
pub(super) fn namespace(workloads: &[&Workload]) -> String {
    let first = workloads.first().map(|workload| &workload.object.metadata);
    let mark = first.and_then(|metadata| owner::value(metadata, "meta.helm.sh/release-namespace"));
    let own = first.and_then(|metadata| metadata.namespace.as_deref());
    mark.or(own).unwrap_or_default().to_owned()
}

/// `castai-agent-0.161.1`.
pub(super) fn labelled(workload: &Workload) -> Option<&str> {
    owner::value(&workload.object.metadata, "helm.sh/chart")
}

/// Name and version of a chart's label.
pub(super) fn split(label: &str) -> (&str, &str) {
    let version = |rest: &str| {
        let numbers = rest.split_once('.').map(|(major, _)| major);
        numbers.is_some_and(|major| !major.is_empty() && major.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut dashes = label.match_indices('-');
    let at = dashes.find(|(at, _)| version(&label[at + 1..]));
    at.map_or((label, ""), |(at, _)| (&label[..at], &label[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_and_versions() {
        for (label, want) in [
            ("castai-agent-0.161.1", ("castai-agent", "0.161.1")),
            (
                "castai-agent-0.161.1-rc.1",
                ("castai-agent", "0.161.1-rc.1"),
            ),
            ("k8s-1st-thing-2.0.0", ("k8s-1st-thing", "2.0.0")),
            ("unversioned", ("unversioned", "")),
        ] {
            assert_eq!(split(label), want);
        }
    }
}
