//! One partition at the desk: whose it is, where it is read, and what was read ahead.

use nimbus_core::{
    Partition, Position,
    ports::log::{Batch, LogError},
};

/// Whose a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Not this member's.
    Nobody,
    /// This member's.
    Here,
    /// Still this member's, until it is released.
    Leaving,
    /// Perhaps another member's already; its former owner has not let go of it.
    Lost,
}

/// What was read at once.
#[derive(Debug)]
pub(super) struct Gathered<R> {
    pub(super) batch: Batch<R>,
    /// There may be more behind it already: whoever takes it wakes the thread.
    pub(super) more: bool,
}

/// What was read of a partition.
#[derive(Debug)]
pub(super) struct Seat<R> {
    pub(super) owner: Owner,
    pub(super) paused: bool,
    /// Raised whenever what was read ahead is void.
    pub(super) round: u64,
    /// Where the next batch begins.
    pub(super) next: Position,
    /// Reading must begin anew, at `next`.
    pub(super) restart: bool,
    /// An error was found: no reading on over it.
    pub(super) halted: bool,
    /// Read ahead, at most one.
    pub(super) waiting: Option<Result<Batch<R>, LogError>>,
    /// There may be more behind that already: whoever takes it wakes the thread.
    pub(super) more: bool,
}

impl<R> Seat<R> {
    pub(super) fn new() -> Self {
        Self {
            owner: Owner::Nobody,
            paused: false,
            round: 0,
            next: Position::START,
            restart: false,
            halted: false,
            waiting: None,
            more: false,
        }
    }

    /// Reading begins at `position`; what was read ahead is forgotten. Says whether there was something.
    pub(super) fn turn_to(&mut self, position: Position) -> bool {
        self.round += 1;
        self.next = position;
        self.restart = true;
        self.halted = false;
        self.waiting.take().is_some()
    }

    /// Nothing is read of it any more. Says whether something had been read ahead.
    pub(super) fn stop(&mut self) -> bool {
        self.round += 1;
        self.restart = false;
        self.halted = true;
        self.waiting.take().is_some()
    }

    /// What the thread shall do for it. If nothing because of what was read ahead: whatever the thread was woken for may be of this
    /// partition, and is to be looked for when that has been taken.
    pub(super) fn task(&mut self, partition: Partition) -> Option<Task> {
        self.more |= self.waiting.is_some();
        let wanted = self.owner == Owner::Here && !self.paused && !self.halted && self.waiting.is_none();
        wanted.then_some(Task { partition, round: self.round, from: self.next, restart: self.restart })
    }
}

/// One batch to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) partition: Partition,
    pub(super) round: u64,
    pub(super) from: Position,
    pub(super) restart: bool,
}
