//! What is shown: lines that stay, and one of progress, which is rewritten on a terminal and a plain line in a pipe.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use super::super::super::style::Style;
use crate::exit::{Failure, OrUnread};

/// How often a pipe gets a line.
const IN_A_PIPE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Screen {
    is_terminal: bool,
    pub(super) style: Style,
    last: Option<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), style: Style::of_stdout(), last: None }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, line: &str) -> Result<(), Failure> {
        let clear = if self.is_terminal && self.last.take().is_some() { "\r\u{1b}[2K" } else { "" };
        writeln!(io::stdout(), "{clear}{line}").or_unread()
    }

    /// How far it is.
    pub(super) fn progress(&mut self, line: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout();
        if self.is_terminal {
            self.last = Some(Instant::now());
            write!(stdout, "\r\u{1b}[2K{line}").and_then(|()| stdout.flush()).or_unread()
        } else if self.last.is_none_or(|last| last.elapsed() >= IN_A_PIPE) {
            self.last = Some(Instant::now());
            writeln!(stdout, "{line}").or_unread()
        } else {
            Ok(())
        }
    }
}
