//! Manifests as they are written: streams of YAML and JSON, cut into documents, as trees in
//! which every value knows its bytes.
//!
//! Never here: what values mean, which is the commands' business, and writing.
#![warn(missing_docs)]

use std::borrow::Cow;

mod block;
mod json;
pub mod stream;
pub mod tree;
mod yaml;

use stream::Part;
use tree::Tree;

/// Where and why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The byte.
    pub at: usize,
    /// What is wrong there.
    pub why: Cow<'static, str>,
}

/// Reads one part of `text`. JSON is read as JSON, as kubectl does: what begins with a brace
/// and is none may still be YAML.
///
/// # Errors
/// When it is neither.
pub fn parse<'a>(text: &'a str, part: &Part) -> Result<Tree<'a>, Mistake> {
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
