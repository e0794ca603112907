//! Power losses and kills at any moment, against a model: every acknowledged record is there, in order, exactly once.

use std::collections::BTreeMap;

use nimbus_core::{
    DeadLetter, Failure, GroupId, Lane, Offset, PartKind, Partition, ResultRecord,
    clock::UnixMillis,
    ports::log::{Appending, Committed, ConsumerEvent, Log, LogError, LogRecord},
};
use proptest::prelude::*;

use crate::{
    Embedded,
    disk::simulated::SimulatedDisk,
    testing::{event_of, open_on, origin, small},
    topic::Topic,
};

#[derive(Debug, Clone)]
enum Step {
    /// Enqueues without waiting.
    Append {
        topic: Topic,
        partition: u32,
        records: u64,
        payload: usize,
    },
    /// Waits for every append so far.
    Wait,
    /// Consumes and commits one batch of events, if there is one.
    Commit,
    FailSync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append =
        (prop::sample::select(Topic::ALL.to_vec()), 0..2u32, 1..5u64, prop_oneof![8..100usize, 500..1500usize])
            .prop_map(|(topic, partition, records, payload)| Step::Append { topic, partition, records, payload });
    let step = prop_oneof![
        8 => append,
        3 => Just(Step::Wait),
        2 => Just(Step::Commit),
        1 => Just(Step::FailSync),
    ];
    prop::collection::vec(step, 1..60)
}

/// What one strand was given, and what became of it.
#[derive(Debug, Default)]
struct Given {
    /// Known to be there, in this order.
    certain: Vec<u64>,
    /// Appends since then of unknown outcome, in this order: each may be there, whole.
    open: Vec<Vec<u64>>,
}

type Model = BTreeMap<(Topic, u32), Given>;

fn append(log: &Embedded, topic: Topic, partition: u32, seqs: &[u64], payload: usize) -> Appending {
    let origin = origin("client");
    let events = seqs.iter().map(|seq| event_of(&origin, *seq, payload));
    let partition = Partition(partition);
    match topic {
        Topic::Events => log.events().append(partition, events.collect()),
        Topic::Results => {
            let answer =
                |event| ResultRecord::answering(&event, Offset(0), Lane::Ordered, PartKind::Final, UnixMillis(0));
            log.results().append(partition, events.map(answer).collect())
        }
        Topic::DeadLetters => {
            let failure = Failure { code: 13, reason: "R".into(), message: "m".into() };
            let letter = |event| DeadLetter {
                event,
                failure: failure.clone(),
                attempts: 1,
                event_offset: Offset(0),
                failed: UnixMillis(0),
                mark: None,
            };
            log.dead_letters().append(partition, events.map(letter).collect())
        }
    }
}

async fn contents<R: LogRecord>(log: &dyn Log<R>, partition: u32, seq: impl Fn(&R) -> u64) -> Vec<u64> {
    let partition = Partition(partition);
    let (mut from, mut found) = (log.range(partition).await.unwrap().start, Vec::new());
    loop {
        let batch = log.read(partition, from, 2000).await.unwrap();
        if batch.next == from {
            return found;
        }
        for (offset, stored) in (from.0..).zip(batch.records.iter()) {
            assert_eq!(stored.offset, Offset(offset), "offsets are dense here");
            found.push(seq(&stored.record));
        }
        from = batch.next;
    }
}

async fn contents_of(log: &Embedded, topic: Topic, partition: u32) -> Vec<u64> {
    match topic {
        Topic::Events => contents(&*log.events(), partition, |event| event.seq).await,
        Topic::Results => contents(&*log.results(), partition, |result| result.seq).await,
        Topic::DeadLetters => contents(&*log.dead_letters(), partition, |letter| letter.event.seq).await,
    }
}

/// Checks what is there against the model, and makes it certain.
async fn compare(log: &Embedded, model: &mut Model) {
    for ((topic, partition), given) in model {
        let found = contents_of(log, *topic, *partition).await;
        let (certain, rest) = found.split_at_checked(given.certain.len()).unwrap_or_else(|| {
            panic!("{topic:?} {partition}: acknowledged {:?}, found {found:?}", given.certain);
        });
        assert_eq!(certain, given.certain, "{topic:?} {partition}");
        let left = given.open.iter().fold(rest, |rest, append| rest.strip_prefix(&append[..]).unwrap_or(rest));
        assert!(left.is_empty(), "{topic:?} {partition}: found {rest:?}, unknown were {:?}", given.open);
        given.certain = found;
        given.open.clear();
    }
}

async fn settle(pending: &mut Vec<(Topic, u32, Vec<u64>, Appending)>, model: &mut Model) {
    for (topic, partition, seqs, appending) in pending.drain(..) {
        let given = model.entry((topic, partition)).or_default();
        match appending.await {
            Ok(_) => {
                // It was enqueued after the failure of those before it had been reported, and fences them off.
                given.open.clear();
                given.certain.extend(seqs);
            }
            Err(LogError::Ambiguous(_)) => given.open.push(seqs),
            Err(LogError::Unavailable(_) | LogError::Full(_) | LogError::Closed) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// One life of the log: until the steps are done or the power is off.
async fn live(log: &Embedded, disk: &SimulatedDisk, steps: &[Step], model: &mut Model, next_seq: &mut u64) {
    let group = GroupId::try_new("g").unwrap();
    let mut consumer = log.events().consume(&group).await.unwrap();
    let mut pending = Vec::new();
    for step in steps {
        match step {
            Step::Append { topic, partition, records, payload } => {
                let seqs: Vec<u64> = (*next_seq..*next_seq + records).collect();
                *next_seq += records;
                let appending = append(log, *topic, *partition, &seqs, *payload);
                pending.push((*topic, *partition, seqs, appending));
            }
            Step::Wait => settle(&mut pending, model).await,
            Step::Commit => {
                while let Some(Ok(event)) = futures_util::FutureExt::now_or_never(consumer.next()) {
                    if let ConsumerEvent::Records(batch) = event {
                        let committed = Committed { position: batch.next, ..Committed::default() };
                        consumer.commit(batch.partition, committed);
                        break;
                    }
                }
            }
            Step::FailSync => disk.fail_next_sync(),
        }
    }
    settle(&mut pending, model).await;
}

/// How a life ends. What a killed process has written is still in the page cache, synced or not.
#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    PowerLoss,
}

#[derive(Debug, Clone)]
struct Life {
    steps: Vec<Step>,
    /// After how many operations of the disk it ends, if it is not over before.
    operations: u64,
    end: End,
}

fn lives(ends: &'static [End]) -> impl Strategy<Value = Vec<Life>> {
    let life = (steps(), 1..200u64, prop::sample::select(ends)).prop_map(|(steps, operations, end)| Life {
        steps,
        operations,
        end,
    });
    prop::collection::vec(life, 1..5)
}

fn run(lives: Vec<Life>, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut disk = SimulatedDisk::new();
        let (mut model, mut next_seq) = (Model::new(), 0);
        for (number, Life { steps, operations, end }) in lives.into_iter().enumerate() {
            let log = open_on(&disk, small()).unwrap();
            compare(&log, &mut model).await;
            disk.power_off_after(operations);
            live(&log, &disk, &steps, &mut model, &mut next_seq).await;
            drop(log);
            disk = match end {
                End::Kill => disk.after_kill(),
                End::PowerLoss => disk.after_power_loss(seed + number as u64),
            };
        }
        let log = open_on(&disk, small()).unwrap();
        compare(&log, &mut model).await;
        log.close().await.unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_when_the_power_fails(lives in lives(&[End::PowerLoss]), seed in any::<u32>()) {
        run(lives, seed.into());
    }

    #[test]
    fn nothing_acknowledged_is_lost_when_the_process_is_killed(lives in lives(&[End::Kill]), seed in any::<u32>()) {
        run(lives, seed.into());
    }

    #[test]
    fn nothing_acknowledged_is_lost_when_one_follows_the_other(
        lives in lives(&[End::Kill, End::PowerLoss]),
        seed in any::<u32>(),
    ) {
        run(lives, seed.into());
    }
}
