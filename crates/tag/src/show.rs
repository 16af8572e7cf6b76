//! The plan, for people and as records.

use std::collections::BTreeMap;

use castlink_core::{
    Exit, Failure, Printer,
    app::Outcome,
    printer::{count, symbol, table},
    record::{Change, ChangeStatus, Record},
};

use crate::plan::{Goal, Item, KEY, Plan, VALUE, Verdict};

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
    for line in shared(plan) {
        printer.warn(line);
    }
}

/// Tags are kept per account: what is set here, the owner of a shared subnet does not see.
fn shared(plan: &Plan) -> Vec<String> {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for item in plan.steps() {
        if let Some(owner) = &item.candidate.shared_by {
            owners.entry(owner).or_default().push(item.id());
        }
    }
    let line = |(owner, ids): (&str, Vec<&str>)| {
        format!(
            "shared by account {owner}: {}; a tag on a shared subnet is seen by the account that sets it alone",
            ids.join(", ")
        )
    };
    owners.into_iter().map(line).collect()
}

fn row(item: &Item) -> Vec<String> {
    let subnet = &item.candidate.subnet;
    let (sign, text) = match &item.verdict {
        Verdict::Tag => ('+', format!("{KEY}={VALUE}")),
        Verdict::Replace(value) => ('~', format!("{KEY}={VALUE} (was {value:?})")),
        Verdict::Tagged => ('=', format!("{KEY}={VALUE}")),
        Verdict::Conflict(value) => ('!', format!("{KEY} is {value:?}")),
        Verdict::Public(gateway) => (' ', format!("public: routes to {gateway}")),
        Verdict::Remove => ('-', format!("{KEY}={VALUE}")),
        Verdict::Untagged => ('=', "no tag".to_owned()),
        Verdict::Foreign(value) => (' ', format!("{KEY} is {value:?}: left as it is")),
    };
    let mut why = item.candidate.reasons.clone();
    why.extend(
        item.candidate
            .shared_by
            .iter()
            .map(|by| format!("shared by account {by}")),
    );
    vec![
        symbol(sign).to_string(),
        subnet.id.clone(),
        subnet.zone.clone(),
        subnet.cidr.clone(),
        text,
        why.join(", "),
        subnet.name().to_owned(),
    ]
}

fn summary(plan: &Plan) -> String {
    let steps = plan.steps().count();
    let mut parts = match steps {
        0 => vec!["no changes".to_owned()],
        _ if plan.goal == Goal::Untagged => {
            vec![format!("{} to take the tag off", count(steps, "subnet"))]
        }
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
    part(
        plan.count(|verdict| *verdict == Verdict::Untagged),
        "without the tag",
    );
    part(
        plan.count(|verdict| matches!(verdict, Verdict::Foreign(_))),
        "with another value, left as they are",
    );
    parts.join(", ")
}

/// The record of one subnet. `done` is what became of a step.
pub(crate) fn change(item: &Item, done: ChangeStatus, failure: Option<&Failure>) -> Change {
    let (status, error) = match &item.verdict {
        Verdict::Tag | Verdict::Replace(_) | Verdict::Remove => (done, failure.map(Failure::info)),
        Verdict::Tagged | Verdict::Untagged => (ChangeStatus::Unchanged, None),
        Verdict::Foreign(value) => (ChangeStatus::Skipped, Some(foreign(item, value).info())),
        Verdict::Conflict(value) => (ChangeStatus::Skipped, Some(conflict(item, value).info())),
        Verdict::Public(gateway) => (ChangeStatus::Skipped, Some(public(item, gateway).info())),
    };
    Change {
        resource: format!("subnet/{}", item.id()),
        field: format!("tag {KEY}"),
        from: item.from().map(Into::into),
        to: to(&item.verdict),
        owner: item
            .candidate
            .shared_by
            .as_ref()
            .map(|by| format!("account:{by}")),
        status,
        error,
    }
}

fn to(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Remove | Verdict::Untagged => None,
        Verdict::Foreign(value) => Some(value.clone()),
        _ => Some(VALUE.to_owned()),
    }
}

fn foreign(item: &Item, value: &str) -> Failure {
    Failure::new(
        Exit::Done,
        format!(
            "{} has {KEY}={value:?}, which castlink did not set",
            item.id()
        ),
    )
    .hint("take it off yourself if it is not wanted: `aws ec2 delete-tags`")
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
