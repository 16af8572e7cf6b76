//! What was found in a stream, and where: for messages.
//!
//! Never here: decisions.

use std::{fmt, sync::Arc};

/// A place in a stream of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub name: Arc<str>,
    /// The line of the file, from 1.
    pub line: usize,
    /// The document of the stream, from 1.
    pub document: usize,
    /// `Deployment/castai-agent`; empty when the document could not be read.
    pub object: String,
    /// `container agent`.
    pub field: String,
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
pub struct Finding {
    /// The place.
    pub spot: Spot,
    /// What is the matter there.
    pub what: What,
}

/// What there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A reference that is another now.
    Changed {
        /// What it was.
        from: String,
        /// What it is now.
        to: String,
    },
    /// Variables that a container has now.
    Added {
        /// Their names, for people.
        names: String,
    },
    /// A reference that nothing says a target of.
    Unmapped {
        /// The reference.
        literal: String,
        /// Why it has no target.
        why: String,
    },
    /// Something that must not be guessed at.
    Broken {
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// Something that will surprise somebody later.
    Warning {
        /// What, and what helps.
        text: String,
    },
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
