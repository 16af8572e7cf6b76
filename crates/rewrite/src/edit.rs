//! Bytes to put in the place of others, so that a scalar stays a scalar of its style.
//!
//! Never here: what a reference should become.

use std::ops::Range;

use castlink_manifest::tree::Style;

/// `text` in the place of the bytes of `span`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes to replace.
    pub span: Range<usize>,
    /// What is there instead.
    pub text: String,
}

/// The edit that makes the scalar at `span`, which reads `from`, read `to`; none where that
/// cannot be said in its style.
#[must_use]
pub fn scalar(
    source: &str,
    span: &Range<usize>,
    style: Style,
    from: &str,
    to: &str,
) -> Option<Edit> {
    let raw = &source[span.clone()];
    let Some(at) = position(raw, from, style) else {
        // Written with escapes: the whole scalar, the plain way.
        return (style != Style::Block).then(|| Edit {
            span: span.clone(),
            text: quoted(to),
        });
    };
    let inner = span.start + at..span.start + at + from.len();
    let (span, text) = match style {
        Style::Plain if !is_plain(to) => (span.clone(), quoted(to)),
        _ => (inner, within(style, to)),
    };
    Some(Edit { span, text })
}

/// Where `from` stands in `raw`; mostly it is all of it, within its quotes.
fn position(raw: &str, from: &str, style: Style) -> Option<usize> {
    let quote = usize::from(matches!(style, Style::Single | Style::Double));
    let all = raw.len() == from.len() + 2 * quote;
    match all && raw[quote..].starts_with(from) {
        true => Some(quote),
        false => raw.find(from),
    }
}

/// `text` as a part of a scalar of `style`.
#[must_use]
pub fn within(style: Style, text: &str) -> String {
    match style {
        Style::Plain | Style::Block => text.to_owned(),
        Style::Single => text.replace('\'', "''"),
        Style::Double => escaped(text),
    }
}

/// `text` as a double-quoted scalar, in YAML and in JSON.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// True for what reads as itself without quotes, in block and in flow, and as nothing else:
/// a reference with its registry is no number and no date.
fn is_plain(text: &str) -> bool {
    let word = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':' | b'@')
    };
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.contains('/')
        && bytes.iter().copied().all(word)
        && edge(bytes.first())
        && edge(bytes.last())
}

/// Writes `source` with the edits, which are sorted here.
///
/// Edits of the same bytes are one; others never overlap, since scalars do not.
pub fn apply(source: &str, edits: &mut Vec<Edit>, out: &mut String) {
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    edits.dedup();
    let mut done = 0;
    for edit in edits.iter() {
        out.push_str(&source[done..edit.span.start]);
        out.push_str(&edit.text);
        done = edit.span.end;
    }
    out.push_str(&source[done..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, style: Style, from: &str, to: &str, want: Option<&str>) {
        let source = format!("image: {raw}\n");
        let span = 7..7 + raw.len();
        let edit = scalar(&source, &span, style, from, to);
        let got = edit.map(|edit| {
            let mut out = String::new();
            apply(&source, &mut vec![edit], &mut out);
            out["image: ".len()..out.len() - 1].to_owned()
        });
        assert_eq!(got.as_deref(), want, "{raw}");
    }

    #[test]
    fn a_scalar_keeps_its_style() {
        use Style::{Block, Double, Plain, Single};
        for (raw, style, want) in [
            ("a:1", Plain, "r/a:1"),
            ("'a:1'", Single, "'r/a:1'"),
            ("\"a:1\"", Double, "\"r/a:1\""),
            ("\" a:1 \"", Double, "\" r/a:1 \""),
            ("\"\\x61:1\"", Double, "\"r/a:1\""),
            (">-\n  a:1", Block, ">-\n  r/a:1"),
        ] {
            check(raw, style, "a:1", "r/a:1", Some(want));
        }
    }

    #[test]
    fn what_is_not_plain_is_quoted() {
        let to = "[2001:db8::1]:5000/a:1";
        check("a:1", Style::Plain, "a:1", to, Some(&format!("\"{to}\"")));
        check("'a:1'", Style::Single, "a:1", to, Some(&format!("'{to}'")));
        check("  a:\n  1", Style::Block, "a:1", to, None);
    }
}
