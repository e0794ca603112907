//! Kafka and Redis. Embedded mode uses neither: the settings are checked and shown, so that an existing environment is
//! accepted as it is, and `nimbus config` marks them as unused.

use super::raw_section;
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
/// A Redis on this machine.
pub(crate) const ADDRESS: Setting = distributed("NIMBUS_REDIS_ADDRESS", "127.0.0.1:6379").display(Display::Address);
/// Each server adds its id.
pub(crate) const EVENTS_CHANNEL: Setting = distributed("NIMBUS_REDIS_EVENTS_CHANNEL", "nimbus-events");

raw_section!(RawKafka, "NIMBUS_KAFKA_", {
    brokers: BROKERS,
    events_topic: EVENTS_TOPIC,
    results_topic: RESULTS_TOPIC,
    dlq_topic: DLQ_TOPIC,
});
raw_section!(RawRedis, "NIMBUS_REDIS_", { address: ADDRESS, events_channel: EVENTS_CHANNEL });

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
        config
    }
}

/// The mailbox server.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// host:port or a redis:// or rediss:// URL, which may hold a password.
    pub address: String,
    /// What the names of the servers' channels begin with.
    pub events_channel: String,
}

impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &ADDRESS.shown(&self.address))
            .field("events_channel", &self.events_channel)
            .finish()
    }
}

impl RedisConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawRedis::read(reading.environment());
        Self {
            address: reading.value(&ADDRESS, raw.address, address),
            events_channel: reading.value(&EVENTS_CHANNEL, raw.events_channel, value::topic),
        }
    }
}

fn address(text: &str) -> Result<String, String> {
    let rest = ["redis://", "rediss://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split_once('/').map_or(host, |(host, _database)| host);
    match value::host_and_port(host) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("is neither host:port nor redis://[user:password@]host:port".to_owned()),
    }
}
