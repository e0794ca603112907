//! Embedded backend: segment log, consumer groups and mailbox in one directory.
//!
//! One append-only log on disk is shared by all partitions of the events, the results and the dead letters, and by the
//! small state of consumer groups and mailboxes, so that one fdatasync makes everything durable that came in meanwhile.
//! `docs/storage.md` describes the files.

mod body;
mod clean;
mod compaction;
mod config;
mod consumer;
mod creation;
mod disk;
mod embedded;
mod error;
mod frame;
mod groups;
mod item;
mod keeper;
mod log;
mod machines;
mod mailbox;
mod members;
mod meta;
mod metrics;
mod notifier;
mod patience;
mod queue;
mod reader;
mod recovery;
mod retention;
mod round;
mod running;
mod scan;
mod segment;
mod segments;
mod shared;
mod shelf;
mod snapshot;
mod spare;
mod state;
pub mod tools;
mod topic;
mod writer;

pub use config::{
    DEFAULT_ANSWER_PATIENCE, DEFAULT_APPEND_QUEUE_BYTES, DEFAULT_MAX_BYTES, DEFAULT_PARTITIONS, DEFAULT_RESERVE_BYTES,
    DEFAULT_RETENTION, DEFAULT_RETENTION_BYTES, DEFAULT_SEGMENT_BYTES, DEFAULT_SPARE_BYTES, DEFAULT_TAIL_CACHE_BYTES,
    EmbeddedConfig, MAX_PARTITIONS, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES,
};
pub use embedded::Embedded;
pub use error::OpenError;
pub use mailbox::{EmbeddedMailbox, MailboxMetrics};
pub use notifier::{EmbeddedNotifier, NotifierConfig, NotifierMetrics};
pub use running::CloseError;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
