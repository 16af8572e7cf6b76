//! A document as a tree in which every value knows the bytes it was read from.
//!
//! The values lie in one vector, in the order they are written: what is in a collection
//! follows it, up to its end. Nothing is allocated per value, which is what makes reading a
//! long stream cheap.
//!
//! Never here: syntax. `yaml`, `json` and `block` build trees, nothing else does.

use std::{borrow::Cow, cell::Cell, collections::HashMap, ops::Range};

mod builder;

pub(crate) use builder::{Builder, fold};

/// How far merges are followed, and how many of them: what people write needs three; what
/// is written to exhaust memory stops here.
const MERGE_DEPTH: usize = 16;
const MERGE_BUDGET: u32 = 10_000;

/// No value, no text.
const NONE: u32 = u32::MAX;

/// The index of a value in its tree.
pub type Id = usize;

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`.
    Single,
    /// `"…"`.
    Double,
    /// Literal (`|`) and folded (`>`).
    Block,
}

/// What is written in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'t> {
    /// Text, or what looks like it.
    Scalar {
        /// What it reads.
        text: &'t str,
        /// How it is written.
        style: Style,
        /// Its tag says that it is no text to be read as it stands.
        binary: bool,
    },
    /// Values one after the other; [`Tree::items`] are they.
    List {
        /// In brackets.
        flow: bool,
    },
    /// Keys with their values; [`Tree::pairs`] are they.
    Map {
        /// In braces.
        flow: bool,
    },
    /// What stands for the value that is named.
    Alias(Id),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Scalar(Style),
    Binary(Style),
    List { flow: bool },
    Map { flow: bool },
    Alias,
}

/// A value. Offsets of 32 bits are enough: [`crate::stream`] refuses longer documents.
#[derive(Debug)]
struct Node {
    start: u32,
    end: u32,
    parent: u32,
    /// The value behind this one and everything in it.
    next: u32,
    /// What an alias stands for; the text of a scalar that is not written as it reads.
    other: u32,
    shape: Shape,
}

/// The documents of a piece of text.
#[derive(Debug, Default)]
pub struct Tree<'a> {
    source: &'a str,
    nodes: Vec<Node>,
    texts: Vec<Cow<'a, str>>,
    roots: Vec<Id>,
    aliases: Vec<Id>,
    /// A `<<` is written somewhere.
    merging: bool,
    merges: Cell<u32>,
}

/// A value of a tree.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'t, 'a> {
    tree: &'t Tree<'a>,
    id: Id,
}

impl<'a> Tree<'a> {
    /// The documents.
    #[must_use]
    pub fn roots(&self) -> &[Id] {
        &self.roots
    }

    /// The bytes of the value `id`. Of a scalar they are with its quotes, of one in a block
    /// the lines behind its header. A collection begins with its bracket or its first key;
    /// where a list in block style begins is not to be relied on.
    #[must_use]
    #[inline]
    pub fn span(&self, id: Id) -> Range<usize> {
        let node = &self.nodes[id];
        node.start as usize..node.end as usize
    }

    /// The value `id`.
    #[must_use]
    #[inline]
    pub fn value(&self, id: Id) -> Value<'_> {
        let node = &self.nodes[id];
        let scalar = |style, binary| Value::Scalar {
            text: self.written(node, style),
            style,
            binary,
        };
        match node.shape {
            Shape::Scalar(style) => scalar(style, false),
            Shape::Binary(style) => scalar(style, true),
            Shape::List { flow } => Value::List { flow },
            Shape::Map { flow } => Value::Map { flow },
            Shape::Alias => Value::Alias(node.other as usize),
        }
    }

    /// The value `id`, to look around from.
    #[must_use]
    #[inline]
    pub fn cursor(&self, id: Id) -> Cursor<'_, 'a> {
        Cursor { tree: self, id }
    }

    /// The maps below `id` that have one of `keys`, or something merged in.
    #[must_use]
    pub fn maps_with(&self, id: Id, keys: &[&str]) -> Vec<Id> {
        let named = |(key, _): (Id, Id)| {
            keys.iter().any(|name| self.reads(key, name)) || self.reads(key, "<<")
        };
        let has = |id: &Id| self.is_map(*id) && self.pairs(*id).any(named);
        let below = id + 1..self.nodes[id].next as usize;
        below.filter(has).collect()
    }

    #[inline]
    fn is_map(&self, id: Id) -> bool {
        matches!(self.nodes[id].shape, Shape::Map { .. })
    }

    /// True where a value can be met by more ways than one.
    #[must_use]
    pub fn has_aliases(&self) -> bool {
        !self.aliases.is_empty()
    }

    /// True when so many merges were followed that some were not.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.merges.get() > MERGE_BUDGET
    }

    /// What an alias stands for; any other value itself.
    #[must_use]
    #[inline]
    pub fn resolve(&self, id: Id) -> Id {
        match self.nodes[id].shape {
            Shape::Alias => self.nodes[id].other as usize,
            _ => id,
        }
    }

    /// The pairs of a map, behind an alias too; none of anything else.
    #[inline]
    pub fn pairs(&self, id: Id) -> impl Iterator<Item = (Id, Id)> + Clone + '_ {
        let id = self.resolve(id);
        let mut children = self.children(id, self.is_map(id));
        std::iter::from_fn(move || Some((children.next()?, children.next()?)))
    }

    /// The entries of a list, behind an alias too; none of anything else.
    #[inline]
    pub fn items(&self, id: Id) -> impl Iterator<Item = Id> + Clone + '_ {
        let id = self.resolve(id);
        let is_list = matches!(self.nodes[id].shape, Shape::List { .. });
        self.children(id, is_list)
    }

    #[inline]
    fn children(&self, id: Id, any: bool) -> impl Iterator<Item = Id> + Clone + '_ {
        let end = if any { self.nodes[id].next as usize } else { 0 };
        let mut at = id + 1;
        std::iter::from_fn(move || {
            let child = at;
            (child < end).then(|| {
                at = self.nodes[child].next as usize;
                child
            })
        })
    }

    /// The text of a scalar; none for null, for what is not text, and for collections.
    #[must_use]
    #[inline]
    pub fn text(&self, id: Id) -> Option<&str> {
        let node = &self.nodes[self.resolve(id)];
        let Shape::Scalar(style) = node.shape else {
            return None;
        };
        let text = self.written(node, style);
        (style != Style::Plain || !is_null(text)).then_some(text)
    }

    /// Whether [`Self::text`] is `text`, which is no way to write null.
    #[inline]
    fn reads(&self, id: Id, text: &str) -> bool {
        let node = &self.nodes[self.resolve(id)];
        let Shape::Scalar(style) = node.shape else {
            return false;
        };
        // Of the many keys that it is not, the length is enough to say so.
        let quotes = 2 * usize::from(matches!(style, Style::Single | Style::Double));
        let may = node.other != NONE || (node.end - node.start) as usize == text.len() + quotes;
        may && self.written(node, style) == text
    }

    /// What a scalar reads.
    #[inline]
    fn written(&self, node: &Node, style: Style) -> &str {
        match self.texts.get(node.other as usize) {
            Some(text) => text,
            None => inner(self.source, node.start as usize..node.end as usize, style),
        }
    }

    /// In how many places of the documents a value turns up, `own` being true where the
    /// place that it is written in counts.
    pub fn ways(&self, own: impl Fn(Id) -> bool) -> Ways<'_, 'a, impl Fn(Id) -> bool> {
        let mut aliases: HashMap<Id, Vec<Id>> = HashMap::new();
        for alias in &self.aliases {
            aliases
                .entry(self.resolve(*alias))
                .or_default()
                .push(*alias);
        }
        Ways {
            tree: self,
            aliases,
            own,
            known: HashMap::new(),
        }
    }

    /// What is written in the map `id` under `key`.
    #[inline]
    fn own<'k>(&self, id: Id, key: &'k str) -> impl Iterator<Item = Id> + use<'_, 'a, 'k> {
        let is = move |(name, _): &(Id, Id)| self.reads(*name, key);
        self.pairs(id).filter(is).map(|(_, value)| value)
    }

    /// What is merged into the map `id` under `key`.
    fn merged(&self, id: Id, key: &str, depth: usize, found: &mut Vec<Id>) {
        if !self.merging || depth == MERGE_DEPTH {
            return;
        }
        for value in self.own(id, "<<") {
            self.merge(value, key, depth, found);
        }
    }

    fn merge(&self, value: Id, key: &str, depth: usize, found: &mut Vec<Id>) {
        self.merges.set(self.merges.get().saturating_add(1));
        if self.is_exhausted() {
            return;
        }
        match self.value(self.resolve(value)) {
            Value::Map { .. } => {
                self.merged(value, key, depth + 1, found);
                found.extend(self.own(value, key));
            }
            Value::List { .. } => {
                for item in self.items(value) {
                    self.merge(item, key, depth + 1, found);
                }
            }
            _ => {}
        }
    }
}

/// The text of a scalar at `span` that is written as it reads.
#[inline]
fn inner(source: &str, span: Range<usize>, style: Style) -> &str {
    match style {
        Style::Plain | Style::Block => &source[span],
        Style::Single | Style::Double => &source[span.start + 1..span.end - 1],
    }
}

/// Null, as Kubernetes' reader understands it.
#[inline]
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Counts the ways to a value.
pub struct Ways<'t, 'a, F> {
    tree: &'t Tree<'a>,
    aliases: HashMap<Id, Vec<Id>>,
    own: F,
    known: HashMap<Id, u64>,
}

impl<F: Fn(Id) -> bool> Ways<'_, '_, F> {
    /// In how many places `id` turns up.
    pub fn to(&mut self, id: Id) -> u64 {
        if let Some(count) = self.known.get(&id) {
            return *count;
        }
        // A value that holds itself turns up without end.
        self.known.insert(id, u64::MAX / 2);
        let mut count = match self.tree.nodes[id].parent {
            _ if !(self.own)(id) => 0,
            NONE => 1,
            parent => self.to(parent as usize),
        };
        for alias in self.aliases.get(&id).cloned().unwrap_or_default() {
            count = count.saturating_add(self.to(alias));
        }
        self.known.insert(id, count);
        count
    }
}

impl<'t, 'a> Cursor<'t, 'a> {
    /// The value that is written, behind an alias.
    #[inline]
    pub fn id(self) -> Id {
        self.tree.resolve(self.id)
    }

    /// What stands under `key`: more than one value when the key is written more than once,
    /// or merged in from elsewhere. What is written here counts more than what is merged in,
    /// and comes last; the last one is the one that counts.
    #[inline]
    pub fn under<'k>(self, key: &'k str) -> impl Iterator<Item = Self> + use<'t, 'a, 'k> {
        let mut merged = Vec::new();
        self.tree.merged(self.id, key, 0, &mut merged);
        let own = self.tree.own(self.id, key);
        let all = merged.into_iter().chain(own);
        all.map(move |id| self.tree.cursor(id))
    }

    /// The entries of a list.
    #[inline]
    pub fn items(self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        let items = self.tree.items(self.id);
        items.map(move |id| self.tree.cursor(id))
    }

    /// The text of a scalar; none for null and for collections.
    #[must_use]
    #[inline]
    pub fn text(self) -> Option<&'t str> {
        self.tree.text(self.id)
    }
}
