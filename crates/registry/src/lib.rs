//! Container registries: the distribution protocol on reqwest, a thin data plane of our own,
//! and what Amazon ECR's own API says beside it (ecr/).
//!
//! oci-client serves for names and media types only: its upload path loses digest
//! mismatches, cannot renew credentials, and does not retry. Never here: which image goes
//! where, which tag is wanted, and anything printed; that is the commands' business.

mod auth;
mod cell;
mod client;
pub mod content;
mod credentials;
pub mod digest;
mod download;
pub mod ecr;
mod endpoint;
pub mod error;
mod found;
mod open;
pub mod place;
mod pool;
mod referrers;
mod retry;
mod tags;
mod token;
mod upload;

pub use client::Registry;
pub use download::Download;
pub use found::Found;
pub use pool::Registries;
pub use referrers::fallback_tag;
pub use retry::Retry;
pub use tags::Tag;
pub use upload::{Started, Upload};

/// Also compiled into the tests of castlink-mirror: it is in no product.
#[cfg(test)]
mod liar;
#[cfg(test)]
mod tests;
