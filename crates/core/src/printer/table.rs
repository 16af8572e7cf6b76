//! Tables for people: columns lined up, and on a terminal never wider than it.

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};

/// Between two columns.
const GAP: usize = 2;

/// What is left of a column that is made narrower, at the least.
const NARROW: usize = 12;

/// The same of the last column, which has sentences and lists in it.
const READABLE: usize = 24;

/// The digits of a digest that people read.
const DIGITS: usize = 12;

/// Lines up columns with two spaces between them; the last column is not padded. On a
/// terminal that is narrower, digests are shortened, then left out where they are a column;
/// then the last column is folded, and the widest of the others cut in the middle. Anywhere
/// else everything is shown.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let terminal = Term::stdout().size_checked();
    fit(rows, terminal.map(|(_, columns)| columns.into()))
}

fn fit(rows: &[Vec<String>], room: Option<usize>) -> Vec<String> {
    let mut rows = rows.to_vec();
    let Some(room) = room else {
        return lines(&rows, &widths(&rows));
    };
    for narrow in [shorten_digests, drop_digests] {
        if total(&widths(&rows)) > room {
            narrow(&mut rows);
        }
    }
    let mut widths = widths(&rows);
    squeeze(&mut widths, room);
    lines(&rows, &widths)
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| measure_text_width(cell))
            .max()
            .unwrap_or(0)
    };
    (0..columns).map(width).collect()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// `sha256:0123456789ab` in place of a whole digest, wherever it is.
fn shorten_digests(rows: &mut [Vec<String>]) {
    for cell in rows.iter_mut().flatten() {
        let mut from = 0;
        while let Some(found) = cell[from..].find("sha256:") {
            from += found + "sha256:".len();
            let digits = cell[from..].bytes().take_while(u8::is_ascii_hexdigit);
            let digits = digits.count();
            if digits > DIGITS {
                cell.replace_range(from + DIGITS..from + digits, "");
            }
        }
    }
}

/// Takes away the columns that hold nothing but digests.
fn drop_digests(rows: &mut [Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    for column in (0..columns).rev() {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let mut filled = cells.filter(|cell| !cell.is_empty()).peekable();
        let digests = filled.peek().is_some()
            && filled.all(|cell| cell.starts_with("sha256:") && !cell.contains(' '));
        if digests {
            for row in rows.iter_mut().filter(|row| column < row.len()) {
                row.remove(column);
            }
        }
    }
}

/// Narrows the last column as long as it can be read, and then the widest of the others.
fn squeeze(widths: &mut [usize], room: usize) {
    let mut excess = total(widths).saturating_sub(room);
    let mut take = |width: &mut usize, least: usize| {
        let taken = excess.min(width.saturating_sub(least));
        *width -= taken;
        excess -= taken;
    };
    let Some((last, others)) = widths.split_last_mut() else {
        return;
    };
    take(last, READABLE);
    if let Some(widest) = others.iter_mut().max() {
        take(widest, NARROW);
    }
}

fn lines(rows: &[Vec<String>], widths: &[usize]) -> Vec<String> {
    rows.iter().flat_map(|row| row_lines(row, widths)).collect()
}

fn row_lines(row: &[String], widths: &[usize]) -> Vec<String> {
    let Some((last, others)) = row.split_last() else {
        return vec![String::new()];
    };
    let mut line = String::new();
    for (cell, width) in others.iter().zip(widths) {
        let cell = cut(cell, *width);
        line.push_str(&pad_str(&cell, width + GAP, Alignment::Left, None));
    }
    // A row that ends early has room up to the end of the table.
    let room = total(widths) - (measure_text_width(&line)).min(total(widths));
    let indent = " ".repeat(measure_text_width(&line));
    let mut folded = fold(last, room).into_iter();
    line.push_str(&folded.next().unwrap_or_default());
    let mut lines = vec![line];
    lines.extend(folded.map(|more| format!("{indent}{more}")));
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

/// Cut in the middle: of a reference, registry and tag say most.
fn cut(cell: &str, width: usize) -> String {
    let long = measure_text_width(cell) > width;
    // Cells with colours in them are short.
    if !long || console::strip_ansi_codes(cell) != cell || !cell.is_ascii() {
        return truncate_str(cell, width, "…").into_owned();
    }
    let tail = (width.saturating_sub(1)) / 2;
    let head = width.saturating_sub(1) - tail;
    format!("{}…{}", &cell[..head], &cell[cell.len() - tail..])
}

/// Folded between words; a word that is longer than a line stays whole.
fn fold(cell: &str, width: usize) -> Vec<String> {
    if measure_text_width(cell) <= width {
        return vec![cell.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in cell.split(' ') {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        let row = |row: &&[&str]| row.iter().map(|&cell| cell.to_owned()).collect();
        rows.iter().map(row).collect()
    }

    fn mirrored() -> Vec<Vec<String>> {
        let agent = "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1";
        rows(&[
            &[
                "+",
                "copied",
                agent,
                &DIGEST[..19],
                "57.1 MB",
                "linux/amd64 linux/arm64",
            ],
            &[
                "=",
                "present",
                "busybox:1.37.0-musl",
                &DIGEST[..19],
                "",
                "linux/amd64 linux/arm64 linux/riscv64",
            ],
            &["!", "failed", "ghcr.io/x:1"],
        ])
    }

    #[test]
    fn columns_line_up() {
        let short = rows(&[&["a", "bb"], &["ccc", "d"]]);
        assert_eq!(fit(&short, None), ["a    bb", "ccc  d"]);
        assert_eq!(fit(&short, Some(80)), ["a    bb", "ccc  d"]);
        assert!(fit(&[], Some(80)).is_empty());
    }

    #[test]
    fn without_a_terminal_nothing_is_left_out() {
        let lines = fit(&mirrored(), None);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("57.1 MB") && lines[1].ends_with("linux/riscv64"));
    }

    #[test]
    fn a_narrow_terminal_loses_digests_and_folds_the_end() {
        assert_eq!(
            fit(&mirrored(), Some(100)),
            [
                "+  copied   us-docker.pkg.dev/castai-hub/library/agent:v0.161.1  57.1 MB  linux/amd64 linux/arm64",
                "=  present  busybox:1.37.0-musl                                           linux/amd64 linux/arm64",
                "                                                                          linux/riscv64",
                "!  failed   ghcr.io/x:1",
            ]
        );
        for line in fit(&mirrored(), Some(80)) {
            assert!(measure_text_width(&line) <= 80, "{line}");
        }
        let lines = fit(&mirrored(), Some(80));
        assert!(
            lines[0].contains("…") && lines[0].contains("agent:v0.161.1"),
            "{lines:?}"
        );
    }

    #[test]
    fn sentences_are_folded_and_their_digests_shortened() {
        let found = rows(&[
            &["=", "busybox:1", &format!("same content, {DIGEST}")],
            &[
                "!",
                "agent:1",
                &format!("{DIGEST} is missing, and a great many other things are missing as well"),
            ],
        ]);
        assert_eq!(
            fit(&found, Some(60)),
            [
                "=  busybox:1  same content, sha256:0123456789ab",
                "!  agent:1    sha256:0123456789ab is missing, and a great",
                "              many other things are missing as well",
            ]
        );
    }

    #[test]
    fn colours_take_no_room() {
        let sign = console::Style::new()
            .force_styling(true)
            .green()
            .apply_to('+');
        let coloured = vec![vec![sign.to_string(), "x".repeat(90), "word ".repeat(20)]];
        for line in fit(&coloured, Some(60)) {
            assert!(measure_text_width(&line) <= 60, "{line}");
        }
    }
}
