//! `status`: is any public reference left, in what would be started or in what runs?

use castlink_core::{
    Context, Exit, Result,
    app::Outcome,
    printer::{count, symbol},
    record::{Check, CheckStatus, Record},
};

use crate::{
    args::StatusArgs,
    cluster::Observed,
    plan::is_public,
    pods::PodView,
    rollout::cause,
    session::Session,
    workload::{Kind, Workload},
};

/// Checks templates and pods; exit 3 when a public reference is left.
pub(crate) async fn run(args: StatusArgs, context: &Context) -> Result<Outcome> {
    let session = Session::open(context).await?;
    let checks = checks(&session.seen, args.to.as_deref());
    let printer = session.printer();
    for check in &checks {
        printer.record(&Record::Check(check.clone()));
        printer.line(line(check));
    }
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

/// One check per workload, and one per pod that deserves a look.
fn checks(seen: &Observed, registry: Option<&str>) -> Vec<Check> {
    let templates = seen
        .workloads
        .iter()
        .filter(|workload| !(workload.id.kind == Kind::Job && workload.controller.is_some()));
    let pods = seen.pods.iter().filter(|pod| !pod.terminating);
    templates
        .map(|workload| template(workload, registry))
        .chain(pods.filter_map(|pod| running(pod, seen, registry)))
        .collect()
}

fn template(workload: &Workload, registry: Option<&str>) -> Check {
    let public: Vec<String> = workload
        .fields
        .iter()
        .filter(|field| is_public(&field.literal, registry))
        .map(|field| format!("{} is {}", field.slot, field.literal))
        .collect();
    let (status, hint) = match (public.is_empty(), workload.id.kind) {
        (true, _) => (CheckStatus::Ok, None),
        (false, Kind::Job) => (
            CheckStatus::Warn,
            Some("a Job is immutable: set the image in the chart's values"),
        ),
        (false, _) => (CheckStatus::Fail, Some("castlink-upgrade apply")),
    };
    Check {
        id: "upgrade.template".into(),
        status,
        subject: workload.id.to_string(),
        detail: if public.is_empty() {
            "every reference is private".into()
        } else {
            public.join(", ")
        },
        hint: hint.map(Into::into),
    }
}

/// A pod that runs a public image although its template holds none, or that is not ready.
fn running(pod: &PodView, seen: &Observed, registry: Option<&str>) -> Option<Check> {
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
        .find(|(_, image)| is_public(image, registry));
    if let Some((slot, image)) = public.filter(|_| pod.maker.is_some()) {
        let of_job = pod.maker.as_ref().is_some_and(|(kind, _)| kind == "Job");
        let status = if of_job {
            CheckStatus::Warn
        } else {
            CheckStatus::Fail
        };
        return Some(check("upgrade.pod", status, format!("{slot} runs {image}")));
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
            ],
            pods: vec![
                pod("ReplicaSet", &private, true),
                pod("ReplicaSet", &private, false),
                pod("ReplicaSet", "a:1", true),
                pod("Job", "a:1", false),
            ],
            nodes: None,
        };
        let found = |registry| {
            let checks = checks(&seen, registry);
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
                check("template", Warn),
                check("ready", Warn),
                check("pod", Fail),
                check("pod", Warn),
            ]
        );
        assert_eq!(found(Some("other.example"))[0], check("template", Fail));
    }
}
