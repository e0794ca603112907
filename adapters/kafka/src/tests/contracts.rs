//! The logs pass the contract suite of their port, for each kind of record: on a real broker, and what needs writes to fail
//! on a mock of one.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use nimbus_contracts::{
    Sample,
    log::{LogExpiry, LogFaults, LogFixture},
};
use nimbus_core::{
    DeadLetter, Event, LogEpoch, Partition, PartitionCount, ResultRecord,
    ports::log::{DeadLetterLog, EventLog, Log, ResultLog},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::{
    broker::{config, epoch, open},
    mock::Mock,
};
use crate::{Kafka, KafkaConfig, topic::TopicRecord};

/// One of the three logs.
trait OneOf: Sample + TopicRecord {
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

struct OnBroker<R> {
    config: KafkaConfig,
    epoch: LogEpoch,
    kafka: Kafka,
    kind: PhantomData<fn() -> R>,
}

impl<R: OneOf> OnBroker<R> {
    async fn make(brokers: &str, partitions: PartitionCount) -> Self {
        let (config, epoch) = (config(brokers, partitions), epoch());
        let kafka = open(&config, epoch).await;
        Self { config, epoch, kafka, kind: PhantomData }
    }
}

#[async_trait]
impl<R: OneOf> LogFixture for OnBroker<R> {
    type Record = R;

    fn log(&self) -> Arc<dyn Log<R>> {
        R::log(&self.kafka)
    }

    async fn restart(&mut self) {
        self.kafka.close().await.unwrap();
        self.kafka = open(&self.config, self.epoch).await;
    }
}

#[async_trait]
impl<R: OneOf> LogExpiry for OnBroker<R> {
    async fn expire(&self, partition: Partition) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.config.brokers).create().unwrap();
        let end = self.log().range(partition).await.unwrap().end;
        let mut list = TopicPartitionList::new();
        let (topic, offset) = (self.config.topics.of(R::TOPIC), Offset::Offset(end.0.cast_signed()));
        list.add_partition_offset(topic, partition.0.cast_signed(), offset).unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let deleted = admin.delete_records(&list, &options).await.unwrap();
        deleted.elements().iter().for_each(|place| place.error().unwrap());
    }
}

struct OnMock<R> {
    config: KafkaConfig,
    epoch: LogEpoch,
    kafka: Kafka,
    mock: Mock,
    fails_next: AtomicBool,
    kind: PhantomData<fn() -> R>,
}

impl<R: OneOf> OnMock<R> {
    async fn make(partitions: PartitionCount) -> Self {
        let (mock, epoch) = (Mock::new(), epoch());
        // Company for a record: what is appended at once is one write.
        let config = KafkaConfig { linger: Duration::from_millis(5), ..mock.config(partitions) };
        let kafka = Mock::open(&config, epoch);
        Self { config, epoch, kafka, mock, fails_next: AtomicBool::new(false), kind: PhantomData }
    }
}

#[async_trait]
impl<R: OneOf> LogFixture for OnMock<R> {
    type Record = R;

    fn log(&self) -> Arc<dyn Log<R>> {
        R::log(&self.kafka)
    }

    async fn restart(&mut self) {
        self.kafka.close().await.unwrap();
        self.kafka = Mock::open(&self.config, self.epoch);
    }
}

/// Is tried again until it goes away.
const HELD: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;

#[async_trait]
impl<R: OneOf> LogFaults for OnMock<R> {
    async fn hold(&self) {
        self.mock.answer(RDKafkaApiKey::Produce, &[HELD; 1000]);
    }

    async fn release(&self) {
        if !self.fails_next.swap(false, Ordering::Relaxed) {
            return self.mock.answer_well(RDKafkaApiKey::Produce);
        }
        // Only what was appended so far shall meet the failure.
        while self.kafka.running.shared.metrics.producer_rebuilds.get() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// While writes are held: a few more tries, then the failure, and then it goes well.
    async fn fail_next_write(&self) {
        self.fails_next.store(true, Ordering::Relaxed);
        self.mock.answer_well(RDKafkaApiKey::Produce);
        self.mock.answer(RDKafkaApiKey::Produce, &[HELD; 3]);
        self.mock.answer(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    }
}

/// The suite's functions as tests that say so when there is no broker.
macro_rules! on_a_broker {
    ($suite:path, $record:ty; $($name:ident)+) => {
        $(#[tokio::test]
        async fn $name() {
            use $suite as suite;
            if let Some(brokers) = $crate::tests::broker::broker() {
                suite::$name(async |partitions| super::OnBroker::<$record>::make(&brokers, partitions).await).await;
            }
        })+
    };
}

macro_rules! suites {
    ($module:ident, $record:ty) => {
        mod $module {
            nimbus_contracts::each_log_promise!(on_a_broker, nimbus_contracts::log, $record);
            nimbus_contracts::each_log_expiry_promise!(on_a_broker, nimbus_contracts::log, $record);
            nimbus_contracts::log_fault_contract!(super::OnMock::<$record>::make);
        }
    };
}

suites!(events, nimbus_core::Event);
suites!(results, nimbus_core::ResultRecord);
suites!(dead_letters, nimbus_core::DeadLetter);
