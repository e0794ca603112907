//! The glue answers rightly: a wrong one would be no limit.

use std::{net::SocketAddr, time::Duration};

use nimbus_loadtest::{Limit, LoadConfig, Protocol};
use nimbus_services::{Nats, nats as nats_service, shared};
use tokio::{runtime::Runtime, sync::oneshot};

use super::{
    Parts,
    lines::Lines,
    nats,
    record::{Record, Sent},
};

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_answered_rightly() {
    let (Some(kafka), Some(redis)) = (shared::kafka(), shared::redis()) else { return };
    let parts = Parts { kafka, redis, prefix: format!("glue-test-{:016x}", rand::random::<u64>()) };
    let (address_tx, address) = oneshot::channel();
    let server = tokio::spawn(async move {
        super::serve(&parts, |address| address_tx.send(address).unwrap()).await.unwrap();
    });
    answers_rightly(address).await;
    server.abort();
}

#[test]
fn over_nats_both_protocols_are_answered_rightly() {
    if let Err(error) = nats_service::prepare() {
        return shared::skip(&format!("needs NATS: {error}"));
    }
    // Outlives the runtime, whose tasks would end the process without it.
    let nats = Nats::start(None).unwrap();
    let parts = nats::Parts { nats: nats.address(), prefix: super::random_prefix() };
    let runtime = Runtime::new().unwrap();
    let (address_tx, address) = oneshot::channel();
    runtime.spawn(async move {
        nats::serve(&parts, |address| address_tx.send(address).unwrap()).await.unwrap();
    });
    runtime.block_on(answers_rightly(address));
}

/// Makes a load of each protocol.
async fn answers_rightly(address: oneshot::Receiver<SocketAddr>) {
    let address = address.await.unwrap().to_string();
    for protocol in [Protocol::V1, Protocol::Original] {
        let config = LoadConfig {
            streams: 4,
            connections: 2,
            window: 16,
            limit: Limit::Events(2000),
            warmup: Duration::ZERO,
            ..LoadConfig::new(&address, protocol)
        };
        let report = nimbus_loadtest::run(&config, |_| {}).await.unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.answered, 2000);
    }
}

fn sent(seq: u64, number: Option<i64>) -> Sent<'static> {
    Sent { seq, name: b"sq", content_type: b"application/json", number }
}

#[test]
fn a_record_keeps_what_an_answer_needs() {
    let mut record = Record::try_new(7, sent(9, Some(-12))).unwrap();
    assert_eq!((record.result(), record.number()), (None, Some(-12)));
    record.square();
    let record = Record::read(record.bytes()).unwrap();
    assert_eq!((record.line(), record.seq(), record.result()), (7, 9, Some(144)));
    assert_eq!((record.name(), record.content_type()), (&b"sq"[..], &b"application/json"[..]));
    for without in [None, Some(i64::MAX)] {
        let mut record = Record::try_new(7, sent(9, without)).unwrap();
        record.square();
        assert_eq!(record.result(), None);
    }
    assert!(Record::try_new(7, Sent { name: &[b'x'; 14], ..sent(9, None) }).is_none());
}

#[test]
fn a_stream_gets_its_own_in_order_and_ends_after_its_last() {
    let lines = Lines::default();
    let (answers_tx, answers) = std::sync::mpsc::channel();
    let open = |name| {
        let answers_tx = answers_tx.clone();
        lines.open(Box::new(move |records| {
            answers_tx.send((name, records.iter().map(Record::seq).collect::<Vec<_>>())).unwrap();
        }))
    };
    let (one, other) = (open("one"), open("other"));
    lines.sent(one, 3);
    lines.sent(other, 1);
    let record = |line, seq| Record::try_new(line, sent(seq, Some(1))).unwrap();
    lines.answer(vec![record(one, 1), record(other, 1), record(one, 2)]);
    lines.ended(one);
    lines.answer(vec![record(one, 3)]);
    // Dropped by now: nobody hears this.
    lines.answer(vec![record(one, 4)]);
    let heard: Vec<_> = answers.try_iter().collect();
    assert_eq!(heard, [("one", vec![1, 2]), ("other", vec![1]), ("one", vec![3])]);
}
