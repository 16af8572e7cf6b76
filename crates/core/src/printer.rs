//! Where output goes. Data to stdout, everything else to stderr; JSON Lines or text.
//!
//! The one place in the products that prints. A reader that closes the pipe early
//! ends the output, never the work.

use std::{
    fmt::Display,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use console::Style;
use indicatif::MultiProgress;

mod table;

pub use crate::cli::{Output, When};
use crate::{cli::OutputArgs, error::Failure, record::Record};
pub use table::table;

/// Writes records, text, notes and errors. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Printer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    output: Output,
    quiet: bool,
    verbose: u8,
    closed: AtomicBool,
    lost: Mutex<Option<io::Error>>,
    stdout: Mutex<io::Stdout>,
    bars: Option<MultiProgress>,
}

impl Printer {
    /// A printer for one command. `stage` commands (`images`, `copy`) speak records
    /// whenever stdout is not a terminal; all others speak text unless `-o json`.
    #[must_use]
    pub fn new(args: &OutputArgs, stage: bool) -> Self {
        let piped = !io::stdout().is_terminal();
        let default = if stage && piped {
            Output::Json
        } else {
            Output::Text
        };
        match args.color {
            When::Auto => {}
            when => {
                console::set_colors_enabled(when == When::Always);
                console::set_colors_enabled_stderr(when == When::Always);
            }
        }
        let bars = match args.progress {
            When::Auto => io::stderr().is_terminal() && !in_ci(),
            when => when == When::Always,
        };
        Self(Arc::new(Inner {
            output: args.output.unwrap_or(default),
            quiet: args.quiet,
            verbose: args.verbose,
            closed: AtomicBool::new(false),
            lost: Mutex::new(None),
            stdout: Mutex::new(io::stdout()),
            bars: (bars && !args.quiet).then(MultiProgress::new),
        }))
    }

    /// What stdout carries.
    #[must_use]
    pub fn output(&self) -> Output {
        self.0.output
    }

    /// True when details are shown.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.0.verbose > 0 && !self.0.quiet
    }

    /// The bars to draw on, when stderr is a terminal.
    pub(crate) fn bars(&self) -> Option<&MultiProgress> {
        self.0.bars.as_ref()
    }

    /// Why output was lost, when it was (a full disk, not a closed pipe). Taken once.
    #[must_use]
    pub fn lost(&self) -> Option<io::Error> {
        let mut lost = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.take()
    }

    /// Takes the progress bars off the screen, for the last words.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.0.bars {
            // There is nobody to tell when the terminal is gone.
            let _ = bars.clear();
        }
    }

    /// One record to stdout; nothing in text mode.
    pub fn record(&self, record: &Record) {
        if self.0.output == Output::Json {
            self.stdout(&record.to_line());
        }
    }

    /// One line of text to stdout; nothing in JSON mode.
    pub fn line(&self, text: impl Display) {
        if self.0.output == Output::Text {
            self.stdout(&text.to_string());
        }
    }

    /// One line to stdout whatever the mode: text that is itself the data
    /// (a policy, a picture, an unknown record passed through).
    pub fn raw(&self, text: impl Display) {
        self.stdout(&text.to_string());
    }

    /// `bytes` to stdout, as they are.
    pub fn bytes(&self, bytes: &[u8]) {
        self.write(|out| out.write_all(bytes).and_then(|()| out.flush()));
    }

    /// What is left of `file` to stdout, byte for byte. The kernel copies it where it can.
    pub fn copy(&self, file: &File) {
        self.write(|out| {
            out.flush()?;
            // Stdout as std has it is buffered, which is what the kernel cannot copy to.
            let mut unbuffered = File::from(out.as_fd().try_clone_to_owned()?);
            io::copy(&mut &*file, &mut unbuffered).map(drop)
        });
    }

    /// One line to stderr, unless `-q`.
    pub fn note(&self, text: impl Display) {
        if !self.0.quiet {
            self.stderr(&text.to_string());
        }
    }

    /// One line to stderr with `-v`.
    pub fn detail(&self, text: impl Display) {
        if self.is_verbose() {
            self.stderr(&Style::new().for_stderr().dim().apply_to(text).to_string());
        }
    }

    /// A warning to stderr, also with `-q`.
    pub fn warn(&self, text: impl Display) {
        let label = Style::new()
            .for_stderr()
            .yellow()
            .bold()
            .apply_to("warning:");
        self.stderr(&format!("{label} {text}"));
    }

    /// A failure with its causes and its hint to stderr.
    pub fn failure(&self, failure: &Failure) {
        let chain = failure.chain();
        let label = Style::new().for_stderr().red().bold().apply_to("error:");
        self.stderr(&format!("{label} {}", chain[0]));
        for cause in &chain[1..] {
            self.stderr(&format!("  caused by: {cause}"));
        }
        if let Some(hint) = failure.hint_text() {
            let label = Style::new().for_stderr().cyan().bold().apply_to("hint:");
            self.stderr(&format!("{label} {hint}"));
        }
    }

    fn stdout(&self, line: &str) {
        self.write(|out| writeln!(out, "{line}").and_then(|()| out.flush()));
    }

    fn write(&self, how: impl Fn(&mut io::Stdout) -> io::Result<()>) {
        if self.0.closed.load(Ordering::Relaxed) {
            return;
        }
        let write = || {
            let mut out = self.0.stdout.lock().unwrap_or_else(PoisonError::into_inner);
            how(&mut out)
        };
        let wrote = match &self.0.bars {
            Some(bars) if io::stdout().is_terminal() => bars.suspend(write),
            _ => write(),
        };
        if let Err(err) = wrote {
            self.0.closed.store(true, Ordering::Relaxed);
            // A reader that has seen enough is no error; a full disk is.
            if err.kind() != io::ErrorKind::BrokenPipe {
                let mut lost = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner);
                lost.get_or_insert(err);
            }
        }
    }

    fn stderr(&self, line: &str) {
        let write = || writeln!(io::stderr().lock(), "{line}");
        // Nobody is left to tell when stderr itself is gone.
        let _ = match &self.0.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        };
    }
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// The symbols of a plan, coloured: `+` add, `~` change, `-` remove, `=` as it is, `!` cannot.
#[must_use]
pub fn symbol(symbol: char) -> console::StyledObject<char> {
    let style = Style::new();
    match symbol {
        '+' => style.green(),
        '~' => style.yellow(),
        '-' | '!' => style.red(),
        _ => style.dim(),
    }
    .apply_to(symbol)
}

/// Bytes for people, in decimal units: `1.2 MB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 image`, `12 images`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    let stem = match noun.strip_suffix('y') {
        Some(stem) if n != 1 => return format!("{n} {stem}ies"),
        _ => noun,
    };
    format!("{n} {stem}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_counts_read_well() {
        for (n, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (1_566_000_000, "1.6 GB"),
        ] {
            assert_eq!(bytes(n), want);
        }
        assert_eq!(count(1, "image"), "1 image");
        assert_eq!(count(3, "repository"), "3 repositories");
        assert_eq!(count(1, "repository"), "1 repository");
    }
}
