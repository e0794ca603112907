//! Records that lie twice in the log, whoever put them there.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use nimbus_harness::{PATIENCE, RawSession, TestCluster, hello};
use nimbus_proto::v1::delivery::Source;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::OwnedMessage,
    producer::{FutureProducer, FutureRecord},
};

use super::cluster;

/// Everything that one of the topics holds.
fn everything(cluster: &TestCluster, topic: &str) -> anyhow::Result<Vec<OwnedMessage>> {
    let topic = cluster.setting(topic);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS"))
        .set("group.id", "nobody")
        .create()?;
    let mut all = Vec::new();
    for partition in 0..4 {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        if low == high {
            continue;
        }
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, partition, Offset::Offset(low))?;
        consumer.assign(&place)?;
        loop {
            let message = consumer.poll(PATIENCE).context("nothing came")??.detach();
            let is_last = message.offset() + 1 == high;
            all.push(message);
            if is_last {
                break;
            }
        }
    }
    Ok(all)
}

/// Appends a copy of a record behind everything else of its partition.
async fn append_again(cluster: &TestCluster, message: &OwnedMessage) -> anyhow::Result<()> {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?;
    let record = FutureRecord::to(message.topic())
        .partition(message.partition())
        .key(message.key().unwrap_or_default())
        .payload(message.payload().unwrap_or_default());
    producer.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
    Ok(())
}

/// Rule 11: the later copy is the duplicate, whether the result lies twice (a zombie executor) or the event does (an old
/// server's append in flight).
#[tokio::test]
async fn rule_11_a_record_that_lies_twice_in_either_topic_is_answered_once() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello("once")).await?;
    for seq in 1..=5 {
        session.square(seq, 2).await?;
    }
    let mut seqs = Vec::new();
    let next = async |session: &mut RawSession| -> anyhow::Result<u64> {
        let delivery = session.delivery().await.with_context(|| consumers.output())?;
        let Some(Source::Result(result)) = delivery.source else { anyhow::bail!("no result") };
        Ok(result.seq)
    };
    for _ in 1..=5 {
        seqs.push(next(&mut session).await?);
    }
    for topic in ["NIMBUS_KAFKA_EVENTS_TOPIC", "NIMBUS_KAFKA_RESULTS_TOPIC"] {
        let kept = cluster.clone();
        let records = tokio::task::spawn_blocking(move || everything(&kept, topic)).await??;
        ensure!(records.len() >= 5, "{topic} has {} records", records.len());
        for record in &records {
            append_again(&cluster, record).await?;
        }
    }
    // A mark behind the copies: when it is answered they have been through.
    for seq in 6..=7 {
        session.square(seq, 2).await?;
        seqs.push(next(&mut session).await?);
    }
    assert_eq!(seqs, (1..=7).collect::<Vec<_>>());
    Ok(())
}
