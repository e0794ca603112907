//! What holds when retention has passed.

use nimbus_core::{
    PartitionCount, Position,
    ports::log::{ConsumerEvent, LogError},
};

use super::{LogExpiry, P0, member::Member, read_all, samples, store};
use crate::support::{partitions, within};

/// A reader that comes too late is told from where it can read, never served silence.
pub async fn a_read_from_before_the_start_says_so<X: LogExpiry>(make: impl AsyncFn(PartitionCount) -> X) {
    let fixture = make(partitions(2)).await;
    let log = fixture.log();
    let end = store(&*log, P0, samples(&*log, P0, 0, 5)).await;
    fixture.expire(P0).await;
    let range = within("a range", log.range(P0)).await.expect("range");
    assert!(range.start >= end, "retention has passed {end}: {range:?}");
    match within("a read", log.read(P0, Position::START, 1 << 20)).await {
        Err(LogError::Expired { partition, wanted, start }) => {
            assert_eq!((partition, wanted, start), (P0, Position::START, range.start));
        }
        other => panic!("{other:?}"),
    }
    let next = samples(&*log, P0, 5, 2);
    store(&*log, P0, next.clone()).await;
    assert_eq!(read_all(&*log, P0, range.start, 1 << 20).await, next);
}

/// Retention that overtakes a group is an error, never a jump.
pub async fn rule_8_a_consumer_that_is_sent_before_the_start_is_told<X: LogExpiry>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let fixture = make(partitions(2)).await;
    let log = fixture.log();
    store(&*log, P0, samples(&*log, P0, 0, 5)).await;
    fixture.expire(P0).await;
    store(&*log, P0, samples(&*log, P0, 5, 1)).await;
    let mut member = Member::join(&log, "group").await;
    while !member.owned.contains_key(&P0) {
        member.step().await;
    }
    member.seek(P0, Position::START);
    let told = loop {
        match within("an event of the group", member.consumer.next()).await {
            Ok(ConsumerEvent::Assigned { .. }) => {}
            other => break other,
        }
    };
    assert!(matches!(told, Err(LogError::Expired { partition: P0, .. })), "{told:?}");
}
