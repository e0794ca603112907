//! Kafka's side: two topics, an idempotent producer, and a consumer of all partitions that is a member of nothing.

use std::{num::NonZeroU32, time::Duration};

use anyhow::Context;
use nimbus_core::{ClientId, PartitionCount};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use super::{give_up, record::Record};

/// As many as Nimbus has by default.
const PARTITIONS: PartitionCount = PartitionCount(NonZeroU32::new(8).expect("8 is not 0"));
/// What Nimbus waits for company. In milliseconds, as librdkafka wants it.
const LINGER: &str = "0";
/// How many requests of Nimbus' producer are on their way to a broker.
const IN_FLIGHT: &str = "2";
/// How long topics may take until each of their partitions has a leader.
const MAKE_LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "glue");
    config
}

fn admin(brokers: &str) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    client(brokers).create().with_context(|| format!("Kafka at {brokers}"))
}

/// Makes topics, and waits until they can be written to.
pub(crate) async fn make_topics(brokers: &str, topics: &[&str]) -> anyhow::Result<()> {
    let admin = admin(brokers)?;
    let new =
        topics.iter().map(|topic| NewTopic::new(topic, PARTITIONS.0.get().cast_signed(), TopicReplication::Fixed(1)));
    let new: Vec<_> = new.collect();
    for made in admin.create_topics(&new, &admin_options()).await? {
        made.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
    }
    let deadline = tokio::time::Instant::now() + MAKE_LIMIT;
    for topic in topics {
        // The brokers answer in milliseconds, so this may block.
        while !has_leaders(&admin, topic)? {
            anyhow::ensure!(
                tokio::time::Instant::now() < deadline,
                "topic {topic} has no leaders after {MAKE_LIMIT:?}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

/// Removes topics with all that is in them. One that does not exist is removed already.
pub(crate) async fn remove_topics(brokers: &str, topics: &[String]) -> anyhow::Result<()> {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    for removed in admin(brokers)?.delete_topics(&topics, &admin_options()).await? {
        match removed {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, code)) => anyhow::bail!("topic {topic}: {code}"),
        }
    }
    Ok(())
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(MAKE_LIMIT)).request_timeout(Some(MAKE_LIMIT))
}

fn has_leaders(admin: &AdminClient<DefaultClientContext>, topic: &str) -> anyhow::Result<bool> {
    let metadata = admin.inner().fetch_metadata(Some(topic), MAKE_LIMIT)?;
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    Ok(partitions.len() == PARTITIONS.len() && partitions.iter().all(|partition| partition.leader() >= 0))
}

/// A consumer of all partitions of a new topic, from its beginning.
pub(crate) fn consumer(brokers: &str, topic: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = client(brokers);
    // librdkafka wants a name, though nothing is committed under it.
    config.set("group.id", topic).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in PARTITIONS.all() {
        partitions.add_partition_offset(topic, partition.0.cast_signed(), Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

/// The partition that Nimbus would choose, so that both spread clients alike.
pub(crate) fn partition_of(client: &ClientId) -> i32 {
    PARTITIONS.partition_of(client).0.cast_signed()
}

/// Produces to one topic.
#[derive(Clone)]
pub(crate) struct Producer {
    producer: std::sync::Arc<ThreadedProducer<Watch>>,
    topic: String,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

pub(crate) fn producer(brokers: &str, topic: &str) -> anyhow::Result<Producer> {
    let mut config = client(brokers);
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", LINGER);
    config.set("max.in.flight.requests.per.connection", IN_FLIGHT);
    // What is outstanding is the load's to bound.
    config.set("queue.buffering.max.messages", "0");
    config.set("delivery.report.only.error", "true");
    let producer = std::sync::Arc::new(config.create_with_context(Watch)?);
    Ok(Producer { producer, topic: topic.to_owned() })
}

impl Producer {
    pub(crate) fn send(&self, partition: i32, key: &[u8], record: &Record) {
        let bytes: &[u8] = record.bytes();
        let record = BaseRecord::to(&self.topic).partition(partition).key(key).payload(bytes);
        if let Err((error, _)) = self.producer.send(record) {
            give_up(error);
        }
    }
}

/// Ends the process when a record could not be stored.
#[derive(Debug, Clone, Copy)]
struct Watch;

impl ClientContext for Watch {}

impl ProducerContext for Watch {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            give_up(error);
        }
    }
}
