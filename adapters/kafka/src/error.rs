//! Why the broker or its topics cannot be used.

use rdkafka::error::KafkaError;

/// Why the broker or its topics cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is out of its range.
    #[error("the configuration of kafka cannot work: {0}")]
    Config(String),
    /// A property was to be overridden that a guarantee rests on.
    #[error("the property {name} is not free to choose, because a guarantee of nimbus rests on it; remove it")]
    Property {
        /// Which.
        name: String,
    },
    /// The brokers did not answer. Retryable.
    #[error("kafka cannot be reached to {doing}: {source}; check the brokers' addresses and the security properties")]
    Unreachable {
        /// What was to be done.
        doing: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The broker refused.
    #[error("kafka refused to {doing}: {why}")]
    Refused {
        /// What was to be done.
        doing: String,
        /// What the broker said.
        why: String,
    },
    /// A topic is not there, and was not to be made.
    #[error("the topic {topic} does not exist; start a role of nimbus, which makes it, or create it yourself")]
    Missing {
        /// Which topic.
        topic: String,
    },
    /// The topics have another number of partitions than the configuration says.
    #[error(
        "the topics have {found} partitions, the configuration says {wanted}; set it to {found}, or name new topics \
         (records would change their partition, and so their order)"
    )]
    Partitions {
        /// What the topics have.
        found: u32,
        /// What the configuration says.
        wanted: u32,
    },
    /// The topics do not have the same number of partitions.
    #[error(
        "the events topic has {events} partitions, the results topic {results}, the dead letters topic {dead_letters}; \
         all three need the same number: name new topics for those that differ"
    )]
    Unequal {
        /// Partitions of the events topic.
        events: u32,
        /// Partitions of the results topic.
        results: u32,
        /// Partitions of the dead letters topic.
        dead_letters: u32,
    },
    /// A topic forgets records by their key.
    #[error(
        "the topic {topic} has cleanup.policy={policy}, which deletes all but the newest record of each client; set it \
         to delete"
    )]
    Compacted {
        /// Which topic.
        topic: String,
        /// Its policy.
        policy: String,
    },
    /// What stands where the epoch should stand was not written by nimbus.
    #[error("the group {group} keeps {found:?} where the epoch of the logs should be; delete that group")]
    Epoch {
        /// The group that keeps the epoch.
        group: String,
        /// What was found.
        found: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}
