//! A document as a tree in which every value knows the bytes it was read from.
//!
//! Never here: syntax. `yaml` and `json` build trees, nothing else does.

use std::{borrow::Cow, cell::Cell, collections::HashMap, ops::Range};

/// How far merges are followed, and how many of them: what people write needs three; what
/// is written to exhaust memory stops here.
const MERGE_DEPTH: usize = 16;
const MERGE_BUDGET: u32 = 10_000;

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

/// A value and where it is written.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The bytes of a scalar with its quotes; of one in a block, the lines behind its
    /// header. A collection begins with its bracket or its first key; where a list in block
    /// style begins is not to be relied on.
    pub span: Range<usize>,
    /// The collection it is in.
    pub parent: Option<Id>,
    /// What is written there.
    pub value: Value<'a>,
}

/// What is written there.
#[derive(Debug)]
pub enum Value<'a> {
    /// Text, or what looks like it.
    Scalar {
        /// What it reads.
        text: Cow<'a, str>,
        /// How it is written.
        style: Style,
        /// Its tag says that it is no text to be read as it stands.
        binary: bool,
    },
    /// Values one after the other.
    List {
        /// The values.
        items: Vec<Id>,
        /// In brackets.
        flow: bool,
    },
    /// Keys with their values.
    Map {
        /// In the order they are written.
        pairs: Vec<(Id, Id)>,
        /// In braces.
        flow: bool,
    },
    /// What stands for the value that is named.
    Alias(Id),
}

/// The documents of a piece of text.
#[derive(Debug, Default)]
pub struct Tree<'a> {
    entries: Vec<Entry<'a>>,
    roots: Vec<Id>,
    aliases: Vec<Id>,
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

    /// The value `id`.
    #[must_use]
    pub fn entry(&self, id: Id) -> &Entry<'a> {
        &self.entries[id]
    }

    /// The value `id`, to look around from.
    #[must_use]
    pub fn cursor(&self, id: Id) -> Cursor<'_, 'a> {
        Cursor { tree: self, id }
    }

    /// The values below `id`: they lie together.
    fn below(&self, id: Id) -> impl Iterator<Item = Id> {
        (id + 1..self.entries.len())
            .take_while(move |below| self.entries[*below].parent >= Some(id))
    }

    /// The maps below `id` that have one of `keys`, or something merged in.
    #[must_use]
    pub fn maps_with(&self, id: Id, keys: &[&str]) -> Vec<Id> {
        let named = |(key, _): &(Id, Id)| match self.text(*key) {
            Some(text) => text == "<<" || keys.contains(&text),
            None => false,
        };
        let has = |id: &Id| match &self.entries[*id].value {
            Value::Map { pairs, .. } => pairs.iter().any(named),
            _ => false,
        };
        self.below(id).filter(has).collect()
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
    pub fn resolve(&self, id: Id) -> Id {
        match self.entries[id].value {
            Value::Alias(target) => target,
            _ => id,
        }
    }

    /// The pairs of a map.
    #[must_use]
    pub fn pairs(&self, id: Id) -> &[(Id, Id)] {
        match &self.entries[self.resolve(id)].value {
            Value::Map { pairs, .. } => pairs,
            _ => &[],
        }
    }

    /// The text of a scalar; none for null, for what is not text, and for collections.
    #[must_use]
    pub fn text(&self, id: Id) -> Option<&str> {
        match &self.entries[self.resolve(id)].value {
            Value::Scalar {
                text,
                style,
                binary: false,
            } if *style != Style::Plain || !is_null(text) => Some(text),
            _ => None,
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

    /// What is written here counts more than what is merged in, and comes last.
    fn under(&self, id: Id, key: &str, depth: usize, found: &mut Vec<Id>) {
        let pairs = self.pairs(id);
        let named = |wanted: &'static str| {
            let is = move |pair: &&(Id, Id)| self.text(pair.0) == Some(wanted);
            pairs.iter().filter(is)
        };
        if depth < MERGE_DEPTH {
            for (_, value) in named("<<") {
                self.merged(*value, key, depth, found);
            }
        }
        let own = pairs
            .iter()
            .filter(|(name, _)| self.text(*name) == Some(key));
        found.extend(own.map(|(_, value)| *value));
    }

    fn merged(&self, value: Id, key: &str, depth: usize, found: &mut Vec<Id>) {
        self.merges.set(self.merges.get().saturating_add(1));
        if self.is_exhausted() {
            return;
        }
        match &self.entries[self.resolve(value)].value {
            Value::Map { .. } => self.under(value, key, depth + 1, found),
            Value::List { items, .. } => {
                for item in items {
                    self.merged(*item, key, depth + 1, found);
                }
            }
            _ => {}
        }
    }
}

/// Null, as Kubernetes' reader understands it.
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
        let parent = self.tree.entries[id].parent;
        let mut count = match parent {
            _ if !(self.own)(id) => 0,
            Some(parent) => self.to(parent),
            None => 1,
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
    pub fn id(self) -> Id {
        self.tree.resolve(self.id)
    }

    /// What stands under `key`: more than one value when the key is written more than once,
    /// or merged in from elsewhere; the one that counts is the last.
    #[must_use]
    pub fn under(self, key: &str) -> Vec<Self> {
        let mut found = Vec::new();
        self.tree.under(self.id, key, 0, &mut found);
        found.into_iter().map(|id| self.tree.cursor(id)).collect()
    }

    /// The entries of a list.
    #[must_use]
    pub fn items(self) -> Vec<Self> {
        match &self.tree.entries[self.id()].value {
            Value::List { items, .. } => items.iter().map(|id| self.tree.cursor(*id)).collect(),
            _ => Vec::new(),
        }
    }

    /// The text of a scalar; none for null and for collections.
    #[must_use]
    pub fn text(self) -> Option<&'t str> {
        self.tree.text(self.id)
    }
}

/// Puts a tree together while its text is read from front to back.
#[derive(Debug, Default)]
pub struct Builder<'a> {
    tree: Tree<'a>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    id: Id,
    key: Option<Id>,
}

impl<'a> Builder<'a> {
    /// With room for what `length` bytes of manifest hold.
    #[must_use]
    pub fn for_text(length: usize) -> Self {
        let mut builder = Self::default();
        builder.tree.entries.reserve(length / 12);
        builder
    }

    /// A scalar or an alias.
    pub fn leaf(&mut self, span: Range<usize>, value: Value<'a>) -> Id {
        let id = self.tree.entries.len();
        if matches!(value, Value::Alias(_)) {
            self.tree.aliases.push(id);
        }
        let parent = self.open.last().map(|open| open.id);
        self.tree.entries.push(Entry {
            span,
            parent,
            value,
        });
        self.attach(id);
        id
    }

    /// A list or map begins; what follows is in it.
    pub fn open(&mut self, start: usize, value: Value<'a>) -> Id {
        let id = self.leaf(start..start, value);
        self.open.push(Open { id, key: None });
        id
    }

    /// The innermost list or map ends.
    pub fn close(&mut self, end: usize) {
        if let Some(open) = self.open.pop() {
            self.tree.entries[open.id].span.end = end;
        }
    }

    /// True while nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.entries.is_empty()
    }

    /// How many collections are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// The tree that was built.
    #[must_use]
    pub fn finish(self) -> Tree<'a> {
        self.tree
    }

    fn attach(&mut self, id: Id) {
        let Some(open) = self.open.last_mut() else {
            self.tree.roots.push(id);
            return;
        };
        match &mut self.tree.entries[open.id].value {
            Value::List { items, .. } => items.push(id),
            Value::Map { pairs, .. } => match open.key.take() {
                Some(key) => pairs.push((key, id)),
                None => open.key = Some(id),
            },
            Value::Scalar { .. } | Value::Alias(_) => {}
        }
    }
}
