//! Settings of the Kafka backend.

use std::{fmt, num::NonZeroU32, time::Duration};

use nimbus_core::{GroupId, PartitionCount};

/// Partitions of new topics: enough that 16 executors share the work, few enough that a batch finds several records.
pub const DEFAULT_PARTITIONS: u32 = 16;
/// Appended bytes on their way to the broker: some 300 ms of a gigabit.
pub const DEFAULT_APPEND_QUEUE_BYTES: usize = 32 << 20;
/// How long the producer waits for company. A record goes through two appends on its way, so this counts twice; under load
/// batches gather by themselves, while earlier ones are on the wire.
pub const DEFAULT_LINGER: Duration = Duration::ZERO;
/// The largest stored record: a payload of 1 MiB with everything around it, and room for a dead letter's failure.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 2 << 20;
/// How long new topics keep records: a client that is away for a week loses nothing.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// After this silence a member of a group is taken for dead: long enough for a pause, short enough for a takeover.
pub const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a revoked partition may take to settle before it is taken away.
pub const DEFAULT_RELEASE_LIMIT: Duration = Duration::from_secs(60);

/// The names of the three topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    /// Events, as accepted.
    pub events: String,
    /// Results.
    pub results: String,
    /// Events that failed for good.
    pub dead_letters: String,
}

impl TopicNames {
    /// `<prefix>.events`, `<prefix>.results` and `<prefix>.dead-letters`.
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            events: format!("{prefix}.events"),
            results: format!("{prefix}.results"),
            dead_letters: format!("{prefix}.dead-letters"),
        }
    }
}

/// How batches are compressed on the wire and on the broker's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all: for payloads that are compressed or encrypted already.
    None,
    /// Records of one batch repeat client ids, principals, names and attributes, which lz4 folds at some 500 MB a second;
    /// a batch that does not shrink is sent as it is.
    #[default]
    Lz4,
}

/// Settings of the Kafka backend. [`KafkaConfig::new`] gives the defaults. `{:?}` shows no values of properties.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Where to begin: `host:port`, separated by commas. The others are found from there.
    pub brokers: String,
    /// The topics. Made if they do not exist.
    pub topics: TopicNames,
    /// How this process is named in the broker's logs and quotas.
    pub client_id: String,
    /// In front of the name of every consumer group (and of the group that keeps the epoch), so that several installations
    /// can share a cluster.
    pub group_prefix: String,
    /// Properties of librdkafka, handed on as they are: for TLS and SASL. Those that the guarantees rest on are refused.
    pub properties: Vec<(String, String)>,
    /// How many partitions each topic has, or gets when it is made. Topics with another number are refused.
    pub partitions: PartitionCount,
    /// Replicas of topics that are made; `None`: 3, or as many as there are brokers.
    pub replication: Option<NonZeroU32>,
    /// How many of them confirm an append (`min.insync.replicas`); `None`: 2 of 3 or more, else as the brokers are configured.
    pub min_insync_replicas: Option<NonZeroU32>,
    /// How long topics that are made keep records; topics that exist with a shorter one are warned of.
    pub retention: Duration,
    /// The largest stored record, in bytes. A larger one is refused before anything is sent.
    pub max_record_bytes: usize,
    /// Appended bytes on their way before [`ready`](nimbus_core::ports::log::Log::ready) makes callers wait.
    pub append_queue_bytes: usize,
    /// How long the producer waits for company for a record.
    pub linger: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// After this silence a member of a group is taken for dead. At least what the broker allows (6 s by default).
    pub session_timeout: Duration,
    /// How long a revoked partition may take to settle before it is taken away.
    pub release_limit: Duration,
    /// Groups of other processes that [`committed`](nimbus_core::ports::log::Log::committed) shall know of. Those that
    /// were joined through this handle it knows anyway.
    pub known_groups: Vec<GroupId>,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("client_id", &self.client_id)
            .field("group_prefix", &self.group_prefix)
            .field("properties", &names)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("min_insync_replicas", &self.min_insync_replicas)
            .field("retention", &self.retention)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("append_queue_bytes", &self.append_queue_bytes)
            .field("linger", &self.linger)
            .field("compression", &self.compression)
            .field("session_timeout", &self.session_timeout)
            .field("release_limit", &self.release_limit)
            .field("known_groups", &self.known_groups)
            .finish()
    }
}

impl KafkaConfig {
    /// The defaults, with these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topics: TopicNames::with_prefix("nimbus"),
            client_id: "nimbus".to_owned(),
            group_prefix: "nimbus".to_owned(),
            properties: Vec::new(),
            partitions: PartitionCount(NonZeroU32::new(DEFAULT_PARTITIONS).expect("the default is not 0")),
            replication: None,
            min_insync_replicas: None,
            retention: DEFAULT_RETENTION,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            append_queue_bytes: DEFAULT_APPEND_QUEUE_BYTES,
            linger: DEFAULT_LINGER,
            compression: Compression::default(),
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            release_limit: DEFAULT_RELEASE_LIMIT,
            known_groups: Vec::new(),
        }
    }
}
