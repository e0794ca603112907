//! Topics, epoch, and what others wrote into a topic, on a real broker.

use std::{num::NonZeroU32, time::Duration};

use nimbus_contracts::{Sample, within};
use nimbus_core::{
    ClientId, DeadLetter, Event, GroupId, Partition, PartitionCount, Position, ResultRecord,
    ports::log::{Committed, Consumer, ConsumerEvent, EventLog, LogError},
};
use rdkafka::{
    ClientConfig, Message as _, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::broker::{broker, config, epoch, open};
use crate::{Compression, KafkaAdmin, KafkaConfig, Kept, OpenError, Severity};

const P0: Partition = Partition(0);
const LIMIT: Duration = Duration::from_secs(10);

fn partitions(count: u32) -> PartitionCount {
    PartitionCount(NonZeroU32::new(count).unwrap())
}

fn event(number: u64) -> Event {
    Event::sample(&ClientId::try_new("client").unwrap(), number)
}

fn admin(config: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT))
}

async fn make(config: &KafkaConfig, name: &str, partitions: i32, policy: &str) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("cleanup.policy", policy);
    admin(config).create_topics([&topic], &options()).await.unwrap().into_iter().for_each(|made| drop(made.unwrap()));
}

/// Another program's producer.
fn stranger(config: &KafkaConfig, transactional: bool) -> BaseProducer {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &config.brokers).set("linger.ms", "0");
    if transactional {
        settings.set("transactional.id", &config.group_prefix);
    }
    settings.create().unwrap()
}

#[tokio::test]
async fn topics_are_made_as_configured_and_what_is_unsafe_is_told() {
    let Some(brokers) = broker() else { return };
    let config = config(&brokers, partitions(3));
    let admin = KafkaAdmin::try_new(config.clone()).unwrap();
    assert!(matches!(admin.inspect().await, Err(OpenError::Missing { topic }) if topic == config.topics.events));
    let prepared = admin.prepare().await.unwrap();
    let findings = prepared.findings();
    assert_eq!(findings, admin.inspect().await.unwrap().findings());
    // One broker has room for one replica.
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert!(findings.iter().all(|found| found.severity == Severity::Warning && found.what.contains("1 replica")));
    let longer = KafkaConfig { retention: config.retention * 2, max_record_bytes: 4 << 20, ..config };
    let prepared = KafkaAdmin::try_new(longer).unwrap().inspect().await.unwrap();
    let findings = prepared.findings();
    for word in ["retention.ms", "max.message.bytes"] {
        assert_eq!(findings.iter().filter(|found| found.what.contains(word)).count(), 3, "{findings:?}");
    }
}

#[tokio::test]
async fn topics_that_cannot_keep_the_promises_are_refused() {
    let Some(brokers) = broker() else { return };
    let first = config(&brokers, partitions(2));
    let refused =
        async |config: &KafkaConfig| KafkaAdmin::try_new(config.clone()).unwrap().prepare().await.unwrap_err();
    make(&first, &first.topics.results, 3, "delete").await;
    let error = refused(&first).await;
    assert!(matches!(error, OpenError::Unequal { events: 2, results: 3, dead_letters: 2 }), "{error}");
    let second = config(&brokers, partitions(2));
    KafkaAdmin::try_new(second.clone()).unwrap().prepare().await.unwrap();
    let error = refused(&KafkaConfig { partitions: partitions(4), ..second }).await;
    assert!(matches!(error, OpenError::Partitions { found: 2, wanted: 4 }), "{error}");
    let third = config(&brokers, partitions(1));
    make(&third, &third.topics.events, 1, "compact").await;
    let error = refused(&third).await;
    assert!(matches!(&error, OpenError::Compacted { topic, .. } if *topic == third.topics.events), "{error}");
}

#[tokio::test]
async fn the_epoch_goes_with_its_topic() {
    let Some(brokers) = broker() else { return };
    let config = config(&brokers, partitions(1));
    let admin = KafkaAdmin::try_new(config.clone()).unwrap();
    admin.prepare().await.unwrap();
    assert_eq!(admin.kept().await.unwrap().epoch(), None);
    for epoch in [epoch(), epoch()] {
        admin.store_epoch(epoch).await.unwrap();
        assert_eq!(admin.kept().await.unwrap().epoch(), Some(epoch));
        assert_eq!(KafkaAdmin::try_new(config.clone()).unwrap().kept().await.unwrap().epoch(), Some(epoch));
    }
    let deleted = self::admin(&config).delete_topics(&[&config.topics.results], &options()).await.unwrap();
    deleted.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let gone = async { while admin.kept().await.ok().map(Kept::epoch) != Some(None) {} };
    within("the epoch to be forgotten", gone).await;
    // The broker deletes in the background: until then the name is taken.
    let made = async { while admin.prepare().await.is_err() {} };
    within("the topic to be made anew", made).await;
    assert_eq!(admin.kept().await.unwrap().epoch(), None);
    assert!(admin.kept().await.unwrap().is_torn(), "the events topic still has it");
    admin.store_epoch(epoch()).await.unwrap();
    assert!(!admin.kept().await.unwrap().is_torn());
}

async fn alone(log: &EventLog) -> (Box<dyn Consumer<Event>>, Committed) {
    let mut consumer = log.consume(&GroupId::try_new("group").unwrap()).await.unwrap();
    match within("an assignment", consumer.next()).await.unwrap() {
        ConsumerEvent::Assigned { committed, .. } => (consumer, committed),
        other => panic!("{other:?}"),
    }
}

/// Whoever reads the topic chooses by them, without decoding.
#[tokio::test]
async fn a_dead_letter_says_in_its_headers_why_it_failed() {
    let Some(brokers) = broker() else { return };
    let config = config(&brokers, partitions(1));
    let kafka = open(&config, epoch()).await;
    let client = ClientId::try_new("client").unwrap();
    let (letter, purged) = (DeadLetter::sample(&client, 2), DeadLetter::sample(&client, 4));
    within("an append", kafka.dead_letters().append(P0, vec![letter.clone(), purged])).await.unwrap();
    let reader: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", "nobody").create().unwrap();
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(&config.topics.dead_letters, 0, rdkafka::Offset::Beginning).unwrap();
    reader.assign(&place).unwrap();
    let read = || {
        let message = reader.poll(LIMIT).expect("a record").unwrap().detach();
        let headers = message.headers().expect("headers");
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect::<Vec<_>>()
    };
    let expected = [
        ("nimbus-reason", letter.failure.reason.as_str()),
        ("nimbus-event", letter.event.name.as_str()),
        ("nimbus-attempts", &letter.attempts.to_string()),
    ];
    assert_eq!(read(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(read(), [("nimbus-mark".to_owned(), "purged".to_owned())]);
}

/// Transactions leave records behind that nobody sees: offsets have holes.
#[tokio::test]
async fn holes_are_stepped_over() {
    let Some(brokers) = broker() else { return };
    let config = config(&brokers, partitions(1));
    let kafka = open(&config, epoch()).await;
    let log = kafka.events();
    within("an append", log.append(P0, vec![event(0)])).await.unwrap();
    let stranger = stranger(&config, true);
    stranger.init_transactions(LIMIT).unwrap();
    for _ in 0..2 {
        stranger.begin_transaction().unwrap();
        let record = BaseRecord::to(&config.topics.events).partition(0).key("client").payload("given up");
        stranger.send(record).map_err(|(error, _)| error).unwrap();
        stranger.flush(LIMIT).unwrap();
        stranger.abort_transaction(LIMIT).unwrap();
    }
    // A record, and twice one that was given up with its mark; the broker writes the marks in the background.
    let end = Position(5);
    within("the last mark", async { while log.range(P0).await.unwrap().end < end {} }).await;
    let first = within("a read", log.read(P0, Position::START, 0)).await.unwrap();
    assert_eq!((first.records.len(), first.next), (1, Position(1)));
    let hole = within("a read", log.read(P0, first.next, 1 << 20)).await.unwrap();
    assert_eq!((hole.records.len(), hole.from, hole.next), (0, Position(1), end));
    assert_eq!(within("a read", log.read(P0, end, 1 << 20)).await.unwrap().next, end);

    within("an append", log.append(P0, vec![event(1)])).await.unwrap();
    let (mut consumer, _) = alone(&*log).await;
    let (mut at, mut records) = (Position::START, Vec::new());
    while records.len() < 2 {
        let ConsumerEvent::Records(batch) = within("records", consumer.next()).await.unwrap() else { continue };
        assert_eq!(batch.from, at, "batches join over holes");
        at = batch.next;
        records.extend(batch.records.iter().map(|stored| stored.record.clone()));
    }
    assert_eq!(records, [event(0), event(1)]);
}

#[tokio::test]
async fn what_is_no_record_is_damage_with_a_place_and_what_is_before_it_is_read() {
    let Some(brokers) = broker() else { return };
    let config = config(&brokers, partitions(1));
    let kafka = open(&config, epoch()).await;
    let log = kafka.events();
    within("an append", log.append(P0, vec![event(0)])).await.unwrap();
    let stranger = stranger(&config, false);
    let record = BaseRecord::to(&config.topics.events).partition(0).key("client").payload("no event");
    stranger.send(record).map_err(|(error, _)| error).unwrap();
    stranger.flush(LIMIT).unwrap();
    within("an append", log.append(P0, vec![event(1)])).await.unwrap();
    let named = |error: &LogError| {
        assert!(matches!(error, LogError::Damaged(_)), "{error}");
        let place = format!("topic {} partition 0 offset 1", config.topics.events);
        assert!(error.to_string().contains(&place), "{error}");
    };
    let before = within("a read", log.read(P0, Position::START, 1 << 20)).await.unwrap();
    assert_eq!((before.records.len(), before.next), (1, Position(1)));
    named(&within("a read", log.read(P0, before.next, 1 << 20)).await.unwrap_err());
    assert_eq!(within("a read", log.read(P0, Position(2), 1 << 20)).await.unwrap().records.len(), 1);

    let (mut consumer, _) = alone(&*log).await;
    let first = within("records", consumer.next()).await.unwrap();
    assert!(matches!(first, ConsumerEvent::Records(batch) if batch.records[0].record == event(0)));
    named(&within("the damage", consumer.next()).await.unwrap_err());
    consumer.seek(P0, Position(2));
    let behind = within("records", consumer.next()).await.unwrap();
    assert!(matches!(behind, ConsumerEvent::Records(batch) if batch.records[0].record == event(1)));
}

/// Retention overtook the group: told, never jumped over.
#[tokio::test]
async fn a_commit_that_retention_has_passed_is_told() {
    let Some(brokers) = broker() else { return };
    let config = config(&brokers, partitions(1));
    let kafka = open(&config, epoch()).await;
    let log = kafka.events();
    within("an append", log.append(P0, (0..5).map(event).collect())).await.unwrap();
    let (mut consumer, _) = alone(&*log).await;
    consumer.commit(P0, Committed { position: Position(1), ..Committed::default() });
    within("a flush", consumer.flush()).await.unwrap();
    drop(consumer);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&config.topics.events, 0, rdkafka::Offset::Offset(3)).unwrap();
    admin(&config).delete_records(&list, &options()).await.unwrap();
    let (mut consumer, committed) = alone(&*log).await;
    assert_eq!(committed.position, Position(1));
    let error = within("an answer", consumer.next()).await.unwrap_err();
    let expected = (P0, Position(1), Position(3));
    assert!(
        matches!(error, LogError::Expired { partition, wanted, start } if (partition, wanted, start) == expected),
        "{error}"
    );
    consumer.seek(P0, Position(3));
    let rest = within("records", consumer.next()).await.unwrap();
    assert!(matches!(rest, ConsumerEvent::Records(batch) if batch.records.len() == 2));
}

/// Who does not let go in time holds up nobody else, and commits nothing any more.
#[tokio::test]
async fn a_partition_that_is_not_released_is_taken_away() {
    let Some(brokers) = broker() else { return };
    let config = KafkaConfig { release_limit: Duration::from_secs(3), ..config(&brokers, partitions(2)) };
    let kafka = open(&config, epoch()).await;
    let log = kafka.events();
    let (mut one, _) = alone(&*log).await;
    within("the second assignment", one.next()).await.unwrap();
    let mut two = log.consume(&GroupId::try_new("group").unwrap()).await.unwrap();
    let ConsumerEvent::Revoked { partition } = within("a revocation", one.next()).await.unwrap() else { panic!() };
    let ConsumerEvent::Assigned { partition: taken, .. } = within("the takeover", two.next()).await.unwrap() else {
        panic!()
    };
    assert_eq!(taken, partition);
    one.commit(partition, Committed { position: Position(7), ..Committed::default() });
    within("a flush", one.flush()).await.unwrap();
    assert!(log.committed(partition).await.unwrap().is_empty(), "it is not its own any more");
    one.release(partition);
}

/// The append that meets the new limit was attempted, and ends as such; what comes then is refused before it is.
#[tokio::test]
async fn a_limit_that_was_lowered_is_learned_from_the_first_refusal() {
    let Some(brokers) = broker() else { return };
    let config = KafkaConfig { compression: Compression::None, ..config(&brokers, partitions(1)) };
    let kafka = open(&config, epoch()).await;
    let log = kafka.events();
    let large = Event { payload: vec![7; 8_000].into(), ..event(1) };
    log.fits(&large).unwrap();
    within("an append", log.append(P0, vec![large.clone()])).await.unwrap();
    let lower = AlterConfig::new(ResourceSpecifier::Topic(&config.topics.events)).set("max.message.bytes", "4000");
    admin(&config).alter_configs([&lower], &options()).await.unwrap().into_iter().for_each(|set| drop(set.unwrap()));
    let error = loop {
        // Until the broker has heard of it.
        if let Err(error) = within("an append", log.append(P0, vec![large.clone()])).await {
            break error;
        }
    };
    assert!(matches!(&error, LogError::Ambiguous(why) if why.contains("max.message.bytes")), "{error}");
    assert!(log.fits(&large).is_err_and(|found| found.most == 4_000));
    assert!(kafka.results().fits(&ResultRecord::sample(&large.origin.client, 1)).is_ok());
    within("an append", log.append(P0, vec![event(2)])).await.unwrap();
}
