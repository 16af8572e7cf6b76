//! What people and pipes see of a plan and of its endings.

use std::{collections::BTreeMap, time::Duration};

use castlink_core::{
    Exit, Printer,
    app::Outcome,
    printer::{count, symbol, table},
    progress::{Board, Line},
    record::{ChangeStatus, ErrorInfo, Record},
};

use crate::{
    client::FIELD_MANAGER,
    ended::{Direction, Ended},
    owner,
    plan::{Action, Plan, Replacement, Step},
    rollout::counts::Standing,
    session::Session,
    upgraders,
    writers::Clash,
};

/// A plan, one workload after the other.
pub(crate) fn plan(plan: &Plan, session: &Session<'_>, registry: Option<&str>) {
    let printer = session.printer();
    let cluster = &session.cluster;
    printer.line(format!(
        "context {}, namespace {} ({})",
        cluster.context, cluster.namespace, cluster.server
    ));
    if let Some(registry) = registry {
        printer.line(format!("target  {registry}"));
    }
    for step in &plan.steps {
        step_lines(step, registry)
            .iter()
            .for_each(|line| printer.line(line));
        for change in step.changes(planned(step), told(step).as_ref()) {
            printer.record(&Record::Change(change));
        }
    }
    printer.line(totals(plan));
    owners(plan.patches(), session);
}

fn step_lines(step: &Step, registry: Option<&str>) -> Vec<String> {
    let owner = step
        .owner
        .as_ref()
        .map(|owner| format!("  ({owner})"))
        .unwrap_or_default();
    let head = |mark, end: &str| format!("{} {}{owner}{end}", symbol(mark), step.id);
    match &step.action {
        Action::Unchanged => vec![head('=', "")],
        Action::Watch { missing, .. } => {
            vec![head('~', &format!("  rollout under way: {missing}"))]
        }
        Action::Patch(fields) => {
            let lines = fields
                .iter()
                .map(|one| format!("    {}: {}", one.slot, arrow(one, registry)));
            std::iter::once(head('~', "")).chain(lines).collect()
        }
        Action::Skip { reason, .. } => vec![head('!', &format!("  left alone: {reason}"))],
        Action::Report { reason, .. } => vec![head('=', &format!("  not patched: {reason}"))],
    }
}

/// The new name in full only where it is not simply registry and old name.
fn arrow(one: &Replacement, registry: Option<&str>) -> String {
    let same = registry.is_some_and(|registry| one.to == format!("{registry}/{}", one.from));
    if same {
        format!("{} -> target/…", one.from)
    } else {
        format!("{} -> {}", one.from, one.to)
    }
}

fn planned(step: &Step) -> ChangeStatus {
    match step.action {
        Action::Patch(_) | Action::Watch { .. } => ChangeStatus::Planned,
        Action::Unchanged => ChangeStatus::Unchanged,
        Action::Skip { .. } | Action::Report { .. } => ChangeStatus::Skipped,
    }
}

fn told(step: &Step) -> Option<ErrorInfo> {
    let code = match step.action {
        Action::Skip { exit, .. } => exit,
        _ => Exit::Done,
    };
    Some(ErrorInfo {
        code: code.name().into(),
        message: step.reason()?.to_owned(),
        hint: None,
    })
}

fn totals(plan: &Plan) -> String {
    let number =
        |want: fn(&Action) -> bool| plan.steps.iter().filter(|step| want(&step.action)).count();
    let watched = match plan.watches().count() {
        0 => String::new(),
        watched => format!("{watched} under way, "),
    };
    format!(
        "{} to patch, {watched}{} unchanged, {} left alone",
        count(
            number(|action| matches!(action, Action::Patch(_))),
            "workload"
        ),
        number(|action| matches!(action, Action::Unchanged)),
        number(|action| matches!(action, Action::Skip { .. } | Action::Report { .. })),
    )
}

/// The workloads that are not touched, and why: told before anything moves.
pub(crate) fn left_alone(plan: &Plan, printer: &Printer) {
    for step in &plan.steps {
        let Some(reason) = step.reason() else {
            continue;
        };
        match step.action {
            Action::Skip { .. } => printer.warn(format!("{} is left alone: {reason}", step.id)),
            _ => printer.note(format!("{} is not patched: {reason}", step.id)),
        }
        for change in step.changes(ChangeStatus::Skipped, told(step).as_ref()) {
            printer.record(&Record::Change(change));
        }
    }
}

/// An empty plan.
pub(crate) fn nothing_to_do(plan: &Plan, printer: &Printer) {
    let number =
        |want: fn(&Action) -> bool| plan.steps.iter().filter(|step| want(&step.action)).count();
    let told = match number(|action| matches!(action, Action::Report { .. })) {
        0 => String::new(),
        told => format!(", {told} not patched"),
    };
    let in_place = number(|action| matches!(action, Action::Unchanged));
    printer.line(
        match number(|action| matches!(action, Action::Skip { .. })) {
            0 => format!("no changes: {} in place{told}", count(in_place, "workload")),
            _ => totals(plan),
        },
    );
}

/// The live table of `steps`.
pub(crate) fn board(steps: &[Step], printer: &Printer) -> Board {
    const HEAD: [&str; 4] = ["WORKLOAD", "CHANGE", "UPDATED", "READY"];
    let rows = steps
        .iter()
        .map(|step| vec![step.id.to_string(), what(step)]);
    Board::start(printer, "rollouts", &HEAD, rows.collect())
}

/// What is changed, in a few characters: `agent:v0.161.1`, `3 images`.
fn what(step: &Step) -> String {
    match step.wanted().as_slice() {
        [] => String::new(),
        [(_, image)] => short(image),
        [(_, first), rest @ ..] if rest.iter().all(|(_, image)| image == first) => short(first),
        all => count(all.len(), "image"),
    }
}

/// The last part of a reference, without most of its digest.
fn short(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once("@sha256:") {
        Some((name, digest)) => format!("{name}@{}", digest.get(..8).unwrap_or(digest)),
        None => name.to_owned(),
    }
}

/// Shows how a rollout stands.
pub(crate) fn show(line: &Line, text: &str, at: Option<Standing>) {
    line.say(text);
    if let Some(at) = at {
        line.show(2, format!("{}/{}", at.updated, at.desired));
        line.show(3, format!("{}/{}", at.ready, at.desired));
    }
}

/// The endings: a table of before and after, and the records.
pub(crate) fn ended(plan: &Plan, ended: &[Ended], direction: Direction, session: &Session<'_>) {
    let printer = session.printer();
    let head = ["WORKLOAD", "BEFORE", "AFTER", "TIME", "RESULT"]
        .map(String::from)
        .to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(ended.iter().map(row)).collect();
    table(&rows).iter().for_each(|line| printer.line(line));
    for one in ended {
        for change in one.step.changes(one.status, one.error.as_ref()) {
            printer.record(&Record::Change(change));
        }
    }
    for one in ended {
        let (id, word) = (&one.step.id, one.word());
        match (one.exit, one.note.as_str()) {
            (Exit::Done, "") => {}
            (Exit::Done, note) => printer.line(format!("{} {id} {word}: {note}", symbol('='))),
            (_, "") => printer.line(format!("{} {id} {word}", symbol('!'))),
            (_, note) => printer.line(format!("{} {id} {word}: {note}", symbol('!'))),
        }
    }
    printer.line(sum(ended, session));
    if direction == Direction::Back {
        return;
    }
    let applied = plan.patches().filter(|step| {
        ended
            .iter()
            .any(|one| one.step.id == step.id && one.status == ChangeStatus::Applied)
    });
    owners(applied, session);
}

fn row(one: &Ended) -> Vec<String> {
    vec![
        one.step.id.to_string(),
        one.before.to_string(),
        one.after.to_string(),
        format!("{:.1} s", one.took.as_secs_f64()),
        one.word().to_owned(),
    ]
}

/// `9 rolled out, 1 rolled back; 57 requests to the API server`.
fn sum(ended: &[Ended], session: &Session<'_>) -> String {
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for one in ended {
        *words.entry(one.word()).or_default() += 1;
    }
    let words: Vec<String> = words
        .iter()
        .map(|(word, number)| format!("{number} {word}"))
        .collect();
    let longest = ended.iter().map(|one| one.took).max();
    format!(
        "{}; the longest took {:.1} s; {} to the API server",
        words.join(", "),
        longest.unwrap_or(Duration::ZERO).as_secs_f64(),
        count(
            usize::try_from(session.cluster.requests()).unwrap_or(0),
            "request"
        ),
    )
}

/// How to undo a run, when it changed something.
pub(crate) fn way_back(run: Option<&str>, ended: &[Ended], printer: &Printer) {
    if let Some(run) = run.filter(|_| ended.iter().any(|one| one.status == ChangeStatus::Applied)) {
        printer.note(format!("to put it back: castlink-upgrade rollback {run}"));
    }
}

/// Whose next write undoes a patch.
fn owners<'a>(steps: impl Iterator<Item = &'a Step>, session: &Session<'_>) {
    let printer = session.printer();
    let mut tools: BTreeMap<&str, usize> = BTreeMap::new();
    let mut patched = Vec::new();
    for step in steps {
        patched.push(&step.id);
        if let Some(owner) = &step.owner {
            *tools.entry(owner::tool(owner)).or_default() += 1;
        }
    }
    for (tool, number) in tools {
        printer.note(format!(
            "note: {tool} owns {}: {}",
            count(number, "workload"),
            durable(tool)
        ));
    }
    for note in upgraders::notes(&patched, &session.seen.workloads) {
        printer.note(note);
    }
}

/// Whose next server-side apply will be refused, and until when.
pub(crate) fn clashes(clashes: &[Clash], printer: &Printer) {
    let mut managers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for clash in clashes {
        let slots: Vec<String> = clash.slots.iter().map(ToString::to_string).collect();
        let text = format!("{} ({})", clash.id, slots.join(", "));
        managers.entry(&clash.manager).or_default().push(text);
    }
    for (manager, what) in managers {
        printer.warn(format!(
            "{manager} wrote references of {} by server-side apply, and its next apply is refused (conflict with {FIELD_MANAGER}) \
             until it applies the same references: {}; {}",
            count(what.len(), "workload"),
            what.join(", "),
            durable(owner::tool_of_manager(manager).unwrap_or(manager)),
        ));
    }
}

/// How a change survives its owner's next write.
pub(crate) fn durable(tool: &str) -> &'static str {
    match tool {
        "helm" => {
            "the next `helm upgrade` puts the chart's images back; set image.repository in its values"
        }
        "castware-operator" => {
            "its next upgrade puts the charts' images back; set them in the Component's spec.values"
        }
        "argocd" | "flux" => "its next sync puts the repository's images back; set them in git",
        "terraform" => "the next apply puts its images back; set them in the configuration",
        _ => "its next write puts its own images back; set them there too",
    }
}

/// The outcome of a command with its counters.
pub(crate) fn counted(exit: Exit, plan: &Plan, ended: &[Ended]) -> Outcome {
    let status = |want| ended.iter().filter(|one| one.status == want).count() as u64;
    let action = |want: fn(&Action) -> bool| {
        plan.steps.iter().filter(|step| want(&step.action)).count() as u64
    };
    let unchanged =
        action(|action| matches!(action, Action::Unchanged)) + status(ChangeStatus::Unchanged);
    let outcome = Outcome::from(exit).count("unchanged", unchanged).count(
        "skipped",
        action(|action| matches!(action, Action::Skip { .. } | Action::Report { .. })),
    );
    if ended.is_empty() {
        let planned = plan.patches().chain(plan.watches()).count();
        return outcome.count("planned", planned as u64);
    }
    outcome
        .count("applied", status(ChangeStatus::Applied))
        .count("failed", status(ChangeStatus::Failed))
        .count("rolled_back", status(ChangeStatus::RolledBack))
}
