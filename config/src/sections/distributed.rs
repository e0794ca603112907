//! Kafka and Redis. Embedded mode uses neither: the settings are checked and shown, so that an existing environment is
//! accepted as it is, and `nimbus config` marks them as unused.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use super::{auth::Secret, raw_section};
use crate::{
    Setting,
    reading::Reading,
    setting::{Display, Scope},
    value,
};

const fn distributed(name: &'static str, default: &'static str) -> Setting {
    Setting::new(name, default).scope(Scope::Distributed)
}

/// A broker on this machine.
pub(crate) const BROKERS: Setting =
    distributed("NIMBUS_KAFKA_BROKERS", "127.0.0.1:9092").example("kafka-1:9092,kafka-2:9092");
/// The original service's name for it, as are the two below.
pub(crate) const EVENTS_TOPIC: Setting = distributed("NIMBUS_KAFKA_EVENTS_TOPIC", "nimbus-events-v1");
/// See above.
pub(crate) const RESULTS_TOPIC: Setting = distributed("NIMBUS_KAFKA_RESULTS_TOPIC", "nimbus-results-v1");
/// See above.
pub(crate) const DLQ_TOPIC: Setting = distributed("NIMBUS_KAFKA_DLQ_TOPIC", "nimbus-dlq-v1");
/// The three groups of consumers, and the one that keeps the log's epoch.
pub(crate) const GROUP_PREFIX: Setting = distributed("NIMBUS_KAFKA_GROUP_PREFIX", "nimbus");
/// As many as survive the loss of a machine, and no more than there are brokers.
pub(crate) const REPLICATION: Setting = distributed("NIMBUS_KAFKA_REPLICATION", "").example("3");
/// Durable on two machines, and work goes on while a third is away.
pub(crate) const MIN_INSYNC: Setting = distributed("NIMBUS_KAFKA_MIN_INSYNC_REPLICAS", "").example("2");
/// A device that was off for a week still gets everything.
pub(crate) const RETENTION: Setting = distributed("NIMBUS_KAFKA_RETENTION", "7d");
/// Long enough for a pause, short enough for a takeover.
pub(crate) const SESSION_TIMEOUT: Setting = distributed("NIMBUS_KAFKA_SESSION_TIMEOUT", "10s");
/// A lone event waits for nobody; under load batches gather while earlier ones are on the wire.
pub(crate) const LINGER: Setting = distributed("NIMBUS_KAFKA_LINGER", "0ms").example("5ms");
/// Passwords are among them.
pub(crate) const PROPERTIES: Setting = distributed("NIMBUS_KAFKA_PROPERTIES", "")
    .example("security.protocol=SASL_SSL;sasl.mechanism=SCRAM-SHA-512;sasl.username=nimbus;sasl.password=the-password")
    .display(Display::Secret);
/// A Redis on this machine.
pub(crate) const ADDRESS: Setting = distributed("NIMBUS_REDIS_ADDRESS", "127.0.0.1:6379").display(Display::Address);
/// Only an installation with an authority of its own has one.
pub(crate) const CA_FILE: Setting = distributed("NIMBUS_REDIS_CA_FILE", "").example("/etc/nimbus/redis-ca.pem");
/// Each server adds its id.
pub(crate) const EVENTS_CHANNEL: Setting = distributed("NIMBUS_REDIS_EVENTS_CHANNEL", "nimbus-events");
/// Every key begins with it.
pub(crate) const KEY_PREFIX: Setting = distributed("NIMBUS_REDIS_KEY_PREFIX", "nimbus");

raw_section!(RawKafka, "NIMBUS_KAFKA_", {
    brokers: BROKERS,
    events_topic: EVENTS_TOPIC,
    results_topic: RESULTS_TOPIC,
    dlq_topic: DLQ_TOPIC,
    group_prefix: GROUP_PREFIX,
    replication: REPLICATION,
    min_insync_replicas: MIN_INSYNC,
    retention: RETENTION,
    session_timeout: SESSION_TIMEOUT,
    linger: LINGER,
    properties: PROPERTIES,
});
raw_section!(RawRedis, "NIMBUS_REDIS_", {
    address: ADDRESS,
    ca_file: CA_FILE,
    events_channel: EVENTS_CHANNEL,
    key_prefix: KEY_PREFIX,
});

/// The brokers and topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Each as host:port. Not empty.
    pub brokers: Vec<String>,
    /// Where events go.
    pub events_topic: String,
    /// Where results go.
    pub results_topic: String,
    /// Where dead letters go.
    pub dlq_topic: String,
    /// What the name of every consumer group begins with.
    pub group_prefix: String,
    /// Replicas of topics that have to be made; `None`: 3, or as many as there are brokers.
    pub replication: Option<NonZeroU32>,
    /// How many replicas confirm an append to topics that have to be made; `None`: 2 of 3 or more.
    pub min_insync_replicas: Option<NonZeroU32>,
    /// How long topics that have to be made keep records.
    pub retention: Duration,
    /// After this silence a consumer is taken for dead.
    pub session_timeout: Duration,
    /// How long a record waits for company on its way to Kafka.
    pub linger: Duration,
    /// Properties for Kafka's client library: TLS and SASL.
    pub properties: Vec<(String, Secret)>,
}

impl KafkaConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawKafka::read(reading.environment());
        let brokers = |text: &str| -> Result<Vec<String>, String> {
            let brokers = text.split(',').map(str::trim).map(value::host_and_port);
            brokers.collect::<Result<_, _>>().map_err(|_| "is no list of host:port".to_owned())
        };
        let config = Self {
            brokers: reading.value(&BROKERS, raw.brokers, brokers),
            events_topic: reading.value(&EVENTS_TOPIC, raw.events_topic, value::topic),
            results_topic: reading.value(&RESULTS_TOPIC, raw.results_topic, value::topic),
            dlq_topic: reading.value(&DLQ_TOPIC, raw.dlq_topic, value::topic),
            group_prefix: reading.value(&GROUP_PREFIX, raw.group_prefix, value::topic),
            replication: reading.optional(&REPLICATION, raw.replication, replicas),
            min_insync_replicas: reading.optional(&MIN_INSYNC, raw.min_insync_replicas, replicas),
            retention: reading.value(
                &RETENTION,
                raw.retention,
                value::duration(Duration::from_secs(1)..=3650 * 24 * 60 * MINUTE),
            ),
            session_timeout: reading.value(
                &SESSION_TIMEOUT,
                raw.session_timeout,
                value::duration(Duration::from_secs(1)..=30 * MINUTE),
            ),
            linger: reading.value(&LINGER, raw.linger, value::duration(Duration::ZERO..=Duration::from_secs(1))),
            properties: reading.optional(&PROPERTIES, raw.properties, properties).unwrap_or_default(),
        };
        let pairs = [
            (&RESULTS_TOPIC, &config.results_topic, &EVENTS_TOPIC, &config.events_topic),
            (&DLQ_TOPIC, &config.dlq_topic, &EVENTS_TOPIC, &config.events_topic),
            (&DLQ_TOPIC, &config.dlq_topic, &RESULTS_TOPIC, &config.results_topic),
        ];
        for (setting, topic, other, other_topic) in pairs {
            if topic == other_topic && reading.are_sound(&[setting, other]) {
                reading.problem(setting, format!("\"{topic}\" is also {}", other.name));
            }
        }
        if let (Some(replicas), Some(least)) = (config.replication, config.min_insync_replicas)
            && least > replicas
        {
            reading.problem(&MIN_INSYNC, format!("{least} is more than {} ({replicas})", REPLICATION.name));
        }
        config
    }
}

/// The mailbox server.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// host:port or a redis:// or rediss:// URL, which may hold a password.
    pub address: String,
    /// PEM: who may vouch for a Redis that speaks TLS. `None`: whoever this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What the names of the servers' channels begin with.
    pub events_channel: String,
    /// What every key begins with.
    pub key_prefix: String,
}

impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &ADDRESS.shown(&self.address))
            .field("ca_file", &self.ca_file)
            .field("events_channel", &self.events_channel)
            .field("key_prefix", &self.key_prefix)
            .finish()
    }
}

impl RedisConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawRedis::read(reading.environment());
        let config = Self {
            address: reading.value(&ADDRESS, raw.address, address),
            ca_file: reading.optional(&CA_FILE, raw.ca_file, value::file),
            events_channel: reading.value(&EVENTS_CHANNEL, raw.events_channel, value::topic),
            key_prefix: reading.value(&KEY_PREFIX, raw.key_prefix, value::topic),
        };
        let is_plain = !config.address.starts_with("rediss");
        if config.ca_file.is_some() && is_plain && reading.are_sound(&[&ADDRESS]) {
            // Whoever names an authority believes that the connection is encrypted.
            let wrong = format!("is set, and {} does not ask for TLS", ADDRESS.name);
            let remedy = format!("begin {} with rediss:// (or rediss-cluster://), or unset this", ADDRESS.name);
            reading.problem_with_remedy(&CA_FILE, wrong, remedy);
        }
        config
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn replicas(text: &str) -> Result<NonZeroU32, String> {
    NonZeroU32::new(value::integer(1..=32_767_u32)(text)?).ok_or_else(|| "is zero".to_owned())
}

/// `name=value`, separated by semicolons. A value may hold anything but a semicolon.
fn properties(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let property = |pair: &str| {
        let (name, value) = pair.split_once('=').map(|(name, value)| (name.trim(), value.trim()))?;
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        is_name.then(|| (name.to_owned(), Secret::from(value.to_owned())))
    };
    let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    pairs.map(property).collect::<Option<_>>().ok_or_else(|| "is no list of name=value, separated by `;`".to_owned())
}

fn address(text: &str) -> Result<String, String> {
    let rest = ["redis://", "rediss://", "redis-cluster://", "rediss-cluster://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split_once(['/', '?']).map_or(host, |(host, _database)| host);
    match value::host_and_port(host) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            let schemes = "rediss:// for TLS, redis-cluster:// for a cluster";
            Err(format!("is neither host:port nor redis://[user:password@]host:port ({schemes})"))
        }
    }
}
