//! The mailbox rules: what waits for each client, who owns it, and which results are duplicates.
//!
//! Pure: no I/O, no clock, no randomness; time and tokens come in as arguments. The embedded mailbox runs this code as it
//! stands. An adapter over a shared store restores one client at a time ([`PartitionMailbox::restore`]), lets this code
//! decide ([`PartitionMailbox::claim`], [`judge`]) and writes the outcome if nobody else was there in between. All pass the
//! same contract suite (`testing/contracts`). The results log is the truth. A mailbox is an index over it that may forget at any time, so long
//! as it says so by a floor: in the worst case everything is below a floor and readers go to the log.
//!
//! One [`PartitionMailbox`] holds one partition; partitions share nothing.

mod client;
mod fold;
mod held;
mod partition;
mod snapshot;
mod tenure;
mod waiting;

pub use client::Undo;
pub use fold::{FOLD_OUTBOXES, Fold, JOBS_WINDOW, Judgement, OutboxFold, Verdict, judge};
pub use held::{Held, HeldClaim};
pub use partition::{ApplyOutcome, Folded, Granted, PartitionMailbox};
pub use snapshot::{ClaimChange, ClaimImage, ClientSnapshot, OutboxClaim, PartitionSnapshot};
pub use tenure::{FORMER_SESSIONS, Made, Rival, Tenure};

use std::time::Duration;

use crate::Position;

/// Bytes in a resume token.
pub const TOKEN_BYTES: usize = 16;

/// How many earlier outboxes of a client are remembered, so that a delayed Hello of one of them is recognised. A Hello
/// delayed past that many newer outboxes would win; its stream is long gone by then.
pub const RETIRED_OUTBOXES: usize = 8;

/// How much waits before it is left to the log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Most records waiting for one client. Default [`Self::CLIENT_RECORDS`].
    pub client_records: usize,
    /// Most bytes waiting for one client, so that one that never acknowledges cannot take the whole partition's room.
    /// Default [`Self::CLIENT_BYTES`].
    pub client_bytes: usize,
    /// Most bytes waiting in the partition, as the adapter stores them; the oldest go first. Default [`Self::PARTITION_BYTES`].
    pub partition_bytes: usize,
    /// How long an unacknowledged record waits. Default [`Self::WINDOW`].
    pub window: Duration,
    /// How long a client's state outlives its last sign of life. At least the retention of both logs: until then a
    /// duplicate can still come. Default [`Self::RETENTION`].
    pub retention: Duration,
}

impl MailboxLimits {
    /// As the protocol promises.
    pub const CLIENT_RECORDS: usize = 4_096;
    /// A client of usual records meets the record limit first.
    pub const CLIENT_BYTES: usize = 4 << 20;
    /// 16 partitions then hold at most 256 MiB.
    pub const PARTITION_BYTES: usize = 16 << 20;
    /// As the protocol promises: a reconnect within it is served from memory.
    pub const WINDOW: Duration = Duration::from_secs(5 * 60);
    /// Kafka's usual retention.
    pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self {
            client_records: Self::CLIENT_RECORDS,
            client_bytes: Self::CLIENT_BYTES,
            partition_bytes: Self::PARTITION_BYTES,
            window: Self::WINDOW,
            retention: Self::RETENTION,
        }
    }
}

/// Where the partition of each log begins: nothing before can be read, and so nothing before can come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStarts {
    /// Of the events log.
    pub events: Position,
    /// Of the results log.
    pub results: Position,
}

#[cfg(test)]
mod tests;
