//! What was found in a stream, and where: for messages.
//!
//! Never here: decisions.

use std::{fmt, sync::Arc};

/// A place in a stream of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The file.
    pub(crate) name: Arc<str>,
    pub(crate) line: usize,
    /// The document of the stream, from 1.
    pub(crate) document: usize,
    /// `Deployment/castai-agent`; empty when the document could not be read.
    pub(crate) object: String,
    /// `container agent`.
    pub(crate) field: String,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: document {}", self.name, self.line, self.document)?;
        if !self.object.is_empty() {
            write!(f, ", {}", self.object)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        Ok(())
    }
}

/// Something to tell about a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) spot: Spot,
    pub(crate) what: What,
}

/// What there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A reference that is another now.
    Changed { from: String, to: String },
    /// Variables that a container has now.
    Added { names: String },
    /// A reference that nothing says a target of.
    Unmapped { literal: String, why: String },
    /// Something that must not be guessed at.
    Broken { why: String },
    /// Something that will surprise somebody later.
    Warning { text: String },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.spot)?;
        match &self.what {
            What::Changed { from, to } => write!(f, "{from} -> {to}"),
            What::Added { names } => write!(f, "adds {names}"),
            What::Unmapped { literal, why } => write!(f, "{literal}: {why}"),
            What::Broken { why } => f.write_str(why),
            What::Warning { text } => f.write_str(text),
        }
    }
}
