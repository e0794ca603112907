//! A durable, partitioned, append-only log with consumer groups: the events log and the results log.
//!
//! One generic port serves both. Records of one partition keep the order in which `append` was called; nothing is promised
//! across partitions. Reading shows durable records only (rule 5 of the delivery rules).

mod fate;

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;

use crate::{
    Event, GroupId, LogEpoch, Offset, Partition, PartitionCount, Position, Reason, ResultRecord, error::ErrorClass,
    event::Origin, result::DeadLetter,
};

pub use self::fate::{Decision, Fate};

/// The log of events.
pub type EventLog = dyn Log<Event>;
/// The log of results.
pub type ResultLog = dyn Log<ResultRecord>;
/// The log of dead letters.
pub type DeadLetterLog = dyn Log<DeadLetter>;

/// What the logs carry.
pub trait LogRecord: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Whose record it is; its client id is the record's key.
    fn origin(&self) -> &Arc<Origin>;
    /// Roughly how many bytes the record takes in a log, for budgets; never an underestimate of the payload.
    fn weight(&self) -> usize;
}

impl LogRecord for Event {
    fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    fn weight(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        128 + self.payload.len() + attributes + self.edge_context.len()
    }
}

impl LogRecord for ResultRecord {
    fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    fn weight(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        let failure = self.failure.as_ref().map_or(0, |f| f.reason.len() + f.message.len());
        128 + self.payload.len() + attributes + failure + self.edge_context.len()
    }
}

impl LogRecord for DeadLetter {
    fn origin(&self) -> &Arc<Origin> {
        &self.event.origin
    }

    fn weight(&self) -> usize {
        64 + self.event.weight() + self.failure.reason.len() + self.failure.message.len()
    }
}

/// A record and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<R> {
    /// Its place in its partition.
    pub offset: Offset,
    /// The record.
    pub record: R,
}

/// Consecutive records of one partition. Offsets rise; they need not be dense.
#[derive(Debug, Clone)]
pub struct Batch<R> {
    /// Which partition.
    pub partition: Partition,
    /// Where this read began: no durable record lies between here and the first of `records`.
    pub from: Position,
    /// The records, in order. May be empty when a range holds none (erased records).
    pub records: Arc<[Stored<R>]>,
    /// Where the next read begins: past the last record, and past any hole behind it.
    pub next: Position,
    /// These records were shown before they were durable, to a consumer that [wants that](Consumer::show_early), and this is
    /// what becomes of them. `None`: they are durable.
    pub provisional: Option<Fate>,
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first position that can still be read.
    pub start: Position,
    /// Past the last durable record.
    pub end: Position,
}

/// What a consumer group has finished in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Everything before this is finished.
    pub position: Position,
    /// The consumer's own notes, at most 4 KiB (the jobs lane keeps settled offsets beyond the position here).
    pub metadata: Bytes,
}

/// What a consumer is told.
#[derive(Debug)]
pub enum ConsumerEvent<R> {
    /// The consumer now owns this partition and will read from the committed position.
    Assigned {
        /// Which.
        partition: Partition,
        /// Where its predecessor got to.
        committed: Committed,
    },
    /// The partition leaves. Settle what is in hand, commit, then call [`Consumer::release`]; until then it stays.
    Revoked {
        /// Which.
        partition: Partition,
    },
    /// Records of an owned partition, in order, with no hole against the batch before.
    Records(Batch<R>),
}

/// Why a log could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// There is no room. Nothing of this append was or will be stored. Retryable.
    #[error("the log is full: {0}")]
    Full(String),
    /// The append failed or its outcome is unknown. Never append the same again: end the session (executor: give up
    /// the partition) and let resume decide.
    #[error("an append failed or its outcome is unknown: {0}")]
    Ambiguous(String),
    /// The log cannot be reached just now. Nothing was stored. Retryable.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// The position lies before the log's start: retention has passed it.
    #[error("position {wanted} is gone; the log of partition {partition} begins at {start}")]
    Expired {
        /// Which partition.
        partition: Partition,
        /// What was asked for.
        wanted: Position,
        /// What is there.
        start: Position,
    },
    /// Stored bytes are not what was written. Not retryable; an operator must look.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The log is not the one that was worked on: it was made anew, or cut. Not retryable by this process; one that starts
    /// anew makes a new epoch of it.
    #[error("the log is not the one that it was: {0}; start again")]
    Replaced(String),
    /// The log is shutting down.
    #[error("the log is closed")]
    Closed,
}

/// A record is larger than its log takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it takes {bytes} bytes with everything around it, and the log takes {most}")]
pub struct TooLarge {
    /// How large it is, as the log counts.
    pub bytes: usize,
    /// How large it may be.
    pub most: usize,
}

impl LogError {
    /// What the client is told.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Full(_) => Reason::StorageFull,
            Self::Ambiguous(_) => Reason::AppendFailed,
            // Expired: whoever comes back is told of the gap.
            Self::Unavailable(_) | Self::Expired { .. } => Reason::BackendUnavailable,
            Self::Closed => Reason::Draining,
            Self::Damaged(_) | Self::Replaced(_) => Reason::Internal,
        }
    }

    /// Its class.
    pub const fn class(&self) -> ErrorClass {
        self.reason().class()
    }
}

/// Resolves when an append is durable (`Ok`: the position past its last record), or has failed.
///
/// The records are enqueued whether or not it is polled; dropping it loses only the answer.
pub type Appending = BoxFuture<'static, Result<Position, LogError>>;

/// One durable, partitioned log.
#[async_trait]
pub trait Log<R: LogRecord>: Debug + Send + Sync {
    /// Which incarnation of the log this is. Constant for the life of the handle.
    fn epoch(&self) -> LogEpoch;

    /// How many partitions there are. Constant for the life of the handle.
    fn partitions(&self) -> PartitionCount;

    /// Whether a record is small enough to be stored. Asks nobody; the answer may change while the log is open, when the log has
    /// learned of another limit. Whoever appends a record for the first time asks this first: one that does not fit
    /// would fail each time.
    ///
    /// # Errors
    /// How large it is, and how large it may be.
    fn fits(&self, _record: &R) -> Result<(), TooLarge> {
        Ok(())
    }

    /// Waits until the append queue has room. Callers wait for this before they gather more records, so the queue
    /// exceeds its budget by at most one batch of each caller. Cancel safe.
    async fn ready(&self);

    /// Enqueues `records` (not empty) for one partition, in the order of calls, and returns at once. What lands is a
    /// prefix: when an append fails, every later append enqueued before the failure was reported fails as well. Between
    /// the report and the moment when its caller looks at it, others get through: a caller that has several appends on
    /// their way takes an [`appender`](Self::appender).
    /// Never refuses for lack of queue room: see [`ready`](Self::ready).
    fn append(&self, partition: Partition, records: Vec<R>) -> Appending;

    /// A way into the log that ends with its first failure, for a caller that does not wait for one append before it makes
    /// the next.
    fn appender(&self) -> Box<dyn Appender<R>>;

    /// An [`appender`](Self::appender) for what follows from records that were [shown early](Consumer::show_early): it also ends
    /// when such records, of whichever topic of the same store, are taken back. So nothing that follows from them is ever stored,
    /// whenever it is appended, if it was made before somebody began with them whose [`Fate`] was not decided then.
    fn appender_of_answers(&self) -> Box<dyn Appender<R>> {
        self.appender()
    }

    /// Joins a consumer group. Each partition belongs to one member of the group at a time.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] (retryable), [`LogError::Closed`], [`LogError::Damaged`].
    async fn consume(&self, group: &GroupId) -> Result<Box<dyn Consumer<R>>, LogError>;

    /// What the partition holds now. Fresh: asks the log, never a cache.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] (retryable), [`LogError::Closed`].
    async fn range(&self, partition: Partition) -> Result<Range, LogError>;

    /// Reads records from `from` on: some, up to about `max_bytes`, at least one if there is any. Does not wait for new
    /// ones: at the end of the log the batch is empty and `next` equals `from`. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Expired`] when `from` lies before the start; [`LogError::Damaged`]; [`LogError::Unavailable`]
    /// (retryable); [`LogError::Closed`].
    async fn read(&self, partition: Partition, from: Position, max_bytes: usize) -> Result<Batch<R>, LogError>;

    /// How far every consumer group got, for lag and retention: group, partition, committed position.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] (retryable), [`LogError::Closed`].
    async fn committed(&self, partition: Partition) -> Result<Vec<(GroupId, Position)>, LogError>;
}

/// One caller's way into a log.
///
/// What lands of it is a prefix of what was appended through it, of all partitions together: once one append has failed,
/// every later one fails as well, whenever it was made. Whoever has seen the failure, and knows what to do about it, goes on
/// with a new appender. Without this, an append made a moment before its predecessor's failure was looked at would land
/// alone; its predecessor, sent again behind it, would pass for a duplicate and be lost.
pub trait Appender<R: LogRecord>: Debug + Send + Sync {
    /// As [`Log::append`]. After a failure: [`LogError::Unavailable`], nothing was stored.
    fn append(&self, partition: Partition, records: Vec<R>) -> Appending;
}

/// One member of a consumer group. Dropping it leaves the group.
#[async_trait]
pub trait Consumer<R: LogRecord>: Debug + Send {
    /// Completes once the group has taken this member in and what it was given first (perhaps nothing) lies ready for
    /// [`next`](Self::next), which need not be called for that; never if that does not happen. At once where a group has nobody
    /// who would have to agree. What comes later is not waited for: others give up only then what this member is to have.
    fn joined(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// From now on records may come a moment before they are durable ([`Batch::provisional`]), where the log can do that. For who
    /// can begin with them, so that what follows from them becomes durable together with them, and sees to it that nothing
    /// comes of it when they are taken back: whatever it appends goes through an
    /// [`appender_of_answers`](Log::appender_of_answers), and all else waits for the [`Fate`]; it begins with nothing that is
    /// decided against. Records that were taken back leave their offsets to others: read again from the last commit.
    fn show_early(&mut self) {}

    /// Waits for what comes next. Reads ahead at most one batch per partition. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] (retryable: call again), [`LogError::Expired`] (retention overtook the group),
    /// [`LogError::Damaged`], [`LogError::Closed`].
    async fn next(&mut self) -> Result<ConsumerEvent<R>, LogError>;

    /// Stops delivering records of these partitions until [`resume`](Self::resume). One batch may still come.
    fn pause(&mut self, partition: Partition);

    /// Delivers again.
    fn resume(&mut self, partition: Partition);

    /// Makes `position` the place from which the partition is read next (the router obeys the mailbox, not its commits).
    fn seek(&mut self, partition: Partition, position: Position);

    /// Records that everything before `committed.position` is finished. Does not wait: durable soon, and in order. A
    /// lost commit costs repeated work, never a loss. Ignored for a partition that is not owned, and beyond what is durable.
    fn commit(&mut self, partition: Partition, committed: Committed);

    /// Waits until all commits so far are durable. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], [`LogError::Closed`].
    async fn flush(&mut self) -> Result<(), LogError>;

    /// Gives a revoked partition up.
    fn release(&mut self, partition: Partition);
}
