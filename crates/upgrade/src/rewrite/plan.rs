//! The planner: from a piece of a stream to the bytes to change in it, and what there is to
//! tell. Pure; it prints nothing and reads nothing.

use std::collections::HashMap;

use super::{
    edit::{self, Edit},
    embedded,
    finding::{Finding, Spot, What},
    proxy,
    rules::{Decision, Pin, Rules},
};
use crate::{
    manifest::{
        self,
        object::{self, Object},
        stream::{Part, Piece, lines, parts},
        tree::{Cursor, Id, Tree, Value},
        values,
    },
    places::{Container, text_at},
    scanners::{self, Trouble},
    workload::Slot,
};

/// What becomes of a piece.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub(crate) edits: Vec<Edit>,
    pub(crate) findings: Vec<Finding>,
    /// Documents and objects in it.
    pub(crate) documents: usize,
    pub(crate) objects: usize,
}

/// Where the piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// A stream.
    Stream,
    /// A value of a ConfigMap in one.
    Embedded,
}

/// Plans one piece. Lines are of the file, documents are counted from the piece on.
pub(crate) fn plan(piece: &Piece, rules: &Rules, depth: Depth) -> Planned {
    let mut planned = Planned::default();
    let mut known = HashMap::new();
    let mut line = piece.line;
    for part in parts(&piece.text) {
        let mut sight = Sight {
            piece,
            part: &part,
            line,
            rules,
            depth,
            planned: &mut planned,
            known: &mut known,
        };
        sight.part();
        line += lines(&piece.text.as_bytes()[part.range.clone()]);
    }
    planned
}

/// One part of a piece, looked at.
struct Sight<'p> {
    piece: &'p Piece,
    part: &'p Part,
    line: usize,
    rules: &'p Rules,
    depth: Depth,
    planned: &'p mut Planned,
    /// What was decided: the same few images turn up again and again.
    known: &'p mut HashMap<(String, Pin), Decision>,
}

/// A place that holds a reference, however often it is met.
struct Use<'t> {
    object: &'t str,
    slot: Slot,
    pin: Pin,
    met: u64,
}

impl Sight<'_> {
    fn part(&mut self) {
        let tree = match manifest::parse(&self.piece.text, self.part) {
            Ok(tree) => tree,
            Err(mistake) => {
                self.planned.documents += 1;
                return self.tell(mistake.at, "", "", broken(mistake.why));
            }
        };
        for root in tree.roots() {
            match object::objects(&tree, *root) {
                Ok(objects) if objects.is_empty() => {}
                Ok(objects) => self.document(&tree, &objects),
                Err(id) => {
                    self.planned.documents += 1;
                    let why = "this is no Kubernetes object: it has no `kind` or no `apiVersion`";
                    self.tell(tree.entry(id).span.start, "", "", broken(why));
                }
            }
        }
        if tree.is_exhausted() {
            let why = "more merges than any manifest needs";
            self.tell(self.part.start, "", "", broken(why));
        }
    }

    fn document(&mut self, tree: &Tree<'_>, objects: &[Object<'_, '_>]) {
        self.planned.documents += 1;
        self.planned.objects += objects.len();
        if self.part.is_glued(&self.piece.text) {
            let text = "kubectl refuses a `---` with something behind it; \
                give it a line of its own: sed -E 's/^---([^ #-])/---\\n\\1/'";
            let text = text.to_owned();
            self.tell(self.part.range.start, "", "", What::Warning { text });
        }
        let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
        let mut order = Vec::new();
        let mut uses: HashMap<Id, Use<'_>> = HashMap::new();
        for (object, name) in objects.iter().zip(&names) {
            let derived = self.derived(tree, object, name);
            for place in object.places(tree) {
                let id = place.node.id();
                let found = uses.entry(id).or_insert_with(|| {
                    order.push(id);
                    let pin = match derived.contains(&id) {
                        true => Pin::Derived,
                        false => Pin::Allowed,
                    };
                    let (object, slot) = (name.as_str(), place.slot.clone());
                    Use {
                        object,
                        slot,
                        pin,
                        met: 0,
                    }
                });
                found.met += 1;
            }
            self.component(tree, object, name);
            if self.depth == Depth::Stream {
                self.configmap(tree, object, name);
                self.proxy(tree, object, name);
            }
        }
        let is_own = |id| !objects.iter().any(|object| object.is_helper(tree, id));
        let mut ways = tree.ways(is_own);
        for id in order {
            let one = &uses[&id];
            let shared = tree.has_aliases() && ways.to(id) != one.met;
            self.reference(tree, id, one, shared);
        }
    }

    /// The images another name is made from at run time: those of kvisor controllers that
    /// are not told what to scan with.
    fn derived(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>, name: &str) -> Vec<Id> {
        let mut found = Vec::new();
        for container in object.containers(tree) {
            let images = container.node.under("image");
            let Some((image, literal)) = images
                .last()
                .and_then(|one| Some((one, one.text()?.trim())))
            else {
                continue;
            };
            if !literal.contains("kvisor-controller") || names_scanners(&container) {
                continue;
            }
            found.push(image.id());
            let becomes = match self.rules.decide(literal, Pin::Derived) {
                Decision::Replace(to) => to,
                Decision::Keep => literal.to_owned(),
                Decision::Unmapped(_) => continue,
            };
            let trouble = scanners::trouble(literal, &becomes, &self.rules.mapping);
            if let Some(Trouble { text, .. }) = trouble {
                let at = tree.entry(image.id()).span.start;
                self.tell(
                    at,
                    name,
                    &container.slot.to_string(),
                    What::Warning { text },
                );
            }
        }
        found
    }

    fn reference(&mut self, tree: &Tree<'_>, id: Id, one: &Use<'_>, shared: bool) {
        let (what, edit) = match self.judge(tree, id, one.pin, shared) {
            Ok(None) => return,
            Ok(Some((what, edit))) => (what, Some(edit)),
            Err(what) => (what, None),
        };
        let start = tree.entry(id).span.start;
        self.tell(start, one.object, &one.slot.to_string(), what);
        self.planned.edits.extend(edit);
    }

    /// What becomes of the value `id`: nothing, a change, or something that is in its way.
    fn judge(
        &mut self,
        tree: &Tree<'_>,
        id: Id,
        pin: Pin,
        shared: bool,
    ) -> Result<Option<(What, Edit)>, What> {
        let entry = tree.entry(id);
        let (literal, style) = match &entry.value {
            Value::Scalar { binary: true, .. } => {
                return Err(broken("the image is written as !!binary: write it as text"));
            }
            Value::Scalar { style, .. } => (tree.text(id).unwrap_or_default().trim(), *style),
            _ => return Err(broken("the image is no text")),
        };
        if literal.is_empty() {
            return Ok(None);
        }
        let known = self.known.entry((literal.to_owned(), pin));
        let decision = known.or_insert_with(|| self.rules.decide(literal, pin));
        let to = match decision.clone() {
            Decision::Keep => return Ok(None),
            Decision::Replace(to) => to,
            Decision::Unmapped(why) => {
                let literal = literal.to_owned();
                return Err(What::Unmapped { literal, why });
            }
        };
        if shared {
            return Err(broken(
                "this anchor is used for an image and for something else: write the value out in one of the places",
            ));
        }
        let edit = edit::scalar(&self.piece.text, &entry.span, style, literal, &to)
            .ok_or_else(|| broken("the image is written over several lines"))?;
        let from = literal.to_owned();
        Ok(Some((What::Changed { from, to }, edit)))
    }

    fn configmap(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>, name: &str) {
        if !self.rules.configmaps || object.kind != "ConfigMap" {
            return;
        }
        for data in object.root.under("data") {
            for (key, value) in tree.pairs(data.id()) {
                let value = tree.resolve(*value);
                let found = embedded::plan(&self.piece.text, tree, value, self.rules);
                let key = tree.text(*key).unwrap_or_default();
                for (at, inner) in found.findings {
                    let object = match inner.spot.object.as_str() {
                        "" => format!("{name} {key}"),
                        inner => format!("{name} {key}, {inner}"),
                    };
                    self.tell(at, &object, &inner.spot.field, inner.what);
                }
                self.planned.edits.extend(found.edits);
            }
        }
    }

    /// Values that castware-operator renders a chart with: whether a tag is in them or in the
    /// chart, a repository alone is not a reference, so that they are named and left alone.
    fn component(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>, name: &str) {
        for root in object.component_values() {
            for setting in values::settings(tree, root.id()) {
                let literal = setting.images.first().unwrap_or(&setting.repository);
                let instead = match self.rules.decide(literal, Pin::Derived) {
                    Decision::Keep => continue,
                    Decision::Replace(to) => format!("where it is mirrored: {to}"),
                    Decision::Unmapped(why) => format!("one that can be pulled: {why}"),
                };
                let text = format!(
                    "{literal} in the values of a chart is not changed; name the repository {instead}"
                );
                let field = format!("spec.values.{}", setting.path);
                self.tell(setting.at, name, &field, What::Warning { text });
            }
        }
    }

    fn proxy(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>, name: &str) {
        let Some(proxy) = &self.rules.proxy else {
            return;
        };
        for container in object.containers(tree) {
            if !proxy::is_castai(&container, name) {
                continue;
            }
            let at = tree.entry(container.node.id()).span.start;
            let slot = container.slot.to_string();
            match proxy.insert(&self.piece.text, tree, &container) {
                Ok(None) => {}
                Ok(Some((edit, names))) => {
                    // What is merged into several containers is met several times.
                    if !self.planned.edits.contains(&edit) {
                        self.planned.edits.push(edit);
                        self.tell(at, name, &slot, What::Added { names });
                    }
                }
                Err(why) => self.tell(at, name, &slot, broken(why)),
            }
        }
    }

    fn tell(&mut self, at: usize, object: &str, field: &str, what: What) {
        let before =
            &self.piece.text.as_bytes()[self.part.range.start..at.max(self.part.range.start)];
        self.planned.findings.push(Finding {
            spot: Spot {
                name: self.piece.name.clone(),
                line: self.line + lines(before),
                document: self.planned.documents,
                object: object.to_owned(),
                field: field.to_owned(),
            },
            what,
        });
    }
}

fn broken(why: impl Into<String>) -> What {
    What::Broken { why: why.into() }
}

fn names_scanners(container: &Container<Cursor<'_, '_>>) -> bool {
    let variables = container
        .node
        .under("env")
        .into_iter()
        .flat_map(|list| list.items());
    variables.into_iter().any(|variable| {
        text_at(variable, "/name") == Some("SCANNERS_IMAGE")
            && text_at(variable, "/value").is_some_and(|value| !value.is_empty())
    })
}
