//! Puts a tree together while its text is read from front to back.
//!
//! Never here: syntax, and looking anything up.

use std::{borrow::Cow, ops::Range};

use memchr::memmem;

use super::{Id, NONE, Node, Shape, Style, Tree, inner};
use crate::stream::lines;

/// A tree that is not finished.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    tree: Tree<'a>,
    /// The innermost collection that is open.
    open: u32,
    depth: usize,
}

impl<'a> Builder<'a> {
    /// For what is read from `source`, from byte `start` on.
    pub(crate) fn new(source: &'a str, start: usize) -> Self {
        let mut tree = Tree {
            source,
            ..Tree::default()
        };
        tree.merging = memmem::find(&source.as_bytes()[start..], b"<<").is_some();
        tree.nodes.reserve((source.len() - start) / 14);
        Self {
            tree,
            open: NONE,
            depth: 0,
        }
    }

    /// A scalar that is written as it reads, apart from its quotes.
    #[inline]
    pub(crate) fn verbatim(&mut self, span: Range<usize>, style: Style) -> Id {
        self.push(span, Shape::Scalar(style), NONE)
    }

    /// A scalar; without a `text` it reads as it is written.
    pub(crate) fn leaf(&mut self, span: Range<usize>, text: Option<String>, style: Style) -> Id {
        match text {
            Some(text) => self.scalar(span, text.into(), style, false),
            None => self.verbatim(span, style),
        }
    }

    /// A scalar that reads `text`.
    pub(crate) fn scalar(
        &mut self,
        span: Range<usize>,
        text: Cow<'a, str>,
        style: Style,
        binary: bool,
    ) -> Id {
        let shape = match binary {
            true => Shape::Binary(style),
            false => Shape::Scalar(style),
        };
        let quotes = matches!(style, Style::Single | Style::Double);
        let verbatim =
            (!quotes || span.len() > 1) && inner(self.tree.source, span.clone(), style) == text;
        let other = match verbatim {
            true => NONE,
            false => {
                self.tree.merging |= text == "<<";
                self.tree.texts.push(text);
                index(self.tree.texts.len() - 1)
            }
        };
        self.push(span, shape, other)
    }

    /// The plain scalar that was read last goes on at `span`, with nothing but the ends of
    /// lines and blanks before it; none when that is not so.
    pub(crate) fn go_on(&mut self, span: Range<usize>) -> Option<()> {
        let Tree {
            source,
            texts,
            nodes,
            ..
        } = &mut self.tree;
        let node = nodes.last_mut()?;
        let written = node.start as usize..node.end as usize;
        let between = &source[written.end..span.start];
        let fits = node.shape == Shape::Scalar(Style::Plain)
            && !written.is_empty()
            && between.trim_matches([' ', '\r', '\n']).is_empty();
        fits.then_some(())?;
        if node.other == NONE {
            node.other = index(texts.len());
            texts.push(source[written].into());
        }
        let text = texts[node.other as usize].to_mut();
        fold(text, lines(between.as_bytes()));
        text.push_str(&source[span.clone()]);
        node.end = index(span.end);
        Some(())
    }

    /// What stands for `target`.
    pub(crate) fn alias(&mut self, span: Range<usize>, target: Id) {
        let id = self.push(span, Shape::Alias, index(target));
        self.tree.aliases.push(id);
    }

    /// A list begins; what follows is in it.
    pub(crate) fn open_list(&mut self, start: usize, flow: bool) -> Id {
        self.enter(start, Shape::List { flow })
    }

    /// A map begins; what follows is in it, each key before its value.
    pub(crate) fn open_map(&mut self, start: usize, flow: bool) -> Id {
        self.enter(start, Shape::Map { flow })
    }

    /// The innermost list or map ends.
    pub(crate) fn close(&mut self, end: usize) {
        let next = index(self.tree.nodes.len());
        if let Some(node) = self.tree.nodes.get_mut(self.open as usize) {
            node.end = index(end);
            node.next = next;
            self.open = node.parent;
            self.depth -= 1;
        }
    }

    /// True while nothing was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.tree.nodes.is_empty()
    }

    /// How many collections are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The tree that was built.
    pub(crate) fn finish(self) -> Tree<'a> {
        self.tree
    }

    fn enter(&mut self, start: usize, shape: Shape) -> Id {
        let id = self.push(start..start, shape, NONE);
        self.open = index(id);
        self.depth += 1;
        id
    }

    #[inline]
    fn push(&mut self, span: Range<usize>, shape: Shape, other: u32) -> Id {
        let id = self.tree.nodes.len();
        if self.open == NONE {
            self.tree.roots.push(id);
        }
        self.tree.nodes.push(Node {
            start: index(span.start),
            end: index(span.end),
            parent: self.open,
            next: index(id + 1),
            other,
            shape,
        });
        id
    }
}

/// Adds to a scalar what the ends of `lines` lines within it read: one a blank, more of them
/// one line end less than there are.
pub(crate) fn fold(text: &mut String, lines: usize) {
    match lines {
        1 => text.push(' '),
        _ => text.extend(std::iter::repeat_n('\n', lines - 1)),
    }
}

/// Documents are shorter than that, and so are their trees.
fn index(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(NONE)
}
