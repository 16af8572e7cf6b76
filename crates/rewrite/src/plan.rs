//! The planner: from a piece of a stream to the bytes to change in it, and what there is to
//! tell. Pure; it prints nothing and reads nothing.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
};

use castlink_manifest::{
    self as manifest,
    stream::{Part, Piece, lines, parts},
    tree::{Cursor, Id, Tree, Value},
};

use super::{
    decided::Decided,
    edit::{self, Edit},
    embedded,
    finding::{Finding, Spot, What},
    object::{self, Object},
    places::{Container, Place, Slot, text_at},
    proxy,
    rules::{Decision, Pin, Rules},
    scanners, values,
};

/// What becomes of a piece.
#[derive(Debug, Default)]
pub struct Planned {
    /// The bytes to replace, in no order.
    pub edits: Vec<Edit>,
    /// What there is to tell.
    pub findings: Vec<Finding>,
    /// References that change, with and without a finding.
    pub changed: usize,
    /// Documents in it.
    pub documents: usize,
    /// Objects in it.
    pub objects: usize,
}

/// Where the piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A stream.
    Stream,
    /// A value of a ConfigMap in one.
    Embedded,
}

/// Plans one piece. Lines are of the file, documents are counted from the piece on.
pub fn plan(piece: &Piece, rules: &Rules, depth: Depth) -> Planned {
    let mut sight = Sight {
        piece,
        lines: LineOf {
            text: &piece.text,
            at: 0,
            line: piece.line,
        },
        rules,
        depth,
        planned: Planned::default(),
        decided: Decided::new(rules),
    };
    for part in parts(&piece.text) {
        sight.part(&part);
    }
    sight.planned
}

/// Counts lines from the last place that was asked for: a document may hold a hundred
/// thousand references.
struct LineOf<'p> {
    text: &'p str,
    at: usize,
    line: usize,
}

impl LineOf<'_> {
    fn byte(&mut self, at: usize) -> usize {
        let between = self.at.min(at)..self.at.max(at);
        let lines = lines(&self.text.as_bytes()[between]);
        self.line = match at < self.at {
            true => self.line - lines,
            false => self.line + lines,
        };
        self.at = at;
        self.line
    }
}

/// A piece, looked at part by part.
struct Sight<'p> {
    piece: &'p Piece,
    lines: LineOf<'p>,
    rules: &'p Rules,
    depth: Depth,
    planned: Planned,
    decided: Decided<'p>,
}

/// A place that holds a reference, however often it is met.
struct Use<'t, 'a> {
    id: Id,
    object: &'t Object<'t, 'a>,
    slot: Slot,
    pin: Pin,
    met: u64,
}

impl Sight<'_> {
    fn part(&mut self, part: &Part) {
        let tree = match manifest::parse(&self.piece.text, part) {
            Ok(tree) => tree,
            Err(mistake) => {
                self.planned.documents += 1;
                return self.tell(mistake.at, "", "", broken(mistake.why));
            }
        };
        for root in tree.roots() {
            match object::objects(&tree, *root) {
                Ok(objects) if objects.is_empty() => {}
                Ok(objects) => self.document(part, &tree, &objects),
                Err(id) => {
                    self.planned.documents += 1;
                    let why = "this is no Kubernetes object: it has no `kind` or no `apiVersion`";
                    self.tell(tree.span(id).start, "", "", broken(why));
                }
            }
        }
        if tree.is_exhausted() {
            let why = "more merges than any manifest needs";
            self.tell(part.start, "", "", broken(why));
        }
    }

    fn document(&mut self, part: &Part, tree: &Tree<'_>, objects: &[Object<'_, '_>]) {
        self.planned.documents += 1;
        self.planned.objects += objects.len();
        if part.is_glued(&self.piece.text) {
            let text = "kubectl refuses a `---` with something behind it; \
                give it a line of its own: sed -E 's/^---([^ #-])/---\\n\\1/'";
            let text = text.to_owned();
            self.tell(part.range.start, "", "", What::Warning { text });
        }
        let mut uses = Vec::new();
        for object in objects {
            let places = object.places(tree);
            let derived = self.derived(tree, object, &places);
            uses.extend(places.into_iter().map(|place| Use {
                id: place.node.id(),
                object,
                pin: match derived.contains(&place.node.id()) {
                    true => Pin::Derived,
                    false => Pin::Allowed,
                },
                slot: place.slot,
                met: 1,
            }));
            self.component(tree, object);
            if self.depth == Depth::Stream {
                self.configmap(tree, object);
                self.proxy(tree, object);
            }
        }
        let mut shared = HashSet::new();
        if tree.has_aliases() {
            uses = met_once(uses);
            shared = shared_values(tree, objects, &uses);
        }
        for one in &uses {
            self.reference(tree, one, shared.contains(&one.id));
        }
    }

    /// The images another name is made from at run time: those of kvisor controllers that
    /// are not told what to scan with.
    fn derived(
        &mut self,
        tree: &Tree<'_>,
        object: &Object<'_, '_>,
        places: &[Place<Cursor<'_, '_>>],
    ) -> Vec<Id> {
        let mut found = Vec::new();
        let mut texts = places.iter().filter_map(|one| one.node.text());
        if !texts.any(scanners::may_start) {
            return found;
        }
        for container in object.containers(tree) {
            let image = container.node.under("image").last();
            let Some((image, literal)) = image.and_then(|one| Some((one, one.text()?.trim())))
            else {
                continue;
            };
            if !scanners::may_start(literal) || names_scanners(&container) {
                continue;
            }
            found.push(image.id());
            if let Some(text) = self.decided.scan_trouble(literal) {
                let at = tree.span(image.id()).start;
                self.tell(at, object, container.slot(), What::Warning { text });
            }
        }
        found
    }

    fn reference(&mut self, tree: &Tree<'_>, one: &Use<'_, '_>, shared: bool) {
        let at = tree.span(one.id).start;
        let edit = match self.judge(tree, one.id, one.pin, shared) {
            Ok(None) => return,
            Ok(Some(edit)) => edit,
            Err(what) => return self.tell(at, one.object, &one.slot, what),
        };
        self.planned.edits.push(edit);
        self.planned.changed += 1;
        // A stream may have a hundred thousand of them, and mostly nobody wants to know.
        let told = self.rules.tell_changes || self.depth == Depth::Embedded;
        let literal = tree.text(one.id).unwrap_or_default().trim();
        if told && let Decision::Replace(to) = self.decided.of(literal, one.pin) {
            let (from, to) = (literal.to_owned(), to.clone());
            self.tell(at, one.object, &one.slot, What::Changed { from, to });
        }
    }

    /// What becomes of the value `id`: nothing, a change, or something that is in its way.
    fn judge(
        &mut self,
        tree: &Tree<'_>,
        id: Id,
        pin: Pin,
        shared: bool,
    ) -> Result<Option<Edit>, What> {
        let (literal, style) = match tree.value(id) {
            Value::Scalar { binary: true, .. } => {
                return Err(broken("the image is written as !!binary: write it as text"));
            }
            Value::Scalar { style, .. } => (tree.text(id).unwrap_or_default().trim(), style),
            _ => return Err(broken("the image is no text")),
        };
        if literal.is_empty() {
            return Ok(None);
        }
        let source = &self.piece.text;
        let to = match self.decided.of(literal, pin) {
            Decision::Keep => return Ok(None),
            Decision::Replace(to) => to,
            Decision::Unmapped(why) => {
                let (literal, why) = (literal.to_owned(), why.clone());
                return Err(What::Unmapped { literal, why });
            }
        };
        if shared {
            return Err(broken(
                "this anchor is used for an image and for something else: write the value out in one of the places",
            ));
        }
        edit::scalar(source, &tree.span(id), style, literal, to)
            .ok_or_else(|| broken("the image is written over several lines"))
            .map(Some)
    }

    fn configmap(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>) {
        if !self.rules.configmaps || object.kind != "ConfigMap" {
            return;
        }
        for data in object.root.under("data") {
            for (key, value) in tree.pairs(data.id()) {
                let value = tree.resolve(value);
                let found = embedded::plan(&self.piece.text, tree, value, self.rules);
                let key = tree.text(key).unwrap_or_default();
                for (at, inner) in found.findings {
                    let object = match inner.spot.object.as_str() {
                        "" => format!("{object} {key}"),
                        inner => format!("{object} {key}, {inner}"),
                    };
                    self.tell(at, &object, &inner.spot.field, inner.what);
                }
                self.planned.changed += found.edits.len();
                self.planned.edits.extend(found.edits);
            }
        }
    }

    /// Values that castware-operator renders a chart with: whether a tag is in them or in the
    /// chart, a repository alone is not a reference, so that they are named and left alone.
    fn component(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>) {
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
                self.tell(setting.at, object, field, What::Warning { text });
            }
        }
    }

    fn proxy(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>) {
        let Some(proxy) = &self.rules.proxy else {
            return;
        };
        for container in object.containers(tree) {
            if !proxy::is_castai(&container, object) {
                continue;
            }
            let at = tree.span(container.node.id()).start;
            let slot = &container.slot();
            match proxy.insert(&self.piece.text, tree, &container) {
                Ok(None) => {}
                Ok(Some((edit, names))) => {
                    // What is merged into several containers is met several times.
                    if !self.planned.edits.contains(&edit) {
                        self.planned.edits.push(edit);
                        self.tell(at, object, slot, What::Added { names });
                        if let Some(text) = proxy::hidden_variables(&container) {
                            self.tell(at, object, slot, What::Warning { text });
                        }
                    }
                }
                Err(why) => self.tell(at, object, slot, broken(why)),
            }
        }
    }

    fn tell(&mut self, at: usize, object: impl Display, field: impl Display, what: What) {
        self.planned.findings.push(Finding {
            spot: Spot {
                name: self.piece.name.clone(),
                line: self.lines.byte(at),
                document: self.planned.documents,
                object: object.to_string(),
                field: field.to_string(),
            },
            what,
        });
    }
}

/// One use of every value, however often it is met.
fn met_once<'t, 'a>(uses: Vec<Use<'t, 'a>>) -> Vec<Use<'t, 'a>> {
    let mut known: HashMap<Id, usize> = HashMap::new();
    let mut kept: Vec<Use<'t, 'a>> = Vec::new();
    for one in uses {
        match known.get(&one.id) {
            Some(at) => kept[*at].met += 1,
            None => {
                known.insert(one.id, kept.len());
                kept.push(one);
            }
        }
    }
    kept
}

/// The values that turn up in places that hold no image as well.
fn shared_values(tree: &Tree<'_>, objects: &[Object<'_, '_>], uses: &[Use<'_, '_>]) -> HashSet<Id> {
    let helpers: HashSet<Id> = objects.iter().flat_map(|one| one.helpers(tree)).collect();
    let mut ways = tree.ways(|id| !helpers.contains(&id));
    let shared = uses.iter().filter(|one| ways.to(one.id) != one.met);
    shared.map(|one| one.id).collect()
}

fn broken(why: impl Into<String>) -> What {
    What::Broken { why: why.into() }
}

fn names_scanners(container: &Container<Cursor<'_, '_>>) -> bool {
    let mut variables = container.node.under("env").flat_map(Cursor::items);
    variables.any(|variable| {
        text_at(variable, "/name") == Some("SCANNERS_IMAGE")
            && text_at(variable, "/value").is_some_and(|value| !value.is_empty())
    })
}
