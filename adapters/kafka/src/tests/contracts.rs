//! The logs pass the contract suite of their port, for each kind of record, on a real broker.

use std::{marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use nimbus_contracts::{Sample, log::LogFixture};
use nimbus_core::{
    DeadLetter, Event, LogEpoch, PartitionCount, ResultRecord,
    ports::log::{DeadLetterLog, EventLog, Log, ResultLog},
};

use super::broker::{config, epoch, open};
use crate::{Kafka, KafkaConfig};

/// One of the three logs.
pub(crate) trait OneOf: Sample {
    fn log(kafka: &Kafka) -> Arc<dyn Log<Self>>;
}

impl OneOf for Event {
    fn log(kafka: &Kafka) -> Arc<EventLog> {
        kafka.events()
    }
}

impl OneOf for ResultRecord {
    fn log(kafka: &Kafka) -> Arc<ResultLog> {
        kafka.results()
    }
}

impl OneOf for DeadLetter {
    fn log(kafka: &Kafka) -> Arc<DeadLetterLog> {
        kafka.dead_letters()
    }
}

pub(crate) struct Fixture<R> {
    config: KafkaConfig,
    epoch: LogEpoch,
    kafka: Kafka,
    kind: PhantomData<fn() -> R>,
}

async fn fixture<R: OneOf>(brokers: &str, partitions: PartitionCount) -> Fixture<R> {
    let (config, epoch) = (config(brokers, partitions), epoch());
    let kafka = open(&config, epoch).await;
    Fixture { config, epoch, kafka, kind: PhantomData }
}

#[async_trait]
impl<R: OneOf> LogFixture for Fixture<R> {
    type Record = R;

    fn log(&self) -> Arc<dyn Log<R>> {
        R::log(&self.kafka)
    }

    async fn restart(&mut self) {
        self.kafka.close().await.unwrap();
        self.kafka = open(&self.config, self.epoch).await;
    }
}

/// The suite's functions as tests that say so when there is no broker.
macro_rules! on_a_broker {
    ($suite:path, $record:ty; $($name:ident)+) => {
        $(#[tokio::test]
        async fn $name() {
            use $suite as suite;
            if let Some(brokers) = $crate::tests::broker::broker() {
                suite::$name(async |partitions| super::fixture::<$record>(&brokers, partitions).await).await;
            }
        })+
    };
}

mod events {
    nimbus_contracts::each_log_promise!(on_a_broker, nimbus_contracts::log, nimbus_core::Event);
}

mod results {
    nimbus_contracts::each_log_promise!(on_a_broker, nimbus_contracts::log, nimbus_core::ResultRecord);
}

mod dead_letters {
    nimbus_contracts::each_log_promise!(on_a_broker, nimbus_contracts::log, nimbus_core::DeadLetter);
}
