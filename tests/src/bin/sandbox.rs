//! `castlink-sandbox`: the whole stack of real servers as one background process.
//!
//! Only the command line lives here; what the verbs do is in `castlink_tests::sandbox`.
//! `child` is the shim that every server is started through (see
//! `castlink_tests::process`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use castlink_tests::process;
use castlink_tests::sandbox::{self, FaultArgs, Sandbox};
use clap::{Parser, Subcommand};

/// A local CAST AI world: AWS, ECR, upstream registries and a Kubernetes control plane.
///
/// Everything listens on loopback only, lives in one directory, and ends with the one
/// process that `up` starts. Nothing reads or changes your AWS profile or kubeconfig.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// State directory [default: sandbox/ in the cache directory]
    #[arg(long, global = true, value_name = "DIR", env = "CASTLINK_SANDBOX_DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start it in the background and wait until it is ready (does nothing when it is up)
    Up,
    /// Run it in the foreground until SIGTERM or SIGINT (what `up` starts)
    Serve,
    /// Stop it and wait until it is gone
    Down,
    /// Print `export` lines for a shell: eval "$(castlink-sandbox env)"
    Env {
        /// NAME=VALUE lines without quotes and without PATH, for programs
        #[arg(long)]
        plain: bool,
    },
    /// Build and install the servers into the cache; nothing is started
    Servers,
    /// Put images into the upstream registry (all of CAST AI's when none is named)
    Seed {
        /// References as a manifest would write them, with a tag
        #[arg(value_name = "REF")]
        references: Vec<String>,
    },
    /// Take images out of the upstream registry
    Unseed {
        /// References as a manifest would write them, with a tag
        #[arg(value_name = "REF", required = true)]
        references: Vec<String>,
    },
    /// Make kubelets misbehave; without options, show the faults that are set
    Fault(FaultArgs),
    /// Say whether it is up, and what its nodes and pods are doing
    Status {
        /// The pods on one line
        #[arg(long)]
        brief: bool,
    },
    /// Run PROGRAM so that it dies with its parent (internal)
    #[command(hide = true)]
    Child {
        /// PROGRAM and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sandbox::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if let Verb::Child { command } = cli.verb {
        return Err(process::exec_child(&command));
    }
    let sandbox = Sandbox::at(cli.dir)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        match cli.verb {
            Verb::Up => sandbox.up().await,
            Verb::Serve => sandbox.serve().await,
            Verb::Down => sandbox.down().await,
            Verb::Env { plain } => sandbox.env(plain),
            Verb::Servers => sandbox::servers(),
            Verb::Seed { references } => sandbox.seed(&references).await,
            Verb::Unseed { references } => sandbox.unseed(&references).await,
            Verb::Fault(args) => sandbox.fault(&args),
            Verb::Status { brief } => sandbox.status(brief).await,
            Verb::Child { .. } => Ok(()), // handled above: it never gets a runtime
        }
    });
    // A start that was interrupted goes on in its thread: nobody waits for it.
    runtime.shutdown_background();
    outcome
}
