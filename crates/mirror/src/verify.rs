//! `verify`: is the target what the source is? Observes everything, plans again, and
//! reports what a copy would still have to do.

use castlink_core::{
    Context, Exit, Result,
    app::Outcome,
    printer::{count, symbol, table},
    record::{Check, CheckStatus, Record},
};

use crate::{
    apply::World,
    args::Images,
    observe::Depth,
    plan::{self, Action, Copy, ImageStep},
};

/// Compares the target with the source, digest for digest, down to every blob.
///
/// # Errors
/// As for `copy`; what differs is in the report, and the exit is 3.
pub(crate) async fn run(images: &Images, context: Context) -> Result<Outcome> {
    let mut world = World::new(images, &context)?;
    let plan = plan::plan(world.observe(Depth::All).await?, true);
    let checks: Vec<(Check, Exit)> = plan.images.iter().map(check).collect();
    let mut rows = Vec::new();
    for (check, _) in &checks {
        context.printer.record(&Record::Check(check.clone()));
        rows.push(row(check));
    }
    for line in table(&rows) {
        context.printer.line(line);
    }
    let good = checks
        .iter()
        .filter(|(check, _)| check.status != CheckStatus::Fail)
        .count();
    let bad = checks.len() - good;
    context.printer.note(match bad {
        0 => format!("{} verified", count(good, "image")),
        _ => format!(
            "{} verified, {bad} not as at the source",
            count(good, "image")
        ),
    });
    Ok(Outcome::from(exit(&checks))
        .count("ok", good as u64)
        .count("failed", bad as u64))
}

/// 3 as soon as something differs; otherwise what kept us from looking.
fn exit(checks: &[(Check, Exit)]) -> Exit {
    if checks.iter().any(|(_, exit)| *exit == Exit::Pending) {
        return Exit::Pending;
    }
    crate::report::together(checks.iter().map(|(_, exit)| *exit))
}

fn check(image: &ImageStep) -> (Check, Exit) {
    let (mut status, exit, detail, hint) = match &image.action {
        Action::Keep { digest, .. } if image.request.image == image.target => (
            CheckStatus::Ok,
            Exit::Done,
            format!("at the target, {digest}"),
            None,
        ),
        Action::Keep { digest, .. } => (
            CheckStatus::Ok,
            Exit::Done,
            format!("same content, {digest}"),
            None,
        ),
        Action::Brought { .. } => (
            CheckStatus::Fail,
            Exit::Pending,
            "not what its source has".into(),
            Some("run castlink-mirror copy with the source's name".into()),
        ),
        Action::Absent(failure) => (
            CheckStatus::Fail,
            Exit::Pending,
            failure.one_line(),
            failure.hint_text().map(str::to_owned),
        ),
        Action::Copy(copy) => (
            CheckStatus::Fail,
            Exit::Pending,
            difference(copy),
            Some(format!("run castlink-mirror copy {}", image.request.image)),
        ),
        Action::Leave(failure) => {
            let hint = failure.hint_text().map(str::to_owned);
            let exit = if failure.exit() == Exit::Conflict {
                Exit::Pending
            } else {
                failure.exit()
            };
            (CheckStatus::Fail, exit, failure.one_line(), hint)
        }
    };
    let excused = image.request.optional && status == CheckStatus::Fail;
    if excused {
        status = CheckStatus::Warn;
    }
    let check = Check {
        id: "mirror.image".into(),
        status,
        subject: image.request.image.to_string(),
        detail,
        hint,
    };
    (check, if excused { Exit::Done } else { exit })
}

fn difference(copy: &Copy) -> String {
    match &copy.replaces {
        Some(other) if *other != copy.digest => {
            format!(
                "the target has {} instead of {}",
                other.short(),
                copy.digest.short()
            )
        }
        Some(_) => format!(
            "incomplete at the target: {} and {} missing",
            count(copy.children.len(), "manifest"),
            count(copy.blobs.len(), "blob")
        ),
        None => "not at the target".into(),
    }
}

fn row(check: &Check) -> Vec<String> {
    let sign = match check.status {
        CheckStatus::Ok => '=',
        CheckStatus::Warn => '~',
        CheckStatus::Fail => '!',
    };
    vec![
        symbol(sign).to_string(),
        check.subject.clone(),
        check.detail.clone(),
    ]
}
