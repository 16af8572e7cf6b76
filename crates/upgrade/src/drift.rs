//! `drift`: are the references still those that a run wrote? Helm, Argo CD and operators
//! put theirs back at their next write, minutes or weeks later, and say nothing.

use std::time::Duration;

use castlink_core::{
    Context, Exit, Printer, Result,
    app::Outcome,
    cli::{self, KubeArgs},
    printer::count,
    record::{Change, Check, CheckStatus},
    wait,
};
use clap::Args;

use crate::{
    client::{Cluster, FIELD_MANAGER},
    owner, report,
    rollback::{find, same_cluster},
    status,
    workload::{Id, Slot, Workload},
    writers,
};

/// Flags of `drift`.
#[derive(Debug, Args)]
pub(crate) struct DriftArgs {
    /// The run: its name, its directory, or `last`
    #[arg(value_name = "RUN", default_value = "last")]
    run: String,
    /// Wait so long before looking
    #[arg(long, value_parser = cli::duration, value_name = "DURATION")]
    after: Option<Duration>,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
}

/// Compares what is there with what the run wrote; exit 3 where it is something else.
pub(crate) async fn run(args: DriftArgs, context: &Context) -> Result<Outcome> {
    let run = find(&args.run, context).await?;
    let mut here = Cluster::connect(&context.config.kube, &context.printer).await?;
    same_cluster(&run, &here)?;
    here.namespace.clone_from(&run.header.namespace);
    let printer = &context.printer;
    if let Some(after) = args.after {
        pause(after, printer).await;
    }
    let now = here.workloads_now().await?;
    let checks: Vec<Check> = run
        .applied()
        .map(|change| check(change, &now))
        .collect::<Result<_>>()?;
    status::print(&checks, printer);
    let drifted = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Fail)
        .count();
    printer.line(format!(
        "run {}: {} of {} changed by somebody else since",
        run.name,
        drifted,
        count(checks.len(), "reference")
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

fn check(change: &Change, now: &[Workload]) -> Result<Check> {
    let id: Id = change.resource.parse()?;
    let slot = Slot::from_field(&change.field);
    let workload = now.iter().find(|workload| workload.id == id);
    let (status, detail, hint) = match (workload, &slot, &change.to) {
        (Some(workload), Some(slot), Some(to)) => judge(workload, slot, to),
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

/// What we wrote ourselves later, by a rollback or another run, is no drift.
fn judge(workload: &Workload, slot: &Slot, want: &str) -> (CheckStatus, String, Option<String>) {
    let Some(text) = changed(workload, slot, want) else {
        return (CheckStatus::Ok, format!("{slot} is still {want}"), None);
    };
    let writer = writers::of(&workload.object, workload.id.kind, slot);
    let manager = writer.as_ref().map(|writer| writer.manager.as_str());
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
            let (got, text, hint) = judge(&web(image, manager), &slot, "r/a:1");
            assert_eq!(got, status, "{text}");
            assert!(text.contains(part), "{text}");
            assert_eq!(hint.is_some(), status == CheckStatus::Fail, "{hint:?}");
        }
        let gone = judge(&web("r/a:1", "helm"), &Slot::Init("x".into()), "r/a:1");
        assert_eq!(gone.0, CheckStatus::Fail);
    }
}
