//! Manifests within a text of a ConfigMap: planned like any other, with every byte traced
//! back to where it is written in the text around it.
//!
//! Never here: what a reference should become.

use std::ops::Range;

use castlink_manifest::{
    self as manifest,
    stream::{Piece, parts},
    tree::{Id, Style, Tree, Value},
};

use super::{
    edit::{self, Edit},
    finding::{Finding, What},
    object,
    plan::{self, Depth},
    rules::Rules,
};

/// What was found in a text, and at which byte of the text around it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) edits: Vec<Edit>,
    pub(crate) findings: Vec<(usize, Finding)>,
}

/// Plans the text `id`, if it is manifests; any other text is nobody's business.
pub(crate) fn plan(source: &str, tree: &Tree<'_>, id: Id, rules: &Rules) -> Found {
    let span = tree.span(id);
    let Value::Scalar { text, style, .. } = tree.value(id) else {
        return Found::default();
    };
    if !text.contains("image") || manifests(text).is_none() {
        return Found::default();
    }
    let piece = Piece {
        name: "".into(),
        line: 1,
        first: true,
        text: text.to_string(),
    };
    let planned = plan::plan(&piece, rules, Depth::Embedded);
    let start = span.start;
    let raw = raw(source, &span, style, text);
    let Some(raw) = raw.filter(|_| style != Style::Plain) else {
        return unreachable(start, planned.findings);
    };
    let edits = planned.edits.iter().map(|edit| Edit {
        span: raw[edit.span.start]..raw[edit.span.end],
        text: edit::within(style, &edit.text),
    });
    Found {
        edits: edits.collect(),
        findings: planned
            .findings
            .into_iter()
            .map(|one| (start, one))
            .collect(),
    }
}

/// Nothing can be changed in such a text, so that what should have been is an error.
fn unreachable(at: usize, findings: Vec<Finding>) -> Found {
    let findings = findings.into_iter().map(|mut finding| {
        if let What::Changed { from, .. } = &finding.what {
            let why = format!("{from} is in a text that is folded or written over several lines: write it with `|`");
            finding.what = What::Broken { why };
        }
        (at, finding)
    });
    Found {
        edits: Vec::new(),
        findings: findings.collect(),
    }
}

/// The documents of `text`, a value of a ConfigMap; none where it holds anything but objects.
#[must_use]
pub fn manifests(text: &str) -> Option<Vec<Tree<'_>>> {
    let mut trees = Vec::new();
    let mut objects = 0;
    for part in parts(text) {
        let tree = manifest::parse(text, &part).ok()?;
        for root in tree.roots() {
            objects += object::objects(&tree, *root).ok()?.len();
        }
        trees.push(tree);
    }
    (objects > 0).then_some(trees)
}

/// For each byte of `text`, and its end, the byte of `source` it is read from; none when
/// the scalar at `span` is written so that there is no such byte.
fn raw(source: &str, span: &Range<usize>, style: Style, text: &str) -> Option<Vec<usize>> {
    let mut trace = Trace {
        text: String::with_capacity(text.len()),
        raw: Vec::with_capacity(text.len() + 1),
    };
    match style {
        Style::Plain => trace.copy(source, span.clone()),
        Style::Block => trace.block(source, span, text)?,
        Style::Single => trace.single(source, span)?,
        Style::Double => trace.double(source, span)?,
    }
    trace
        .raw
        .push(trace.raw.last().map_or(span.start, |last| last + 1));
    // What cannot be traced exactly is not traced at all.
    (trace.text == text).then_some(trace.raw)
}

struct Trace {
    text: String,
    raw: Vec<usize>,
}

impl Trace {
    fn copy(&mut self, source: &str, span: Range<usize>) {
        self.text.push_str(&source[span.clone()]);
        self.raw.extend(span);
    }

    fn put(&mut self, at: usize, char: char) {
        self.text.push(char);
        self.raw.extend(std::iter::repeat_n(at, char.len_utf8()));
    }

    /// A literal scalar: every line behind the same indentation, which the first line of the
    /// text that is not blank gives away.
    fn block(&mut self, source: &str, span: &Range<usize>, text: &str) -> Option<()> {
        let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let is_text = |line: &&str| !line.trim().is_empty();
        let first = text.lines().find(is_text)?;
        let mut at = span.start;
        let written = source[at..span.end].lines().find(is_text)?;
        let indent = blanks(written).checked_sub(blanks(first))?;
        for line in source[at..span.end].split_inclusive('\n') {
            let content = line.trim_end_matches(['\r', '\n']);
            let start = at + indent.min(content.len());
            self.copy(source, start..at + content.len());
            if self.text.len() < text.len() && line.ends_with('\n') {
                self.put(at + line.len() - 1, '\n');
            }
            at += line.len();
        }
        // Line ends behind the last line, which chomping took away.
        self.text.truncate(text.len());
        self.raw.truncate(text.len());
        Some(())
    }

    fn single(&mut self, source: &str, span: &Range<usize>) -> Option<()> {
        let mut chars = source.get(span.start + 1..span.end - 1)?.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '\n' => return None,
                '\'' => {
                    chars.next()?;
                }
                _ => {}
            }
            self.put(span.start + 1 + at, char);
        }
        Some(())
    }

    /// What JSON writes: one line, JSON's escapes.
    fn double(&mut self, source: &str, span: &Range<usize>) -> Option<()> {
        let inner = source.get(span.start + 1..span.end - 1)?;
        let mut at = 0;
        while let Some(char) = inner[at..].chars().next() {
            let length = match char {
                '\n' => return None,
                '\\' => escape_length(&inner[at..])?,
                char => char.len_utf8(),
            };
            let written = inner.get(at..at + length)?;
            let start = span.start + 1 + at;
            match char {
                '\\' => {
                    let read: String = serde_json::from_str(&format!("\"{written}\"")).ok()?;
                    read.chars().for_each(|char| self.put(start, char));
                }
                _ => self.copy(source, start..start + length),
            }
            at += length;
        }
        Some(())
    }
}

/// The length of the escape that `text` begins with; two of them make one character beyond
/// the first plane.
fn escape_length(text: &str) -> Option<usize> {
    let unit = |text: &str| match text.as_bytes().get(1)? {
        b'u' => u32::from_str_radix(text.get(2..6)?, 16).ok(),
        _ => None,
    };
    match unit(text) {
        Some(0xd800..0xdc00) => Some(12),
        Some(_) => Some(6),
        None => Some(2),
    }
}
