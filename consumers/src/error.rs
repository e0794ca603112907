//! What can go wrong for good. Whatever a retry can mend is mended inside and only counted.

use nimbus_core::{InvalidId, ports::log::LogError};

/// Why the runtime or the router ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ConsumersError {
    /// A log is damaged or was closed beneath its consumers. Not retryable: an operator must look.
    #[error("the consumer group {group} cannot go on")]
    Log {
        /// Which group.
        group: &'static str,
        /// What the log said.
        #[source]
        source: LogError,
    },
    /// The two logs do not have the same partitions, so that results would not land where clients look for them.
    #[error("the events log has {events} partitions and the results log {results}; both must have the same number")]
    PartitionMismatch {
        /// Of the events log.
        events: usize,
        /// Of the results log.
        results: usize,
    },
    /// A task of the runtime panicked: a fault of this program.
    #[error("a consumer group's task panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Why a catalogue could not be made. A programming mistake; not retryable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Two executors want the same events.
    #[error("two executors are named {0}; every event name has exactly one")]
    Duplicate(String),
    /// No event can ever have this name.
    #[error("an executor's name is no event name")]
    Name(#[from] InvalidId),
}
