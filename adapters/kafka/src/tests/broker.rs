//! The broker that tests run on: `NIMBUS_TEST_KAFKA` says where it is. Without it the tests that need one say so and end;
//! where `CI` is set they fail.

use std::{num::NonZeroU32, time::Duration};

use nimbus_core::{LogEpoch, PartitionCount};
use prometheus_client::registry::Registry;
use ulid::Ulid;

use crate::{Kafka, KafkaConfig, TopicNames};

/// Where the broker is; `None`: there is none, which was said aloud.
pub(crate) fn broker() -> Option<String> {
    match std::env::var("NIMBUS_TEST_KAFKA") {
        Ok(brokers) if !brokers.is_empty() => Some(brokers),
        _ => {
            assert!(std::env::var_os("CI").is_none(), "NIMBUS_TEST_KAFKA is not set, and CI runs every test");
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            eprintln!("SKIPPED, NOT PASSED: {test} needs a broker; set NIMBUS_TEST_KAFKA=host:port");
            None
        }
    }
}

/// Settings with topics and groups of their own.
pub(crate) fn config(brokers: &str, partitions: PartitionCount) -> KafkaConfig {
    let unique = format!("t-{}", Ulid::generate().to_string().to_lowercase());
    KafkaConfig {
        topics: TopicNames::with_prefix(&unique),
        group_prefix: unique,
        partitions,
        replication: NonZeroU32::new(1),
        linger: Duration::ZERO,
        ..KafkaConfig::new(brokers)
    }
}

pub(crate) fn epoch() -> LogEpoch {
    LogEpoch(Ulid::generate())
}

pub(crate) async fn open(config: &KafkaConfig, epoch: LogEpoch) -> Kafka {
    Kafka::open(config.clone(), epoch, &mut Registry::default()).await.unwrap()
}
