//! `images`: every image reference of the namespace, and who uses it.

use std::collections::{BTreeMap, BTreeSet};

use castlink_core::{
    Context, Exit, ImageRef, Printer, Result,
    app::Outcome,
    printer::{count, table},
    record::{Image, Record},
};

use crate::{cluster::Observed, nodes, pods::PodView, session::Session, workload::Workload};

/// Lists the images as records, or as a table.
pub(crate) async fn run(context: &Context) -> Result<Outcome> {
    let session = Session::open(context).await?;
    let images = images(&session.seen);
    let printer = session.printer();
    show(&images, printer);
    if images.is_empty() {
        printer.note(format!(
            "namespace {} uses no images",
            session.cluster.namespace
        ));
    }
    printer.note(format!(
        "{} in namespace {}",
        count(images.len(), "image"),
        session.cluster.namespace
    ));
    Ok(Outcome::from(Exit::Done).count("images", images.len() as u64))
}

/// The images as records, or as a table.
pub(crate) fn show(images: &[Image], printer: &Printer) {
    let mut rows = vec![vec!["IMAGE".to_owned(), "USED BY".to_owned()]];
    for image in images {
        printer.record(&Record::Image(image.clone()));
        rows.push(vec![image.source.clone(), image.used_by.join(", ")]);
    }
    if !images.is_empty() {
        table(&rows).iter().for_each(|line| printer.line(line));
    }
}

/// Every reference with its users, by reference. Pods add what no template shows: what
/// operators made, and containers that were injected.
fn images(seen: &Observed) -> Vec<Image> {
    let mut users: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for workload in seen
        .workloads
        .iter()
        .filter(|workload| !workload.is_revision())
    {
        for field in &workload.fields {
            users
                .entry(&field.literal)
                .or_default()
                .insert(format!("{} {}", workload.id, field.slot));
        }
    }
    for pod in seen.pods.iter().filter(|pod| !pod.terminating) {
        for (slot, image) in pod
            .images
            .iter()
            .filter(|(_, image)| !is_templated(pod, image, &seen.workloads))
        {
            users
                .entry(image)
                .or_default()
                .insert(format!("Pod/{} {slot}", pod.name));
        }
    }
    let platforms = nodes::platforms(&seen.nodes);
    let images = users
        .into_iter()
        .filter(|(source, _)| source.parse::<ImageRef>().is_ok());
    images
        .map(|(source, used_by)| Image {
            source: source.into(),
            digest: None,
            platforms: platforms.clone(),
            used_by: used_by.into_iter().collect(),
        })
        .collect()
}

/// True when the template of the pod's workload shows `image` already.
fn is_templated(pod: &PodView, image: &str, workloads: &[Workload]) -> bool {
    let makers = workloads
        .iter()
        .filter(|workload| pod.belongs_to(&workload.id));
    makers
        .flat_map(|workload| &workload.fields)
        .any(|field| field.literal == image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nodes::sample,
        workload::{Kind, Slot},
    };
    use serde_json::json;

    #[test]
    fn templates_and_pods_together() {
        let object = json!({"metadata": {"name": "web"}, "spec": {"template": {"spec": {"containers": [
            {"name": "agent", "image": "a:1"}, {"name": "monitor", "image": "a:1"}, {"name": "odd", "image": "${IMAGE}"}]}}}});
        let web = Workload::new(Kind::DaemonSet, serde_json::from_value(object).unwrap());
        let pod = |name: &str, maker: &str, image: &str| PodView {
            name: name.into(),
            maker: Some((maker.into(), "web".into())),
            images: vec![(Slot::Container("c".into()), image.into())],
            ..PodView::default()
        };
        let seen = Observed {
            workloads: vec![web],
            pods: vec![
                pod("web-1", "DaemonSet", "a:1"),
                pod("web-2", "DaemonSet", "injected:2"),
                pod("made", "Component", "b:1"),
                PodView {
                    terminating: true,
                    ..pod("old", "DaemonSet", "a:0")
                },
            ],
            nodes: sample(&[("n", "arm64", true)]),
        };
        let found: Vec<String> = images(&seen)
            .iter()
            .map(|image| format!("{}: {}", image.source, image.used_by.join(", ")))
            .collect();
        assert_eq!(
            found,
            [
                "a:1: DaemonSet/web container agent, DaemonSet/web container monitor",
                "b:1: Pod/made container c",
                "injected:2: Pod/web-2 container c",
            ]
        );
        assert_eq!(images(&seen)[0].platforms, ["linux/arm64"]);
    }
}
