//! What stands on one line: keys, scalars, flow collections.
//!
//! Never here: lines below each other.

use std::ops::Range;

use crate::tree::{Builder, Style};

/// A flow collection on one line is not deeper than this.
const DEPTH: usize = 20;

/// A key without quotes is not longer than this; YAML ends it at 1024 characters.
const KEY: usize = 1000;

/// A scalar: what it reads, unless that is what is written, and how it is written.
pub(super) type Written = (Option<String>, Style);

/// What no scalar without quotes begins with.
static INDICATORS: [bool; 256] = {
    let mut table = [false; 256];
    let indicators = b"?:,[]{}#&*!|>'\"%@`";
    let mut at = 0;
    while at < indicators.len() {
        table[indicators[at] as usize] = true;
        at += 1;
    }
    table
};

/// The rest of a line, read from front to back.
pub(super) struct Line<'a> {
    text: &'a str,
    pub(super) start: usize,
    pub(super) at: usize,
    end: usize,
}

impl<'a> Line<'a> {
    #[inline]
    pub(super) fn new(text: &'a str, range: Range<usize>) -> Self {
        Self {
            text,
            start: range.start,
            at: range.start,
            end: range.end,
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.byte(self.at)
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        (at < self.end).then(|| self.text.as_bytes()[at])
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        // Where the line ends there is no blank.
        self.at += blanks(&self.text.as_bytes()[self.at..]);
    }

    /// True at the end of the line, and at a comment.
    #[inline]
    pub(super) fn is_blank(&self) -> bool {
        match self.peek() {
            None => true,
            Some(b' ' | b'#') => self.is_comment(),
            Some(_) => false,
        }
    }

    fn is_comment(&self) -> bool {
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

    #[inline]
    pub(super) fn at_quote(&self) -> bool {
        matches!(self.peek(), Some(b'"' | b'\''))
    }

    /// Goes past a key without quotes and its colon, when the rest of the line begins with
    /// one; none when that is hard to say.
    #[expect(clippy::option_option, reason = "no key, and no judgement")]
    #[inline]
    pub(super) fn key(&mut self) -> Option<Option<Range<usize>>> {
        if self.begins_plain().is_none() {
            return Some(None);
        }
        let Some((end, b':')) = self.stop() else {
            return Some(None);
        };
        let span = self.at..end;
        self.at = end + 1;
        let ends = self.text.as_bytes()[end - 1] != b' ';
        (ends && span.len() <= KEY).then_some(Some(span))
    }

    /// Goes past the colon behind a key.
    pub(super) fn takes_colon(&mut self) -> bool {
        let colon = self.at_colon();
        self.at += usize::from(colon);
        colon
    }

    fn at_colon(&self) -> bool {
        self.peek() == Some(b':') && matches!(self.byte(self.at + 1), None | Some(b' '))
    }

    /// Goes past a quoted scalar that ends on this line.
    pub(super) fn quoted(&mut self) -> Option<Written> {
        let start = self.at;
        let quote = self.peek()?;
        self.at += 1;
        let verbatim = self.skip_to_quote(quote);
        self.at += 1;
        if self.at > self.end {
            return None;
        }
        let text = match verbatim {
            true => None,
            false => Some(unquoted(&self.text[start + 1..self.at - 1], quote)?),
        };
        Some((text, style(quote)))
    }

    /// Goes to the quote that ends a scalar, or to the end of the line; whether it is written
    /// as it reads up to there.
    pub(super) fn skip_to_quote(&mut self, quote: u8) -> bool {
        let mut verbatim = true;
        while let Some(byte) = self.peek() {
            let escape = match byte {
                b'\\' => quote == b'"',
                b'\'' => quote == b'\'' && self.byte(self.at + 1) == Some(b'\''),
                _ => false,
            };
            if byte == quote && !escape {
                break;
            }
            verbatim &= !escape;
            self.at += 1 + usize::from(escape);
        }
        verbatim
    }

    /// Goes past what this line has of a quoted scalar, and adds it to `text`; true when the
    /// scalar ends here.
    pub(super) fn takes_quoted(
        &mut self,
        quote: u8,
        verbatim: &mut bool,
        text: &mut String,
    ) -> Option<bool> {
        let start = self.at;
        *verbatim &= self.skip_to_quote(quote);
        let ends = self.peek().is_some();
        let mut piece = &self.text[start..self.at.min(self.end)];
        if !ends {
            piece = piece.trim_end_matches(' ');
            // An escaped blank, or an escaped end of the line.
            (!piece.ends_with('\\')).then_some(())?;
        }
        text.push_str(piece);
        self.at += usize::from(ends);
        Some(ends)
    }

    /// Goes past the backslash of the one blank that the line of a scalar begins with.
    pub(super) fn skip_escape_of_blank(&mut self) {
        let rest = &self.text.as_bytes()[self.at..self.end];
        let escaped = matches!(rest, [b'\\', b' ', next, ..] if *next != b' ');
        self.at += usize::from(escaped);
    }

    /// Goes past a plain scalar that is the rest of the line.
    #[inline]
    pub(super) fn plain(&mut self) -> Option<Range<usize>> {
        self.begins_plain()?;
        self.more_plain()
    }

    /// Goes past what is more of a plain scalar, whatever it begins with.
    #[inline]
    pub(super) fn more_plain(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut end = match self.stop() {
            None => self.end,
            Some((at, b'#')) => at,
            // This is a key, or wrong.
            Some(_) => return None,
        };
        while self.text.as_bytes()[end - 1] == b' ' {
            end -= 1;
        }
        self.at = end;
        Some(start..end)
    }

    /// Where what is written without quotes ends before the line does: at a colon with a blank
    /// behind it, or at a comment.
    #[inline]
    fn stop(&self) -> Option<(usize, u8)> {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        loop {
            at = colon_or_hash(bytes, at, self.end)?;
            match bytes[at] {
                b':' if matches!(self.byte(at + 1), None | Some(b' ')) => return Some((at, b':')),
                b'#' if at > self.at && bytes[at - 1] == b' ' => return Some((at, b'#')),
                _ => at += 1,
            }
        }
    }

    fn begins_plain(&self) -> Option<()> {
        let begins = match self.peek()? {
            b'-' => !matches!(self.byte(self.at + 1), None | Some(b' ')),
            byte => !INDICATORS[usize::from(byte)],
        };
        begins.then_some(())
    }

    /// Goes past the header of a block scalar: how its last line ends.
    pub(super) fn block_header(&mut self) -> Option<u8> {
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
        builder.leaf(span.clone(), text, style);
        (ends && !span.is_empty()).then_some(())
    }
}

/// One byte eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The next eight bytes, the first of them lowest.
#[inline]
fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// How many blanks `bytes` begin with, eight at once.
#[inline]
pub(super) fn blanks(bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(word) = word(&bytes[count..]) {
        let other = word ^ eight(b' ');
        if other != 0 {
            return count + other.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    let rest = bytes[count..].iter();
    count + rest.take_while(|byte| **byte == b' ').count()
}

/// The first colon or hash of `bytes` from `at` up to `end`, looking at eight bytes at once:
/// what stands between them is short, and this is asked of nearly every byte of a stream.
#[inline]
fn colon_or_hash(bytes: &[u8], mut at: usize, end: usize) -> Option<usize> {
    // The lowest bit that is left is at the first zero byte (Mycroft, 1987).
    let zero = |word: u64| word.wrapping_sub(eight(1)) & !word & eight(0x80);
    while at < end {
        let Some(word) = word(&bytes[at..]) else {
            let mut rest = bytes[at..end].iter();
            let found = rest.position(|byte| matches!(byte, b':' | b'#'));
            return found.map(|found| at + found);
        };
        let found = zero(word ^ eight(b':')) | zero(word ^ eight(b'#'));
        if found != 0 {
            at += found.trailing_zeros() as usize / 8;
            return (at < end).then_some(at);
        }
        at += 8;
    }
    None
}

/// What is between the quotes of a scalar, with the escapes that YAML and JSON read alike.
pub(super) fn unquoted(inner: &str, quote: u8) -> Option<String> {
    if quote == b'\'' {
        return Some(inner.replace("''", "'"));
    }
    let alike = !inner.contains("\\u");
    alike.then(|| serde_json::from_str(&format!("\"{inner}\"")).ok())?
}

/// The style of what is in this quote.
pub(super) fn style(quote: u8) -> Style {
    match quote {
        b'"' => Style::Double,
        _ => Style::Single,
    }
}
