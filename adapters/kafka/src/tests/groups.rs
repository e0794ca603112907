//! What errors of a broker do to members of groups, on the mock.

use std::{num::NonZeroU32, time::Duration};

use futures_util::FutureExt;
use nimbus_contracts::{Sample, within};
use nimbus_core::{
    ClientId, Event, GroupId, Partition, PartitionCount, Position,
    ports::log::{Committed, Consumer, ConsumerEvent, EventLog, LogError},
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};

use super::{broker::epoch, mock::Mock};
use crate::{Kafka, KafkaConfig};

const P0: Partition = Partition(0);

fn event(number: u64) -> Event {
    Event::sample(&ClientId::try_new("client").unwrap(), number)
}

fn at(position: u64) -> Committed {
    Committed { position: Position(position), ..Committed::default() }
}

fn setting() -> (Mock, Kafka) {
    let mock = Mock::new();
    let partitions = PartitionCount(NonZeroU32::new(1).unwrap());
    // Longer than the mock gathers members for; heartbeats every second.
    let config = KafkaConfig { session_timeout: Duration::from_secs(4), ..mock.config(partitions) };
    let kafka = Mock::open(&config, epoch());
    (mock, kafka)
}

async fn alone(log: &EventLog) -> Box<dyn Consumer<Event>> {
    let mut consumer = log.consume(&GroupId::try_new("group").unwrap()).await.unwrap();
    let first = within("an assignment", consumer.next()).await.unwrap();
    assert!(matches!(first, ConsumerEvent::Assigned { partition: P0, .. }), "{first:?}");
    consumer
}

/// One that comes to a group that has no partition for it is as much a member as the others.
#[tokio::test]
async fn a_member_has_joined_when_the_group_has_said_what_it_gets_and_be_it_nothing() {
    let (_mock, kafka) = setting();
    let log = kafka.events();
    let group = GroupId::try_new("group").unwrap();
    let mut first = log.consume(&group).await.unwrap();
    // The mock gathers members for seconds before it answers.
    assert!(first.joined().now_or_never().is_none(), "nobody can have answered yet");
    within("joining", first.joined()).await;
    let assigned = first.next().now_or_never().expect("what it was given lies ready").unwrap();
    assert!(matches!(assigned, ConsumerEvent::Assigned { partition: P0, .. }), "{assigned:?}");
    let mut second = log.consume(&group).await.unwrap();
    within("joining", second.joined()).await;
    assert!(second.next().now_or_never().is_none(), "the only partition is the other one's");
    within("joining", first.joined()).await;
}

async fn committed(log: &EventLog) -> Vec<Position> {
    let committed = within("an answer", log.committed(P0)).await.unwrap();
    committed.into_iter().map(|(_, position)| position).collect()
}

#[tokio::test]
async fn a_commit_is_tried_again_unless_the_group_went_on_without_its_member() {
    let (mock, kafka) = setting();
    let log = kafka.events();
    let mut consumer = alone(&*log).await;
    let passing = [Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS];
    mock.answer(RDKafkaApiKey::OffsetCommit, &passing);
    consumer.commit(P0, at(1));
    consumer.commit(P0, at(2));
    within("a flush", consumer.flush()).await.unwrap();
    assert_eq!(committed(&*log).await, [Position(2)]);
    mock.answer(RDKafkaApiKey::OffsetCommit, &[Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    consumer.commit(P0, at(3));
    let error = within("a flush", consumer.flush()).await.unwrap_err();
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    consumer.commit(P0, at(4));
    within("a flush", consumer.flush()).await.unwrap();
    assert_eq!(committed(&*log).await, [Position(4)]);
}

/// Another may own it by now: what the former owner says about it is not heard, and it comes back only when that one has
/// let go of it.
#[tokio::test]
async fn a_lost_partition_comes_back_only_to_who_has_let_go_of_it() {
    let (mock, kafka) = setting();
    let log = kafka.events();
    let mut consumer = alone(&*log).await;
    consumer.commit(P0, at(1));
    within("a flush", consumer.flush()).await.unwrap();
    mock.answer(RDKafkaApiKey::Heartbeat, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    let lost = within("the loss", consumer.next()).await.unwrap();
    assert!(matches!(lost, ConsumerEvent::Revoked { partition: P0 }), "{lost:?}");
    consumer.commit(P0, at(9));
    within("a flush", consumer.flush()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_secs(4), consumer.next()).await;
    assert!(early.is_err(), "assigned before it was released: {early:?}");
    consumer.release(P0);
    let back = within("an assignment", consumer.next()).await.unwrap();
    assert!(matches!(&back, ConsumerEvent::Assigned { partition: P0, committed } if *committed == at(1)), "{back:?}");
}

#[tokio::test]
async fn fetches_that_fail_lose_nothing() {
    let (mock, kafka) = setting();
    let log = kafka.events();
    let mut consumer = alone(&*log).await;
    let codes = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    let mut records = Vec::new();
    for (number, code) in (0..).zip(codes) {
        mock.answer(RDKafkaApiKey::Fetch, &[code]);
        within("an append", log.append(P0, vec![event(number)])).await.unwrap();
        while records.len() as u64 <= number {
            match within("records", consumer.next()).await {
                Ok(ConsumerEvent::Records(batch)) => {
                    records.extend(batch.records.iter().map(|stored| stored.record.clone()));
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(matches!(error, LogError::Unavailable(_)), "{error}"),
            }
        }
    }
    assert_eq!(records, (0..4).map(event).collect::<Vec<_>>());
}
