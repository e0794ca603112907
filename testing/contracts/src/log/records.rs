//! Appending and reading.

use nimbus_core::{PartitionCount, Position, ports::log::LogRecord};

use super::{LogFixture, P0, P1, check, read_all, samples, store};
use crate::support::{partitions, within};

/// Every field comes back, whatever it holds.
pub async fn what_is_read_is_what_was_appended<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let records = samples(&*log, P0, 0, 60);
    store(&*log, P0, records.clone()).await;
    assert_eq!(read_all(&*log, P0, Position::START, 1 << 20).await, records);
}

/// The order is that of the calls, not of the polls.
pub async fn records_keep_the_order_of_appends<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let records = samples(&*log, P0, 0, 90);
    let appends: Vec<_> = records.chunks(3).map(|chunk| log.append(P0, chunk.to_vec())).collect();
    let mut last = Position(u64::MAX);
    for append in appends.into_iter().rev() {
        let position = within("an append", append).await.expect("append");
        assert!(position < last, "appends resolve with positions in the order of calls");
        last = position;
    }
    assert_eq!(read_all(&*log, P0, Position::START, 1 << 20).await, records);
}

/// And when it resolves, the records can be read.
pub async fn an_append_resolves_past_its_last_record<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    for count in [1, 5, 2] {
        let before = within("a range", log.range(P0)).await.expect("range").end;
        let position = store(&*log, P0, samples(&*log, P0, 0, count)).await;
        let batch = within("a read", log.read(P0, before, 1 << 20)).await.expect("read");
        check(&batch, P0, before);
        assert_eq!(batch.records.len() as u64, count);
        assert_eq!(batch.records.last().map(|stored| stored.offset.position_after()), Some(position));
    }
}

/// Dropping the answer loses only the answer.
pub async fn an_answer_that_nobody_waits_for_loses_nothing<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let records = samples(&*log, P0, 0, 6);
    drop(log.append(P0, records[..5].to_vec()));
    store(&*log, P0, records[5..].to_vec()).await;
    assert_eq!(read_all(&*log, P0, Position::START, 1 << 20).await, records);
}

/// Records of one partition show in no other.
pub async fn partitions_are_apart<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(3)).await.log();
    assert_eq!(log.partitions(), partitions(3));
    for partition in log.partitions().all() {
        store(&*log, partition, samples(&*log, partition, 0, u64::from(partition.0) + 2)).await;
    }
    for partition in log.partitions().all() {
        let expected = samples(&*log, partition, 0, u64::from(partition.0) + 2);
        assert_eq!(read_all(&*log, partition, Position::START, 1 << 20).await, expected);
    }
}

/// Group commit mixes callers; each one's records stay in its order.
pub async fn appends_of_many_callers_keep_the_order_of_each<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(2)).await.log();
    let caller = async |partition, first: u64| {
        for at in 0..20 {
            store(&*log, partition, samples(&*log, partition, first + at * 2, 2)).await;
        }
    };
    futures_util::join!(caller(P0, 1_000), caller(P0, 2_000), caller(P1, 1_000), caller(P0, 3_000));
    let all = read_all(&*log, P0, Position::START, 1 << 20).await;
    assert_eq!(all.len(), 120);
    for first in [1_000, 2_000, 3_000] {
        let expected = samples(&*log, P0, first, 40);
        let own: Vec<_> = all.iter().filter(|record| expected.contains(record)).cloned().collect();
        assert_eq!(own, expected);
    }
}

/// Nobody waits for room that is there.
pub async fn an_idle_log_is_ready<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    for number in 0..3 {
        within("room in the queue", log.ready()).await;
        store(&*log, P0, samples(&*log, P0, number, 1)).await;
    }
}

/// However small the budget, a reader moves on.
pub async fn a_read_returns_at_least_one_record<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let records = samples(&*log, P0, 0, 12);
    store(&*log, P0, records.clone()).await;
    assert_eq!(read_all(&*log, P0, Position::START, 0).await, records);
}

/// A reader with a budget is not handed the whole log.
pub async fn a_read_minds_its_budget<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let records = samples(&*log, P0, 0, 400);
    let total: usize = records.iter().map(LogRecord::weight).sum();
    for chunk in records.chunks(10) {
        store(&*log, P0, chunk.to_vec()).await;
    }
    let batch = within("a read", log.read(P0, Position::START, total / 10)).await.expect("read");
    let weight: usize = batch.records.iter().map(|stored| stored.record.weight()).sum();
    assert!(weight < total / 2, "{weight} of {total} bytes for a budget of a tenth");
    assert_eq!(read_all(&*log, P0, Position::START, total / 10).await, records);
}

/// In the middle of what one append wrote, too.
pub async fn a_read_begins_where_it_is_told<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let records = samples(&*log, P0, 0, 9);
    store(&*log, P0, records.clone()).await;
    let batch = within("a read", log.read(P0, Position::START, 1 << 20)).await.expect("read");
    for (at, stored) in batch.records.iter().enumerate() {
        assert_eq!(read_all(&*log, P0, stored.offset.position_after(), 1 << 20).await, records[at + 1..]);
    }
}

/// The end is an answer, not a wait.
pub async fn a_read_at_the_end_is_empty_and_does_not_wait<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    for round in 0..2 {
        let end = within("a range", log.range(P0)).await.expect("range").end;
        let batch = within("a read", log.read(P0, end, 1 << 20)).await.expect("read");
        assert!(batch.records.is_empty());
        assert_eq!((batch.from, batch.next), (end, end));
        store(&*log, P0, samples(&*log, P0, round, 1)).await;
    }
}

/// What an append resolved with is never beyond the end that is asked for afterwards.
pub async fn rule_24_a_range_is_fresh<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(2)).await.log();
    let empty = within("a range", log.range(P0)).await.expect("range");
    assert_eq!(empty.start, empty.end);
    for number in 0..10 {
        let position = store(&*log, P0, samples(&*log, P0, number, 1)).await;
        let range = within("a range", log.range(P0)).await.expect("range");
        assert_eq!((range.start, range.end), (empty.start, position));
    }
    let other = within("a range", log.range(P1)).await.expect("range");
    assert_eq!(other.start, other.end);
}

/// What was durable is there, under the same positions, and appending goes on behind it.
pub async fn records_and_epoch_outlive_a_restart<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut fixture = make(partitions(2)).await;
    let log = fixture.log();
    let (epoch, records) = (log.epoch(), samples(&*log, P0, 0, 20));
    let end = store(&*log, P0, records[..10].to_vec()).await;
    drop(log);
    fixture.restart().await;
    let log = fixture.log();
    assert_eq!((log.epoch(), log.partitions()), (epoch, partitions(2)));
    assert!(within("a range", log.range(P0)).await.expect("range").end >= end);
    let later = store(&*log, P0, records[10..].to_vec()).await;
    assert!(later > end, "no position is used twice");
    assert_eq!(read_all(&*log, P0, Position::START, 1 << 20).await, records);
    assert_eq!(read_all(&*log, P0, end, 1 << 20).await, records[10..]);
}

/// Positions of two logs must not be mistaken for one another.
pub async fn another_log_is_another_epoch<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let (one, two) = (make(partitions(1)).await, make(partitions(1)).await);
    assert_ne!(one.log().epoch(), two.log().epoch());
}
