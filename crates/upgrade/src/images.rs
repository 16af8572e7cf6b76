//! `images`: every image reference of the namespace, and who uses it.

use std::collections::{BTreeMap, BTreeSet};

use castlink_core::{Context, Exit, ImageRef, Result, app::Outcome, printer::count, record::Image};

use crate::{
    args::{AvailableArgs, IndexFrom},
    available,
    cluster::Observed,
    components::Component,
    controllers, nodes, owner,
    pods::PodView,
    session::Session,
    workload::Workload,
};

mod show;

use show::show;

/// Lists the images as records, or as a table.
pub(crate) async fn run(args: &AvailableArgs, context: &Context) -> Result<Outcome> {
    let session = Session::open(context).await?;
    let printer = session.printer();
    let components = session.cluster.components(printer).await?;
    let images = images(&session.seen, &components);
    let number = images.len();
    let outcome = finish(images, args, context).await?;
    let namespace = &session.cluster.namespace;
    if number == 0 {
        printer.note(format!("namespace {namespace} uses no images"));
    }
    printer.note(format!(
        "{} in namespace {namespace}",
        count(number, "image")
    ));
    Ok(outcome)
}

/// Looks up what is newer, where that was asked for, and shows everything.
pub(crate) async fn finish(
    mut images: Vec<Image>,
    args: &AvailableArgs,
    context: &Context,
) -> Result<Outcome> {
    let mut outcome = Outcome::from(Exit::Done);
    if args.available {
        outcome.exit = look_up(&mut images, &args.index, context).await?;
        let newer = images.iter().filter(|image| is_outdated(image)).count();
        outcome = outcome.count("newer", newer as u64);
    }
    show(&images, &context.printer);
    Ok(outcome.count("images", images.len() as u64))
}

/// Adds the newest release of each; the exit that those without an answer ask for.
async fn look_up(images: &mut [Image], index: &IndexFrom, context: &Context) -> Result<Exit> {
    let references: Vec<ImageRef> = images
        .iter()
        .filter_map(|image| image.source.parse().ok())
        .collect();
    let mut found =
        available::newest_of(&references, index, &context.config, &context.printer).await?;
    let exit = available::exit(&found);
    for image in images {
        image.available = found.remove(&image.source).map(Box::new);
    }
    Ok(exit)
}

fn is_outdated(image: &Image) -> bool {
    let available = image.available.as_ref();
    available.is_some_and(|available| available.newer == Some(true))
}

/// Who uses an image, and who manages them.
#[derive(Default)]
struct Users {
    used_by: BTreeSet<String>,
    owners: BTreeMap<String, String>,
}

/// Every reference with its users, by reference. Pods add what no template shows: what
/// operators made, and containers that were injected. Components say what will be
/// installed next, and some workloads start images that nothing shows.
fn images(seen: &Observed, components: &[Component]) -> Vec<Image> {
    let mut users: BTreeMap<String, Users> = BTreeMap::new();
    let mut add = |image: &str, user: String, owner: Option<(String, String)>| {
        let users = users.entry(image.to_owned()).or_default();
        users.used_by.insert(user);
        users.owners.extend(owner);
    };
    for workload in seen
        .workloads
        .iter()
        .filter(|workload| !workload.is_revision())
    {
        let owner = || Some((workload.id.to_string(), workload.owner.clone()?));
        for field in &workload.fields {
            let user = format!("{} {}", workload.id, field.slot);
            if let Some(scanners) = controllers::published(workload, field) {
                add(scanners.literal(), format!("derived from {user}"), owner());
            }
            add(&field.literal, user, owner());
        }
    }
    for component in components {
        let resource = format!("Component/{}", component.name);
        for (path, image) in &component.images {
            let owner = (resource.clone(), owner::OPERATOR.to_owned());
            let user = format!("{resource} value {path}");
            if let Some(scanners) = component.scanners(image) {
                let user = format!("derived from {user}");
                add(scanners.literal(), user, Some(owner.clone()));
            }
            add(image, user, Some(owner));
        }
    }
    for pod in seen.pods.iter().filter(|pod| !pod.terminating) {
        for (slot, image) in pod
            .images
            .iter()
            .filter(|(_, image)| !is_templated(pod, image, &seen.workloads))
        {
            add(image, format!("Pod/{} {slot}", pod.name), None);
        }
    }
    let platforms = nodes::platforms(&seen.nodes);
    let images = users
        .into_iter()
        .filter(|(source, _)| source.parse::<ImageRef>().is_ok());
    images
        .map(|(source, users)| Image {
            source,
            platforms: platforms.clone(),
            used_by: users.used_by.into_iter().collect(),
            owners: users.owners,
            ..Image::default()
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
        let found: Vec<String> = images(&seen, &[])
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
        assert_eq!(images(&seen, &[])[0].platforms, ["linux/arm64"]);
    }

    fn kvisor(env: &serde_json::Value) -> Observed {
        let object = json!({
            "metadata": {"name": "controller", "annotations": {"meta.helm.sh/release-name": "castai-kvisor"}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "controller", "image": "r.example/kvisor-controller:v1", "env": env}]}}},
        });
        let object = serde_json::from_value(object).unwrap();
        Observed {
            workloads: vec![Workload::new(Kind::Deployment, object)],
            pods: Vec::new(),
            nodes: None,
        }
    }

    #[test]
    fn scanners_are_derived_unless_a_variable_names_them() {
        let found = images(&kvisor(&json!([])), &[]);
        let derived = &found[1];
        assert_eq!(derived.source, "r.example/kvisor-scanners:v1");
        let user = "derived from Deployment/controller container controller";
        assert_eq!(derived.used_by, [user]);
        assert_eq!(
            derived.owners["Deployment/controller"],
            "helm:castai-kvisor"
        );
        let told = kvisor(&json!([{"name": "SCANNERS_IMAGE", "value": "r.example/mine:2"}]));
        let sources: Vec<String> = images(&told, &[])
            .into_iter()
            .map(|image| image.source)
            .collect();
        assert_eq!(
            sources,
            ["r.example/kvisor-controller:v1", "r.example/mine:2"]
        );
    }

    #[test]
    fn components_are_users_of_what_they_will_install() {
        let component = Component {
            name: "agent".into(),
            chart: "castai-agent".into(),
            release: "castai-agent".into(),
            readonly: false,
            images: vec![("image".into(), "r.example/agent:v2".into())],
        };
        let seen = Observed {
            workloads: Vec::new(),
            pods: Vec::new(),
            nodes: None,
        };
        let found = images(&seen, &[component]);
        assert_eq!(found[0].source, "r.example/agent:v2");
        assert_eq!(found[0].used_by, ["Component/agent value image"]);
        assert_eq!(found[0].owners["Component/agent"], "castware-operator");
    }
}
