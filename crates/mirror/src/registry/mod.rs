//! The registry protocol (OCI distribution) on reqwest: our own thin data plane.
//!
//! oci-client serves for names and media types only: its upload path loses digest
//! mismatches, cannot renew credentials, and does not retry. Never here: which image goes
//! where; that is the planner's and the engine's business.

mod auth;
pub(crate) mod cell;
mod client;
mod credentials;
mod download;
mod endpoint;
pub(crate) mod error;
mod open;
mod pool;
mod referrers;
mod retry;
mod tags;
mod token;
mod upload;

pub(crate) use client::Registry;
pub(crate) use download::Download;
pub(crate) use pool::Registries;
pub(crate) use referrers::fallback_tag;
pub(crate) use retry::Retry;
pub(crate) use tags::Tag;
pub(crate) use upload::{Started, Upload};

#[cfg(test)]
pub(crate) mod liar;
#[cfg(test)]
mod tests;
