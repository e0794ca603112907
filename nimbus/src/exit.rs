//! How the process ends: exit codes after sysexits.h, so that scripts and service managers can tell failures apart.

use std::{fmt, process::ExitCode};

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done,
    /// It ran, but not everything came out right: an event failed, something was lost, a shutdown took too long.
    Failed,
    /// A setting or an argument is wrong.
    Usage,
    /// Stored data is damaged, or of another version.
    Data,
    /// A server, an address or a directory cannot be had just now.
    Unavailable,
    /// Reading or writing failed.
    Io,
    /// Cut short by a signal.
    Interrupted,
}

/// For `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0    done
  1    it ran, but not everything came out right (an event failed, something is missing, a shutdown took too long)
  64   a setting or an argument is wrong; every problem is listed
  65   stored data is damaged or of another version; see `nimbus data --help`
  69   a server, an address or the data directory cannot be had just now
  74   reading or writing failed
  130  cut short by a signal";

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Io => 74,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure on its way to `main`, which tells it and exits.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{message}") }
    }
}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Data, Exit::Unavailable, Exit::Io, Exit::Interrupted];
        let listed: Vec<u8> = HELP.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(listed, all.map(Exit::code));
    }
}
