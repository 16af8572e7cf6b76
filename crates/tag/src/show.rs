//! The plan, for people and as records.

use castlink_core::{
    Exit, Failure, Printer,
    app::Outcome,
    printer::{count, symbol, table},
    record::{Change, ChangeStatus, Record},
};

use crate::plan::{Item, KEY, Plan, VALUE, Verdict};

/// `plan`: shows it and says by the exit code what `apply` would meet.
pub(crate) fn plan_only(printer: &Printer, plan: &Plan, exit_code: bool) -> Outcome {
    show(printer, plan);
    for item in &plan.items {
        printer.record(&Record::Change(change(item, ChangeStatus::Planned, None)));
    }
    let pending = plan.steps().next().is_some();
    let exit = match plan.exit() {
        Exit::Done if pending && exit_code => Exit::Pending,
        exit => exit,
    };
    counted(exit.into(), plan)
}

/// The plan as lines of text.
pub(crate) fn show(printer: &Printer, plan: &Plan) {
    let rows: Vec<Vec<String>> = plan.items.iter().map(row).collect();
    for line in table(&rows) {
        printer.line(line);
    }
    printer.line(summary(plan));
}

fn row(item: &Item) -> Vec<String> {
    let subnet = &item.candidate.subnet;
    let (sign, text) = match &item.verdict {
        Verdict::Tag => ('+', format!("{KEY}={VALUE}")),
        Verdict::Replace(value) => ('~', format!("{KEY}={VALUE} (was {value:?})")),
        Verdict::Tagged => ('=', format!("{KEY}={VALUE}")),
        Verdict::Conflict(value) => ('!', format!("{KEY} is {value:?}")),
        Verdict::Public(gateway) => (' ', format!("public: routes to {gateway}")),
    };
    vec![
        symbol(sign).to_string(),
        subnet.id.clone(),
        subnet.zone.clone(),
        subnet.cidr.clone(),
        text,
        item.candidate.reasons.join(", "),
        subnet.name().to_owned(),
    ]
}

fn summary(plan: &Plan) -> String {
    let steps = plan.steps().count();
    let mut parts = match steps {
        0 => vec!["no changes".to_owned()],
        _ => vec![format!("{} to tag", count(steps, "subnet"))],
    };
    let mut part = |n: usize, text: &str| {
        if n > 0 {
            parts.push(format!("{n} {text}"));
        }
    };
    part(
        plan.count(|verdict| *verdict == Verdict::Tagged),
        "tagged already",
    );
    part(
        plan.count(|verdict| matches!(verdict, Verdict::Conflict(_))),
        "with another value (--overwrite replaces it)",
    );
    part(
        plan.count(|verdict| matches!(verdict, Verdict::Public(_))),
        "public, left out (--include-public)",
    );
    parts.join(", ")
}

/// The record of one subnet. `done` is what became of a step.
pub(crate) fn change(item: &Item, done: ChangeStatus, failure: Option<&Failure>) -> Change {
    let (status, error) = match &item.verdict {
        Verdict::Tag | Verdict::Replace(_) => (done, failure.map(Failure::info)),
        Verdict::Tagged => (ChangeStatus::Unchanged, None),
        Verdict::Conflict(value) => (ChangeStatus::Skipped, Some(conflict(item, value).info())),
        Verdict::Public(gateway) => (ChangeStatus::Skipped, Some(public(item, gateway).info())),
    };
    Change {
        resource: format!("subnet/{}", item.id()),
        field: format!("tag {KEY}"),
        from: item.from().map(Into::into),
        to: Some(VALUE.into()),
        owner: None,
        status,
        error,
    }
}

/// The failure for a subnet with another value.
pub(crate) fn conflict(item: &Item, value: &str) -> Failure {
    Failure::conflict(format!("{} has {KEY}={value:?}", item.id())).hint("--overwrite replaces it")
}

fn public(item: &Item, gateway: &str) -> Failure {
    Failure::new(
        Exit::Done,
        format!("{} is public: it routes to {gateway}", item.id()),
    )
    .hint("name it with --subnet, or give --include-public")
}

/// The counters of the summary record.
pub(crate) fn counted(outcome: Outcome, plan: &Plan) -> Outcome {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    outcome
        .count("subnets", number(plan.items.len()))
        .count("pending", number(plan.steps().count()))
        .count(
            "tagged",
            number(plan.count(|verdict| *verdict == Verdict::Tagged)),
        )
        .count(
            "conflicts",
            number(plan.count(|verdict| matches!(verdict, Verdict::Conflict(_)))),
        )
        .count(
            "public",
            number(plan.count(|verdict| matches!(verdict, Verdict::Public(_)))),
        )
}
