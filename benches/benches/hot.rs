//! The pieces that every event goes through, one by one and without I/O: `make bench-hot`.
//!
//! For a look at what a change does to one of them. What a user feels is measured by `nimbus-bench run`.

#![allow(clippy::unwrap_used, reason = "a benchmark: what is not there is a failure")]

use std::{hint::black_box, num::NonZeroU32, ops, sync::Arc};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nimbus_core::{
    ClientId, ContentType, Event, EventName, Lane, Offset, Origin, OutboxId, PartKind, PartitionCount, Position,
    PrincipalId, ResultRecord, SessionId,
    clock::UnixMillis,
    mailbox::Fold,
    ports::{
        log::{Range, Stored},
        mailbox::Claimed,
    },
    registry::Registry,
    session::{
        Action, ClientFrame, Dialect, Hello, Input, Limits, NewEvent, Now, Opened, ServerFrame, Session, Start,
        Unlimited,
    },
};
use nimbus_envelope::Envelope;
use tokio::time::Instant;
use ulid::Ulid;

/// Of an event and of its result, in bytes.
const PAYLOAD: usize = 64;
/// Clients of one server.
const CLIENTS: usize = 10_000;

fn origin(client: &str) -> Arc<Origin> {
    Arc::new(Origin {
        client: ClientId::try_new(client).unwrap(),
        principal: PrincipalId::try_new("anyone").unwrap(),
        outbox: OutboxId::new([7; 16]),
    })
}

fn event(origin: &Arc<Origin>, seq: u64) -> Event {
    Event {
        origin: Arc::clone(origin),
        seq,
        name: EventName::try_new("sq").unwrap(),
        payload: Bytes::from_static(&[b'7'; PAYLOAD]),
        content_type: ContentType::default(),
        attributes: Vec::new(),
        deadline: None,
        traceparent: String::new(),
        received: UnixMillis(1_700_000_000_000),
        replay_no: 0,
        refused: None,
        edge_context: Bytes::new(),
    }
}

/// At the offset of its event's sequence number.
fn answer(origin: &Arc<Origin>, seq: u64) -> Stored<ResultRecord> {
    let offset = Offset(seq);
    let mut record = ResultRecord::answering(
        &event(origin, seq),
        offset,
        Lane::Ordered,
        PartKind::Final,
        UnixMillis(1_700_000_000_000),
    );
    record.payload = Bytes::from_static(&[b'9'; PAYLOAD]);
    Stored { offset, record }
}

fn envelopes(criterion: &mut Criterion) {
    let origin = origin("phone-000001");
    let (event, result) = (event(&origin, 1_000_000), answer(&origin, 1_000_000).record);
    let mut group = criterion.benchmark_group("stored form");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::new();
    group.bench_function("event, written", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&event).encode(&mut out);
        });
    });
    let stored = out.clone();
    group.bench_function("event, read", |bencher| bencher.iter(|| Event::decode(black_box(&stored)).unwrap()));
    group.bench_function("result, written", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&result).encode(&mut out);
        });
    });
    let stored = out.clone();
    group.bench_function("result, read", |bencher| bencher.iter(|| ResultRecord::decode(black_box(&stored)).unwrap()));
    group.finish();
}

fn places(criterion: &mut Criterion) {
    let partitions = PartitionCount(NonZeroU32::new(64).unwrap());
    let client = ClientId::try_new("phone-000001").unwrap();
    criterion.bench_function("partition of a client", |bencher| {
        bencher.iter(|| partitions.partition_of(black_box(&client)));
    });

    let registry = Arc::new(Registry::new(partitions));
    let registered: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let origin = origin(&format!("phone-{number:06}"));
            let results: Arc<[_]> = Arc::new([answer(&origin, 1)]);
            (registry.register(origin.client.clone(), SessionId(Ulid(number as u128))), origin, results)
        })
        .collect();
    let mut next = 0;
    criterion.bench_function("a result into the inbox of one of 10,000 sessions, and out", |bencher| {
        bencher.iter(|| {
            next = (next + 7_919) % CLIENTS;
            let (registration, origin, results) = &registered[next];
            assert!(registry.deliver(&origin.client, results));
            registration.inbox().take().unwrap()
        });
    });
}

fn folds(criterion: &mut Criterion) {
    let origin = origin("phone-000001");
    let (mut fold, mut seq, now) = (Fold::default(), 0, UnixMillis(1));
    let mut result = answer(&origin, 1);
    criterion.bench_function("a result judged on its way into a mailbox", |bencher| {
        bencher.iter(|| {
            seq += 1;
            (result.offset, result.record.seq) = (Offset(seq), seq);
            fold.admit(result.offset, black_box(&result.record), now)
        });
    });
}

/// A session that has read its mailbox, which was empty.
fn open(origin: &Arc<Origin>) -> (Session, Now) {
    let now = Now { instant: Instant::now(), unix: UnixMillis(1) };
    let hello = Hello { outbox: origin.outbox, first_unaccepted: 1, resume: None, receive_window: 0 };
    let claimed = Claimed {
        token: Bytes::from_static(b"token"),
        start: Position(0),
        known: false,
        answered: 0,
        previous: None,
        applied: Position(0),
    };
    let opened = Opened { claimed, range: Range { start: Position(0), end: Position(0) }, floor: Position(0) };
    let start = Start {
        dialect: Dialect::V1,
        limits: Limits::default(),
        id: SessionId(Ulid(1)),
        origin: Arc::clone(origin),
        hello: &hello,
        opened,
    };
    let mut actions = Vec::new();
    let mut session = Session::open(start, now, &mut actions).unwrap();
    if actions.iter().any(|action| matches!(action, Action::Fetch(_))) {
        let nothing = Input::Fetched { records: Vec::new(), through: Position(0), complete: true };
        session.handle(nothing, &mut Unlimited, now, &mut actions);
    }
    (session, now)
}

/// Some events that come at once, and their answers.
struct Given {
    frames: Vec<ClientFrame>,
    results: Arc<[Stored<ResultRecord>]>,
    end: Position,
}

fn given(origin: &Arc<Origin>, seqs: ops::Range<u64>) -> Given {
    let frame = |seq| {
        ClientFrame::Event(NewEvent {
            seq,
            name: EventName::try_new("sq"),
            payload: Bytes::from_static(&[b'7'; PAYLOAD]),
            content_type: ContentType::default(),
            attributes: Vec::new(),
            deadline: None,
            traceparent: String::new(),
            edge_context: Bytes::new(),
        })
    };
    Given {
        end: Offset(seqs.end - 1).position_after(),
        frames: seqs.clone().map(frame).collect(),
        results: seqs.map(|seq| answer(origin, seq)).collect(),
    }
}

/// What the driver makes of them: they are taken, appended, accepted, answered and acknowledged.
fn pass(session: &mut Session, now: Now, given: Given, actions: &mut Vec<Action>) -> usize {
    actions.clear();
    for frame in given.frames {
        session.handle(Input::Frame(frame), &mut Unlimited, now, actions);
    }
    session.settle(actions);
    for _ in 0..actions.iter().filter(|action| matches!(action, Action::Append(_))).count() {
        session.handle(Input::Appended(Ok(())), &mut Unlimited, now, actions);
    }
    session.handle(Input::Notified(given.results), &mut Unlimited, now, actions);
    session.handle(Input::Frame(ClientFrame::Ack(given.end)), &mut Unlimited, now, actions);
    session.settle(actions);
    actions.iter().filter(|action| matches!(action, Action::Send(ServerFrame::Delivery(_)))).count()
}

fn sessions(criterion: &mut Criterion) {
    let origin = origin("phone-000001");
    let mut group = criterion.benchmark_group("a session takes, accepts and answers");
    for batch in [1, 64] {
        group.throughput(Throughput::Elements(batch));
        let ((mut session, now), mut seq, mut actions) = (open(&origin), 1, Vec::new());
        group.bench_function(format!("{batch} at a time"), |bencher| {
            let next = || {
                seq += batch;
                given(&origin, seq - batch..seq)
            };
            bencher.iter_batched(
                next,
                |given| assert_eq!(pass(&mut session, now, given, &mut actions) as u64, batch),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(hot, envelopes, places, folds, sessions);
criterion_main!(hot);
