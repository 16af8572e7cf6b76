//! The one screen that `castlink run` ends with: what each stage did, what failed, and
//! what to do next. Pure text from records.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use castlink_core::{
    Exit,
    printer::{bytes, count, symbol, table},
    record::{Change, ChangeStatus, Check, CheckStatus, ErrorInfo, MirrorStatus, Mirrored, Record},
};

use crate::{plan::Stage, stage::Done};

/// The line that announces a stage.
pub(crate) fn heading(name: &str, args: &[String]) -> String {
    let verb = args.first().map(String::as_str).unwrap_or_default();
    format!("==> {name} ({verb})")
}

/// The summary of a run.
pub(crate) fn render(
    done: &[Done],
    stages: &[Stage],
    exit: Exit,
    run_dir: &Path,
    plan: bool,
) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = done.iter().map(row).collect();
    rows.extend(stages.iter().skip(done.len()).map(|stage| {
        let cells = [symbol('!').to_string(), stage.name.into(), "not run".into()];
        cells.to_vec()
    }));
    let mut lines = table(&rows);
    // What a stage that ended well left alone is in its row; why, on its stderr.
    let failed = done.iter().filter(|stage| stage.exit != Exit::Done);
    let troubles: Vec<String> = failed.flat_map(troubles).collect();
    if !troubles.is_empty() {
        lines.push(String::new());
        lines.extend(troubles);
    }
    lines.push(String::new());
    lines.push(verdict(done, exit, plan));
    lines.push(format!("records: {}", run_dir.display()));
    lines
}

/// What the summary record counts.
pub(crate) fn counts(done: &[Done]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in done.iter().flat_map(|stage| &stage.records) {
        let (name, n) = match record {
            Record::Mirrored(image) => {
                *counts.entry("bytes".to_owned()).or_default() += image.bytes;
                (key("images", mirror_word(image.status)), 1)
            }
            Record::Change(change) => (key("changes", change_word(change.status)), 1),
            _ => continue,
        };
        *counts.entry(name).or_default() += n;
    }
    counts
}

/// `left alone` of changes is counted as `changes_left_alone`.
fn key(what: &str, word: &str) -> String {
    format!("{what}_{}", word.replace(' ', "_"))
}

fn row(done: &Done) -> Vec<String> {
    let mark = match done.exit {
        Exit::Done if changed(done) => '+',
        Exit::Done => '=',
        Exit::Pending => '~',
        _ => '!',
    };
    vec![
        symbol(mark).to_string(),
        done.name.into(),
        done.exit.name().replace('_', " "),
        what(done),
        format!("{:.1} s", done.took.as_secs_f64()),
    ]
}

fn what(done: &Done) -> String {
    let images = done
        .records
        .iter()
        .filter(|r| matches!(r, Record::Image(_)))
        .count();
    if images > 0 {
        return format!("{} in use", count(images, "image"));
    }
    let mut parts = mirrored_parts(done);
    parts.extend(change_parts(done));
    parts.extend(check_parts(done));
    if parts.is_empty() {
        return "nothing to do".into();
    }
    parts.join(", ")
}

fn mirrored_parts(done: &Done) -> Vec<String> {
    let images: Vec<&Mirrored> = done.records.iter().filter_map(as_mirrored).collect();
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    for image in &images {
        *tally.entry(mirror_word(image.status)).or_default() += 1;
    }
    let mut parts: Vec<String> = tally
        .iter()
        .map(|(word, n)| format!("{n} {word}"))
        .collect();
    let sent: u64 = images.iter().map(|image| image.bytes).sum();
    if sent > 0 {
        parts.push(format!("{} sent", bytes(sent)));
    }
    parts
}

/// Resources, not fields, are counted: a workload with two containers is one change.
fn change_parts(done: &Done) -> Vec<String> {
    let mut tally: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in done.records.iter().filter_map(as_change) {
        let resources = tally.entry(change_word(change.status)).or_default();
        resources.insert(&change.resource);
    }
    tally
        .iter()
        .map(|(word, resources)| format!("{} {word}", resources.len()))
        .collect()
}

fn check_parts(done: &Done) -> Vec<String> {
    let checks: Vec<&Check> = done.records.iter().filter_map(as_check).collect();
    if checks.is_empty() {
        return Vec::new();
    }
    let ok = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Ok)
        .count();
    vec![format!("{ok} of {} in place", count(checks.len(), "check"))]
}

fn troubles(done: &Done) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    for record in &done.records {
        let Some((subject, error)) = trouble(record) else {
            continue;
        };
        if !seen.insert((subject.clone(), error.message.clone())) {
            continue;
        }
        lines.push(format!("{} {}: {subject}", symbol('!'), done.name));
        lines.push(format!("    {}", error.message));
        if let Some(hint) = &error.hint {
            lines.push(format!("    hint: {hint}"));
        }
    }
    lines
}

fn trouble(record: &Record) -> Option<(String, ErrorInfo)> {
    match record {
        Record::Mirrored(image) => Some((image.source.clone(), image.error.clone()?)),
        Record::Change(change) => {
            let subject = format!("{} {}", change.resource, change_word(change.status));
            Some((subject, change.error.clone()?))
        }
        Record::Check(check) if check.status == CheckStatus::Fail => {
            let info = ErrorInfo {
                code: Exit::Pending.name().into(),
                message: check.detail.clone(),
                hint: check.hint.clone(),
            };
            Some((check.subject.clone(), info))
        }
        Record::Summary(summary) => Some((summary.command.clone(), summary.error.clone()?)),
        _ => None,
    }
}

fn verdict(done: &[Done], exit: Exit, plan: bool) -> String {
    match exit {
        Exit::Done if plan && done.iter().any(planned) => "planned; nothing was changed".into(),
        Exit::Done if done.iter().any(changed) => "done".into(),
        Exit::Done => "no changes".into(),
        other => format!("exit {}: {}", other.code(), other.meaning()),
    }
}

fn changed(done: &Done) -> bool {
    done.records.iter().any(|record| match record {
        Record::Mirrored(image) => image.status == MirrorStatus::Copied,
        Record::Change(change) => matches!(
            change.status,
            ChangeStatus::Applied | ChangeStatus::RolledBack
        ),
        _ => false,
    })
}

fn planned(done: &Done) -> bool {
    done.records.iter().any(|record| match record {
        Record::Mirrored(image) => image.status == MirrorStatus::Planned,
        Record::Change(change) => change.status == ChangeStatus::Planned,
        _ => false,
    })
}

fn as_mirrored(record: &Record) -> Option<&Mirrored> {
    match record {
        Record::Mirrored(image) => Some(image),
        _ => None,
    }
}

fn as_change(record: &Record) -> Option<&Change> {
    match record {
        Record::Change(change) => Some(change),
        _ => None,
    }
}

fn as_check(record: &Record) -> Option<&Check> {
    match record {
        Record::Check(check) => Some(check),
        _ => None,
    }
}

fn mirror_word(status: MirrorStatus) -> &'static str {
    match status {
        MirrorStatus::Copied => "copied",
        MirrorStatus::Present => "present",
        MirrorStatus::Planned => "to copy",
        MirrorStatus::Failed => "failed",
        MirrorStatus::Conflict => "in conflict",
    }
}

fn change_word(status: ChangeStatus) -> &'static str {
    match status {
        ChangeStatus::Planned => "to change",
        ChangeStatus::Applied => "changed",
        ChangeStatus::Unchanged => "as it was",
        ChangeStatus::Skipped => "left alone",
        ChangeStatus::Failed => "failed",
        ChangeStatus::RolledBack => "rolled back",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn push() -> Done {
        let image = |source: &str, status, error: Option<&str>| {
            Record::Mirrored(Mirrored {
                bytes: 1_500_000,
                error: error.map(|message| ErrorInfo {
                    code: "failed".into(),
                    message: message.into(),
                    hint: Some("check the tag".into()),
                }),
                ..Mirrored::new(source, format!("ECR/{source}"), status)
            })
        };
        Done {
            name: "push",
            exit: Exit::Partial,
            records: vec![
                image("agent:v1", MirrorStatus::Copied, None),
                image(
                    "evictor:v1",
                    MirrorStatus::Failed,
                    Some("not found upstream"),
                ),
            ],
            took: Duration::from_millis(1234),
        }
    }

    #[test]
    fn the_failed_image_is_named_with_its_hint() {
        let lines = render(&[push()], &[], Exit::Partial, Path::new("/run"), false);
        let text = console_plain(&lines.join("\n"));
        assert!(
            text.contains("push  partial  1 copied, 1 failed, 3.0 MB sent  1.2 s"),
            "{text}"
        );
        assert!(
            text.contains("push: evictor:v1\n    not found upstream\n    hint: check the tag"),
            "{text}"
        );
        assert!(text.contains("exit 4: partly done"), "{text}");
    }

    #[test]
    fn nothing_done_is_no_changes() {
        let done = Done {
            records: Vec::new(),
            exit: Exit::Done,
            ..push()
        };
        let lines = render(&[done], &[], Exit::Done, Path::new("/run"), false);
        assert!(lines.contains(&"no changes".to_owned()), "{lines:?}");
    }

    fn console_plain(text: &str) -> String {
        let mut out = String::new();
        let mut escape = false;
        for c in text.chars() {
            match (escape, c) {
                (false, '\u{1b}') => escape = true,
                (true, 'm') => escape = false,
                (false, c) => out.push(c),
                (true, _) => {}
            }
        }
        out
    }
}
