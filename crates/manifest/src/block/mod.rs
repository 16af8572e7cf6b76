//! The YAML that charts print, in one pass: one key or entry in a line, scalars on one line
//! or in a literal block, flow collections on one line. It gives up on everything else, and
//! on everything that may be wrong: `yaml` reads that, several times more slowly.
//!
//! A tree from here is the one that `yaml` would have built; `tests` hold that.
//!
//! Never here: what values mean.

mod line;
#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::tree::{Builder, Style, Tree};
use line::{Line, blanks};

/// Deeper than any object; what is deeper is for `yaml` to judge.
const DEPTH: usize = 100;

/// Reads `text` from byte `start` on; none when it is not of the style that is read here.
pub(crate) fn parse(text: &str, start: usize) -> Option<Tree<'_>> {
    if !is_simple(&text[start..]) {
        return None;
    }
    let mut reader = Reader {
        text,
        at: start,
        builder: Builder::new(text, start),
        levels: Vec::with_capacity(16),
        pending: None,
    };
    reader.marker()?;
    while reader.at < text.len() {
        reader.line()?;
    }
    reader.finish()
}

/// No character that breaks a line, or none, depending on who reads it.
fn is_simple(text: &str) -> bool {
    let bytes = text.as_bytes();
    let control = |byte: &u8| (*byte < 0x20 && !matches!(byte, b'\n' | b'\r')) || *byte == 0x7f;
    let mut returns = memchr_iter(b'\r', bytes);
    // Every byte, without a way out in between: a processor does many at once then.
    !bytes
        .iter()
        .fold(false, |found, byte| found | control(byte))
        && returns.all(|at| bytes.get(at + 1) == Some(&b'\n'))
        && (text.is_ascii() || !text.contains(['\u{85}', '\u{feff}', '\u{2028}', '\u{2029}']))
}

/// A list or a map that is open, and the column its entries begin in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    column: usize,
    list: bool,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    builder: Builder<'a>,
    levels: Vec<Level>,
    /// Behind this byte the value of the last key or dash is still to come.
    pending: Option<usize>,
}

impl<'a> Reader<'a> {
    /// The `---` at the beginning, alone on its line.
    fn marker(&mut self) -> Option<()> {
        if self.text[self.at..].starts_with("---") {
            let line = self.next_line();
            let mut rest = Line::new(self.text, line);
            rest.at += 3;
            rest.is_blank().then_some(())?;
        }
        Some(())
    }

    /// The next line, without its end.
    #[inline]
    fn next_line(&mut self) -> Range<usize> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at);
        self.at = (end + 1).min(bytes.len());
        let end = if end > start && bytes[end - 1] == b'\r' {
            end - 1
        } else {
            end
        };
        start..end
    }

    /// One line; none when it is not for us.
    fn line(&mut self) -> Option<()> {
        let range = self.next_line();
        let mut line = Line::new(self.text, range.clone());
        line.skip_blanks();
        if line.is_blank() {
            return Some(());
        }
        if line.at == range.start && line.is_marker() {
            return None;
        }
        let mut column = line.at - range.start;
        while line.takes_dash() {
            self.enter(Level { column, list: true }, line.at - 1)?;
            self.pending = Some(line.at);
            line.skip_blanks();
            if line.is_blank() {
                return Some(());
            }
            column = line.at - range.start;
        }
        self.content(&mut line, column)
    }

    /// A key with its value, or a scalar behind a dash.
    #[inline]
    fn content(&mut self, line: &mut Line<'a>, column: usize) -> Option<()> {
        let level = Level {
            column,
            list: false,
        };
        let is_key = match line.at_quote() {
            true => self.quoted_key(line, level)?,
            false => self.plain_key(line, level)?,
        };
        if is_key {
            self.pending = Some(line.at);
            line.skip_blanks();
            if line.is_blank() {
                return Some(());
            }
        } else if self.pending? < line.start {
            // A value on a line of its own, deeper than its key.
            let deeper = self.levels.last()?.column < column;
            (deeper && line.peek() != Some(b'|')).then_some(())?;
        }
        self.value(line)
    }

    /// A key without quotes; false when the line begins with none.
    #[inline]
    fn plain_key(&mut self, line: &mut Line<'a>, level: Level) -> Option<bool> {
        let Some(span) = line.key()? else {
            return Some(false);
        };
        self.enter(level, span.start)?;
        self.builder.verbatim(span, Style::Plain);
        Some(true)
    }

    /// A key in quotes; false when what is in quotes is none.
    fn quoted_key(&mut self, line: &mut Line<'a>, level: Level) -> Option<bool> {
        let start = line.at;
        let (text, style) = line.quoted()?;
        if !line.takes_colon() {
            line.at = start;
            return Some(false);
        }
        self.enter(level, start)?;
        self.builder.leaf(start..line.at - 1, text, style);
        Some(true)
    }

    #[inline]
    fn value(&mut self, line: &mut Line<'a>) -> Option<()> {
        self.pending = None;
        match line.peek()? {
            b'|' => return self.literal(line),
            b'[' | b'{' => line.flow(&mut self.builder)?,
            b'"' | b'\'' => {
                let start = line.at;
                let (text, style) = line.quoted()?;
                self.builder.leaf(start..line.at, text, style);
            }
            _ => {
                let span = line.plain()?;
                self.builder.verbatim(span, Style::Plain);
            }
        }
        line.skip_blanks();
        line.is_blank().then_some(())
    }

    /// A literal block scalar, whose first line says how far its lines are indented.
    fn literal(&mut self, line: &mut Line<'a>) -> Option<()> {
        let chomp = line.literal_header()?;
        let start = self.at;
        let parent = self.levels.last()?.column;
        let mut text = String::new();
        let mut indent = None;
        loop {
            let before = self.at;
            if before == self.text.len() {
                break;
            }
            let range = self.next_line();
            let blanks = blanks(&self.text.as_bytes()[range.clone()]);
            let empty = blanks == range.len();
            let depth = match indent {
                Some(depth) => depth,
                // Blanks before the text may be more than it is indented by.
                None if empty && blanks > 0 => return None,
                None if empty => 0,
                None => *indent.insert(blanks),
            };
            if !empty && (depth <= parent || blanks < depth) {
                self.at = before;
                break;
            }
            text.push_str(self.text.get(range.start + depth.min(blanks)..range.end)?);
            text.push('\n');
        }
        if indent.is_none_or(|depth| depth <= parent) {
            // No text at all; what its line ends would be is for others to say.
            text.clear();
            (chomp != b'+').then_some(())?;
        }
        let kept = text.trim_end_matches('\n').len();
        match chomp {
            b'-' => text.truncate(kept),
            b'+' => {}
            _ => text.truncate(text.len().min(kept + 1)),
        }
        // The last line of all may have no end.
        if self.at == self.text.len() && !self.text.ends_with('\n') {
            return None;
        }
        self.builder.leaf(start..self.at, Some(text), Style::Block);
        Some(())
    }

    /// An entry of `level` begins at `at`: what is deeper ends, and what is new is opened
    /// where a value is awaited.
    #[inline]
    fn enter(&mut self, level: Level, at: usize) -> Option<()> {
        if self.levels.last() == Some(&level) {
            self.nothing();
            return Some(());
        }
        self.step(level, at)
    }

    /// As [`Self::enter`], where `level` is not the innermost one.
    fn step(&mut self, level: Level, at: usize) -> Option<()> {
        self.leave(|open| open.column > level.column, at);
        // A list may stand in the column of its key; then a key ends it.
        if !level.list
            && self
                .levels
                .last()
                .is_some_and(|open| open.list && open.column == level.column)
        {
            self.leave(|open| open.list && open.column == level.column, at);
            if self.levels.last() != Some(&level) {
                return None;
            }
        }
        if self.levels.last() == Some(&level) {
            self.nothing();
            return Some(());
        }
        let fits = match self.levels.last() {
            Some(open) if self.pending.is_some() => {
                open.column < level.column
                    || (level.list && !open.list && open.column == level.column)
            }
            Some(_) => false,
            None => !level.list && self.builder.is_empty(),
        };
        if !fits || self.levels.len() == DEPTH {
            return None;
        }
        self.pending = None;
        self.levels.push(level);
        match level.list {
            true => self.builder.open_list(at, false),
            false => self.builder.open_map(at, false),
        };
        Some(())
    }

    fn leave(&mut self, while_: impl Fn(&Level) -> bool, at: usize) {
        while self.levels.last().is_some_and(&while_) {
            self.nothing();
            self.levels.pop();
            self.builder.close(at);
        }
    }

    /// The value that was awaited does not come: it is null.
    #[inline]
    fn nothing(&mut self) {
        if let Some(at) = self.pending.take() {
            self.builder.verbatim(at..at, Style::Plain);
        }
    }

    fn finish(mut self) -> Option<Tree<'a>> {
        self.leave(|_| true, self.text.len());
        Some(self.builder.finish())
    }
}
