//! `drift`: are the references still those that a run wrote? Helm, Argo CD and operators
//! put theirs back at their next write, minutes or weeks later, and say nothing.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    args::DriftArgs,
    client::{Cluster, FIELD_MANAGER},
    owner,
    recall::{find, known, same_cluster},
    report,
    runs::{Place, Run},
    status,
    workload::{Id, Slot, Workload},
    writers,
};
use castlink_core::{
    Context, Exit, Printer, Result,
    app::Outcome,
    printer::count,
    record::{Change, Check, CheckStatus},
    wait,
};

/// Compares what is there with what runs wrote; exit 3 where it is something else.
pub(crate) async fn run(args: DriftArgs, context: &Context) -> Result<Outcome> {
    let mut here = Cluster::connect(&context.config.kube, &context.printer).await?;
    let printer = &context.printer;
    let runs = runs(args.run.as_deref(), &here, printer).await?;
    if let Some(run) = runs.first() {
        here.namespace.clone_from(&run.header.namespace);
    }
    if let Some(after) = args.after {
        pause(after, printer).await;
    }
    let now = here.workloads_now().await?;
    let checks: Vec<Check> = left(&runs)
        .into_iter()
        .map(|(run, change)| check(run, change, &now))
        .collect::<Result<_>>()?;
    status::print(&checks, printer);
    let failed = |check: &&Check| check.status == CheckStatus::Fail;
    let drifted = checks.iter().filter(failed).count();
    printer.line(format!(
        "namespace {}: {drifted} of {} changed by somebody else since {}",
        here.namespace,
        count(checks.len(), "reference"),
        count(runs.len(), "run")
    ));
    let exit = if drifted > 0 {
        Exit::Pending
    } else {
        Exit::Done
    };
    Ok(Outcome::from(exit)
        .count("references", checks.len() as u64)
        .count("drifted", drifted as u64))
}

/// The run called `name`, or all of the namespace, oldest first.
async fn runs(name: Option<&str>, here: &Cluster, printer: &Printer) -> Result<Vec<Run>> {
    if let Some(name) = name {
        let run = find(name, here, printer).await?;
        same_cluster(&run, here)?;
        return Ok(vec![run]);
    }
    let known = known(here, printer).await?;
    // Without a single one there is nothing to compare, which it says.
    Run::find(&known, "last", here)?;
    let ours =
        |run: &Run| run.header.namespace == here.namespace && same_cluster(run, here).is_ok();
    Ok(known.into_iter().filter(ours).collect())
}

/// What `runs` left behind together: of each reference, what was written last. What a run
/// took back itself is as the run before left it.
fn left(runs: &[Run]) -> Vec<(&Run, &Change)> {
    let of_run = |run| {
        Run::applied(run)
            .into_iter()
            .map(move |change| (run, change))
    };
    let last: BTreeMap<(&str, &str), (&Run, &Change)> = runs
        .iter()
        .flat_map(of_run)
        .map(|(run, change)| ((&*change.resource, &*change.field), (run, change)))
        .collect();
    last.into_values().collect()
}

/// Gives others time to put their images back.
pub(crate) async fn pause(after: Duration, printer: &Printer) {
    printer.note(format!(
        "looking again in {} s whether the images stay",
        after.as_secs()
    ));
    wait::pause(after).await;
}

/// Who wrote something else than `want` into `slot`; none when it is there.
pub(crate) fn changed(workload: &Workload, slot: &Slot, want: &str) -> Option<String> {
    let field = workload.fields.iter().find(|field| field.slot == *slot);
    let Some(field) = field else {
        return Some(format!("{slot} is gone"));
    };
    if field.literal == want {
        return None;
    }
    let writer = writers::of(&workload.object, workload.id.kind, slot);
    let by = match (&writer, &workload.owner) {
        (Some(writer), _) => format!(": {writer} wrote it"),
        (None, Some(owner)) => format!(" (owner: {owner})"),
        (None, None) => String::new(),
    };
    Some(format!("{slot} was changed to {}{by}", field.literal))
}

fn check(run: &Run, change: &Change, now: &[Workload]) -> Result<Check> {
    // Whether a run of another host got so far, only the time of the last write tells.
    let since = (run.place == Place::Cluster).then_some(&*run.header.started);
    let id: Id = change.resource.parse()?;
    let slot = Slot::from_field(&change.field);
    let workload = now.iter().find(|workload| workload.id == id);
    let (status, detail, hint) = match (workload, &slot, &change.to) {
        (Some(workload), Some(slot), Some(to)) => judge(workload, slot, to, since),
        _ => (CheckStatus::Warn, format!("{id} is gone"), None),
    };
    Ok(Check {
        id: "upgrade.drift".into(),
        status,
        subject: change.resource.clone(),
        detail,
        hint,
    })
}

/// What we wrote ourselves later, by a rollback or another run, is no drift; nor is what
/// was written before `since`.
fn judge(
    workload: &Workload,
    slot: &Slot,
    want: &str,
    since: Option<&str>,
) -> (CheckStatus, String, Option<String>) {
    let Some(text) = changed(workload, slot, want) else {
        return (CheckStatus::Ok, format!("{slot} is still {want}"), None);
    };
    let writer = writers::of(&workload.object, workload.id.kind, slot);
    let manager = writer.as_ref().map(|writer| writer.manager.as_str());
    let older = |since| {
        writer
            .as_ref()
            .is_some_and(|writer| writer.is_before(since))
    };
    if since.is_some_and(older) {
        let text = format!("{slot} was not changed by the run");
        return (CheckStatus::Warn, text, None);
    }
    if manager == Some(FIELD_MANAGER) {
        return (CheckStatus::Warn, text, None);
    }
    let tool = workload.owner.as_deref().map(owner::tool);
    let tool = tool.or_else(|| owner::tool_of_manager(manager?));
    let hint = tool.map(|tool| report::durable(tool).to_owned());
    (CheckStatus::Fail, text, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kind;
    use serde_json::json;

    fn web(image: &str, manager: &str) -> Workload {
        let fields = json!({"f:spec": {"f:template": {"f:spec": {
            "f:containers": {"k:{\"name\":\"app\"}": {"f:image": {}}}}}}});
        let object = json!({
            "metadata": {"name": "web", "managedFields": [{"manager": manager, "operation": "Update",
                "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}]},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}},
        });
        Workload::new(Kind::Deployment, serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_others_wrote_is_drift_and_what_we_wrote_is_not() {
        let slot = Slot::Container("app".into());
        for (image, manager, status, part) in [
            ("r/a:1", "castlink", CheckStatus::Ok, "still r/a:1"),
            ("r/a:1", "helm", CheckStatus::Ok, "still r/a:1"),
            (
                "a:1",
                "helm",
                CheckStatus::Fail,
                "changed to a:1: helm at 2026-01-01T00:00:00Z wrote it",
            ),
            ("a:1", "castlink", CheckStatus::Warn, "changed to a:1"),
        ] {
            let (got, text, hint) = judge(&web(image, manager), &slot, "r/a:1", None);
            assert_eq!(got, status, "{text}");
            assert!(text.contains(part), "{text}");
            assert_eq!(hint.is_some(), status == CheckStatus::Fail, "{hint:?}");
        }
        let gone = judge(
            &web("r/a:1", "helm"),
            &Slot::Init("x".into()),
            "r/a:1",
            None,
        );
        assert_eq!(gone.0, CheckStatus::Fail);
        for (since, want) in [
            ("2025-12-31 23:59:59.5", CheckStatus::Fail),
            ("2026-01-01 00:00:01.5", CheckStatus::Warn),
        ] {
            let old = judge(&web("a:1", "helm"), &slot, "r/a:1", Some(since));
            assert_eq!(old.0, want, "{since}");
        }
    }
}
