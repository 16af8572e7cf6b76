//! `verify`: is the target what the source is? Observes everything, plans again, and
//! reports what a copy would still have to do. Against a lock file: verify/locked.rs.

use castlink_core::{
    Context, Exit, Failure, ImageRef, Result,
    app::Outcome,
    printer::{count, symbol, table},
    record::{Check, CheckStatus, Record},
};

use crate::{
    apply::World,
    args::Images,
    content::Digest,
    observe::Depth,
    place::Address,
    plan::{self, Action, Copy, ImageStep},
    source::Origin,
};

mod gaps;
mod locked;

use gaps::Gaps;

/// Compares the target with the source, or with a lock file, digest for digest, down to every
/// blob.
///
/// # Errors
/// As for `copy`; what differs is in the report, and the exit is 3.
pub(crate) async fn run(images: &Images, context: Context) -> Result<Outcome> {
    let mut world = World::new(images, &context).await?;
    if images.locked.lock.is_some() && !world.platforms.is_all() {
        return Err(Failure::usage(
            "`verify --lock` compares whole images, not some of their platforms",
        )
        .hint("leave the platforms out, or verify against the source, without `--lock`"));
    }
    let (findings, model) = match images.locked.lock {
        Some(_) => (locked::findings(&world).await?, "as locked"),
        None => {
            let plan = plan::plan(world.observe(Depth::All).await?, true);
            (
                plan.images.iter().map(Finding::of).collect(),
                "as at the source",
            )
        }
    };
    let mut rows = Vec::new();
    for finding in &findings {
        let check = finding.check(world.to.len() > 1);
        rows.push(row(&check));
        context.printer.record(&Record::Check(check));
    }
    for line in table(&rows) {
        context.printer.line(line);
    }
    let good = findings
        .iter()
        .filter(|finding| finding.status != CheckStatus::Fail)
        .count();
    let bad = findings.len() - good;
    context.printer.note(match bad {
        0 => format!("{} verified", count(good, "image")),
        _ => format!("{} verified, {bad} not {model}", count(good, "image")),
    });
    Ok(Outcome::from(exit(&findings))
        .count("ok", good as u64)
        .count("failed", bad as u64)
        .count("requests", world.sites.requests().await))
}

/// 3 as soon as something differs; otherwise what kept us from looking.
fn exit(findings: &[Finding]) -> Exit {
    if findings.iter().any(|finding| finding.exit == Exit::Pending) {
        return Exit::Pending;
    }
    crate::report::together(findings.iter().map(|finding| finding.exit))
}

/// What was found of one image at one target.
#[derive(Debug)]
struct Finding {
    status: CheckStatus,
    exit: Exit,
    source: ImageRef,
    target: Address,
    detail: String,
    hint: Option<String>,
}

impl Finding {
    fn new(source: &ImageRef, target: &Address, exit: Exit, detail: String) -> Self {
        Self {
            status: match exit {
                Exit::Done => CheckStatus::Ok,
                _ => CheckStatus::Fail,
            },
            exit,
            source: source.clone(),
            target: target.clone(),
            detail,
            hint: None,
        }
    }

    /// As it should be.
    fn good(source: &ImageRef, target: &Address, detail: String) -> Self {
        Self::new(source, target, Exit::Done, detail)
    }

    /// Something else.
    fn bad(source: &ImageRef, target: &Address, detail: String) -> Self {
        Self::new(source, target, Exit::Pending, detail)
    }

    /// Could not be looked at.
    fn failed(source: &ImageRef, target: &Address, failure: &Failure, exit: Exit) -> Self {
        let mut finding = Self::new(source, target, exit, failure.one_line());
        finding.hint = failure.hint_text().map(str::to_owned);
        finding
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What a plan says of an image.
    fn of(image: &ImageStep) -> Self {
        let (source, target) = (&image.request.image, &image.target);
        let mut finding = match &image.action {
            Action::Keep { digest, .. } if *target == Address::of(source) => {
                Self::good(source, target, format!("at the target, {digest}"))
            }
            Action::Keep { digest, .. } => {
                Self::good(source, target, same(digest, image.origin.as_ref()))
            }
            Action::Brought { .. } => Self::bad(source, target, "not what its source has".into())
                .hint("run castlink-mirror copy with the source's name"),
            Action::Absent(failure) => Self::failed(source, target, failure, Exit::Pending),
            Action::Copy(copy) => Self::bad(source, target, difference(copy))
                .hint(format!("run castlink-mirror copy {source}")),
            Action::Leave(failure) if failure.exit() == Exit::Conflict => {
                Self::failed(source, target, failure, Exit::Pending)
            }
            Action::Leave(failure) => Self::failed(source, target, failure, failure.exit()),
        };
        if image.request.optional && finding.status == CheckStatus::Fail {
            finding.status = CheckStatus::Warn;
            finding.exit = Exit::Done;
        }
        finding
    }

    /// Its record. Where there are several targets, the detail says which.
    fn check(&self, several: bool) -> Check {
        Check {
            id: "mirror.image".into(),
            status: self.status,
            subject: self.source.to_string(),
            detail: match several {
                true => format!("{}: {}", self.target.place.registry, self.detail),
                false => self.detail.clone(),
            },
            hint: self.hint.clone(),
        }
    }
}

fn same(digest: &Digest, origin: Option<&Origin>) -> String {
    match origin {
        Some(origin) => format!(
            "the platforms selected, {digest}; without {}",
            origin.left_out.join(", ")
        ),
        None => format!("same content, {digest}"),
    }
}

fn difference(copy: &Copy) -> String {
    let gaps = Gaps::of_copy(copy);
    match &copy.replaces {
        Some(other) if *other != copy.digest => {
            let gaps = match gaps.is_empty() {
                true => String::new(),
                false => format!(" ({gaps})"),
            };
            format!(
                "the target has {} instead of {}{gaps}",
                other.short(),
                copy.digest.short()
            )
        }
        Some(_) => format!("incomplete at the target: {gaps}"),
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
