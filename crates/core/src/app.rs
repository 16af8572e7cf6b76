//! The frame around every command: reads configuration, runs the command until it ends
//! or is interrupted, prints what failed, and turns the outcome into an exit code.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use clap::Parser;

use crate::{
    Exit, Failure, Printer, Result,
    cli::{Output, OutputArgs},
    config::{Config, Loaded},
    record::{Record, Summary},
};

/// A command line that the frame can run.
pub trait Command: Parser {
    /// The output and configuration flags.
    fn output(&self) -> &OutputArgs;

    /// The verb, for the summary record: `copy`.
    fn verb(&self) -> &'static str;

    /// True for commands whose stdout is another command's stdin.
    fn is_stage(&self) -> bool {
        false
    }

    /// True for commands whose stdout is a document for other tools, whole or not at all:
    /// no record is mixed into it, whatever `-o` says.
    fn writes_documents(&self) -> bool {
        false
    }

    /// Lays the flags that were given over the configuration.
    fn apply(&self, config: &mut Config);

    /// True when the command ends by itself after Ctrl-C or SIGTERM, because it has
    /// something to put in order first; false (the rule) when it may be dropped anywhere.
    fn handles_interrupt(&self) -> bool {
        false
    }

    /// What to do after an interruption: "run it again".
    fn after_interrupt(&self) -> &'static str {
        "run it again: it does only what is missing"
    }
}

/// What a command works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Configuration with the flags laid over it.
    pub config: Config,
    /// The configuration as it was read, with the origin of each value.
    pub loaded: Loaded,
    /// Where output goes.
    pub printer: Printer,
}

/// How a command ended, with what it counted.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code to return.
    pub exit: Exit,
    /// Counters for the summary record.
    pub counts: BTreeMap<String, u64>,
}

impl From<Exit> for Outcome {
    fn from(exit: Exit) -> Self {
        Self {
            exit,
            counts: BTreeMap::new(),
        }
    }
}

impl Outcome {
    /// Adds a counter to the summary record.
    #[must_use]
    pub fn count(mut self, name: &str, value: u64) -> Self {
        self.counts.insert(name.into(), value);
        self
    }
}

/// Parses the command line, runs `body`, and reports how it ended.
pub fn run<C: Command>(body: impl AsyncFnOnce(C, Context) -> Result<Outcome>) -> ExitCode {
    let command = C::parse();
    let printer = printer(&command);
    let start = Instant::now();
    let name = format!("{} {}", C::command().get_name(), command.verb());
    let after = (!command.handles_interrupt()).then(|| command.after_interrupt());
    let result = context(&command, &printer)
        .and_then(|context| block_on(interruptible(body(command, context), after)));
    finish(&printer, name, start, result).into()
}

fn printer<C: Command>(command: &C) -> Printer {
    let mut output = command.output().clone();
    if command.writes_documents() {
        output.output = Some(Output::Text);
    }
    Printer::new(&output, command.is_stage())
}

fn context<C: Command>(command: &C, printer: &Printer) -> Result<Context> {
    let output = command.output();
    let loaded = Loaded::read(output.config.as_deref(), output.env.as_deref())?;
    let mut config = loaded.config.clone();
    command.apply(&mut config);
    Ok(Context {
        config,
        loaded,
        printer: printer.clone(),
    })
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)))
        .enable_all()
        .build()
        .map_err(|err| Failure::failed("starting the runtime").because(err))
        .and_then(|runtime| {
            let result = runtime.block_on(work);
            // A blocked stdin read must not hold the process.
            runtime.shutdown_background();
            result
        })
}

async fn interruptible<T>(work: impl Future<Output = Result<T>>, after: Option<&str>) -> Result<T> {
    let Some(after) = after else {
        return work.await;
    };
    tokio::select! {
        result = work => result,
        () = interrupted() => Err(Failure::new(Exit::Interrupted, "interrupted").hint(after)),
    }
}

/// Resolves on Ctrl-C or SIGTERM.
pub async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut term) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
            return;
        }
    }
    // Without a handler the default action of the signal still ends the process.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn finish(printer: &Printer, command: String, start: Instant, result: Result<Outcome>) -> Exit {
    printer.clear();
    let (mut exit, counts, error) = match result {
        Ok(outcome) => (outcome.exit, outcome.counts, None),
        Err(failure) => {
            printer.failure(&failure);
            (failure.exit(), BTreeMap::new(), Some(failure.info()))
        }
    };
    printer.record(&Record::Summary(Summary {
        command,
        exit,
        seconds: (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        counts,
        error,
    }));
    if let Some(err) = printer.lost() {
        printer.failure(&Failure::failed("the output could not be written").because(err));
        exit = if exit == Exit::Done {
            Exit::Failed
        } else {
            exit
        };
    }
    exit
}
