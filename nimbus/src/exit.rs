//! How the process ends: exit codes after sysexits.h, so that scripts and service managers can tell failures apart.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

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
    /// A server refused the token or the client id: trying again changes nothing.
    Denied,
    /// Another process took over this client id: starting this one again would only put the other one out.
    Superseded,
    /// Cut short by a signal.
    Interrupted,
    /// Whoever read standard output has gone, as with `| head`. What a shell shows of a program that SIGPIPE killed.
    Unread,
}

/// For `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0    done
  1    it ran, but not everything came out right (an event failed, something is missing or wrong, a shutdown took too long)
  64   a setting or an argument is wrong; every problem is listed
  65   stored data is damaged or of another version; see `nimbus data --help`
  69   a server, an address or the data directory cannot be had just now
  74   reading or writing failed
  77   the server refused the token or the client id; a restart does not help
  78   another process uses the same client id and took over; do not restart, give each its own
  130  cut short by a signal
  141  whoever read standard output has gone (as with `| head`)";

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Io => 74,
            Self::Denied => 77,
            Self::Superseded => 78,
            Self::Interrupted => 130,
            Self::Unread => 141,
        }
    }

    /// What a server's refusal means, by its canonical gRPC code.
    pub(crate) const fn of_refusal(code: i32) -> Self {
        match code {
            PERMISSION_DENIED | UNAUTHENTICATED => Self::Denied,
            _ => Self::Unavailable,
        }
    }
}

const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

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

/// Gives a failed write to standard output its exit code.
pub(crate) trait OrUnread<T> {
    fn or_unread(self) -> Result<T, Failure>;
}

impl<T> OrUnread<T> for io::Result<T> {
    fn or_unread(self) -> Result<T, Failure> {
        self.map_err(|error| {
            let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Unread } else { Exit::Io };
            Failure { exit, error: error.into() }
        })
    }
}

/// Writes a line for people to standard error. If nobody reads that, nobody is told, and nothing has failed.
pub(crate) fn tell(what: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{what}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Exit; 10] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Data,
        Exit::Unavailable,
        Exit::Io,
        Exit::Denied,
        Exit::Superseded,
        Exit::Interrupted,
        Exit::Unread,
    ];

    #[test]
    fn the_help_lists_every_code() {
        let listed: Vec<u8> = HELP.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(listed, ALL.map(Exit::code));
    }

    #[test]
    fn the_operations_page_lists_every_code() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let page = std::fs::read_to_string(path).unwrap();
        let codes = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok());
        assert_eq!(codes.collect::<Vec<u8>>(), ALL.map(Exit::code));
    }
}
