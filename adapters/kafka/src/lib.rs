//! Kafka backend: the logs of events, results and dead letters, each a topic of a broker.
//!
//! One idempotent producer for all three, one reader of its own for every member of a consumer group, and a few more for
//! reads from any position. What a broker cannot promise (an answer to every append, a fence after a failure, a partition
//! that stays until it is released) is made here, so that whoever uses the port sees what the embedded log shows.

mod admin;
mod append;
mod appender;
mod blocking;
mod budget;
mod client;
mod config;
mod config_check;
mod decode;
mod epoch;
mod error;
mod fault;
mod gate;
mod group;
mod kafka;
mod known_groups;
mod log;
mod metrics;
mod notes;
mod parcel;
mod producer;
mod range;
mod reader;
mod reports;
mod shared;
mod sizes;
mod together;
mod topic;
mod topics;

pub use admin::{KafkaAdmin, Prepared};
pub use config::{
    Compression, DEFAULT_APPEND_QUEUE_BYTES, DEFAULT_LINGER, DEFAULT_MAX_RECORD_BYTES, DEFAULT_PARTITIONS,
    DEFAULT_RELEASE_LIMIT, DEFAULT_RETENTION, DEFAULT_SESSION_TIMEOUT, KafkaConfig, TopicNames,
};
pub use epoch::Kept;
pub use error::{OpenError, Refusal};
pub use kafka::Kafka;
pub use topics::{Finding, Severity};

#[cfg(test)]
mod tests;
