//! Events that are shown while they are being written, and what follows from them.

use std::{collections::VecDeque, time::Duration};

use futures_util::FutureExt as _;
use nimbus_core::{
    Event, GroupId, Lane, Offset, PartKind, Position, ResultRecord,
    clock::UnixMillis,
    ports::log::{Appending, Batch, Committed, Consumer, ConsumerEvent, Fate, LogError, Stored},
};
use proptest::prelude::*;

use crate::{
    Embedded, EmbeddedConfig,
    disk::simulated::SimulatedDisk,
    testing::{P0, event, open_on, small},
};

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(answer_patience: Duration) -> EmbeddedConfig {
    EmbeddedConfig { answer_patience, ..small() }
}

fn group(name: &str) -> GroupId {
    GroupId::try_new(name).unwrap()
}

fn answer(stored: &Stored<Event>) -> ResultRecord {
    ResultRecord::answering(&stored.record, stored.offset, Lane::Ordered, PartKind::Final, UnixMillis(0))
}

/// A member that has every partition, and nothing to read.
async fn member(log: &Embedded, name: &str, early: bool) -> Box<dyn Consumer<Event>> {
    let mut consumer = log.events().consume(&group(name)).await.unwrap();
    if early {
        consumer.show_early();
    }
    while consumer.next().now_or_never().is_some() {}
    // Nothing is left that the writer would write by itself, and be held.
    consumer.flush().await.unwrap();
    consumer
}

async fn batch(consumer: &mut Box<dyn Consumer<Event>>) -> Batch<Event> {
    loop {
        if let ConsumerEvent::Records(batch) = consumer.next().await.unwrap() {
            return batch;
        }
    }
}

/// Gives the fate as well.
async fn early_batch(consumer: &mut Box<dyn Consumer<Event>>) -> (Batch<Event>, Fate) {
    let batch = batch(consumer).await;
    let fate = batch.provisional.clone().expect("it is shown before it is durable");
    (batch, fate)
}

#[tokio::test]
async fn an_event_and_its_answer_share_one_write() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, config(PATIENCE)).unwrap();
    let mut consumer = member(&log, "g", true).await;
    let answers = log.results().appender_of_answers();
    disk.hold_syncs();
    let accepted = log.events().append(P0, vec![event(1)]);
    let (shown, fate) = early_batch(&mut consumer).await;
    let answered = answers.append(P0, vec![answer(&shown.records[0])]);
    disk.await_held_sync();
    // The first fsync since is under way, and both are in the file.
    let killed = open_on(&disk.after_kill(), small()).unwrap();
    assert_eq!(killed.events().range(P0).await.unwrap().end, Position(1));
    assert_eq!(killed.results().range(P0).await.unwrap().end, Position(1));
    disk.release_syncs();
    assert_eq!((accepted.await.unwrap(), answered.await.unwrap()), (Position(1), Position(1)));
    assert!(fate.is_durable().await);
    assert!(consumer.next().now_or_never().is_none(), "what was shown early does not come again");
}

#[tokio::test]
async fn nobody_else_sees_an_event_before_it_is_durable_and_nobody_commits_it() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, config(Duration::ZERO)).unwrap();
    let (mut early, mut late) = (member(&log, "early", true).await, member(&log, "late", false).await);
    disk.hold_syncs();
    let accepted = log.events().append(P0, vec![event(1)]);
    let (shown, fate) = early_batch(&mut early).await;
    disk.await_held_sync();
    assert!(late.next().now_or_never().is_none());
    assert_eq!(log.events().range(P0).await.unwrap().end, Position(0));
    assert!(log.events().read(P0, Position(0), 1000).await.unwrap().records.is_empty());
    early.commit(P0, Committed { position: shown.next, ..Committed::default() });
    let committed = log.events().committed(P0).await.unwrap();
    assert_eq!(committed, [(group("early"), Position(0)), (group("late"), Position(0))], "it is ignored");
    disk.release_syncs();
    accepted.await.unwrap();
    assert!(fate.is_durable().await);
    let durable = batch(&mut late).await;
    assert!(durable.provisional.is_none());
    assert_eq!(durable.records, shown.records);
    early.commit(P0, Committed { position: shown.next, ..Committed::default() });
    assert_eq!(log.events().committed(P0).await.unwrap()[0], (group("early"), Position(1)));
}

/// What was shown is taken back with everything that follows from it, whether that waits already or comes later.
#[tokio::test]
async fn when_the_write_fails_nothing_that_follows_from_its_events_is_stored() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, config(Duration::ZERO)).unwrap();
    let (events, results) = (log.events(), log.results());
    let mut consumer = member(&log, "g", true).await;
    let (begun, idle) = (results.appender_of_answers(), results.appender_of_answers());
    let unconcerned = results.appender();
    disk.hold_syncs();
    let accepted = events.append(P0, vec![event(1)]);
    let (shown, fate) = early_batch(&mut consumer).await;
    disk.await_held_sync();
    let answer = || vec![answer(&shown.records[0])];
    let waiting = begun.append(P0, answer());
    disk.fail_next_sync();
    disk.release_syncs();
    assert!(matches!(accepted.await, Err(LogError::Ambiguous(_))));
    assert!(matches!(waiting.await, Err(LogError::Unavailable(_))));
    assert!(!fate.is_durable().await);
    for late in [&begun, &idle] {
        let told = late.append(P0, answer()).await;
        assert!(matches!(told, Err(LogError::Unavailable(_))), "{told:?}");
    }
    unconcerned.append(P0, answer()).await.unwrap();
    results.appender_of_answers().append(P0, answer()).await.unwrap();
    // Its offset is another's now, and whoever reads again from its commit gets that one.
    assert_eq!(events.append(P0, vec![event(9)]).await.unwrap(), Position(1));
    consumer.seek(P0, Position(0));
    assert_eq!(batch(&mut consumer).await.records[0].record.seq, 9);
}

#[tokio::test]
async fn an_answer_is_refused_together_with_its_event_when_the_disk_is_full() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, EmbeddedConfig { spare_bytes: 0, ..config(PATIENCE) }).unwrap();
    let mut consumer = member(&log, "g", true).await;
    let answers = log.results().appender_of_answers();
    disk.set_capacity(Some(disk.used() + 100));
    let refused = log.events().append(P0, vec![event(1)]);
    let (shown, fate) = early_batch(&mut consumer).await;
    let answered = answers.append(P0, vec![answer(&shown.records[0])]);
    assert!(matches!(refused.await, Err(LogError::Full(_))));
    assert!(matches!(answered.await, Err(LogError::Full(_))));
    assert!(!fate.is_durable().await);
}

/// What an executor would do: answers each event as soon as it is shown, commits what is answered, and begins anew from its
/// commit when an append fails.
async fn execute(log: &Embedded, until: &mut (impl AsyncFnMut() -> bool + '_)) {
    let Ok(mut consumer) = log.events().consume(&group("g")).await else { return };
    consumer.show_early();
    let mut committed = Position(0);
    let mut answers = log.results().appender_of_answers();
    let mut open: VecDeque<(Position, Appending)> = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            answered = async { open.front_mut().unwrap().1.as_mut().await }, if !open.is_empty() => {
                let (position, _) = open.pop_front().unwrap();
                if answered.is_ok() {
                    committed = position;
                    consumer.commit(P0, Committed { position, ..Committed::default() });
                } else {
                    open.clear();
                    answers = log.results().appender_of_answers();
                    consumer.seek(P0, committed);
                }
            }
            event = consumer.next() => match event {
                Ok(ConsumerEvent::Records(batch)) => {
                    let records = batch.records.iter().map(answer).collect();
                    open.push_back((batch.next, answers.append(P0, records)));
                }
                Ok(ConsumerEvent::Assigned { partition: P0, committed: at }) => committed = at.position,
                Ok(_) => {}
                Err(_) => return,
            },
            done = until(), if open.is_empty() => if done { return },
        }
    }
}

/// Appends with failing fsyncs in between, in one life of the log, while an executor answers.
async fn live(log: &Embedded, disk: &SimulatedDisk, steps: &[(u8, bool)], next_seq: &mut u64) {
    let clients = async {
        for (count, fails) in steps {
            if *fails {
                disk.fail_next_sync();
            }
            let appends: Vec<_> = (0..*count)
                .map(|_| {
                    *next_seq += 1;
                    log.events().append(P0, vec![event(*next_seq)])
                })
                .collect();
            for append in appends {
                drop(append.await);
                tokio::task::yield_now().await;
            }
        }
    };
    let mut never = async || std::future::pending().await;
    tokio::select! {
        biased;
        () = clients => {}
        () = execute(log, &mut never) => {}
    }
}

/// Everything in a topic.
async fn all<R: nimbus_core::ports::log::LogRecord>(log: &dyn nimbus_core::ports::log::Log<R>) -> Vec<Stored<R>> {
    let (mut from, mut found) = (log.range(P0).await.unwrap().start, Vec::new());
    loop {
        let batch = log.read(P0, from, 1 << 20).await.unwrap();
        if batch.next == from {
            return found;
        }
        found.extend(batch.records.iter().cloned());
        from = batch.next;
    }
}

/// Every answer in the log answers the event that is in the log at its offset.
async fn compare(log: &Embedded) {
    let events = all(&*log.events()).await;
    for Stored { record: answer, .. } in all(&*log.results()).await {
        let event = events.iter().find(|event| event.offset == answer.event_offset);
        assert_eq!(event.map(|event| event.record.seq), Some(answer.seq), "at {}", answer.event_offset);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_an_answer_is_stored_only_with_its_event_and_every_event_is_answered(
        lives in prop::collection::vec((prop::collection::vec((1..4u8, prop::bool::weighted(0.2)), 1..12), 1..120u64), 1..4),
        patience in prop::sample::select(vec![0_u64, 250, 2_000]).prop_map(Duration::from_micros),
        seed in any::<u32>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut disk, mut next_seq) = (SimulatedDisk::new(), 0);
            for (number, (steps, operations)) in (0..).zip(lives) {
                let log = open_on(&disk, config(patience)).unwrap();
                compare(&log).await;
                disk.power_off_after(operations);
                live(&log, &disk, &steps, &mut next_seq).await;
                drop(log);
                disk = disk.after_power_loss(u64::from(seed) + number);
            }
            let log = open_on(&disk, config(patience)).unwrap();
            compare(&log).await;
            let end = log.events().range(P0).await.unwrap().end;
            let mut finished = async || {
                let committed = log.events().committed(P0).await.unwrap();
                if committed.iter().any(|(of, position)| *of == group("g") && *position == end) {
                    return true;
                }
                tokio::task::yield_now().await;
                false
            };
            tokio::time::timeout(PATIENCE, execute(&log, &mut finished)).await.expect("every event is answered");
            compare(&log).await;
            let answered: Vec<Offset> = all(&*log.results()).await.iter().map(|answer| answer.record.event_offset).collect();
            for event in all(&*log.events()).await {
                assert!(answered.contains(&event.offset), "{} is not answered", event.offset);
            }
        });
    }
}
