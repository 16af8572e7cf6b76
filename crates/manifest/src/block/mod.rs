//! The YAML that charts and kubectl print, in one pass: one key or entry in a line, scalars on
//! one line or over several, flow collections on one line. It gives up on everything else, and
//! on everything that may be wrong: `yaml` reads that, several times more slowly.
//!
//! A tree from here is the one that `yaml` would have built; `tests` hold that.
//!
//! Never here: what values mean.

mod line;
mod lines;
#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::tree::{Builder, Style, Tree};
use line::Line;

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
        if self.pending.is_none() && self.levels.last().is_some_and(|open| open.column < column) {
            return self.continued(&mut line);
        }
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
            (deeper && !matches!(line.peek(), Some(b'|' | b'>'))).then_some(())?;
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
        let written = line.quoted();
        let Some((text, style)) = written.filter(|_| line.takes_colon()) else {
            line.at = start;
            return Some(false);
        };
        self.enter(level, start)?;
        self.builder.leaf(start..line.at - 1, text, style);
        Some(true)
    }

    #[inline]
    fn value(&mut self, line: &mut Line<'a>) -> Option<()> {
        self.pending = None;
        match line.peek()? {
            b'|' | b'>' => return self.block(line),
            b'[' | b'{' => line.flow(&mut self.builder)?,
            b'"' | b'\'' => {
                let start = line.at;
                let (text, style) = match line.quoted() {
                    Some(written) => written,
                    None => self.quoted_lines(line, start)?,
                };
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
