//! Settings of the embedded backend.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use nimbus_core::{PartitionCount, mailbox::MailboxLimits};

use crate::notifier::NotifierConfig;

/// Partitions of a new data directory: enough that 16 executors share the work, few enough that group commit finds
/// several records for each.
pub const DEFAULT_PARTITIONS: u32 = 16;
/// Size at which a segment file is sealed: retention deletes whole segments, so this is its grain.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
/// How long finished records are kept: a client that is away for a week loses nothing.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much finished history is kept.
pub const DEFAULT_RETENTION_BYTES: u64 = 4 << 30;
/// Size of the log at which new events are refused.
pub const DEFAULT_MAX_BYTES: u64 = 16 << 30;
/// Free space on the file system below which new events are refused, so that accepted ones can still be answered.
pub const DEFAULT_RESERVE_BYTES: u64 = 64 << 20;
/// Records that may wait for the next write: some 30 ms of a fast disk.
pub const DEFAULT_APPEND_QUEUE_BYTES: usize = 32 << 20;
/// Recent records that are kept in memory for consumers that keep up.
pub const DEFAULT_TAIL_CACHE_BYTES: usize = 64 << 20;
/// Zeros that are written ahead: some hundred writes of a few events each. More would make the write that does it slower.
pub const DEFAULT_SPARE_BYTES: usize = 256 << 10;
/// How long a write waits for what executors answer to its own events by default.
pub const DEFAULT_ANSWER_PATIENCE: Duration = Duration::from_micros(250);

/// The largest segment that positions in a file (32 bits) leave room for, with one huge write on top.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// The smallest segment: more often than this a new file costs more than it helps.
pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;
/// The most partitions: each costs some hundred bytes a segment.
pub const MAX_PARTITIONS: u32 = 4096;

/// Settings of the embedded backend. [`EmbeddedConfig::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Where everything is kept. Made if it does not exist. One process at a time.
    pub data_dir: PathBuf,
    /// How many partitions a new data directory gets (1 to [`MAX_PARTITIONS`]). A directory that exists with another
    /// number is refused: records would change their partition, and so their order.
    pub partitions: PartitionCount,
    /// When a segment is sealed and the next one begun, in bytes ([`MIN_SEGMENT_BYTES`] to [`MAX_SEGMENT_BYTES`]). A
    /// segment may exceed it by one write.
    pub segment_bytes: u64,
    /// How long records are kept. What a consumer group has not finished with is kept longer.
    pub retention: Duration,
    /// How many bytes of finished records are kept at most; the oldest go first. Dead letters stay for the full
    /// `retention`.
    pub retention_bytes: u64,
    /// When the log takes this many bytes, new events are refused as full. Results, dead letters and state are not, or
    /// what was accepted could never be answered.
    pub max_bytes: u64,
    /// When the file system has less than this free (or less than a tenth of its size, if that is smaller), new events
    /// are refused as full. What is left must do for the results of accepted events, for commits and for snapshots:
    /// without them nothing can be deleted, and the disk stays full.
    pub reserve_bytes: u64,
    /// Records that may wait for the next write before [`ready`](nimbus_core::ports::log::Log::ready) makes callers wait,
    /// in bytes.
    pub append_queue_bytes: usize,
    /// How long a write waits for what pure executors answer to its own events, so that both share an fsync. Longer than such
    /// an answer takes, shorter than an fsync; after waiting in vain, many writes go without. Zero: it does not wait.
    pub answer_patience: Duration,
    /// How many zeros are written ahead of the end of the log, in bytes, so that the fsync of a small write need not record
    /// that the file has grown. Not beyond the size of a segment. Zero: none.
    pub spare_bytes: usize,
    /// Recent records that are kept decoded in memory, in bytes, over all partitions.
    pub tail_cache_bytes: usize,
    /// Bounds of the mailboxes. Their own retention must not be shorter than `retention`.
    pub mailbox: MailboxLimits,
    /// Bounds of the bus between the servers of this process.
    pub notifier: NotifierConfig,
}

impl EmbeddedConfig {
    /// The defaults, in this directory.
    pub fn new(data_dir: impl AsRef<Path>) -> Self {
        Self {
            data_dir: data_dir.as_ref().to_path_buf(),
            partitions: PartitionCount(NonZeroU32::new(DEFAULT_PARTITIONS).expect("the default is not 0")),
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            retention: DEFAULT_RETENTION,
            retention_bytes: DEFAULT_RETENTION_BYTES,
            max_bytes: DEFAULT_MAX_BYTES,
            reserve_bytes: DEFAULT_RESERVE_BYTES,
            append_queue_bytes: DEFAULT_APPEND_QUEUE_BYTES,
            answer_patience: DEFAULT_ANSWER_PATIENCE,
            spare_bytes: DEFAULT_SPARE_BYTES,
            tail_cache_bytes: DEFAULT_TAIL_CACHE_BYTES,
            mailbox: MailboxLimits::default(),
            notifier: NotifierConfig::default(),
        }
    }

    /// Checks what the types leave open.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { segment_bytes, partitions, .. } = self;
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(segment_bytes) {
            return Err(format!(
                "segment_bytes is {segment_bytes}, it must be {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}"
            ));
        }
        if partitions.0.get() > MAX_PARTITIONS {
            return Err(format!("partitions is {}, it may be at most {MAX_PARTITIONS}", partitions.0));
        }
        if self.mailbox.retention < self.retention {
            return Err("the mailbox's retention is shorter than the log's: duplicates would go unnoticed".into());
        }
        Ok(())
    }
}
