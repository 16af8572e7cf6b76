//! JSON, one value after the other, with the bytes of each. Apart from YAML because YAML
//! reads some JSON differently: `"\ud83d\ude00"`, tabs, keys longer than 1024 characters.
//!
//! Never here: what values mean.

use memchr::memchr2;

use super::tree::{Builder, Id, Style, Tree};

/// Deeper than any object; recursion ends here.
const DEPTH: usize = 512;

const UNENDED: &str = "a string that does not end";

/// Where and why text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotJson {
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

/// Reads every value of `text`, from byte `start` on.
pub(crate) fn parse(text: &str, start: usize) -> Result<Tree<'_>, NotJson> {
    let mut reader = Reader {
        text,
        at: start,
        builder: Builder::new(text, start),
    };
    loop {
        reader.space();
        if reader.at == text.len() {
            return Ok(reader.builder.finish());
        }
        reader.value()?;
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    builder: Builder<'a>,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<(), NotJson> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.word(),
            _ => Err(self.wrong("a value is missing here")),
        }
    }

    fn object(&mut self) -> Result<(), NotJson> {
        self.enter(Builder::open_map)?;
        self.entries(b'}', |reader| {
            if reader.peek() != Some(b'"') {
                return Err(reader.wrong("a key is missing here"));
            }
            reader.string()?;
            reader.space();
            reader.expect(b':', "`:` is missing here")?;
            reader.space();
            reader.value()
        })
    }

    fn array(&mut self) -> Result<(), NotJson> {
        self.enter(Builder::open_list)?;
        self.entries(b']', Self::value)
    }

    fn enter(&mut self, open: fn(&mut Builder<'a>, usize, bool) -> Id) -> Result<(), NotJson> {
        if self.builder.depth() == DEPTH {
            return Err(self.wrong("nested too deeply"));
        }
        open(&mut self.builder, self.at, true);
        self.at += 1;
        Ok(())
    }

    /// Entries with commas between them, up to `end`.
    fn entries(
        &mut self,
        end: u8,
        mut entry: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.space();
        if self.peek() != Some(end) {
            loop {
                self.space();
                entry(self)?;
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
        }
        self.expect(end, "`,` or the end of the collection is missing here")?;
        self.builder.close(self.at);
        Ok(())
    }

    fn string(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        let mut at = start + 1;
        loop {
            let length = memchr2(b'"', b'\\', &bytes[at..]).ok_or_else(|| self.wrong(UNENDED))?;
            at += length;
            if bytes[at] == b'"' {
                break;
            }
            escaped = true;
            at = (at + 2).min(bytes.len());
        }
        self.at = at + 1;
        let written = &bytes[start..self.at];
        if written.iter().any(|byte| *byte < 0x20) {
            self.at = start;
            return Err(self.wrong(UNENDED));
        }
        let span = start..self.at;
        if !escaped {
            self.builder.verbatim(span, Style::Double);
            return Ok(());
        }
        let text: String = serde_json::from_str(&self.text[span.clone()]).map_err(|_| NotJson {
            at: start,
            why: "a string with an unknown escape",
        })?;
        self.builder.scalar(span, text.into(), Style::Double, false);
        Ok(())
    }

    fn word(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
            .unwrap_or(rest.len());
        let word = &rest[..length];
        if serde_json::from_str::<serde::de::IgnoredAny>(word).is_err() {
            return Err(self.wrong("a value is missing here"));
        }
        self.at += length;
        self.builder.verbatim(start..self.at, Style::Plain);
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), NotJson> {
        if self.peek() != Some(byte) {
            return Err(self.wrong(why));
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong(&self, why: &'static str) -> NotJson {
        NotJson { at: self.at, why }
    }
}
