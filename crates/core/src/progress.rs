//! Progress of long work: indicatif bars on a terminal, otherwise one plain line per
//! finished item and a heartbeat, so that a CI log is never silent and never flooded.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

mod board;
mod layout;

pub use board::{Board, Line};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::printer::{Printer, bytes};

/// How often a run without a terminal says that it is still alive.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What the counters count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, with a rate.
    Bytes,
    /// Plain items.
    Items,
}

/// The progress of one command: a total, and the items under way.
#[derive(Debug)]
pub struct Progress {
    printer: Printer,
    unit: Unit,
    state: Arc<State>,
    total: Option<ProgressBar>,
    heartbeat: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    label: String,
    done: AtomicU64,
    expected: AtomicU64,
    finished: AtomicU64,
    items: AtomicU64,
    /// What the items under way wait for, by label.
    waits: Mutex<BTreeMap<String, String>>,
    start: Instant,
}

/// One item under way. Dropping it takes its bar away.
#[derive(Debug)]
pub struct Item {
    label: String,
    state: Arc<State>,
    bar: Option<ProgressBar>,
    total: Option<ProgressBar>,
}

impl Progress {
    /// Starts the progress of `items` items. `expected` is the total in `unit`, 0 while
    /// unknown. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(printer: &Printer, label: &str, unit: Unit, items: u64, expected: u64) -> Self {
        let state = Arc::new(State {
            label: label.to_owned(),
            done: AtomicU64::new(0),
            expected: AtomicU64::new(expected),
            finished: AtomicU64::new(0),
            items: AtomicU64::new(items),
            waits: Mutex::default(),
            start: Instant::now(),
        });
        let total = printer.bars().map(|bars| {
            let bar = bars.add(ProgressBar::new(expected));
            bar.set_style(total_style(unit));
            bar.set_prefix(state.heading());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let heartbeat = total
            .is_none()
            .then(|| tokio::spawn(heartbeat(printer.clone(), unit, Arc::clone(&state))));
        Self {
            printer: printer.clone(),
            unit,
            state,
            total,
            heartbeat,
        }
    }

    /// Raises the expected total.
    pub fn expect(&self, more: u64) {
        let expected = self.state.expected.fetch_add(more, Relaxed) + more;
        if let Some(total) = &self.total {
            total.set_length(expected);
        }
    }

    /// An item with `expected` units to do.
    #[must_use]
    pub fn item(&self, label: &str, expected: u64) -> Item {
        let bar = self.printer.bars().map(|bars| {
            // Below the total: what does not fit on the screen is cut at the bottom.
            let bar = bars.add(ProgressBar::new(expected));
            bar.set_style(item_style(self.unit));
            bar.set_prefix(label.to_owned());
            bar
        });
        Item {
            label: label.to_owned(),
            state: Arc::clone(&self.state),
            bar,
            total: self.total.clone(),
        }
    }

    /// Says that one of the items is finished, with a line for people.
    pub fn finished(&self, line: impl std::fmt::Display) {
        self.state.finished.fetch_add(1, Relaxed);
        if let Some(total) = &self.total {
            total.set_prefix(self.state.heading());
        }
        self.printer.note(line);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.abort();
        }
        if let Some(total) = &self.total {
            total.finish_and_clear();
        }
    }
}

impl Item {
    /// Counts `more` units as done.
    pub fn advance(&self, more: u64) {
        self.state.done.fetch_add(more, Relaxed);
        for bar in [&self.bar, &self.total].into_iter().flatten() {
            bar.inc(more);
        }
    }

    /// Takes `units` back: an attempt is started again.
    pub fn rewind(&self, units: u64) {
        self.state.done.fetch_sub(units, Relaxed);
        for bar in [&self.bar, &self.total].into_iter().flatten() {
            bar.dec(units);
        }
    }

    /// Shows what the item is waiting for: beside its bar, or with the next heartbeat.
    pub fn say(&self, text: impl Into<String>) {
        match &self.bar {
            Some(bar) => bar.set_message(text.into()),
            None => drop(self.state.waits().insert(self.label.clone(), text.into())),
        }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.state.waits().remove(&self.label);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn heartbeat(printer: Printer, unit: Unit, state: Arc<State>) {
    let mut tick = tokio::time::interval(HEARTBEAT);
    tick.tick().await;
    loop {
        tick.tick().await;
        printer.note(format!("{}{}", state.line(unit), state.waiting()));
    }
}

impl State {
    fn waits(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the first of the items under way waits for, and how many others wait.
    fn waiting(&self) -> String {
        let waits = self.waits();
        let more = waits.len().saturating_sub(1);
        match waits.first_key_value() {
            None => String::new(),
            Some((label, text)) if more == 0 => format!("; {label}: {text}"),
            Some((label, text)) => format!("; {label}: {text} (and {more} more)"),
        }
    }

    /// `copying 3/12`.
    fn heading(&self) -> String {
        let (finished, items) = (self.finished.load(Relaxed), self.items.load(Relaxed));
        format!("{} {finished}/{items}", self.label)
    }

    fn line(&self, unit: Unit) -> String {
        let items = format!(
            "{} of {}",
            self.finished.load(Relaxed),
            self.items.load(Relaxed)
        );
        let seconds = self.start.elapsed().as_secs();
        match unit {
            Unit::Items => format!("{}: {items} done after {seconds} s", self.label),
            Unit::Bytes => format!(
                "{}: {items} done, {} of {} after {seconds} s",
                self.label,
                bytes(self.done.load(Relaxed)),
                bytes(self.expected.load(Relaxed)),
            ),
        }
    }
}

fn total_style(unit: Unit) -> ProgressStyle {
    style(match unit {
        Unit::Bytes => {
            "{prefix:.bold} [{bar:16}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} eta {eta} {wide_msg}"
        }
        Unit::Items => "{prefix:.bold} [{bar:16}] {elapsed} {wide_msg}",
    })
}

fn item_style(unit: Unit) -> ProgressStyle {
    style(match unit {
        Unit::Bytes => {
            "  {prefix:36!} [{bar:12}] {decimal_bytes:>9}/{decimal_total_bytes:9} {wide_msg}"
        }
        Unit::Items => "  {prefix:48!} {wide_msg}",
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants and every key in them exists")
        .progress_chars("=> ")
}
