//! Two builds on the same topics, as while a deployment is rolled. The older one is what version 1 of the stored form
//! writes, pinned in `envelope/golden`; the newer one is a record whose version nobody knows yet. What redis holds is told
//! in `adapters/redis/src/tests/rolling.rs`.

use std::time::Duration;

use anyhow::Context as _;
use nimbus_client::{Answer, Client, Event, Incoming, Outcome};
use nimbus_core::{ClientId, PartitionCount};
use nimbus_harness::{PATIENCE, RawSession, TestCluster, TestNimbus, hello};
use nimbus_proto::{
    stored,
    v1::{self, delivery::Source},
};
use prost::Message as _;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use tokio::time::timeout;

use super::cluster;
use crate::cli::{nimbus, stderr, stdout};

const EVENTS: &str = "NIMBUS_KAFKA_EVENTS_TOPIC";
const RESULTS: &str = "NIMBUS_KAFKA_RESULTS_TOPIC";
const DEAD_LETTERS: &str = "NIMBUS_KAFKA_DLQ_TOPIC";

/// The client of the pinned records.
const VETERAN: &str = "veteran";

const OLD_EVENT: &str = include_str!("../../../../envelope/golden/event-v1.hex");
const OLD_RESULT: &str = include_str!("../../../../envelope/golden/result-v1.hex");
const OLD_DEAD_LETTER: &str = include_str!("../../../../envelope/golden/dead-letter-v1.hex");

/// A field that no build knows yet: number 500, a length of 3.
const UNKNOWN_FIELD: &[u8] = &[0xa2, 0x1f, 3, b'n', b'e', b'w'];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn partition_of(client: &str) -> i32 {
    let partitions = PartitionCount(4.try_into().expect("not zero"));
    partitions.partition_of(&ClientId::try_new(client).expect("a valid id")).0.cast_signed()
}

/// A client in another partition than the veteran.
fn elsewhere() -> String {
    let mut names = (0..).map(|n| format!("bystander-{n}"));
    names.find(|name| partition_of(name) != partition_of(VETERAN)).expect("there are four partitions")
}

/// Puts a record where another build would put it, and says at which offset.
async fn put(cluster: &TestCluster, topic: &str, record: &[u8]) -> anyhow::Result<i64> {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?;
    let record = FutureRecord::to(cluster.setting(topic)).partition(partition_of(VETERAN)).key(VETERAN).payload(record);
    let stored = producer.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
    Ok(stored.offset)
}

/// The remedy for a record that nobody will ever read: it is removed, with all that lies before it.
async fn remove_through(cluster: &TestCluster, topic: &str, offset: i64) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?;
    let mut records = TopicPartitionList::new();
    let (topic, behind) = (cluster.setting(topic), Offset::Offset(offset + 1));
    records.add_partition_offset(topic, partition_of(VETERAN), behind)?;
    admin.delete_records(&records, &AdminOptions::new()).await?;
    Ok(())
}

async fn session(server: &TestNimbus, client: &str) -> anyhow::Result<RawSession> {
    Ok(RawSession::welcome(server.connect().await?, hello(client)).await?.0)
}

/// The next answer: its number and payload.
async fn answer(session: &mut RawSession, consumers: &TestNimbus) -> anyhow::Result<(u64, String)> {
    let v1::Delivery { source, payload, error, .. } = session.delivery().await.with_context(|| consumers.output())?;
    anyhow::ensure!(error.is_none(), "{error:?}");
    let Some(Source::Result(result)) = source else { anyhow::bail!("no result") };
    Ok((result.seq, String::from_utf8(payload.to_vec())?))
}

/// Waits until consumers have ended over a record that they cannot read, and checks what they say about it.
async fn stopped_at(mut consumers: TestNimbus, cluster: &TestCluster, topic: &str, offset: i64) -> anyhow::Result<()> {
    let status = consumers.wait(PATIENCE).await?;
    let output = consumers.wait_for_output(|output| output.contains("use a newer build")).await?;
    assert_eq!(status.code(), Some(65), "a supervisor must not restart it: {output}");
    let place = format!("topic {} partition {} offset {offset}", cluster.setting(topic), partition_of(VETERAN));
    let told = format!("{place}: the record has version 2, this build reads up to 1; use a newer build");
    assert!(output.contains(&told), "{told}\n{output}");
    Ok(())
}

#[tokio::test]
async fn what_version_1_wrote_is_executed_delivered_and_listed_also_with_fields_that_nobody_knows_yet()
-> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let mut session = session(&server, VETERAN).await?;
    put(&cluster, EVENTS, &bytes(OLD_EVENT)).await?;
    assert_eq!(answer(&mut session, &consumers).await?, (1, "144".to_owned()));
    put(&cluster, RESULTS, &bytes(OLD_RESULT)).await?;
    assert_eq!(answer(&mut session, &consumers).await?, (2, "49".to_owned()));

    // A newer build of the same version may know more fields: they are passed over.
    let mut event = stored::EventEnvelope::decode(&bytes(OLD_EVENT)[..])?;
    event.seq = 3;
    put(&cluster, EVENTS, &[&event.encode_to_vec(), UNKNOWN_FIELD].concat()).await?;
    assert_eq!(answer(&mut session, &consumers).await?, (3, "144".to_owned()));
    let mut result = stored::ResultEnvelope::decode(&bytes(OLD_RESULT)[..])?;
    result.seq = 4;
    put(&cluster, RESULTS, &[&result.encode_to_vec(), UNKNOWN_FIELD].concat()).await?;
    assert_eq!(answer(&mut session, &consumers).await?, (4, "49".to_owned()));

    put(&cluster, DEAD_LETTERS, &bytes(OLD_DEAD_LETTER)).await?;
    let settings: Vec<_> = cluster.settings().collect();
    let listed = nimbus(["dlq", "list"], &settings).await?;
    let row: Vec<_> = stdout(&listed).trim_end().split('\t').map(str::to_owned).collect();
    assert_eq!(row[2..], [VETERAN, "fail", "7", "0", "POISON", "1", "17", "open"], "{}", stderr(&listed));
    Ok(())
}

#[tokio::test]
async fn an_event_of_a_newer_version_stops_older_executors_with_its_place_and_nothing_else_is_lost()
-> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let mut veteran = session(&server, VETERAN).await?;
    veteran.square(1, 2).await?;
    assert_eq!(answer(&mut veteran, &consumers).await?, (1, "4".to_owned()));
    let mut newer = stored::EventEnvelope::decode(&bytes(OLD_EVENT)[..])?;
    (newer.version, newer.seq) = (2, 2);
    let offset = put(&cluster, EVENTS, &newer.encode_to_vec()).await?;
    stopped_at(consumers, &cluster, EVENTS, offset).await?;

    // Servers go on: what they accept meanwhile, here and in other partitions, waits for consumers that can read on.
    let mut other = session(&server, &elsewhere()).await?;
    veteran.square(2, 3).await?;
    other.square(1, 4).await?;
    server.wait_for_metric("nimbus_events_accepted_total", |accepted| accepted >= 3.0).await?;
    // The same build stops at the same place again, and never behind it.
    match cluster.start("consumers").await {
        Ok(again) => stopped_at(again, &cluster, EVENTS, offset).await?,
        Err(error) => assert!(format!("{error:#}").contains("use a newer build"), "{error:#}"),
    }

    remove_through(&cluster, EVENTS, offset).await?;
    let consumers = cluster.start("consumers").await?;
    assert_eq!(answer(&mut veteran, &consumers).await?, (2, "9".to_owned()));
    assert_eq!(answer(&mut other, &consumers).await?, (1, "16".to_owned()));
    assert!(consumers.output().contains("retention has passed records"), "said aloud: {}", consumers.output());
    Ok(())
}

#[tokio::test]
async fn a_result_of_a_newer_version_stops_older_routers_with_its_place_and_its_removal_is_a_gap() -> anyhow::Result<()>
{
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let client = Client::builder(server.url()).client_id(VETERAN).connect().await?;
    let next = async || -> anyhow::Result<Incoming> {
        let incoming = timeout(PATIENCE, client.recv()).await.with_context(|| server.output())??;
        incoming.context("the client has ended")
    };
    let is_square = |incoming: &Incoming, number: u64, square: &str| match incoming {
        Incoming::Answer(Answer { seq, outcome: Outcome::Final(body), .. }) => {
            seq.get() == number && body.payload == square
        }
        _ => false,
    };
    client.send(Event::new("sq", "2")).await?;
    let first = next().await?;
    assert!(is_square(&first, 1, "4"), "{first:?}");
    let mut newer = stored::ResultEnvelope::decode(&bytes(OLD_RESULT)[..])?;
    newer.version = 2;
    newer.origin.as_mut().context("an origin")?.client_id = "somebody-new".to_owned();
    let offset = put(&cluster, RESULTS, &newer.encode_to_vec()).await?;
    stopped_at(consumers, &cluster, RESULTS, offset).await?;

    // Servers go on: what they accept waits for routers that can read on.
    let waits = client.send(Event::new("sq", "3")).await?;
    timeout(PATIENCE, client.accepted(waits)).await??;
    remove_through(&cluster, RESULTS, offset).await?;
    let _consumers = cluster.start("consumers").await?;
    // It may have been this client's: nobody can know, so it is told.
    let gap = next().await?;
    assert!(matches!(gap, Incoming::Gap(_)), "{gap:?}");
    let second = next().await?;
    assert!(is_square(&second, 2, "9"), "{second:?}");
    Ok(())
}
