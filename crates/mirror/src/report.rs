//! What is said about a run: records, the table for people, the summary line, and the exit
//! code that the images together amount to.

mod notes;
mod refused;

use std::collections::BTreeSet;

use castlink_core::{
    Exit, Printer,
    app::Outcome,
    printer::{bytes, count, symbol, table},
    record::{Check, CheckStatus, ErrorInfo, MirrorStatus, Mirrored, Record},
};

use crate::{
    content::Digest,
    engine::Parity,
    observe::Shared,
    plan::{Action, Copy, ImageStep, Plan, Totals},
};

/// How an image ended, or would.
#[derive(Debug)]
pub(crate) enum Ending<'a> {
    /// As the plan says, nothing done.
    Planned,
    /// The copy succeeded or failed.
    Ran(Result<&'a Parity, &'a Shared>),
}

/// Collects what became of the images.
#[derive(Debug)]
pub(crate) struct Report {
    printer: Printer,
    rows: Vec<Row>,
    /// How other things than images ended that did not go well.
    others: Vec<Exit>,
}

#[derive(Debug)]
struct Row {
    /// Position in the plan: the table keeps the order of the input.
    index: usize,
    record: Mirrored,
    exit: Exit,
    optional: bool,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(printer: &Printer) -> Self {
        Self {
            printer: printer.clone(),
            rows: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Counts what failed beside the images.
    pub(crate) fn also(&mut self, exits: Vec<Exit>) {
        self.others.extend(exits);
    }

    /// Says what became of an image: its record at once, its line in the table at the end.
    /// Returns a line for people.
    pub(crate) fn add(&mut self, index: usize, plan: &Plan, ending: &Ending<'_>) -> String {
        let image = &plan.images[index];
        let (record, exit) = record(image, plan.copy_of(index), ending);
        let optional = image.request.optional && exit != Exit::Done;
        if optional {
            self.warn(&record);
        } else {
            self.printer.record(&Record::Mirrored(record.clone()));
        }
        if let Some(warning) = notes::left_behind(&record) {
            self.printer.warn(warning);
        }
        let line = sentence(&record);
        self.rows.push(Row {
            index,
            record,
            exit,
            optional,
        });
        line
    }

    /// An image that nobody named is missing: worth a word, not a failure.
    fn warn(&self, record: &Mirrored) {
        let detail = record
            .error
            .as_ref()
            .map_or_else(String::new, |error| error.message.clone());
        self.printer.warn(format!(
            "{} goes with a mirrored image and could not be copied: {detail}",
            record.source
        ));
        self.printer.record(&Record::Check(Check {
            id: "mirror.companion".into(),
            status: CheckStatus::Warn,
            subject: record.source.clone(),
            detail,
            hint: Some(
                "kvisor's image scans need it; mirror it by name once it is published".into(),
            ),
        }));
    }

    /// The table, in the order of the input; nothing in JSON mode.
    pub(crate) fn table(&mut self) {
        self.rows.sort_by_key(|row| row.index);
        let several = self.targets().len() > 1;
        let rows = self.rows.iter().map(|row| row.cells(several));
        let rows: Vec<Vec<String>> = rows.collect();
        for line in table(&rows) {
            self.printer.line(line);
        }
        let failed = self.rows.iter().filter(|row| !row.optional);
        for error in failed.filter_map(|row| row.record.error.as_ref()) {
            self.printer
                .line(format!("{} {}", symbol('!'), error.message));
            if let Some(hint) = &error.hint {
                self.printer.line(format!("    {hint}"));
            }
        }
    }

    fn targets(&self) -> BTreeSet<&str> {
        self.rows.iter().map(Row::registry).collect()
    }

    /// The exit code of all images together.
    pub(crate) fn exit(&self) -> Exit {
        together(
            self.rows
                .iter()
                .filter(|row| !row.optional)
                .map(|row| row.exit)
                .chain(self.others.iter().copied()),
        )
    }

    /// The counters of the summary record.
    pub(crate) fn outcome(&self, exit: Exit) -> Outcome {
        let of = |status| {
            self.rows
                .iter()
                .filter(|row| row.record.status == status && !row.optional)
                .count() as u64
        };
        let mut outcome = Outcome::from(exit);
        for (name, status) in [
            ("copied", MirrorStatus::Copied),
            ("present", MirrorStatus::Present),
            ("planned", MirrorStatus::Planned),
            ("conflict", MirrorStatus::Conflict),
            ("failed", MirrorStatus::Failed),
        ] {
            if of(status) > 0 {
                outcome = outcome.count(name, of(status));
            }
        }
        outcome
    }
}

impl Row {
    /// The registry it was to go to.
    fn registry(&self) -> &str {
        self.record.target.split('/').next().unwrap_or_default()
    }

    fn cells(&self, with_registry: bool) -> Vec<String> {
        let record = &self.record;
        let (sign, word) = match record.status {
            MirrorStatus::Copied => ('+', "copied"),
            MirrorStatus::Planned => ('+', "to copy"),
            MirrorStatus::Present => ('=', "present"),
            MirrorStatus::Conflict => ('!', "conflict"),
            MirrorStatus::Failed if self.optional => ('!', "missing"),
            MirrorStatus::Failed => ('!', "failed"),
        };
        let size = if record.bytes > 0 {
            bytes(record.bytes)
        } else {
            String::new()
        };
        let digest = record.digest.as_deref().and_then(Digest::parse);
        let digest = digest
            .map(|digest| digest.short().to_owned())
            .unwrap_or_default();
        let mut cells = vec![
            symbol(sign).to_string(),
            word.into(),
            record.source.clone(),
            digest,
            size,
            notes::contents(record),
        ];
        if with_registry {
            cells.insert(3, self.registry().to_owned());
        }
        cells
    }
}

/// Everything fine: 0. Some fine: 4. None: what the failures have in common, or 1.
pub(crate) fn together(exits: impl Iterator<Item = Exit>) -> Exit {
    let (fine, bad): (Vec<Exit>, Vec<Exit>) = exits.partition(|exit| *exit == Exit::Done);
    let Some(first) = bad.first() else {
        return Exit::Done;
    };
    let alike = bad.iter().all(|exit| exit == first);
    match *first {
        // A conflict stays one on every later run: "partly done, run again" would be a lie.
        Exit::Conflict if alike => Exit::Conflict,
        _ if !fine.is_empty() => Exit::Partial,
        exit if alike => exit,
        _ => Exit::Failed,
    }
}

fn record(image: &ImageStep, copy: Option<&Copy>, ending: &Ending<'_>) -> (Mirrored, Exit) {
    let mut record = Mirrored {
        filtered: image.origin.as_ref().map(notes::filtered),
        ..Mirrored::new(
            image.request.image.to_string(),
            image.target.to_string(),
            MirrorStatus::Present,
        )
    };
    let mut exit = Exit::Done;
    let mut fail = |record: &mut Mirrored, failure: &Shared| {
        exit = failure.exit();
        record.status = if exit == Exit::Conflict {
            MirrorStatus::Conflict
        } else {
            MirrorStatus::Failed
        };
        record.error = Some(failure.info());
    };
    match (&image.action, copy) {
        (Action::Keep { digest, platforms }, _) => {
            record.digest = Some(digest.to_string());
            record.platforms.clone_from(platforms);
        }
        (Action::Absent(failure) | Action::Leave(failure), _) => fail(&mut record, failure),
        (Action::Copy(_) | Action::Brought { .. }, copy) => {
            let copy = copy.expect("what is brought is brought by a copy");
            record.digest = Some(copy.digest.to_string());
            record.platforms.clone_from(&copy.platforms);
            // What is brought costs nothing of its own.
            record.bytes = image.copy().map_or(0, Copy::bytes);
            match ending {
                Ending::Planned => {
                    record.status = MirrorStatus::Planned;
                    record.attachments = notes::planned(&copy.attachments);
                }
                Ending::Ran(Ok(parity)) => {
                    record.status = MirrorStatus::Copied;
                    record.attachments = notes::copied(parity);
                }
                Ending::Ran(Err(failure)) => {
                    record.bytes = 0;
                    fail(&mut record, failure);
                }
            }
        }
    }
    (record, exit)
}

fn sentence(record: &Mirrored) -> String {
    let error = |error: &Option<ErrorInfo>| {
        error
            .as_ref()
            .map_or_else(String::new, |error| error.message.clone())
    };
    let notes = notes::sentence(record);
    let (source, size) = (&record.source, bytes(record.bytes));
    match record.status {
        MirrorStatus::Copied => format!("copied {source} ({size}){notes}"),
        MirrorStatus::Present => format!("present {source}{notes}"),
        MirrorStatus::Planned => format!("to copy {source} ({size}){notes}"),
        MirrorStatus::Conflict => format!("conflict {}", error(&record.error)),
        MirrorStatus::Failed => format!("failed {}", error(&record.error)),
    }
}

/// What `plan` says under its table.
pub(crate) fn plan_line(plan: &Plan) -> String {
    let totals = plan.totals();
    let left = left(plan);
    if totals.images == 0 {
        return match left.as_str() {
            "" => "no changes: everything is at the target".into(),
            left => format!("nothing to copy: {left}"),
        };
    }
    let left = match left.as_str() {
        "" => left,
        some => format!("; {some}"),
    };
    let Totals {
        images,
        repositories,
        manifests,
        blobs,
        read,
        sent,
        reused,
        mounts,
        requests,
    } = totals;
    // A store is not asked.
    let asked = match requests {
        0 => String::new(),
        some => format!("; about {} to the target", count(some, "request")),
    };
    format!(
        "{} to copy: {} to create, {} to write, {} to read ({}), {} to send, {} to mount, {} there already{asked}{left}",
        count(images, "image"),
        count(repositories, "repository"),
        count(manifests, "manifest"),
        count(blobs, "blob"),
        bytes(read),
        bytes(sent),
        count(mounts, "blob"),
        bytes(reused),
    )
}

/// How many images are neither there nor can be copied, by kind; empty when there are none.
/// What nobody asked for by name does not count.
fn left(plan: &Plan) -> String {
    let (mut failed, mut conflicts) = (0, 0);
    for image in plan.images.iter().filter(|image| !image.request.optional) {
        match &image.action {
            Action::Leave(failure) if failure.exit() == Exit::Conflict => conflicts += 1,
            Action::Leave(_) | Action::Absent(_) => failed += 1,
            Action::Keep { .. } | Action::Brought { .. } | Action::Copy(_) => {}
        }
    }
    let kinds = [(failed, "failed"), (conflicts, "conflict")];
    let kinds = kinds.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = kinds
        .map(|(number, kind)| format!("{number} {kind}"))
        .collect();
    parts.join(", ")
}

/// What `copy` says at the end, from what it counted.
pub(crate) fn copy_line(outcome: &Outcome, seconds: f64) -> String {
    let number = |name: &str| outcome.counts.get(name).copied().unwrap_or(0);
    let settings = number("settings");
    let cost = format!(
        "{} to the source and {} to the target, {seconds:.1} s",
        requests(number("source_requests")),
        number("target_requests"),
    );
    if number("copied") + number("failed") + number("conflict") + settings == 0 {
        return format!("no changes: {} present; {cost}", images(number("present")));
    }
    let mut parts = vec![format!("{} copied", images(number("copied")))];
    for name in ["present", "conflict", "failed"] {
        if number(name) > 0 {
            parts.push(format!("{} {name}", number(name)));
        }
    }
    if settings > 0 {
        parts.push(format!("{settings} settings changed"));
    }
    let spared = ["mounted", "reused"].map(|name| match number(name) {
        0 => String::new(),
        spared => format!(", {} {name}", bytes(spared)),
    });
    format!(
        "{}; {} sent{}; {cost}",
        parts.join(", "),
        bytes(number("bytes")),
        spared.concat(),
    )
}

fn requests(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "request")
}

fn images(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "image")
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit::{Conflict, Credentials, Done, Failed, Partial, Unreachable};

    use super::*;

    #[test]
    fn many_endings_make_one() {
        for (exits, want) in [
            (&[][..], Done),
            (&[Done, Done], Done),
            (&[Done, Failed], Partial),
            (&[Done, Credentials], Partial),
            (&[Done, Conflict], Conflict),
            (&[Conflict, Failed, Done], Partial),
            (&[Conflict, Failed], Failed),
            (&[Credentials, Credentials], Credentials),
            (&[Unreachable], Unreachable),
            (&[Unreachable, Credentials], Failed),
        ] {
            assert_eq!(together(exits.iter().copied()), want, "{exits:?}");
        }
    }
}
