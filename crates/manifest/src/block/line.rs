//! What stands on one line: keys, scalars, flow collections.
//!
//! Never here: lines below each other.

use std::ops::Range;

use crate::tree::{Builder, Style};

/// A flow collection on one line is not deeper than this.
const DEPTH: usize = 20;

/// A scalar: what it reads, unless that is what is written, and how it is written.
type Written = (Option<String>, Style);

/// A byte of a key without quotes; one that may end a value without quotes; one that no such
/// value begins with.
const WORD: u8 = 1;
const STOP: u8 = 2;
const INDICATOR: u8 = 4;

/// What each byte is, in a table: this is asked of every byte of a stream.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-') {
            kinds[byte as usize] = WORD;
        }
        byte += 1;
    }
    let indicators = b"?:,[]{}#&*!|>'\"%@`";
    let mut at = 0;
    while at < indicators.len() {
        kinds[indicators[at] as usize] = INDICATOR;
        at += 1;
    }
    kinds[b'#' as usize] |= STOP;
    kinds[b':' as usize] |= STOP;
    kinds
};

/// The rest of a line, read from front to back.
pub(super) struct Line<'a> {
    text: &'a str,
    pub(super) start: usize,
    pub(super) at: usize,
    end: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(text: &'a str, range: Range<usize>) -> Self {
        Self {
            text,
            start: range.start,
            at: range.start,
            end: range.end,
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.byte(self.at)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        (at < self.end).then(|| self.text.as_bytes()[at])
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// True at the end of the line, and at a comment.
    pub(super) fn is_blank(&self) -> bool {
        let bytes = &self.text.as_bytes()[self.at..self.end];
        let Some(first) = bytes.iter().position(|byte| *byte != b' ') else {
            return true;
        };
        let spaced =
            || first > 0 || self.at == self.start || self.text.as_bytes()[self.at - 1] == b' ';
        bytes[first] == b'#' && spaced()
    }

    /// True for `---`, `...` and `%` at the beginning of a line.
    pub(super) fn is_marker(&self) -> bool {
        let rest = &self.text[self.at..self.end];
        rest.starts_with("---") || rest.starts_with("...") || rest.starts_with('%')
    }

    /// Goes past a `-` that begins an entry.
    pub(super) fn takes_dash(&mut self) -> bool {
        let dash = self.peek() == Some(b'-') && matches!(self.byte(self.at + 1), None | Some(b' '));
        self.at += usize::from(dash);
        dash
    }

    /// Goes past a key and its colon, when the rest of the line begins with one; none when
    /// that is hard to say.
    #[expect(clippy::option_option, reason = "no key, and no judgement")]
    pub(super) fn key(&mut self) -> Option<Option<Written>> {
        let start = self.at;
        let (text, style) = match self.peek()? {
            b'"' | b'\'' => self.quoted()?,
            _ => {
                let bytes = &self.text.as_bytes()[start..self.end];
                let is_word = |byte: &&u8| KINDS[usize::from(**byte)] & WORD != 0;
                self.at += bytes.iter().take_while(is_word).count();
                (None, Style::Plain)
            }
        };
        if self.at > start && self.at_colon() {
            self.at += 1;
            return Some(Some((text, style)));
        }
        self.at = start;
        Some(None)
    }

    fn at_colon(&self) -> bool {
        self.peek() == Some(b':') && matches!(self.byte(self.at + 1), None | Some(b' '))
    }

    /// Goes past a quoted scalar that ends on this line.
    pub(super) fn quoted(&mut self) -> Option<Written> {
        let start = self.at;
        let quote = self.peek()?;
        self.at += 1;
        let mut plain = true;
        loop {
            match self.peek()? {
                b'\\' if quote == b'"' => {
                    plain = false;
                    self.at += 1;
                }
                b'\'' if quote == b'\'' && self.byte(self.at + 1) == Some(b'\'') => {
                    plain = false;
                    self.at += 1;
                }
                byte if byte == quote => break,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        let inner = &self.text[start + 1..self.at - 1];
        let text = match (plain, quote) {
            (true, _) => None,
            (false, b'\'') => Some(inner.replace("''", "'")),
            (false, _) => Some(unescaped(&self.text[start..self.at])?),
        };
        let style = if quote == b'"' {
            Style::Double
        } else {
            Style::Single
        };
        Some((text, style))
    }

    /// Goes past a plain scalar that is the rest of the line.
    pub(super) fn plain(&mut self) -> Option<Range<usize>> {
        self.begins_plain()?;
        let start = self.at;
        let bytes = &self.text.as_bytes()[start..self.end];
        let mut length = bytes.len();
        for (at, byte) in bytes.iter().enumerate() {
            if KINDS[usize::from(*byte)] & STOP == 0 {
                continue;
            }
            match byte {
                b'#' if at > 0 && bytes[at - 1] == b' ' => {
                    length = at;
                    break;
                }
                // This is a key, or wrong.
                b':' if matches!(bytes.get(at + 1), None | Some(b' ')) => return None,
                _ => {}
            }
        }
        while length > 0 && bytes[length - 1] == b' ' {
            length -= 1;
        }
        self.at = start + length;
        Some(start..self.at)
    }

    fn begins_plain(&self) -> Option<()> {
        let begins = match self.peek()? {
            b'-' => !matches!(self.byte(self.at + 1), None | Some(b' ')),
            byte => KINDS[usize::from(byte)] & INDICATOR == 0,
        };
        begins.then_some(())
    }

    /// Goes past the header of a literal block scalar: how its last line ends.
    pub(super) fn literal_header(&mut self) -> Option<u8> {
        self.at += 1;
        let chomp = self.peek().filter(|byte| matches!(byte, b'-' | b'+'));
        self.at += usize::from(chomp.is_some());
        self.is_blank().then_some(chomp.unwrap_or(b' '))
    }

    /// Goes past a flow collection that ends on this line.
    pub(super) fn flow(&mut self, builder: &mut Builder<'a>) -> Option<()> {
        self.flow_value(builder, DEPTH)
    }

    fn flow_value(&mut self, builder: &mut Builder<'a>, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let start = self.at;
        match self.peek()? {
            b'[' => {
                builder.open_list(start, true);
                self.flow_entries(b']', builder, |line, builder| {
                    line.flow_value(builder, depth)
                })
            }
            b'{' => {
                builder.open_map(start, true);
                self.flow_entries(b'}', builder, |line, builder| {
                    line.flow_scalar(builder)?;
                    if !line.at_colon() || line.byte(line.at + 1).is_none() {
                        return None;
                    }
                    line.at += 1;
                    line.skip_blanks();
                    line.flow_value(builder, depth)
                })
            }
            _ => self.flow_scalar(builder),
        }
    }

    fn flow_entries(
        &mut self,
        end: u8,
        builder: &mut Builder<'a>,
        entry: impl Fn(&mut Self, &mut Builder<'a>) -> Option<()>,
    ) -> Option<()> {
        self.at += 1;
        self.skip_blanks();
        if self.peek()? != end {
            loop {
                entry(self, builder)?;
                self.skip_blanks();
                match self.peek()? {
                    b',' => self.at += 1,
                    byte if byte == end => break,
                    _ => return None,
                }
                self.skip_blanks();
            }
        }
        self.at += 1;
        builder.close(self.at);
        Some(())
    }

    /// A quoted scalar, or a plain one of a few harmless characters.
    fn flow_scalar(&mut self, builder: &mut Builder<'a>) -> Option<()> {
        let start = self.at;
        let (text, style) = match self.peek()? {
            b'"' | b'\'' => self.quoted()?,
            _ => {
                self.begins_plain()?;
                let harmless =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"_./@=+-".contains(&byte);
                while self.peek().is_some_and(harmless)
                    || (self.peek() == Some(b':') && self.byte(self.at + 1).is_some_and(harmless))
                {
                    self.at += 1;
                }
                (None, Style::Plain)
            }
        };
        let span = start..self.at;
        let ends = matches!(self.peek()?, b' ' | b',' | b']' | b'}' | b':');
        match text {
            Some(text) => builder.scalar(span.clone(), text.into(), style, false),
            None => builder.verbatim(span.clone(), style),
        };
        (ends && !span.is_empty()).then_some(())
    }
}

/// A double-quoted scalar with the escapes that YAML and JSON read alike.
fn unescaped(quoted: &str) -> Option<String> {
    let alike = !quoted.contains("\\u");
    alike.then(|| serde_json::from_str(quoted).ok())?
}
