//! Kubernetes objects in a document, and where their pods' images are written.
//!
//! Never here: what a reference should become.

use std::fmt;

use castlink_manifest::tree::{Cursor, Id, Tree, Value};

use crate::{
    kind::Kind,
    places::{self, CONTAINER_LISTS, Container, Place},
};

/// API groups whose kinds hold their pods where [`pod_spec`] says.
const GROUPS: [&str; 4] = ["", "apps", "batch", "extensions"];

/// Kinds that hold no pods, whatever is written in them.
const WITHOUT_PODS: [&str; 4] = [
    "ConfigMap",
    "Secret",
    "CustomResourceDefinition",
    "Namespace",
];

/// What an object of a kind with pods has at its top; anything else there is a helper of
/// whoever wrote it (`x-image: &image …`).
const FIELDS: [&str; 7] = [
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "template",
    "items",
];

/// An object of a manifest.
#[derive(Debug, Clone)]
pub struct Object<'t, 'a> {
    /// Its kind: `Deployment`.
    pub kind: &'t str,
    /// Its name, or what its name is made from; may be empty.
    pub name: &'t str,
    /// The group of its API; empty for the core.
    pub group: &'t str,
    /// The whole of it.
    pub root: Cursor<'t, 'a>,
}

impl fmt::Display for Object<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            "" => f.write_str(self.kind),
            name => write!(f, "{}/{name}", self.kind),
        }
    }
}

/// The objects of the document at `root`, those of lists one by one. An error names what is
/// no object.
pub fn objects<'t, 'a>(tree: &'t Tree<'a>, root: Id) -> Result<Vec<Object<'t, 'a>>, Id> {
    let mut found = Vec::new();
    let root = tree.cursor(root);
    if root.text().is_some() || !is_empty(tree, root) {
        collect(tree, root, None, &mut found)?;
    }
    Ok(found)
}

/// Nothing at all, as between two markers or in a file of comments.
fn is_empty(tree: &Tree<'_>, root: Cursor<'_, '_>) -> bool {
    matches!(tree.value(root.id()), Value::Scalar { .. }) && root.text().is_none()
}

fn collect<'t, 'a>(
    tree: &'t Tree<'a>,
    root: Cursor<'t, 'a>,
    listed: Option<&'t str>,
    found: &mut Vec<Object<'t, 'a>>,
) -> Result<(), Id> {
    let kind = places::text_at(root, "/kind").or(listed).ok_or(root.id())?;
    if let Some(listed) = kind.strip_suffix("List")
        && let Some(items) = only(root.under("items"))
        && matches!(tree.value(items.id()), Value::List { .. })
    {
        let listed = Some(listed).filter(|kind| !kind.is_empty());
        for item in items.items() {
            collect(tree, item, listed, found)?;
        }
        return Ok(());
    }
    let version = places::text_at(root, "/apiVersion");
    let version = version.or(listed.map(|_| "")).ok_or(root.id())?;
    found.push(Object {
        kind,
        name: places::text_at(root, "/metadata/name")
            .or_else(|| places::text_at(root, "/metadata/generateName"))
            .unwrap_or_default(),
        group: version.split_once('/').map_or("", |(group, _)| group),
        root,
    });
    Ok(())
}

fn only<T>(mut of: impl Iterator<Item = T>) -> Option<T> {
    of.next().filter(|_| of.next().is_none())
}

impl<'t, 'a> Object<'t, 'a> {
    /// The places where references to images stand.
    pub fn places(&self, tree: &'t Tree<'a>) -> Vec<Place<Cursor<'t, 'a>>> {
        let specs = self.pod_specs(tree).into_iter();
        specs.flat_map(places::in_pod_spec).collect()
    }

    /// The containers of its pods.
    pub fn containers(&self, tree: &'t Tree<'a>) -> Vec<Container<Cursor<'t, 'a>>> {
        let specs = self.pod_specs(tree).into_iter();
        specs.flat_map(places::containers).collect()
    }

    /// The values that castware-operator renders a chart with, in a Component of its.
    pub fn component_values(&self) -> Vec<Cursor<'t, 'a>> {
        match self.kind == "Component" && self.group.ends_with("cast.ai") {
            true => places::at(self.root, "/spec/values"),
            false => Vec::new(),
        }
    }

    /// The pod specs in it: where its kind has them, or, in a kind that is not known,
    /// wherever containers are listed.
    fn pod_specs(&self, tree: &'t Tree<'a>) -> Vec<Cursor<'t, 'a>> {
        if WITHOUT_PODS.contains(&self.kind) {
            return Vec::new();
        }
        match self.pod_spec() {
            Some(path) => places::at(self.root, path),
            None => anywhere(tree, self.root),
        }
    }

    fn pod_spec(&self) -> Option<&'static str> {
        if !GROUPS.contains(&self.group) {
            return None;
        }
        match self.kind {
            "ReplicaSet" | "ReplicationController" => Some("/spec/template/spec"),
            "PodTemplate" => Some("/template/spec"),
            name => {
                let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
                known.map(Kind::pod_spec)
            }
        }
    }

    /// What helpers at the top of this object hold.
    pub fn helpers(&self, tree: &'t Tree<'a>) -> impl Iterator<Item = Id> + use<'t, 'a> {
        let any = self.pod_spec().is_some();
        let is_helper = move |key: Id| !tree.text(key).is_some_and(|key| FIELDS.contains(&key));
        let pairs = tree.pairs(self.root.id());
        pairs
            .filter(move |(key, _)| any && is_helper(*key))
            .map(|(_, value)| value)
    }
}

/// Everything below `root` that lists containers with images.
fn anywhere<'t, 'a>(tree: &'t Tree<'a>, root: Cursor<'t, 'a>) -> Vec<Cursor<'t, 'a>> {
    let keys = CONTAINER_LISTS.map(|(list, _)| list);
    let maps = tree.maps_with(root.id(), &keys).into_iter();
    maps.map(|id| tree.cursor(id))
        .filter(|map| lists_containers(*map))
        .collect()
}

fn lists_containers(map: Cursor<'_, '_>) -> bool {
    CONTAINER_LISTS.iter().any(|(list, _)| {
        let mut entries = map.under(list).flat_map(Cursor::items);
        entries.any(|entry| entry.under("image").next().is_some())
    })
}
