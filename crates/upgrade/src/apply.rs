//! The verbs `plan` and `apply`, and the sequence that `apply` and `rollback` share:
//! preflight, journal, rollouts, verification, report.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use castlink_core::{
    Context, Exit, Result,
    app::Outcome,
    progress::{Progress, Unit},
    record::{Change, ChangeStatus},
};

use tokio::sync::Semaphore;

use crate::{
    args::{ApplyArgs, PlanArgs, Rollback, RolloutArgs, SourceArgs},
    ended::{Direction, Ended},
    engine::Engine,
    journal::Journal,
    mapping::Mapping,
    plan::{Action, Plan, Step, Trust, plan},
    report,
    rollout::{Limits, watch::World},
    session::Session,
    workload::Workload,
};

/// How a plan is carried out.
pub(crate) struct Execution<'a> {
    pub(crate) verb: &'static str,
    pub(crate) direction: Direction,
    pub(crate) rollout: &'a RolloutArgs,
    pub(crate) rollback: Rollback,
}

/// `plan`: shows what would change.
pub(crate) async fn plan_only(args: PlanArgs, context: &Context) -> Result<Outcome> {
    let (session, plan, mapping) = prepare(&args.source, context, Trust::Planned).await?;
    report::plan(&plan, &session, mapping.registry().as_deref());
    let left_alone = left_alone(&plan);
    let exit = match () {
        () if left_alone != Exit::Done => left_alone,
        () if args.exit_code && !plan.is_empty() => Exit::Pending,
        () => Exit::Done,
    };
    Ok(report::counted(exit, &plan, &[]))
}

/// `apply`: makes the changes.
pub(crate) async fn run(args: ApplyArgs, context: &Context) -> Result<Outcome> {
    let (session, plan, _) = prepare(&args.source, context, Trust::Copied).await?;
    let execution = Execution {
        verb: "apply",
        direction: Direction::Forward,
        rollout: &args.rollout,
        rollback: args.rollout.rollback,
    };
    execute(&session, plan, &execution).await
}

async fn prepare<'a>(
    source: &SourceArgs,
    context: &'a Context,
    trust: Trust,
) -> Result<(Session<'a>, Plan, Mapping)> {
    let mapping = Mapping::read(source, &context.config)?;
    let session = Session::open(context).await?;
    let plan = plan(&session.seen, &mapping, trust);
    if let Some(registry) = mapping.unchecked().filter(|_| plan.patches().count() > 0) {
        session.printer().warn(format!(
            "nothing has checked that the images exist in {registry}: without records every reference is taken to be there"
        ));
    }
    Ok((session, plan, mapping))
}

/// Carries out `plan`; only what fails before the first patch is an error.
pub(crate) async fn execute(
    session: &Session<'_>,
    plan: Plan,
    how: &Execution<'_>,
) -> Result<Outcome> {
    report::left_alone(&plan, session.printer());
    if plan.is_empty() {
        report::nothing_to_do(&plan, session.printer());
        return Ok(report::counted(left_alone(&plan), &plan, &[]));
    }
    session.cluster.check_rights(&plan).await?;
    let (accepted, mut ended) = dry_run(session, &plan, how.direction).await;
    let mut run = None;
    let mut journal = None;
    if !accepted.is_empty() {
        let opened = open_journal(session, &accepted, how)?;
        run = Some(opened.dir.clone()).filter(|_| how.direction == Direction::Forward);
        journal = Some(opened);
    }
    let steps: Vec<Step> = accepted
        .into_iter()
        .chain(plan.watches().cloned())
        .collect();
    if !steps.is_empty() {
        ended.extend(roll(session, steps, how, journal).await?);
    }
    report::ended(&plan, &ended, how.direction, session.printer());
    report::journal(run.as_deref(), &ended, session.printer());
    let exits = ended.iter().map(|one| one.exit).chain([left_alone(&plan)]);
    Ok(report::counted(worst(exits), &plan, &ended))
}

/// Separates what the server would refuse from what it accepts.
async fn dry_run(
    session: &Session<'_>,
    plan: &Plan,
    direction: Direction,
) -> (Vec<Step>, Vec<Ended>) {
    let refused = session.cluster.dry_run(plan).await;
    let mut accepted = Vec::new();
    let mut ended = Vec::new();
    for step in plan.patches() {
        match refused.get(&step.id) {
            None => accepted.push(step.clone()),
            Some(failure) => {
                session
                    .printer()
                    .note(format!("{}: left alone: {}", step.id, failure.one_line()));
                ended.push(Ended::refused(step.clone(), failure, direction));
            }
        }
    }
    (accepted, ended)
}

/// A journal that holds what is going to be done: before any of it is.
fn open_journal(session: &Session<'_>, steps: &[Step], how: &Execution<'_>) -> Result<Journal> {
    let mut journal = Journal::create(how.rollout.run_dir.as_deref(), &session.cluster, how.verb)?;
    journal.write(
        steps
            .iter()
            .flat_map(|step| step.changes(ChangeStatus::Planned, None)),
    )?;
    session
        .printer()
        .detail(format!("journal: {}", journal.dir.display()));
    Ok(journal)
}

/// The patches and their rollouts, then a second look.
async fn roll(
    session: &Session<'_>,
    steps: Vec<Step>,
    how: &Execution<'_>,
    journal: Option<Journal>,
) -> Result<Vec<Ended>> {
    let kinds: HashSet<_> = steps.iter().map(|step| step.id.kind).collect();
    let world = World::follow(&session.cluster, &session.seen, &kinds);
    let count = steps.len() as u64;
    let progress = Progress::start(session.printer(), "rollouts", Unit::Items, count, count);
    let settings = &session.context.config.upgrade;
    let engine = Engine {
        cluster: &session.cluster,
        world: &world,
        limits: Limits::of(settings),
        slots: Semaphore::new(settings.parallel.max(1)),
        rollback: how.rollback,
        direction: how.direction,
        progress: &progress,
        journal: journal.map(Mutex::new),
    };
    let mut ended = engine.run(steps).await;
    let journal = engine.journal;
    drop(progress);
    verify(session, &mut ended).await;
    if let Some(journal) = journal {
        let mut journal = journal.into_inner().unwrap_or_else(PoisonError::into_inner);
        journal.write(endings(&ended))?;
    }
    Ok(ended)
}

/// What the journal says at the end about everything this run set out to change.
fn endings(ended: &[Ended]) -> impl Iterator<Item = Change> {
    ended
        .iter()
        .filter(|one| !one.step.is_watch())
        .flat_map(|one| one.step.changes(one.status, one.error.as_ref()))
}

/// Observes again: is what was written still there?
async fn verify(session: &Session<'_>, ended: &mut [Ended]) {
    let now = match session.cluster.templates().await {
        Ok(now) => now,
        Err(failure) => {
            return session.printer().warn(format!(
                "the result could not be verified: {}",
                failure.one_line()
            ));
        }
    };
    for one in ended
        .iter_mut()
        .filter(|one| one.status == ChangeStatus::Applied)
    {
        if let Some(note) = put_back(&one.step, &now) {
            one.overrule(note);
        }
    }
}

/// Tells who has already undone a step.
fn put_back(step: &Step, now: &[Workload]) -> Option<String> {
    let Some(workload) = now.iter().find(|workload| workload.id == step.id) else {
        return Some(format!("{} was deleted", step.id));
    };
    step.replacements().iter().find_map(|one| {
        let field = workload
            .fields
            .iter()
            .find(|field| field.slot == one.slot)?;
        let owner = workload
            .owner
            .as_deref()
            .map(|owner| format!(" (owner: {owner})"))
            .unwrap_or_default();
        (field.literal != one.to)
            .then(|| format!("{} was changed back to {}{owner}", one.slot, field.literal))
    })
}

/// What the steps that were left alone ask the process to return.
fn left_alone(plan: &Plan) -> Exit {
    worst(plan.steps.iter().map(|step| match step.action {
        Action::Skip { exit, .. } => exit,
        _ => Exit::Done,
    }))
}

/// The exit of several endings: what stops everything before what asks for a decision,
/// before what was put back, before what another run can do.
pub(crate) fn worst(exits: impl IntoIterator<Item = Exit>) -> Exit {
    const ORDER: [Exit; 6] = [
        Exit::Credentials,
        Exit::Unreachable,
        Exit::Conflict,
        Exit::RolledBack,
        Exit::Partial,
        Exit::Failed,
    ];
    let all: Vec<Exit> = exits.into_iter().collect();
    ORDER
        .into_iter()
        .find(|exit| all.contains(exit))
        .unwrap_or(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_ending_decides() {
        for (exits, want) in [
            (&[][..], Exit::Done),
            (&[Exit::Done, Exit::Partial], Exit::Partial),
            (&[Exit::Partial, Exit::RolledBack], Exit::RolledBack),
            (
                &[Exit::RolledBack, Exit::Conflict, Exit::Partial],
                Exit::Conflict,
            ),
            (&[Exit::Conflict, Exit::Credentials], Exit::Credentials),
        ] {
            assert_eq!(worst(exits.iter().copied()), want);
        }
    }
}
