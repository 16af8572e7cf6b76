//! The AWS session every command shares, and the one table that says what an AWS error
//! code means.
//!
//! Never here: a service other than STS. Services live in the crates that use them,
//! so that only those compile their SDK.
#![warn(missing_docs)]

mod error;
mod http;
mod kind;
mod region;
mod session;

pub use error::{SdkError, code, failure, message};
pub use kind::{Kind, classify, kind};
pub use region::region_of;
pub use session::{Identity, Session};
