//! The seam between the log and whoever keeps small state in it: consumer groups and the mailbox.
//!
//! A state machine lives in memory. Each change goes into the same segment log as the events, as a *state record*, and
//! so rides on the same fdatasync. When a segment is full, the machine is asked for a snapshot. After a restart it gets
//! the newest snapshot back, then every state record since the beginning of that segment.
//!
//! Rules that a machine must keep, so that the snapshot needs no pause of the world:
//! - **Change memory first, or under the lock under which you append**: a snapshot holds at least the effect of every
//!   record whose append was called before [`StateMachine::snapshot`].
//! - **Records set, they do not add**: replay may repeat records that the snapshot holds already, always in the order in
//!   which they were appended and always up to the newest. Write down the outcome ("owner is X"), not the deed, and
//!   replay it without conditions.
//! - **A record does not begin with a 0 byte** (and so is not empty): that marks an erased one. Begin with a tag or version.
//! - A change whose append never became durable may still have come through in a snapshot. So nothing in memory may
//!   depend on records that are not readable in the log yet.

use std::{fmt, sync::Arc};

use nimbus_core::{
    ClientId,
    ports::log::{Appending, LogError},
};

use crate::queue::Queue;

/// Whose state a record is. The number stands on disk: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum StateKind {
    /// Commits of the consumer groups.
    Groups = 1,
    /// Claims, applied positions and folds of the mailbox.
    Mailbox = 2,
}

impl StateKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 2] = [Self::Groups, Self::Mailbox];

    /// The kind with this number on disk.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Stored state that its owner cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UnreadableState(pub(crate) String);

/// State that is rebuilt from a snapshot and the records after it. Shared: takes `&self` and locks for itself.
pub(crate) trait StateMachine: fmt::Debug + Send + Sync {
    /// Whose state it is.
    fn kind(&self) -> StateKind;

    /// Takes over what [`snapshot`](Self::snapshot) returned. Called at most once, before any `replay`. Not called when
    /// there is no snapshot: the machine is then as new.
    fn restore(&self, snapshot: &[u8]) -> Result<(), UnreadableState>;

    /// Repeats one record. May have been part of the snapshot already.
    fn replay(&self, record: &[u8]) -> Result<(), UnreadableState>;

    /// Everything, in a form of the machine's own, with its own version number in front. Called on a background thread
    /// while the machine is in use; keep the lock short.
    fn snapshot(&self) -> Vec<u8>;

    /// Forgets one client for good (`nimbus data erase`; nothing else runs then).
    fn erase(&self, client: &ClientId);
}

/// Where a state machine appends its records. Clone-able.
#[derive(Clone)]
pub(crate) struct StateJournal {
    queue: Arc<Queue>,
    kind: StateKind,
}

impl fmt::Debug for StateJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateJournal").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl StateJournal {
    pub(crate) fn new(queue: Arc<Queue>, kind: StateKind) -> Self {
        Self { queue, kind }
    }

    /// Enqueues a record at once, in the order of calls, and asks for an fsync. Resolves when it is durable (the position
    /// in the answer means nothing). Dropping the future loses only the answer.
    ///
    /// A failure says that the record may or may not be there after a restart; memory keeps the change, and the next
    /// snapshot holds it.
    pub(crate) fn append(&self, record: &[u8]) -> Appending {
        self.queue.append_state(self.kind, record)
    }

    /// Enqueues a record that rides along with the next fsync, within [`crate::queue::LAZY_DELAY`] at the latest. Order
    /// with [`append`](Self::append) is kept. A crash before that loses it.
    pub(crate) fn note(&self, record: &[u8]) {
        self.queue.note_state(self.kind, record);
    }

    /// Waits until everything that was appended or noted before is durable. Cancel safe.
    ///
    /// # Errors
    /// What became of the write; notes are kept and written with the next one.
    pub(crate) async fn flush(&self) -> Result<(), LogError> {
        self.queue.flush().await
    }
}
