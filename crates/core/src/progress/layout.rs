//! How a live table lies on a terminal: one line per item whatever the width, and the items
//! that matter when there is not room for all. Pure.

use std::{ops::Range, time::Duration};

use console::{Alignment, Style, pad_str, truncate_str};

use super::board::{Row, Stage};

/// Between two columns.
const GAP: usize = 2;

/// What the state needs to be read.
const STATE: usize = 24;

/// What is left of a name before counters are left out, and at the least.
const NAME: (usize, usize) = (24, 12);

/// The lines of the table below `title`, none wider than `width`, at most `height`.
pub(super) fn lines(
    title: &str,
    head: &[String],
    rows: &[Row],
    width: usize,
    height: usize,
) -> Vec<String> {
    let shown = chosen(rows, height.saturating_sub(2));
    let columns = Columns::fit(head, rows, width);
    let bold = Style::new().for_stderr().bold();
    let mut lines = vec![bold.apply_to(cut(title, width)).to_string()];
    if !shown.is_empty() {
        let dim = Style::new().for_stderr().dim();
        let head = columns.line(head, "TIME", "STATE");
        lines.push(dim.apply_to(head).to_string());
    }
    lines.extend(shown.iter().map(|row| coloured(row, &columns)));
    let hidden = rows.len() - shown.len();
    if hidden > 0 {
        lines.push(cut(&format!("… and {hidden} more"), width));
    }
    lines.truncate(height.max(1));
    lines
}

/// The rows there is room for: all of them, or those under way first, then those that
/// wait; in their order. One line is kept for the number of the others.
fn chosen(rows: &[Row], room: usize) -> Vec<&Row> {
    if rows.len() <= room {
        return rows.iter().collect();
    }
    let mut by_stage: Vec<usize> = (0..rows.len()).collect();
    by_stage.sort_by_key(|index| rows[*index].stage);
    by_stage.truncate(room.saturating_sub(1));
    by_stage.sort_unstable();
    by_stage.into_iter().map(|index| &rows[index]).collect()
}

fn coloured(row: &Row, columns: &Columns) -> String {
    let line = columns.line(&row.cells, &time(row), &row.state);
    let style = Style::new().for_stderr();
    match row.stage {
        Stage::UnderWay => line,
        Stage::Waiting | Stage::Ended => style.dim().apply_to(line).to_string(),
    }
}

fn time(row: &Row) -> String {
    match row.stage {
        Stage::Waiting => String::new(),
        Stage::UnderWay | Stage::Ended => clock(row.time()),
    }
}

/// `0:07`, `12:34`, `1:00:00`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The widths of the columns; 0 for one that is left out.
struct Columns {
    cells: Vec<usize>,
    time: usize,
    state: usize,
    /// Of the terminal.
    width: usize,
}

impl Columns {
    /// As wide as the cells; where that leaves the state too little, the name is cut, then
    /// the second column is left out, and last of all the others.
    fn fit(head: &[String], rows: &[Row], width: usize) -> Self {
        let widest = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.cells.get(column));
            let all = cells.chain(head.get(column));
            all.map(|cell| console::measure_text_width(cell))
                .max()
                .unwrap_or(0)
        };
        let mut columns = Self {
            cells: (0..head.len()).map(widest).collect(),
            time: rows
                .iter()
                .map(|row| time(row).len())
                .max()
                .unwrap_or(0)
                .max("12:34".len()),
            state: 0,
            width,
        };
        columns.cut_name(width * 2 / 5);
        columns.leave_out(1..2);
        columns.cut_name(NAME.0);
        columns.leave_out(2..head.len());
        columns.cut_name(NAME.1);
        columns.state = width.saturating_sub(columns.used());
        columns
    }

    /// What all columns but the state take.
    fn used(&self) -> usize {
        let columns = self.cells.iter().filter(|width| **width > 0);
        columns.map(|width| width + GAP).sum::<usize>() + self.time + GAP
    }

    /// What is missing to show the state.
    fn excess(&self) -> usize {
        (self.used() + STATE).saturating_sub(self.width)
    }

    /// Cuts the name as far as `least`, when there is need.
    fn cut_name(&mut self, least: usize) {
        let excess = self.excess();
        if let Some(name) = self.cells.first_mut() {
            *name -= excess.min(name.saturating_sub(least.max(NAME.1)));
        }
    }

    /// Leaves columns out as long as there is need.
    fn leave_out(&mut self, columns: Range<usize>) {
        for column in columns {
            if self.excess() > 0 {
                self.cells[column] = 0;
            }
        }
    }

    fn line(&self, cells: &[String], time: &str, state: &str) -> String {
        let mut line = String::new();
        for (index, width) in self
            .cells
            .iter()
            .enumerate()
            .filter(|(_, width)| **width > 0)
        {
            let cell = cells.get(index).map_or("", String::as_str);
            let cell = middle(cell, *width);
            line.push_str(&pad_str(&cell, width + GAP, Alignment::Left, None));
        }
        line.push_str(&pad_str(time, self.time + GAP, Alignment::Left, None));
        line.push_str(&cut(state, self.state));
        line.truncate(line.trim_end().len());
        cut(&line, self.width)
    }
}

fn cut(text: &str, width: usize) -> String {
    truncate_str(text, width, "…").into_owned()
}

/// Cut in the middle: of a name, both ends tell it from others.
fn middle(text: &str, width: usize) -> String {
    if text.len() <= width || !text.is_ascii() {
        return cut(text, width);
    }
    let tail = width.saturating_sub(1) / 2;
    let head = width.saturating_sub(1) - tail;
    format!("{}…{}", &text[..head], &text[text.len() - tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, change: &str, state: &str, stage: Stage) -> Row {
        let cells = [name, change, "1/3", "2/3"].map(str::to_owned).to_vec();
        let mut row = Row::new(cells);
        (row.state, row.stage) = (state.to_owned(), stage);
        row
    }

    fn rows() -> Vec<Row> {
        let long = "StatefulSet/castai-workload-autoscaler-exporter-prometheus";
        vec![
            row(
                "Deployment/castai-agent",
                "agent:v0.161.1",
                "rolled out",
                Stage::Ended,
            ),
            row(
                long,
                "3 images",
                "1 of 3 updated; pod x-0: ImagePullBackOff",
                Stage::UnderWay,
            ),
            row(
                "DaemonSet/castai-kvisor-agent",
                "2 images",
                "waiting",
                Stage::Waiting,
            ),
        ]
    }

    fn head() -> Vec<String> {
        ["WORKLOAD", "CHANGE", "UPDATED", "READY"]
            .map(str::to_owned)
            .to_vec()
    }

    fn at(width: usize, height: usize) -> Vec<String> {
        let lines = lines("rollouts 1/3  0:07", &head(), &rows(), width, height);
        lines
            .iter()
            .map(|line| console::strip_ansi_codes(line).into_owned())
            .collect()
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [20, 40, 60, 80, 100, 140, 200] {
            for line in at(width, 24) {
                let own = console::measure_text_width(&line);
                assert!(own <= width, "{own} at {width}: {line}");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_keeps_the_name_and_the_state() {
        let wide = at(140, 24);
        assert!(
            wide[3].contains("prometheus  3 images        1/3      2/3    0:00   1 of 3 updated"),
            "{wide:#?}"
        );
        let narrow = at(80, 24);
        assert_eq!(narrow.len(), 5);
        assert!(
            narrow[3].starts_with("StatefulSet/cas…rter-prometheus"),
            "{narrow:#?}"
        );
        assert!(narrow[3].contains("1 of 3 updated; pod"), "{narrow:#?}");
        assert!(
            narrow[1].contains("UPDATED") && !narrow[1].contains("CHANGE"),
            "{narrow:#?}"
        );
    }

    #[test]
    fn what_is_under_way_is_shown_first() {
        let short = at(100, 4);
        assert_eq!(short.len(), 4, "{short:#?}");
        assert!(
            short[2].contains("StatefulSet") && short[3] == "… and 2 more",
            "{short:#?}"
        );
        assert_eq!(at(100, 5).len(), 5, "all three");
    }

    #[test]
    fn clocks_read_well() {
        for (seconds, want) in [(7, "0:07"), (754, "12:34"), (3600, "1:00:00")] {
            assert_eq!(clock(Duration::from_secs(seconds)), want);
        }
    }
}
