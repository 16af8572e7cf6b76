//! Checks that every subnet has its tag.

use castlink_core::{
    Exit, Printer,
    app::Outcome,
    printer::{count, symbol},
    record::{Check, CheckStatus, Record},
};

use crate::{
    plan::{Item, KEY, Plan, VALUE, Verdict},
    show,
};

/// One check per subnet; exit 3 when one failed.
pub(crate) fn run(printer: &Printer, plan: &Plan) -> Outcome {
    let checks: Vec<Check> = plan.items.iter().map(check).collect();
    for check in &checks {
        let sign = match check.status {
            CheckStatus::Ok => '=',
            CheckStatus::Warn => ' ',
            CheckStatus::Fail => '!',
        };
        printer.line(format!(
            "{} {}  {}",
            symbol(sign),
            check.subject,
            check.detail
        ));
        printer.record(&Record::Check(check.clone()));
    }
    let failed = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Fail)
        .count();
    printer.line(match failed {
        0 => format!("{} as they should be", count(checks.len(), "subnet")),
        n => format!(
            "{n} of {} without {KEY}={VALUE}",
            count(checks.len(), "subnet")
        ),
    });
    let exit = if failed == 0 {
        Exit::Done
    } else {
        Exit::Pending
    };
    show::counted(exit.into(), plan)
}

fn check(item: &Item) -> Check {
    let (status, detail, hint) = match &item.verdict {
        Verdict::Tagged => (CheckStatus::Ok, format!("{KEY}={VALUE}"), None),
        Verdict::Public(gateway) => (
            CheckStatus::Warn,
            format!("public, left out: routes to {gateway}"),
            None,
        ),
        // Plans of `remove` are not verified.
        Verdict::Tag | Verdict::Remove | Verdict::Untagged => (
            CheckStatus::Fail,
            format!("no tag {KEY}"),
            Some("run `castlink-tag apply`"),
        ),
        Verdict::Replace(value) | Verdict::Conflict(value) | Verdict::Foreign(value) => (
            CheckStatus::Fail,
            format!("{KEY} is {value:?}"),
            Some("run `castlink-tag apply --overwrite`"),
        ),
    };
    Check {
        id: "tag.routable".into(),
        status,
        subject: format!("subnet/{}", item.id()),
        detail,
        hint: hint.map(Into::into),
    }
}
