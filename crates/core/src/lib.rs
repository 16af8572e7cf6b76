//! What every castlink binary shares: image references, the records that travel
//! between processes, configuration, output, exit codes and errors.
//!
//! Never here: an SDK, HTTP, Kubernetes, or anything that only one command needs
//! (`tests/suites/tidy.rs` holds the dependency rule).
#![warn(missing_docs)]

pub mod app;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod confirm;
pub mod duration;
pub mod error;
pub mod exit;
pub mod input;
pub mod lock;
pub mod prices;
pub mod printer;
pub mod progress;
pub mod record;
pub mod reference;
pub mod wait;

pub use app::Context;
pub use error::{Failure, Result};
pub use exit::Exit;
pub use printer::Printer;
pub use reference::ImageRef;
