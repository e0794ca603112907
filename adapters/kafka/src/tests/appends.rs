//! What errors of a broker do to appends, on the mock.

use std::{num::NonZeroU32, time::Duration};

use futures_util::FutureExt;
use nimbus_contracts::{Sample, within};
use nimbus_core::{
    ClientId, Event, Partition, PartitionCount, Position,
    ports::log::{EventLog, LogError},
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};

use super::{broker::epoch, mock::Mock};
use crate::{Kafka, KafkaConfig};

const P0: Partition = Partition(0);
const P1: Partition = Partition(1);

fn partitions(count: u32) -> PartitionCount {
    PartitionCount(NonZeroU32::new(count).unwrap())
}

fn event(number: u64) -> Event {
    Event::sample(&ClientId::try_new("client").unwrap(), number)
}

async fn append(log: &EventLog, number: u64) -> Result<Position, LogError> {
    within("an append", log.append(P0, vec![event(number)])).await
}

async fn stored(log: &EventLog, partition: Partition) -> Vec<Event> {
    let batch = within("a read", log.read(partition, Position::START, 1 << 20)).await.unwrap();
    batch.records.iter().map(|stored| stored.record.clone()).collect()
}

/// An error of the broker, and whether this is what it must become.
type Expectation = (Code, fn(&LogError) -> bool);

struct Setting {
    mock: Mock,
    kafka: Kafka,
}

fn setting(change: impl Fn(&mut KafkaConfig)) -> Setting {
    let mock = Mock::new();
    let mut config = mock.config(partitions(2));
    change(&mut config);
    Setting { kafka: Mock::open(&config, epoch()), mock }
}

impl Setting {
    fn rebuilds(&self) -> u64 {
        self.kafka.running.shared.metrics.producer_rebuilds.get()
    }
}

#[tokio::test]
async fn what_passes_is_tried_until_it_goes_well_and_lands_once() {
    let setting = setting(|_| ());
    let log = setting.kafka.events();
    append(&*log, 0).await.unwrap();
    let passing = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    for (number, code) in (1..).zip(passing) {
        setting.mock.answer(RDKafkaApiKey::Produce, &[code]);
        append(&*log, number).await.unwrap_or_else(|error| panic!("{code:?}: {error}"));
    }
    assert_eq!(stored(&*log, P0).await, (0..6).map(event).collect::<Vec<_>>());
    assert_eq!(setting.rebuilds(), 0);
}

#[tokio::test]
async fn what_does_not_pass_ends_the_producer_and_the_next_one_goes_on() {
    let setting = setting(|_| ());
    let log = setting.kafka.events();
    let lasting: [Expectation; 6] = [
        (Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, |error| matches!(error, LogError::Ambiguous(_))),
        (Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, |error| matches!(error, LogError::Ambiguous(_))),
        (Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, |error| matches!(error, LogError::Full(_))),
        (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, |error| matches!(error, LogError::Ambiguous(_))),
        (Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, |error| matches!(error, LogError::Ambiguous(_))),
        (Code::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, |error| matches!(error, LogError::Ambiguous(_))),
    ];
    let mut expected = Vec::new();
    for (number, (code, is_right)) in (1..).zip(lasting) {
        setting.mock.answer(RDKafkaApiKey::Produce, &[code]);
        let error = append(&*log, 100 + number).await.expect_err("it lasts");
        assert!(is_right(&error), "{code:?}: {error}");
        // The failure was told: what is appended now lands.
        append(&*log, number).await.unwrap_or_else(|error| panic!("after {code:?}: {error}"));
        expected.push(event(number));
        assert_eq!(setting.rebuilds(), number);
    }
    assert_eq!(stored(&*log, P0).await, expected);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_before_anything_is_sent() {
    let setting = setting(|config| config.max_record_bytes = 2048);
    let log = setting.kafka.events();
    let large = Event { payload: vec![7; 4096].into(), ..event(1) };
    assert_eq!(log.fits(&event(1)), Ok(()));
    assert!(log.fits(&large).is_err_and(|found| found.bytes > 4096 && found.most == 2048));
    let error = within("an append", log.append(P0, vec![event(0), large])).await.unwrap_err();
    assert!(matches!(error, LogError::Full(_)), "{error}");
    append(&*log, 2).await.unwrap();
    assert_eq!(stored(&*log, P0).await, [event(2)]);
    assert_eq!(setting.rebuilds(), 0);
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_and_takes_what_comes_anyway() {
    let setting = setting(|config| config.append_queue_bytes = 1024);
    let log = setting.kafka.events();
    within("room", log.ready()).await;
    setting.mock.answer(RDKafkaApiKey::Produce, &[Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1000]);
    let appends: Vec<_> = (0..6).map(|number| log.append(P0, vec![event(number)])).collect();
    assert!(log.ready().now_or_never().is_none(), "there is no room");
    setting.mock.answer_well(RDKafkaApiKey::Produce);
    within("room", log.ready()).await;
    for append in appends {
        within("an append", append).await.unwrap();
    }
    assert_eq!(setting.kafka.running.shared.metrics.queue_bytes.get(), 0);
    assert_eq!(stored(&*log, P0).await, (0..6).map(event).collect::<Vec<_>>());
}

/// What lands is a prefix over all partitions: what failed in one is not overtaken in another.
#[tokio::test]
async fn an_appender_does_not_overtake_itself_in_another_partition() {
    let setting = setting(|_| ());
    let log = setting.kafka.events();
    append(&*log, 0).await.unwrap();
    let appender = log.appender();
    let held = Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    setting.mock.answer(RDKafkaApiKey::Produce, &[held, held, Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let first = appender.append(P0, vec![event(1)]);
    let second = appender.append(P1, vec![event(2)]);
    let third = appender.append(P0, vec![event(3)]);
    assert!(matches!(within("the first", first).await, Err(LogError::Ambiguous(_))));
    for behind in [second, third] {
        assert!(matches!(within("what is behind", behind).await, Err(LogError::Unavailable(_))));
    }
    assert_eq!((stored(&*log, P0).await, stored(&*log, P1).await), (vec![event(0)], vec![]));

    let appender = log.appender();
    let appends = [(P0, 4), (P1, 5), (P1, 6), (P0, 7)].map(|(to, number)| appender.append(to, vec![event(number)]));
    for append in appends {
        within("an append", append).await.unwrap();
    }
    assert_eq!(stored(&*log, P0).await, [event(0), event(4), event(7)]);
    assert_eq!(stored(&*log, P1).await, [event(5), event(6)]);
}

#[tokio::test]
async fn closing_answers_what_the_broker_did_not() {
    let setting = setting(|_| ());
    let log = setting.kafka.events();
    append(&*log, 0).await.unwrap();
    let last = log.append(P0, vec![event(1)]);
    within("closing", setting.kafka.close()).await.unwrap();
    within("an append", last).await.unwrap();
    assert!(matches!(append(&*log, 2).await, Err(LogError::Closed)));
    assert!(matches!(log.range(P0).await, Err(LogError::Closed)));
    within("closing again", setting.kafka.close()).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_unavailable() {
    let config = KafkaConfig {
        properties: vec![("socket.timeout.ms".into(), "1000".into())],
        ..KafkaConfig::new("localhost:1")
    };
    let kafka = Mock::open(&config, epoch());
    let log = kafka.events();
    assert!(matches!(within("a range", log.range(P0)).await, Err(LogError::Unavailable(_))));
    let mut append = log.append(P0, vec![event(0)]);
    assert!(
        tokio::time::timeout(Duration::from_millis(10), &mut append).await.is_err(),
        "it is tried for as long as it takes"
    );
    // Dropped handles answer too, in their own time.
    drop((log, kafka));
    assert!(matches!(within("an answer", append).await, Err(LogError::Ambiguous(_))));
}
