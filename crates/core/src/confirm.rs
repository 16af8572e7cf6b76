//! Asking before something is taken away.

use std::io::{self, IsTerminal};

use crate::{Failure, Printer, Result};

/// Says what will happen and lets somebody at the terminal type `word`; nobody there
/// means no. The question is asked once.
///
/// # Errors
/// Exit 2 without a terminal, or when anything else is typed.
pub async fn confirm(printer: &Printer, what: &str, word: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("not confirmed: {what}")).hint("give --yes"));
    }
    printer.warn(format!("{what}; type {word} to go on"));
    let typed = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    match typed.await {
        Ok(Ok(line)) if line.trim() == word => Ok(()),
        _ => Err(Failure::usage("not confirmed: nothing was changed")),
    }
}
