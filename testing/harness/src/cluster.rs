//! The roles of one distributed installation, over a given Kafka and Redis.

use std::collections::BTreeMap;

use rand::RngExt as _;

use crate::TestNimbus;

/// One installation: topics, groups, keys and channels with names of its own, so that many can share the services.
#[derive(Debug, Clone)]
pub struct TestCluster {
    settings: BTreeMap<String, String>,
}

impl TestCluster {
    /// An installation over these services, with few partitions and short silences, so that rebalances are quick.
    pub fn new(kafka: &str, redis: &str) -> Self {
        let name = format!("test-{:016x}", rand::rng().random::<u64>());
        let settings = [
            ("NIMBUS_KAFKA_BROKERS", kafka.to_owned()),
            ("NIMBUS_KAFKA_EVENTS_TOPIC", format!("{name}-events")),
            ("NIMBUS_KAFKA_RESULTS_TOPIC", format!("{name}-results")),
            ("NIMBUS_KAFKA_DLQ_TOPIC", format!("{name}-dlq")),
            ("NIMBUS_KAFKA_GROUP_PREFIX", name.clone()),
            ("NIMBUS_KAFKA_SESSION_TIMEOUT", "2s".to_owned()),
            ("NIMBUS_REDIS_ADDRESS", redis.to_owned()),
            ("NIMBUS_REDIS_KEY_PREFIX", name.clone()),
            ("NIMBUS_REDIS_EVENTS_CHANNEL", name),
            ("NIMBUS_PARTITIONS", "4".to_owned()),
        ];
        Self { settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// Sets one setting of every role that is started from now on.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    /// What every role is told: names and values of its settings.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one setting.
    ///
    /// # Panics
    /// It was not set.
    pub fn setting(&self, name: &str) -> &str {
        &self.settings[name]
    }

    /// Starts one more process of a role, and waits until it is ready.
    ///
    /// # Errors
    /// It ended or did not become ready; its output is in the message.
    pub async fn start(&self, role: &str) -> anyhow::Result<TestNimbus> {
        let builder = TestNimbus::builder().role(role);
        self.settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start().await
    }
}
