//! The verbs `plan` and `apply`, and the sequence that `apply` and `rollback` share:
//! preflight, journal, rollouts, verification, report.

use std::collections::HashSet;

use castlink_core::{Context, Exit, Result, app::Outcome, record::ChangeStatus};

use crate::{
    args::{ApplyArgs, ImageArgs, PlanArgs, SourceArgs},
    controllers, drift,
    ended::{Direction, Ended},
    engine::{Engine, Execution},
    interrupt::{self, RESUME},
    mapping::Mapping,
    notes::Notes,
    plan::{Action, Choices, Plan, Step, Trust, plan},
    presence, report,
    rollout::watch::World,
    session::Session,
    workload::Workload,
    writers::{self, Clash},
};

/// `plan`: shows what would change.
pub(crate) async fn plan_only(args: PlanArgs, context: &Context) -> Result<Outcome> {
    let choices = Choices {
        trust: Trust::Planned,
        bare_pods: args.bare_pods,
    };
    let (session, plan, mapping) = prepare(&args.source, &args.images, context, choices).await?;
    report::plan(&plan, &session, mapping.registry().as_deref());
    let left_alone = left_alone(&plan);
    let exit = match () {
        () if left_alone != Exit::Done => left_alone,
        () if args.exit_code && !plan.is_empty() => Exit::Pending,
        () => Exit::Done,
    };
    Ok(counted(exit, &plan, &[], &session))
}

/// `apply`: makes the changes.
pub(crate) async fn run(args: ApplyArgs, context: &Context) -> Result<Outcome> {
    let choices = Choices {
        trust: Trust::Copied,
        bare_pods: args.bare_pods,
    };
    interrupt::heeding(async |stop| {
        let prepared = prepare(&args.source, &args.images, context, choices);
        let (session, plan, _) = stop.or(prepared).await?;
        let execution = Execution {
            verb: "apply",
            direction: Direction::Forward,
            rollout: &args.rollout,
            rollback: args.rollout.rollback,
            stop,
            drift_after: args.drift_after,
        };
        execute(&session, plan, &execution).await
    })
    .await
}

async fn prepare<'a>(
    source: &SourceArgs,
    images: &ImageArgs,
    context: &'a Context,
    choices: Choices,
) -> Result<(Session<'a>, Plan, Mapping)> {
    let mut mapping = source.mapping(&context.config).await?;
    if images.pin_digest {
        mapping.pin();
    }
    let session = Session::open(context).await?;
    if !images.no_image_check {
        let answers = presence::check(&session, &mapping, images.require_images).await?;
        mapping.learn(answers);
    }
    let plan = plan(&session.seen, &mapping, choices);
    for warning in controllers::warnings(&session.seen.workloads, &mapping) {
        session.printer().warn(warning);
    }
    report::clashes(&clashes(&plan, &session.seen.workloads), session.printer());
    Ok((session, plan, mapping))
}

/// Whose server-side apply will be refused after this plan.
fn clashes(plan: &Plan, workloads: &[Workload]) -> Vec<Clash> {
    let clashes = plan.patches().flat_map(|step| {
        let workload = workloads.iter().find(|one| one.id == step.id);
        let slots = step.replacements().iter().map(|one| &one.slot);
        workload.map(|workload| writers::clashes(workload, slots))
    });
    clashes.flatten().collect()
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
        return Ok(counted(left_alone(&plan), &plan, &[], session));
    }
    let preflight = async {
        session.cluster.check_rights(&plan).await?;
        Ok(dry_run(session, &plan, how.direction).await)
    };
    let (accepted, mut ended) = how.stop.or(preflight).await?;
    let notes = match accepted.as_slice() {
        [] => None,
        steps => {
            let opening = Notes::open(session, how.verb, steps, how.rollout);
            Some(how.stop.or(opening).await?)
        }
    };
    let handle = notes.as_ref().map(Notes::handle);
    let steps: Vec<Step> = accepted
        .into_iter()
        .chain(plan.watches().cloned())
        .collect();
    let mut interrupted = false;
    if !steps.is_empty() {
        let (rolled, asked) = roll(session, steps, how, notes).await?;
        ended.extend(rolled);
        interrupted = asked;
    }
    report::ended(&plan, &ended, how.direction, session);
    if interrupted {
        session.printer().failure(&interrupt::failure(RESUME));
        return Ok(counted(Exit::Interrupted, &plan, &ended, session));
    }
    let handle = handle.filter(|_| how.direction == Direction::Forward);
    report::way_back(handle.as_deref(), &ended, session.printer());
    let exits = ended.iter().map(|one| one.exit).chain([left_alone(&plan)]);
    Ok(counted(worst(exits), &plan, &ended, session))
}

fn counted(exit: Exit, plan: &Plan, ended: &[Ended], session: &Session<'_>) -> Outcome {
    report::counted(exit, plan, ended).count("requests", session.cluster.requests())
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

/// The patches and their rollouts, then a second look. True when it was interrupted.
async fn roll(
    session: &Session<'_>,
    steps: Vec<Step>,
    how: &Execution<'_>,
    notes: Option<Notes>,
) -> Result<(Vec<Ended>, bool)> {
    let kinds: HashSet<_> = steps.iter().map(|step| step.id.kind).collect();
    let world = World::follow(&session.cluster, &session.seen, &kinds);
    let board = report::board(&steps, session.printer());
    let engine = Engine::new(session, &world, &board, notes.as_ref(), how);
    let (mut ended, mut interrupted) = tokio::select! {
        ended = engine.run(steps.clone()) => (ended, false),
        () = how.stop.asked() => (engine.so_far(&steps), true),
    };
    drop(board);
    if !interrupted {
        verify(session, &mut ended).await;
        interrupted = look_again(session, &mut ended, how).await;
    }
    if let Some(notes) = notes {
        notes.close(&ended).await?;
    }
    Ok((ended, interrupted))
}

/// Verifies once more after a while, when that was asked for. True when it was interrupted.
async fn look_again(session: &Session<'_>, ended: &mut [Ended], how: &Execution<'_>) -> bool {
    let Some(after) = how.drift_after.filter(|_| ended.iter().any(is_applied)) else {
        return false;
    };
    tokio::select! {
        () = drift::pause(after, session.printer()) => verify(session, ended).await,
        () = how.stop.asked() => return true,
    }
    false
}

/// Observes again: is what was written still there?
async fn verify(session: &Session<'_>, ended: &mut [Ended]) {
    let now = match session.cluster.workloads_now().await {
        Ok(now) => now,
        Err(failure) => {
            return session.printer().warn(format!(
                "the result could not be verified: {}",
                failure.one_line()
            ));
        }
    };
    for one in ended.iter_mut().filter(|one| is_applied(one)) {
        if let Some(note) = put_back(&one.step, &now) {
            one.overrule(note);
        }
    }
}

fn is_applied(one: &Ended) -> bool {
    one.status == ChangeStatus::Applied
}

/// Tells who has already undone a step.
fn put_back(step: &Step, now: &[Workload]) -> Option<String> {
    let Some(workload) = now.iter().find(|workload| workload.id == step.id) else {
        return Some(format!("{} was deleted", step.id));
    };
    step.replacements()
        .iter()
        .find_map(|one| drift::changed(workload, &one.slot, &one.to))
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
