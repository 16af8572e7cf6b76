//! Reading what other processes wrote: records and plain references, one per line.

use std::io::{self, BufRead, IsTerminal};

use crate::{
    Failure, ImageRef, Result,
    record::{Line, Record},
};

/// One line of input.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A bare reference.
    Reference(ImageRef),
    /// A record of a known kind.
    Record(Record),
    /// A record of an unknown kind, to be passed through.
    Unknown(String),
}

/// Reads all of stdin: records, references, blank lines and `#` comments. Everything is
/// read and checked before the first item is acted on, so that a truncated pipe or a
/// typo in the last line changes nothing.
///
/// # Errors
/// Exit 2: stdin is a terminal, not UTF-8, or a line is neither a record nor a reference;
/// the line number is named.
pub fn read_stdin() -> Result<Vec<Input>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::usage(
            "`-` reads records or references from stdin, but stdin is a terminal",
        )
        .hint("pipe another command into this one: castlink-upgrade images | …"));
    }
    read(stdin.lock())
}

/// [`read_stdin`], with an ear for signals meanwhile: whoever writes may take its time.
///
/// # Errors
/// As [`read_stdin`].
pub async fn stdin() -> Result<Vec<Input>> {
    let read = tokio::task::spawn_blocking(read_stdin).await;
    read.unwrap_or_else(|error| Err(Failure::failed("reading stdin ended early").because(error)))
}

/// Reads all lines of `input`; see [`read_stdin`].
///
/// # Errors
/// As [`read_stdin`].
pub fn read(input: impl BufRead) -> Result<Vec<Input>> {
    let mut items = Vec::new();
    for (number, line) in input.lines().enumerate() {
        let line = line.map_err(|err| {
            Failure::usage(format!("reading line {} of the input", number + 1)).because(err)
        })?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        items.push(
            item(line).map_err(|err| err.context(format!("line {} of the input", number + 1)))?,
        );
    }
    Ok(items)
}

fn item(line: &str) -> Result<Input> {
    if !line.starts_with('{') {
        return line.parse().map(Input::Reference);
    }
    Ok(match Record::from_line(line)? {
        Line::Record(record) => Input::Record(record),
        Line::Unknown(line) => Input::Unknown(line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_records_and_comments_mix() {
        let text = "\u{feff}# a comment\r\n\nbusybox:1\r\n{\"castlink\":1,\"kind\":\"image\",\"source\":\"a\"}\n{\"castlink\":1,\"kind\":\"new\"}\n";
        let items = read(text.as_bytes()).unwrap();
        assert!(matches!(
            &items[..],
            [
                Input::Reference(_),
                Input::Record(Record::Image(_)),
                Input::Unknown(_)
            ]
        ));
    }

    #[test]
    fn a_bad_line_is_named() {
        let err = read("busybox\nNOT A REF\n".as_bytes()).unwrap_err();
        assert_eq!(err.to_string(), "line 2 of the input");
        assert_eq!(err.exit(), crate::Exit::Usage);
        assert!(read("<!DOCTYPE html>".as_bytes()).is_err());
        assert!(read("{\"castlink\":1,\"kind\":\"image\",\"sou".as_bytes()).is_err());
    }
}
