//! The command line of `castlink-bench`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::network::Network;
use super::tools::Tool;

/// Measures castlink-mirror beside other copiers, on the same images and registries.
///
/// Progress goes to standard error, tables to standard output.
#[derive(Debug, Parser)]
#[command(name = "castlink-bench", version, max_term_width = 100)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Time, CPU, memory and requests of cold, warm and partial copies
    Mirror(Mirror),
    /// Whether a cold copy survives broken networks, and what that costs
    Faults(Faults),
    /// `castlink-endpoints plan` beside the AWS CLI asking the same
    Endpoints(Endpoints),
    /// `castlink-upgrade apply` beside kubectl, one workload after the other
    Upgrade(Upgrade),
    /// `castlink-upgrade rewrite` on a long stream, beside tools that know no YAML
    Rewrite(Rewrite),
    /// Run a job and write what it used (internal)
    #[command(hide = true)]
    Exec {
        /// The job
        order: PathBuf,
        /// Where the usage goes
        result: PathBuf,
    },
}

/// What both benchmarks are told.
#[derive(Debug, Args)]
pub struct Common {
    /// Small layers, one repetition: does it work at all
    #[arg(long)]
    pub quick: bool,
    /// These tools only
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TOOL,..")]
    pub only: Vec<Tool>,
    /// Another castlink-mirror than the one that was built with this program
    #[arg(long, value_name = "PATH")]
    pub castlink: Option<PathBuf>,
    /// Write everything that was measured to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `mirror`.
#[derive(Debug, Args)]
pub struct Mirror {
    /// What both benchmarks are told.
    #[command(flatten)]
    pub common: Common,
    /// Rounds; in each, every tool has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// What lies between the tools and the registries
    #[arg(long, value_enum, default_value = "all")]
    pub network: Networks,
}

/// `faults`.
#[derive(Debug, Args)]
pub struct Faults {
    /// What both benchmarks are told.
    #[command(flatten)]
    pub common: Common,
    /// How often each network is broken, each time differently
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
}

/// `endpoints`.
#[derive(Debug, Args)]
pub struct Endpoints {
    /// Rounds; in each, both have their turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
}

/// `upgrade`.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// Rounds; in each, both have their turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// What pulling an image takes
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub pull: f64,
    /// Another castlink-upgrade than the one that was built with this program
    #[arg(long, value_name = "PATH")]
    pub castlink: Option<PathBuf>,
    /// Write everything that was measured to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `rewrite`.
#[derive(Debug, Args)]
pub struct Rewrite {
    /// Rounds; in each, all have their turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// How long the stream is, in MB
    #[arg(long, value_name = "MB", default_value_t = 220)]
    pub size: usize,
    /// Another castlink-upgrade than the one that was built with this program
    #[arg(long, value_name = "PATH")]
    pub castlink: Option<PathBuf>,
}

/// Which networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Networks {
    /// None, on one machine
    Loopback,
    /// 20 ms, 40 MB/s per connection
    Rtt20,
    /// 80 ms, 15 MB/s per connection
    Rtt80,
    /// One after the other
    All,
}

impl Networks {
    /// Each of them.
    #[must_use]
    pub fn list(self) -> Vec<Network> {
        match self {
            Self::Loopback => vec![Network::Loopback],
            Self::Rtt20 => vec![Network::Rtt20],
            Self::Rtt80 => vec![Network::Rtt80],
            Self::All => Network::ALL.to_vec(),
        }
    }
}

impl Common {
    /// The tools to compare, of these.
    #[must_use]
    pub fn tools(&self, all: &[Tool]) -> Vec<Tool> {
        let wanted = |tool: &&Tool| self.only.is_empty() || self.only.contains(tool);
        all.iter().filter(wanted).copied().collect()
    }

    /// By how much layers are scaled.
    #[must_use]
    pub fn scale(&self) -> f64 {
        if self.quick { 0.05 } else { 1.0 }
    }
}
