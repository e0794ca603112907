//! What a group knows of one partition that it owns.

use nimbus_core::{Position, ports::log::Committed};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::desk::Counter;

/// Why a worker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The partition goes to someone else, or the process ends.
    Revoked,
    /// Retention has passed its place; a new worker goes on at the log's start.
    Overtaken,
}

#[derive(Debug)]
pub(super) struct Seat<R> {
    pub(super) counter: Counter<R>,
    stop: CancellationToken,
    task: Option<AbortHandle>,
    /// The last finished position that was taken from the worker.
    pub(super) committed: Committed,
    pub(super) log_start: Position,
    /// Where the next batch must begin; unknown until the worker has said from where it reads.
    pub(super) next: Option<Position>,
    failures: u32,
    advanced: bool,
    leaving: Option<Leaving>,
}

impl<R> Seat<R> {
    pub(super) fn new(
        counter: Counter<R>,
        stop: CancellationToken,
        committed: Committed,
        log_start: Position,
        failures: u32,
    ) -> Self {
        Self { counter, stop, task: None, committed, log_start, next: None, failures, advanced: false, leaving: None }
    }

    pub(super) fn with_task(self, task: AbortHandle) -> Self {
        Self { task: Some(task), ..self }
    }

    /// Where the next batch must begin, if one is wanted at all.
    pub(super) fn expected(&self) -> Option<Position> {
        self.next.filter(|_| self.leaving.is_none())
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn leaving(&self) -> Option<Leaving> {
        self.leaving
    }

    /// Asks the worker to settle and end.
    pub(super) fn leave(&mut self, why: Leaving) {
        self.leaving = Some(why);
        self.stop.cancel();
    }

    /// Ends the worker at once: what it holds lies before the log's start. Its successor begins there.
    pub(super) fn overtake(&mut self, start: Position) {
        self.log_start = self.log_start.max(start);
        if self.leaving.is_none() {
            self.leaving = Some(Leaving::Overtaken);
            if let Some(task) = &self.task {
                task.abort();
            }
        }
    }

    pub(super) fn take_finished(&mut self) -> Option<Committed> {
        let finished = self.counter.take_finished()?;
        self.advanced |= finished.position > self.committed.position;
        self.committed = finished.clone();
        Some(finished)
    }

    /// How many workers in a row have now failed without getting anything finished.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        if self.advanced { 1 } else { self.failures.saturating_add(1) }
    }
}
