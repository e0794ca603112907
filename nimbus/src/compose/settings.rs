//! From the validated settings to each crate's own configuration: plain copying, in one place.

use std::{sync::Arc, time::Duration};

use nimbus_config::{AuthConfig, ClientPattern, Config, ListenConfig};
use nimbus_consumers::{Backoff, ExecutorConfig, RouterConfig};
use nimbus_core::{ServerId, mailbox::MailboxLimits, ports::authenticator::Authenticator, session::Limits};
use nimbus_embedded::EmbeddedConfig;
use nimbus_server::{
    EdgeConfig,
    auth::{self, AllowAll, StaticTokens},
};
use ulid::Ulid;
#[cfg(all(feature = "kafka", feature = "redis"))]
use {
    nimbus_core::GroupId,
    nimbus_kafka::{KafkaConfig, TopicNames},
    nimbus_redis::RedisConfig,
};

use crate::exit::{Exit, Failure, OrExit};

/// What consumers take beyond their limit to leave their groups.
const LEAVING: Duration = Duration::from_millis(600);

/// Who this server is. Made anew at each start unless it was given: an id that another living server has as well would
/// take its notifications.
pub(crate) fn server_id(listen: &ListenConfig) -> Result<ServerId, Failure> {
    match &listen.server_id {
        Some(id) => Ok(id.clone()),
        None => ServerId::try_new(&format!("nimbus-{}", Ulid::generate())).or_exit(Exit::Failed),
    }
}

pub(crate) fn embedded(config: &Config) -> EmbeddedConfig {
    let storage = &config.storage;
    EmbeddedConfig {
        partitions: storage.partitions,
        segment_bytes: storage.segment_bytes,
        retention: storage.retention,
        retention_bytes: storage.retention_bytes,
        max_bytes: storage.max_bytes,
        reserve_bytes: storage.reserve_bytes,
        mailbox: mailbox(config, storage.retention),
        ..EmbeddedConfig::new(&storage.dir)
    }
}

fn mailbox(config: &Config, log_retention: Duration) -> MailboxLimits {
    let mailbox = &config.mailbox;
    MailboxLimits {
        client_records: mailbox.max_records,
        client_bytes: mailbox.client_bytes,
        partition_bytes: mailbox.partition_bytes,
        window: mailbox.window,
        // While the log can still hold a duplicate, the mailbox must recognise it.
        retention: MailboxLimits::RETENTION.max(log_retention),
    }
}

/// `who` names the process in the brokers' logs.
#[cfg(all(feature = "kafka", feature = "redis"))]
pub(crate) fn kafka(config: &Config, who: &str) -> KafkaConfig {
    let kafka = &config.kafka;
    let properties = kafka.properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let groups = nimbus_consumers::GROUPS.iter().filter_map(|name| GroupId::try_new(name).ok());
    KafkaConfig {
        topics: TopicNames {
            events: kafka.events_topic.clone(),
            results: kafka.results_topic.clone(),
            dead_letters: kafka.dlq_topic.clone(),
        },
        client_id: format!("nimbus-{who}"),
        group_prefix: kafka.group_prefix.clone(),
        properties: properties.collect(),
        partitions: config.storage.partitions,
        replication: kafka.replication,
        min_insync_replicas: kafka.min_insync_replicas,
        retention: kafka.retention,
        session_timeout: kafka.session_timeout,
        linger: kafka.linger,
        known_groups: groups.collect(),
        ..KafkaConfig::new(kafka.brokers.join(","))
    }
}

#[cfg(all(feature = "kafka", feature = "redis"))]
pub(crate) fn redis(config: &Config) -> RedisConfig {
    RedisConfig {
        key_prefix: config.redis.key_prefix.clone(),
        channel_prefix: config.redis.events_channel.clone(),
        ca_file: config.redis.ca_file.clone(),
        limits: mailbox(config, config.kafka.retention),
        ..RedisConfig::new(&config.redis.address)
    }
}

pub(crate) fn executor(config: &Config, server: &ServerId) -> ExecutorConfig {
    ExecutorConfig {
        instance: Arc::from(server.as_str()),
        concurrency: config.executor.concurrency,
        attempts: config.executor.max_attempts,
        retry: Backoff { base: config.executor.backoff_min, max: config.executor.backoff_max },
        unknown_grace: config.executor.unknown_grace,
        drain_limit: settling_time(config),
        ..ExecutorConfig::default()
    }
}

pub(crate) fn router(config: &Config) -> RouterConfig {
    RouterConfig { drain_limit: settling_time(config), ..RouterConfig::default() }
}

/// What the shutdown plan leaves to consumers at least: the fifth of the limit between the drain's share and their own.
fn settling_time(config: &Config) -> Duration {
    (config.shutdown.timeout / 5).saturating_sub(LEAVING).max(Duration::from_millis(100))
}

pub(crate) fn edge(config: &Config, server: ServerId) -> EdgeConfig {
    let session = &config.session;
    EdgeConfig {
        limits: Limits {
            max_payload_bytes: session.max_payload_bytes,
            max_in_flight: session.max_in_flight,
            receive_window: session.receive_window,
            queue_messages: session.queue_messages,
            queue_bytes: session.queue_bytes,
            handshake: session.handshake_timeout,
            ping_interval: session.ping_interval,
            pong_timeout: session.pong_timeout,
            ..Limits::default()
        },
        max_streams: session.max_streams,
        streams_per_connection: session.streams_per_connection,
        events_per_second: session.rate_limit,
        fair_rate: session.fair_rate,
        ..EdgeConfig::new(server)
    }
}

pub(crate) fn authenticator(auth: &AuthConfig) -> Arc<dyn Authenticator> {
    if auth.tokens.is_empty() {
        return Arc::new(AllowAll);
    }
    let pattern = |pattern: &ClientPattern| match pattern {
        ClientPattern::Exact(id) => auth::ClientPattern::Exact(id.to_string()),
        ClientPattern::Prefix(prefix) => auth::ClientPattern::Prefix(prefix.clone()),
    };
    let tokens = auth.tokens.iter().map(|token| auth::StaticToken {
        principal: token.principal.clone(),
        token: token.token.expose().to_owned(),
        clients: token.clients.iter().map(pattern).collect(),
    });
    Arc::new(StaticTokens::new(tokens.collect()))
}

#[cfg(test)]
mod tests {
    use nimbus_config::Environment;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        nimbus_config::load(&Environment::of_pairs(pairs.iter().copied())).unwrap().config
    }

    /// The defaults stand in two places, here and in each crate: they must not drift apart unnoticed.
    #[test]
    fn the_defaults_are_the_crates_own() {
        let config = config(&[]);
        let server = ServerId::try_new("s").unwrap();
        let debug = |value: &dyn std::fmt::Debug| format!("{value:?}");

        let (ours, theirs) = (edge(&config, server.clone()), EdgeConfig::new(server.clone()));
        assert_eq!(debug(&ours), debug(&theirs));

        let ours = executor(&config, &server);
        let theirs = ExecutorConfig::default();
        let expected = ExecutorConfig { instance: Arc::clone(&ours.instance), drain_limit: ours.drain_limit, ..theirs };
        assert_eq!(debug(&ours), debug(&expected));

        let ours = embedded(&config);
        let theirs = EmbeddedConfig::new("./data");
        // A device that was off for a week still gets everything; and fewer partitions than a directory can have.
        let expected = EmbeddedConfig { retention: ours.retention, partitions: ours.partitions, ..theirs };
        assert_eq!(debug(&ours), debug(&expected));
    }

    /// Has a row for each partition that a router works on, and none before.
    #[cfg(all(feature = "kafka", feature = "redis"))]
    const ROWS_COME_LATER: [&str; 1] = ["nimbus_mailbox_cached_clients"];

    /// Every metric that a document names exists: everything is registered as `run` does it, and looked up.
    #[tokio::test]
    #[cfg(all(feature = "kafka", feature = "redis"))]
    async fn documents_name_metrics_that_exist() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = prometheus_client::registry::Registry::default();
        nimbus_telemetry::register_process_metrics(&mut registry, "0");
        let clock = Arc::new(nimbus_core::clock::SystemClock);
        let embedded = EmbeddedConfig::new(directory.path());
        let store = nimbus_embedded::Embedded::open(embedded, clock, &mut registry).await.unwrap();
        nimbus_consumers::ExecutorMetrics::register(&mut registry);
        nimbus_consumers::RouterMetrics::register(&mut registry);
        nimbus_server::Metrics::register(&mut registry);
        // The two modes are never in one process: the same names are no clash.
        nimbus_kafka::Kafka::register_metrics(&mut registry);
        nimbus_redis::RedisMetrics::register(&mut registry);
        nimbus_redis::MailboxMetrics::register(&mut registry);
        nimbus_redis::NotifierMetrics::register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        store.close().await.unwrap();
        let mut missing = Vec::new();
        for document in ["docs/operations.md", "docs/adr/0004-queues-and-overflow.md", "README.md"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
            let page = std::fs::read_to_string(path).unwrap();
            let words = page.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            for name in words.filter(|word| word.starts_with("nimbus_") && !word.ends_with('_')) {
                let family = name.trim_end_matches("_total");
                let is_there = text.contains(&format!("# TYPE {family} ")) || ROWS_COME_LATER.contains(&name);
                if !is_there && !is_a_crate(name) {
                    missing.push(format!("{document}: {name}"));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    fn is_a_crate(name: &str) -> bool {
        ["nimbus_core", "nimbus_client", "nimbus_server", "nimbus_executors", "nimbus_consumers"].contains(&name)
    }

    #[test]
    fn consumers_settle_within_what_the_plan_leaves_them() {
        for (limit, expected) in [("20", 3400), ("5", 400), ("1", 100)] {
            let config = config(&[("NIMBUS_SHUTDOWN_TIMEOUT_SEC", limit)]);
            assert_eq!(settling_time(&config), Duration::from_millis(expected));
        }
    }

    #[test]
    fn a_long_retention_of_the_log_lengthens_the_mailboxs() {
        let config = config(&[("NIMBUS_DATA_RETENTION", "30d")]);
        assert_eq!(embedded(&config).mailbox.retention, config.storage.retention);
    }
}
