//! The signals that end a process: SIGTERM and SIGINT (ctrl-c).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// From when this exists, the two signals no longer kill the process.
#[derive(Debug)]
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Takes the signals over.
    pub(crate) fn of_process() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
