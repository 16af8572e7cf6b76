//! Where image references are, what becomes of them, and the bytes of a manifest to change
//! for it.
//!
//! Pure: text and values in, edits and findings out. A crate of its own, so that what touches
//! every byte of a stream is compiled for speed and what talks to a cluster is not.
//!
//! Never here: requests, files, output, and syntax, which is castlink-manifest's.
#![warn(missing_docs)]

pub mod answers;
mod decided;
pub mod edit;
pub mod embedded;
pub mod finding;
pub mod kind;
pub mod mapping;
pub mod object;
pub mod pin;
pub mod pipeline;
pub mod places;
pub mod plan;
#[cfg(test)]
mod property;
pub mod proxy;
pub mod rules;
pub mod scanners;
pub mod values;
