//! What is said beside the name of an image: its platforms, that its index was filtered, and
//! what is attached to it.

use castlink_core::{
    printer::count,
    record::{self, Filtered, LeftBehind, Mirrored},
};

use crate::{
    attached::Trouble, content::Digest, engine::Parity, plan::Attachments, source::Origin,
};

/// The last column of the table.
pub(super) fn contents(record: &Mirrored) -> String {
    let mut text = record.platforms.join(" ");
    let notes: Vec<String> = notes(record).collect();
    if !notes.is_empty() {
        text.push_str(&format!(" ({})", notes.join("; ")));
    }
    text
}

/// The end of a sentence about the image.
pub(super) fn sentence(record: &Mirrored) -> String {
    notes(record).map(|note| format!("; {note}")).collect()
}

/// The warning about what stays behind; none when nothing does.
pub(super) fn left_behind(record: &Mirrored) -> Option<String> {
    let attachments = record.attachments.as_ref()?;
    let reasons = attachments.failed.iter();
    let reasons: Vec<String> = reasons
        .map(|left| format!("{}: {}", left.what, left.why))
        .collect();
    if reasons.is_empty() {
        return None;
    }
    Some(format!(
        "{}: not everything attached to it can be copied: {}",
        record.source,
        reasons.join("; ")
    ))
}

fn notes(record: &Mirrored) -> impl Iterator<Item = String> {
    filter_note(record)
        .into_iter()
        .chain(attachments_note(record))
}

/// What to know of an index that is not the source's own.
fn filter_note(record: &Mirrored) -> Option<String> {
    let filtered = record.filtered.as_ref()?;
    let source = Digest::parse(&filtered.source_digest)?;
    Some(format!(
        "filtered index: {} of {} platforms, digest differs from the source's {}",
        record.platforms.len(),
        record.platforms.len() + filtered.left_out.len(),
        source.short(),
    ))
}

fn attachments_note(record: &Mirrored) -> Option<String> {
    let attachments = record.attachments.as_ref()?;
    let found = usize::try_from(attachments.found).unwrap_or(usize::MAX);
    (found > 0).then(|| format!("with {}", count(found, "attachment")))
}

/// The record of a filtered index.
pub(super) fn filtered(origin: &Origin) -> Box<Filtered> {
    Box::new(Filtered {
        source_digest: origin.digest.to_string(),
        left_out: origin.left_out.clone(),
    })
}

/// The record of what would be copied.
pub(super) fn planned(plan: &Attachments) -> Option<Box<record::Attachments>> {
    let present = plan.steps.iter().filter(|step| !step.missing).count();
    parity(plan.found, 0, present, &plan.troubles)
}

/// The record of what was copied.
pub(super) fn copied(done: &Parity) -> Option<Box<record::Attachments>> {
    parity(done.found, done.copied, done.present, &done.troubles)
}

fn parity(
    found: usize,
    copied: usize,
    present: usize,
    troubles: &[Trouble],
) -> Option<Box<record::Attachments>> {
    if found == 0 && troubles.is_empty() {
        return None;
    }
    let left = |trouble: &Trouble| LeftBehind {
        what: trouble.what.clone(),
        why: trouble.why.clone(),
    };
    Some(Box::new(record::Attachments {
        found: found as u64,
        copied: copied as u64,
        present: present as u64,
        failed: troubles.iter().map(left).collect(),
    }))
}
