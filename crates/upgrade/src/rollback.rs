//! `rollback RUN`: puts back what a run changed, where nobody has changed it since. What
//! is there now decides: a reference that is neither what the run wrote nor what it found
//! is left alone.

use std::collections::BTreeMap;

use castlink_core::{
    Context, Exit, Failure, Result,
    app::Outcome,
    printer::{Output, table},
    record::{Change, ChangeStatus, Record},
};

use crate::{
    apply::execute,
    args::{self, RollbackArgs},
    client::Cluster,
    cluster::Observed,
    ended::Direction,
    engine::Execution,
    interrupt::{self, Stop},
    plan::{Action, Plan, Replacement, Step, in_place},
    recall::{find, known, not_asked, same_cluster},
    runs::Run,
    session::Session,
    workload::{Id, Slot, Workload},
};

/// `rollback`: of a run, or the list of runs.
pub(crate) async fn run(args: RollbackArgs, context: &Context) -> Result<Outcome> {
    match &args.run {
        None => list(context).await,
        Some(name) => {
            interrupt::heeding(async |stop| take_back(name, &args, context, stop).await).await
        }
    }
}

async fn take_back(
    name: &str,
    args: &RollbackArgs,
    context: &Context,
    stop: &Stop,
) -> Result<Outcome> {
    let prepare = async {
        let mut here = Cluster::connect(&context.config.kube, &context.printer).await?;
        let run = find(name, &here, &context.printer).await?;
        here.namespace.clone_from(&run.header.namespace);
        Ok((run, Session::with(context, here).await?))
    };
    let (run, session) = stop.or(prepare).await?;
    same_cluster(&run, &session.cluster)?;
    let plan = plan(&run.intended(), &session.seen)?;
    let execution = Execution {
        verb: "rollback",
        direction: Direction::Back,
        rollout: &args.rollout,
        rollback: args::Rollback::None,
        stop,
        drift_after: None,
    };
    execute(&session, plan, &execution).await
}

/// The steps that restore what `changes` recorded, given the workloads as they are.
fn plan(changes: &[Change], now: &Observed) -> Result<Plan> {
    let mut by_workload: BTreeMap<Id, Vec<Replacement>> = BTreeMap::new();
    for change in changes {
        let slot = Slot::from_field(&change.field).ok_or_else(|| {
            Failure::usage(format!(
                "the journal names a field that is no image: {}",
                change.field
            ))
        })?;
        if let (Some(to), Some(from)) = (&change.from, &change.to) {
            let one = Replacement {
                slot,
                from: from.clone(),
                to: to.clone(),
            };
            by_workload
                .entry(change.resource.parse()?)
                .or_default()
                .push(one);
        }
    }
    let mut steps: Vec<Step> = by_workload
        .into_iter()
        .rev()
        .map(|(id, wanted)| step(id, wanted, now))
        .collect();
    // What went first comes back last.
    steps.sort_by_key(Step::goes_alone);
    Ok(Plan { steps })
}

fn step(id: Id, wanted: Vec<Replacement>, now: &Observed) -> Step {
    let workload = now.workloads.iter().find(|workload| workload.id == id);
    Step {
        owner: workload.and_then(|workload| workload.owner.clone()),
        ordered: workload.is_some_and(|workload| workload.ordered),
        action: action(&id, wanted, workload, now),
        id,
    }
}

fn action(
    id: &Id,
    wanted: Vec<Replacement>,
    workload: Option<&Workload>,
    now: &Observed,
) -> Action {
    let Some(workload) = workload else {
        return Action::Report {
            fields: wanted,
            reason: "it is gone".into(),
        };
    };
    let literal = |slot: &Slot| {
        workload
            .fields
            .iter()
            .find(|field| field.slot == *slot)
            .map(|field| field.literal.as_str())
    };
    let foreign = wanted.iter().find(|one| {
        let now = literal(&one.slot);
        now != Some(&one.from) && now != Some(&one.to)
    });
    if let Some(one) = foreign {
        let now = literal(&one.slot).unwrap_or("gone");
        let reason = format!(
            "{} of {id} was changed since the run: it is {now}",
            one.slot
        );
        return Action::Skip {
            fields: wanted,
            reason,
            exit: Exit::Conflict,
        };
    }
    let left: Vec<Replacement> = wanted
        .into_iter()
        .filter(|one| literal(&one.slot) == Some(&one.from))
        .collect();
    if left.is_empty() {
        in_place(workload, now)
    } else {
        Action::Patch(left)
    }
}

/// The runs to choose from: those of this host where no cluster can be reached.
async fn remembered(context: &Context) -> Result<Vec<Run>> {
    match Cluster::connect(&context.config.kube, &context.printer).await {
        Ok(here) => known(&here, &context.printer).await,
        Err(failure) => {
            not_asked(&failure, &context.printer);
            Ok(Run::merged(Run::all()?, Vec::new()))
        }
    }
}

async fn list(context: &Context) -> Result<Outcome> {
    let runs = remembered(context).await?;
    if runs.is_empty() {
        context.printer.note("no runs yet");
    }
    if context.printer.output() == Output::Text && !runs.is_empty() {
        // The name comes last: on a narrow terminal it stays whole.
        const HEAD: [&str; 9] = [
            "STARTED (UTC)",
            "VERB",
            "NAMESPACE",
            "BY",
            "CHANGED",
            "BACK",
            "OPEN",
            "NOTED IN",
            "RUN",
        ];
        let head = HEAD.map(String::from).to_vec();
        let rows: Vec<_> = std::iter::once(head).chain(runs.iter().map(row)).collect();
        table(&rows)
            .iter()
            .for_each(|line| context.printer.line(line));
    }
    for change in runs.iter().flat_map(Run::intended) {
        context.printer.record(&Record::Change(change));
    }
    Ok(Outcome::from(Exit::Done).count("runs", runs.len() as u64))
}

fn row(run: &Run) -> Vec<String> {
    let header = &run.header;
    vec![
        header.started.chars().take(19).collect(),
        header.verb.clone(),
        header.namespace.clone(),
        header.by.clone(),
        run.count(ChangeStatus::Applied).to_string(),
        run.count(ChangeStatus::RolledBack).to_string(),
        run.unfinished().to_string(),
        run.place.to_string(),
        run.name.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kind;
    use serde_json::json;

    fn workload(image: &str) -> Workload {
        let object = json!({"metadata": {"name": "web"},
            "spec": {"replicas": 0, "template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
        Workload::new(Kind::Deployment, serde_json::from_value(object).unwrap())
    }

    fn decide(now: &[Workload]) -> Action {
        let change = Change {
            resource: "Deployment/web".into(),
            field: "container app image".into(),
            from: Some("a:1".into()),
            to: Some("r/a:1".into()),
            owner: None,
            status: ChangeStatus::Planned,
            error: None,
        };
        let now = Observed {
            workloads: now.to_vec(),
            pods: Vec::new(),
            nodes: None,
        };
        plan(&[change], &now).unwrap().steps.remove(0).action
    }

    #[test]
    fn only_what_is_still_ours_is_put_back() {
        assert!(
            matches!(decide(&[workload("r/a:1")]), Action::Patch(fields) if fields[0].to == "a:1")
        );
        assert_eq!(decide(&[workload("a:1")]), Action::Unchanged);
        assert!(matches!(
            decide(&[workload("a:2")]),
            Action::Skip {
                exit: Exit::Conflict,
                ..
            }
        ));
        assert!(matches!(decide(&[]), Action::Report { .. }));
    }
}
