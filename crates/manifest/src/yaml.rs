//! YAML, with the bytes of every value. The reading is granit-parser's, whose markers carry
//! byte offsets into the text it was given.
//!
//! Never here: what values mean.

use std::{collections::HashMap, ops::Range};

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag};

use super::tree::{Builder, Id, Style, Tree};

/// Where and why text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotYaml {
    pub(crate) at: usize,
    pub(crate) why: String,
}

/// Reads every document of `text`, from byte `start` on.
pub(crate) fn parse(text: &str, start: usize) -> Result<Tree<'_>, NotYaml> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut reader = Reader {
        text,
        start,
        builder: Builder::new(text, start),
        anchors: HashMap::new(),
    };
    for event in Parser::new_from_str_with_options(&text[start..], options) {
        let (event, span) = event.map_err(|error| reader.wrong(&error))?;
        reader.event(event, span)?;
    }
    Ok(reader.builder.finish())
}

struct Reader<'a> {
    text: &'a str,
    start: usize,
    builder: Builder<'a>,
    anchors: HashMap<usize, Id>,
}

impl<'a> Reader<'a> {
    fn event(&mut self, event: Event<'a>, span: Span) -> Result<(), NotYaml> {
        let range = self.range(span)?;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // What is not written is called `~` by the parser.
                let text = if range.is_empty() { "".into() } else { text };
                let span = self.whole(range, style);
                let binary = is_binary(tag.as_deref());
                let id = self.builder.scalar(span, text, read_style(style), binary);
                self.anchor(anchor, id);
            }
            Event::SequenceStart(style, anchor, _) => {
                let flow = style == StructureStyle::Flow;
                let id = self.builder.open_list(range.start, flow);
                self.anchor(anchor, id);
            }
            Event::MappingStart(style, anchor, _) => {
                let flow = style == StructureStyle::Flow;
                let id = self.builder.open_map(range.start, flow);
                self.anchor(anchor, id);
            }
            Event::SequenceEnd | Event::MappingEnd => self.builder.close(range.end),
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                let target = target.ok_or_else(|| self.unknown(range.start))?;
                self.builder.alias(range, target);
            }
            _ => {}
        }
        Ok(())
    }

    /// The bytes of a scalar; of one in a block, the lines behind its header. The parser leaves
    /// out the blanks before them and takes those of the next line along.
    fn whole(&self, range: Range<usize>, style: ScalarStyle) -> Range<usize> {
        if !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return range;
        }
        let before = self.text[..range.start].trim_end_matches([' ', '\n', '\r']);
        let header = self.text[before.len()..range.start].find('\n');
        let text = self.text[..range.end].trim_end_matches(' ');
        let end = if text.ends_with('\n') {
            text.len()
        } else {
            range.end
        };
        header.map_or(range.start, |end| before.len() + end + 1)..end
    }

    fn anchor(&mut self, anchor: usize, id: Id) {
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
    }

    fn range(&self, span: Span) -> Result<Range<usize>, NotYaml> {
        let range = span.byte_range().ok_or_else(|| self.unknown(0))?;
        Ok(range.start + self.start..range.end + self.start)
    }

    fn unknown(&self, at: usize) -> NotYaml {
        NotYaml {
            at: at.max(self.start),
            why: "an alias without its anchor".into(),
        }
    }

    fn wrong(&self, error: &ScanError) -> NotYaml {
        NotYaml {
            at: self.start + error.marker().byte_offset().unwrap_or_default(),
            why: error.info(),
        }
    }
}

fn read_style(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted => Style::Single,
        ScalarStyle::DoubleQuoted => Style::Double,
        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
    }
}

fn is_binary(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| tag.suffix() == "binary")
}
