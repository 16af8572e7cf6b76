//! Manifests as they are written: documents, objects, and the bytes of each image reference.
//!
//! Never here: what a reference should become, and requests.

use std::borrow::Cow;

mod block;
pub(crate) mod json;
pub(crate) mod object;
pub(crate) mod stream;
pub(crate) mod tree;
pub(crate) mod values;
pub(crate) mod yaml;

use stream::Part;
use tree::Tree;

/// Where and why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) at: usize,
    pub(crate) why: Cow<'static, str>,
}

/// Reads one part of `text`. JSON is read as JSON, as kubectl does: what begins with a brace
/// and is none may still be YAML.
pub(crate) fn parse<'a>(text: &'a str, part: &Part) -> Result<Tree<'a>, Mistake> {
    let text = &text[..part.range.end];
    let json = text[part.start..].trim_start().starts_with('{');
    if json && let Ok(tree) = json::parse(text, part.start) {
        return Ok(tree);
    }
    if let Some(tree) = block::parse(text, part.start) {
        return Ok(tree);
    }
    yaml::parse(text, part.start).map_err(|error| Mistake {
        at: error.at,
        why: error.why.into(),
    })
}
