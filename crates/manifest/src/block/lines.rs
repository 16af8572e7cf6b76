//! Scalars over several lines: block scalars, and flow scalars that are folded, as kubectl
//! folds what is longer than 80 characters.
//!
//! Never here: what stands on one line.

use super::{
    Reader,
    line::{self, Line, Written, blanks},
};
use crate::tree::{Style, fold};

impl<'a> Reader<'a> {
    /// A line that can only be more of the plain scalar before it.
    pub(super) fn continued(&mut self, line: &mut Line<'a>) -> Option<()> {
        let span = line.more_plain()?;
        line.skip_blanks();
        line.is_blank().then_some(())?;
        self.builder.go_on(span)
    }

    /// A quoted scalar that ends on a later line than it begins on; `line` is that one then.
    pub(super) fn quoted_lines(&mut self, line: &mut Line<'a>, start: usize) -> Option<Written> {
        let quote = self.text.as_bytes()[start];
        line.at = start + 1;
        let mut text = String::new();
        let mut verbatim = true;
        while !line.takes_quoted(quote, &mut verbatim, &mut text)? {
            let ends = self.skip_empty(line)?;
            fold(&mut text, ends);
            if quote == b'"' {
                line.skip_escape_of_blank();
            }
        }
        let text = match verbatim {
            true => text,
            false => line::unquoted(&text, quote)?,
        };
        Some((Some(text), line::style(quote)))
    }

    /// The next line that is not empty, which has to be deeper than what holds the scalar;
    /// how many lines ended before it.
    fn skip_empty(&mut self, line: &mut Line<'a>) -> Option<usize> {
        let parent = self.levels.last()?.column;
        let mut ends = 0;
        while self.at < self.text.len() {
            ends += 1;
            *line = Line::new(self.text, self.next_line());
            line.skip_blanks();
            if line.peek().is_some() {
                return (line.at - line.start > parent).then_some(ends);
            }
        }
        None
    }

    /// A block scalar, whose first line says how far its lines are indented.
    pub(super) fn block(&mut self, line: &mut Line<'a>) -> Option<()> {
        let folded = line.peek() == Some(b'>');
        let chomp = line.block_header()?;
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
            if folded {
                // Lines that are deeper than others are not folded.
                (blanks <= depth).then_some(())?;
                if !empty {
                    fold_last(&mut text);
                }
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
}

/// The ends of lines that `text` ends with, folded, where there is text before them.
fn fold_last(text: &mut String) {
    let kept = text.trim_end_matches('\n').len();
    let ends = text.len() - kept;
    if kept > 0 {
        text.truncate(kept);
        fold(text, ends);
    }
}
