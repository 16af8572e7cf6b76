//! Images in Helm values: `repository`, `tag`, `registry` and `digest`, as charts have them.
//!
//! Never here: what charts make of them. Where a chart fills in a tag of its own, only
//! rendering it shows the image.

use castlink_manifest::tree::{Id, Tree, Value};

use crate::places::{is_image_variable, text_at};

/// An image that values set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Where: `castai-agent.image`.
    pub path: String,
    /// The byte at which it begins.
    pub at: usize,
    /// The references it stands for; empty without a tag.
    pub images: Vec<String>,
    /// The repository alone.
    pub repository: String,
}

/// Every image that is set below `root`.
pub fn settings(tree: &Tree<'_>, root: Id) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(tree, root, String::new(), &mut found);
    found
}

fn collect(tree: &Tree<'_>, id: Id, path: String, found: &mut Vec<Setting>) {
    match tree.value(id) {
        Value::Map { .. } => {
            found.extend(triple(tree, id, &path));
            for (key, value) in tree.pairs(id) {
                let key = tree.text(key).unwrap_or_default();
                let path = join(&path, key);
                found.extend(literal(tree, value, key, &path));
                collect(tree, value, path, found);
            }
        }
        Value::List { .. } => {
            for (index, item) in tree.items(id).enumerate() {
                collect(tree, item, format!("{path}[{index}]"), found);
            }
        }
        // An anchor is met where it is written.
        Value::Scalar { .. } | Value::Alias(_) => {}
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// A map with a `repository`.
fn triple(tree: &Tree<'_>, id: Id, path: &str) -> Option<Setting> {
    let map = tree.cursor(id);
    let part = |key: &str| {
        text_at(map, key)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let repository = part("/repository").filter(|name| !name.contains("://"))?;
    let repository = match part("/registry") {
        Some(registry) if !repository.starts_with(&format!("{registry}/")) => {
            format!("{}/{repository}", registry.trim_end_matches('/'))
        }
        _ => repository.to_owned(),
    };
    let tag = part("/tag").or_else(|| part("/version"));
    let digest = part("/digest").or_else(|| part("/sha"));
    let tail = match (tag, digest) {
        (None, None) => None,
        (tag, digest) => {
            let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
            let digest = digest.map_or_else(String::new, |digest| format!("@{digest}"));
            Some(tag + &digest)
        }
    };
    let names = stems(&repository);
    let images = tail.map_or_else(Vec::new, |tail| {
        names.iter().map(|name| format!("{name}{tail}")).collect()
    });
    Some(Setting {
        path: path.to_owned(),
        at: tree.span(map.under("repository").last()?.id()).start,
        images,
        repository,
    })
}

/// The repositories a value stands for. That of kvisor is only the beginning of two.
fn stems(repository: &str) -> Vec<String> {
    match repository.rsplit('/').next() {
        Some("kvisor") => ["agent", "controller"]
            .map(|end| format!("{repository}-{end}"))
            .into(),
        _ => vec![repository.to_owned()],
    }
}

/// A whole reference under `image`, or under the name of a variable that holds one.
fn literal(tree: &Tree<'_>, id: Id, key: &str, path: &str) -> Option<Setting> {
    let text = tree.text(id)?.trim();
    let whole = key == "image" && text.contains([':', '/']) || is_image_variable(key);
    (whole && !text.is_empty()).then(|| Setting {
        path: path.to_owned(),
        at: tree.span(id).start,
        images: vec![text.to_owned()],
        repository: text.to_owned(),
    })
}
