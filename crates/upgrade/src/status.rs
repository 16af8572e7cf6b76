//! `status`: is any public reference left, in what would be started or in what runs?

use castlink_core::{
    Context, Exit, ImageRef, Printer, Result,
    app::Outcome,
    printer::{count, symbol},
    record::{Check, CheckStatus, Record},
};

use crate::{
    args::StatusArgs,
    cluster::Observed,
    components::Component,
    controllers, fixed,
    mapping::is_private,
    owner,
    pods::PodView,
    rollout::cause,
    scanners,
    session::Session,
    workload::{ImageField, Kind, Workload},
};

/// Checks templates and pods; exit 3 when a public reference is left.
pub(crate) async fn run(args: StatusArgs, context: &Context) -> Result<Outcome> {
    let session = Session::open(context).await?;
    let private = Private {
        only: args.to,
        also: context.config.mirror.to.clone(),
    };
    let components = session.cluster.components(session.printer()).await?;
    let mut checks = checks(&session.seen, &private);
    checks.extend(components.iter().filter_map(|one| installs(one, &private)));
    let printer = session.printer();
    print(&checks, printer);
    let failed = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Fail)
        .count();
    let warned = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Warn)
        .count();
    printer.line(match (failed, warned) {
        (0, 0) => format!(
            "namespace {}: every reference is private, every pod is ready",
            session.cluster.namespace
        ),
        _ => format!(
            "namespace {}: {failed} failed, {}",
            session.cluster.namespace,
            count(warned, "warning")
        ),
    });
    let exit = if failed > 0 {
        Exit::Pending
    } else {
        Exit::Done
    };
    Ok(Outcome::from(exit)
        .count("failed", failed as u64)
        .count("warnings", warned as u64))
}

/// Checks as records, and as lines.
pub(crate) fn print(checks: &[Check], printer: &Printer) {
    for check in checks {
        printer.record(&Record::Check(check.clone()));
        printer.line(line(check));
    }
}

fn line(check: &Check) -> String {
    let mark = match check.status {
        CheckStatus::Ok => symbol('='),
        CheckStatus::Warn => symbol('~'),
        CheckStatus::Fail => symbol('!'),
    };
    let hint = check
        .hint
        .as_ref()
        .map(|hint| format!(" ({hint})"))
        .unwrap_or_default();
    format!("{mark} {}: {}{hint}", check.subject, check.detail)
}

/// Which registries are private.
#[derive(Debug, Default)]
struct Private {
    /// Named on the command line: this one, and no other.
    only: Option<String>,
    /// Of the configuration: this one, and every ECR registry.
    also: Option<String>,
}

impl Private {
    fn covers(&self, image: &ImageRef) -> bool {
        let also = self.also.as_deref().filter(|_| self.only.is_none());
        is_private(image, self.only.as_deref()) || also.is_some_and(|at| image.is_at(at))
    }

    /// What keeps `literal` from being private: `is busybox:1`; none when it is.
    fn objection(&self, literal: &str) -> Option<String> {
        match literal.parse::<ImageRef>() {
            Ok(image) if self.covers(&image) => None,
            Ok(_) => Some(format!("is {literal}")),
            Err(_) => Some(format!("is `{literal}`, which is not an image reference")),
        }
    }

    /// True for an image of another registry. A text that is no reference is not one.
    fn is_public(&self, literal: &str) -> bool {
        literal
            .parse::<ImageRef>()
            .is_ok_and(|image| !self.covers(&image))
    }
}

/// One check per workload, and one per pod that deserves a look.
fn checks(seen: &Observed, private: &Private) -> Vec<Check> {
    let templates = seen
        .workloads
        .iter()
        .filter(|workload| !workload.is_revision());
    let pods = seen.pods.iter().filter(|pod| !pod.terminating);
    templates
        .map(|workload| template(workload, private))
        .chain(pods.filter_map(|pod| running(pod, seen, private)))
        .collect()
}

fn template(workload: &Workload, private: &Private) -> Check {
    let public: Vec<(&ImageField, String)> = workload
        .fields
        .iter()
        .filter_map(|field| Some((field, objections(workload, field, private)?)))
        .collect();
    let (status, hint) = if public.is_empty() {
        (CheckStatus::Ok, None)
    } else {
        let (status, hint) = remedy(workload, public.iter().map(|(field, _)| *field), private);
        (status, Some(hint))
    };
    let texts: Vec<String> = public
        .iter()
        .map(|(field, objections)| format!("{} {objections}", field.slot))
        .collect();
    Check {
        id: "upgrade.template".into(),
        status,
        subject: workload.id.to_string(),
        detail: match (public.is_empty(), &workload.owner) {
            (true, _) => "every reference is private".into(),
            (false, None) => texts.join(", "),
            (false, Some(owner)) => format!("{} (owner {owner})", texts.join(", ")),
        },
        hint,
    }
}

/// What is public of a reference, and of what is started by its name.
fn objections(workload: &Workload, field: &ImageField, private: &Private) -> Option<String> {
    let started =
        controllers::published(workload, field).map(|_| scanners::started(&field.literal));
    let started = started.filter(|image| private.objection(image).is_some());
    match (private.objection(&field.literal), started) {
        (Some(own), Some(started)) => Some(format!("{own}, and starts {started}")),
        (own, None) => own,
        (None, Some(started)) => Some(format!("starts {started}, which is not private")),
    }
}

/// What castware-operator installs next, whatever runs now; nothing when its values name no
/// image. With `readonly` others install.
fn installs(component: &Component, private: &Private) -> Option<Check> {
    let images = &component.images;
    let public: Vec<String> = images
        .iter()
        .filter_map(|(path, image)| Some(format!("value {path} {}", private.objection(image)?)))
        .collect();
    let status = match (public.is_empty(), component.readonly) {
        (true, _) => CheckStatus::Ok,
        (false, true) => CheckStatus::Warn,
        (false, false) => CheckStatus::Fail,
    };
    (!images.is_empty()).then(|| Check {
        id: "upgrade.component".into(),
        status,
        subject: format!("Component/{}", component.name),
        detail: if public.is_empty() {
            "every image in its values is private".into()
        } else {
            format!("{} (owner {})", public.join(", "), owner::OPERATOR)
        },
        hint: (status != CheckStatus::Ok)
            .then(|| "castlink-upgrade values prints what to set in its spec.values".into()),
    })
}

/// A Job that has ended makes no more pods.
fn is_over(workload: &Workload) -> bool {
    workload.id.kind == Kind::Job && fixed::is_finished(&workload.object)
}

/// What a public reference means, and what to do about it.
fn remedy<'a>(
    workload: &Workload,
    fields: impl Iterator<Item = &'a ImageField> + Clone,
    private: &Private,
) -> (CheckStatus, String) {
    let invalid = |field: &ImageField| field.literal.parse::<ImageRef>().is_err();
    let slots = fields.clone().map(|field| &field.slot);
    let is_private = |field: &ImageField| private.objection(&field.literal).is_none();
    match fixed::reason(workload, slots, false) {
        Some((reason, _)) if is_over(workload) => (CheckStatus::Warn, reason),
        Some((reason, _)) => (CheckStatus::Fail, reason),
        None if fields.clone().all(is_private) => (CheckStatus::Fail, scanners::REMEDY.into()),
        None if fields.into_iter().any(invalid) => (
            CheckStatus::Fail,
            "correct the reference in the chart's values or the manifest".into(),
        ),
        None => (CheckStatus::Fail, "castlink-upgrade apply".into()),
    }
}

/// A pod that runs a public image although its template holds none, or that is not ready.
fn running(pod: &PodView, seen: &Observed, private: &Private) -> Option<Check> {
    let check = |id: &str, status, detail: String| Check {
        id: id.into(),
        status,
        subject: format!("Pod/{}", pod.name),
        detail,
        hint: None,
    };
    let public = pod
        .images
        .iter()
        .find(|(_, image)| private.is_public(image));
    if let Some((slot, image)) = public.filter(|_| pod.maker.is_some()) {
        let detail = format!("{slot} runs {image}");
        return Some(check("upgrade.pod", CheckStatus::Fail, detail));
    }
    (!pod.ready).then(|| {
        let trouble = pod
            .troubles
            .first()
            .map(|trouble| cause::describe(pod, trouble, &seen.nodes));
        let detail = trouble
            .or_else(|| pod.unschedulable.clone())
            .unwrap_or_else(|| format!("not ready ({})", pod.phase));
        check("upgrade.ready", CheckStatus::Warn, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Slot;
    use serde_json::json;

    const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn workload(kind: Kind, image: &str) -> Workload {
        let object = json!({"metadata": {"name": "x"},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
        Workload::new(kind, serde_json::from_value(object).unwrap())
    }

    fn ended(mut job: Workload) -> Workload {
        job.object.data["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        job
    }

    fn pod(maker: &str, image: &str, ready: bool) -> PodView {
        PodView {
            name: "p".into(),
            maker: Some((maker.into(), "x".into())),
            images: vec![(Slot::Container("app".into()), image.into())],
            ready,
            ..PodView::default()
        }
    }

    #[test]
    fn what_is_public_fails_and_what_is_late_warns() {
        let private = format!("{ECR}/a:1");
        let seen = Observed {
            workloads: vec![
                workload(Kind::Deployment, &private),
                workload(Kind::CronJob, "unread"),
                workload(Kind::DaemonSet, "a:1"),
                workload(Kind::Job, "a:1"),
                ended(workload(Kind::Job, "a:1")),
            ],
            pods: vec![
                pod("ReplicaSet", &private, true),
                pod("ReplicaSet", &private, false),
                pod("ReplicaSet", "a:1", true),
                pod("Job", "a:1", false),
            ],
            nodes: None,
        };
        let found = |only: Option<&str>| {
            let only = only.map(str::to_owned);
            let checks = checks(&seen, &Private { only, also: None });
            checks
                .iter()
                .map(|check| (check.id.clone(), check.status))
                .collect::<Vec<_>>()
        };
        let check = |id: &str, status| (format!("upgrade.{id}"), status);
        use CheckStatus::{Fail, Ok, Warn};
        assert_eq!(
            found(None),
            [
                check("template", Ok),
                check("template", Ok),
                check("template", Fail),
                check("template", Fail),
                check("template", Warn),
                check("ready", Warn),
                check("pod", Fail),
                check("pod", Fail),
            ]
        );
        assert_eq!(found(Some("other.example"))[0], check("template", Fail));
    }

    #[test]
    fn what_the_operator_installs_next_counts() {
        let private = Private {
            only: Some("r.example".into()),
            also: None,
        };
        let component = |readonly, image: &str| Component {
            name: "agent".into(),
            chart: "castai-agent".into(),
            release: "castai-agent".into(),
            readonly,
            images: vec![("image".into(), image.into())],
        };
        for (readonly, image, want) in [
            (false, "r.example/agent:1", CheckStatus::Ok),
            (false, "agent:1", CheckStatus::Fail),
            (true, "agent:1", CheckStatus::Warn),
        ] {
            let check = installs(&component(readonly, image), &private).unwrap();
            assert_eq!(check.status, want, "{check:?}");
        }
        let empty = Component {
            images: Vec::new(),
            ..component(false, "")
        };
        assert_eq!(installs(&empty, &private), None);
    }

    #[test]
    fn what_is_private_is_told_from_what_is_no_reference() {
        let private = Private {
            only: None,
            also: Some("r.example/mirror".into()),
        };
        for (literal, want) in [
            (format!("{ECR}/a:1"), None),
            ("r.example/mirror/a:1".into(), None),
            ("a:1".into(), Some("is a:1")),
            (
                "${IMAGE}".into(),
                Some("is `${IMAGE}`, which is not an image reference"),
            ),
        ] {
            assert_eq!(private.objection(&literal).as_deref(), want, "{literal}");
        }
        let check = template(&workload(Kind::Deployment, "${IMAGE}"), &private);
        assert_eq!(check.status, CheckStatus::Fail);
        assert!(check.detail.contains("not an image reference"), "{check:?}");
    }
}
