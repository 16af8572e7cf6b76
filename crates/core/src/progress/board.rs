//! A live table of items that are under way side by side: one line each, with its state and
//! its time. Without a terminal: a plain line per finished item and a heartbeat.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::{Item, Progress, Unit, layout};
use crate::printer::Printer;

/// How often the table is drawn.
const TICK: Duration = Duration::from_millis(200);

/// What a terminal has when it does not say.
const SIZE: (u16, u16) = (24, 80);

/// A live table.
#[derive(Debug)]
pub struct Board {
    printer: Printer,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Plain(Progress),
    Table(Arc<Table>, JoinHandle<()>),
}

/// One item while it is under way.
#[derive(Debug)]
pub struct Line(Inner);

#[derive(Debug)]
enum Inner {
    Plain(Item),
    Table(Arc<Table>, usize),
}

#[derive(Debug)]
struct Table {
    label: String,
    head: Vec<String>,
    rows: Mutex<Vec<Row>>,
    finished: AtomicU64,
    start: Instant,
    bar: ProgressBar,
}

/// What is known about one item.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its name, then what the caller shows of it.
    pub(super) cells: Vec<String>,
    pub(super) state: String,
    pub(super) stage: Stage,
    pub(super) took: Duration,
    since: Option<Instant>,
}

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    UnderWay,
    Waiting,
    Ended,
}

impl Board {
    /// A table with the columns `head`, then time and state; the first cell of each of
    /// `rows` is the item's name. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(printer: &Printer, label: &str, head: &[&str], rows: Vec<Vec<String>>) -> Self {
        let count = rows.len() as u64;
        let mode = match printer.bars() {
            None => Mode::Plain(Progress::start(printer, label, Unit::Items, count, count)),
            Some(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_style(ProgressStyle::with_template("{msg}").expect("a constant template"));
                let table = Arc::new(Table {
                    label: label.to_owned(),
                    head: head.iter().map(ToString::to_string).collect(),
                    rows: Mutex::new(rows.into_iter().map(Row::new).collect()),
                    finished: AtomicU64::new(0),
                    start: Instant::now(),
                    bar,
                });
                let drawing = tokio::spawn(draw(Arc::clone(&table)));
                Mode::Table(table, drawing)
            }
        };
        Self {
            printer: printer.clone(),
            mode,
        }
    }

    /// The item called `name` gets under way, perhaps not for the first time.
    #[must_use]
    pub fn begin(&self, name: &str) -> Line {
        Line(match &self.mode {
            Mode::Plain(progress) => Inner::Plain(progress.item(name, 1)),
            Mode::Table(table, _) => {
                let mut rows = table.rows();
                let index = rows.iter().position(|row| row.cells[0] == name);
                let index = index.unwrap_or_else(|| {
                    rows.push(Row::new(vec![name.to_owned()]));
                    rows.len() - 1
                });
                rows[index].begin();
                Inner::Table(Arc::clone(table), index)
            }
        })
    }

    /// Says that one of the items is finished, with a line for people.
    pub fn finished(&self, line: impl Display) {
        match &self.mode {
            Mode::Plain(progress) => progress.finished(line),
            Mode::Table(table, _) => {
                table.finished.fetch_add(1, Relaxed);
                self.printer.note(line);
            }
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Mode::Table(table, drawing) = &self.mode {
            drawing.abort();
            table.bar.finish_and_clear();
        }
    }
}

impl Line {
    /// Shows what the item is doing, or waits for.
    pub fn say(&self, state: &str) {
        match &self.0 {
            Inner::Plain(item) => item.say(state),
            Inner::Table(table, index) => state.clone_into(&mut table.rows()[*index].state),
        }
    }

    /// Shows `text` in the column of that number; without a terminal nobody sees it.
    pub fn show(&self, column: usize, text: String) {
        if let Inner::Table(table, index) = &self.0 {
            let cells = &mut table.rows()[*index].cells;
            if cells.len() <= column {
                cells.resize(column + 1, String::new());
            }
            cells[column] = text;
        }
    }

    /// The item has ended so.
    pub fn end(self, state: &str) {
        match &self.0 {
            Inner::Plain(item) => item.advance(1),
            Inner::Table(..) => self.say(state),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Inner::Table(table, index) = &self.0 {
            table.rows()[*index].end();
        }
    }
}

impl Row {
    pub(super) fn new(cells: Vec<String>) -> Self {
        Self {
            cells,
            state: "waiting".into(),
            stage: Stage::Waiting,
            took: Duration::ZERO,
            since: None,
        }
    }

    pub(super) fn begin(&mut self) {
        self.stage = Stage::UnderWay;
        self.since = Some(Instant::now());
    }

    pub(super) fn end(&mut self) {
        self.stage = Stage::Ended;
        self.took += self
            .since
            .take()
            .map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// How long it has been under way, in all.
    pub(super) fn time(&self) -> Duration {
        self.took + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Table {
    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self, (height, width): (u16, u16)) -> String {
        let rows = self.rows();
        let title = format!(
            "{} {}/{}  {}",
            self.label,
            self.finished.load(Relaxed),
            rows.len(),
            layout::clock(self.start.elapsed())
        );
        // The last line is the cursor's, and one is left for what is printed above.
        let height = usize::from(height).saturating_sub(2);
        layout::lines(&title, &self.head, &rows, usize::from(width), height).join("\n")
    }
}

async fn draw(table: Arc<Table>) {
    let mut tick = tokio::time::interval(TICK);
    let term = Term::stderr();
    loop {
        tick.tick().await;
        let size = term.size_checked().unwrap_or(SIZE);
        table.bar.set_message(table.text(size));
        table.bar.tick();
    }
}
