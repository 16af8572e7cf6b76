//! `castlink`: one name for all the binaries.
//!
//! `castlink mirror …` runs `castlink-mirror …` from beside itself, as git does;
//! `castlink run` is the whole sequence. No work of any stage happens in this process.

mod args;
mod dispatch;
mod plan;
mod run;
mod show;
mod stage;
mod summary;

use std::process::ExitCode;

use args::{Cli, Verb};
use castlink_core::{Exit, app};

fn main() -> ExitCode {
    app::run(async |cli: Cli, context| match cli.verb {
        Verb::Run(args) => run::run(&args, &cli.output, context).await,
        Verb::Config(args) => Ok(show::config(args.verb, &context)),
        Verb::ExitCodes => {
            show::exit_codes(&context);
            Ok(Exit::Done.into())
        }
        Verb::Other(words) => dispatch::dispatch(&words).await.map(Into::into),
    })
}
