//! What holds when storage does not.

use futures_util::FutureExt;
use nimbus_core::{PartitionCount, Position, ports::log::LogError};

use super::{LogFaults, P0, P1, member::Member, read_all, samples, store};
use crate::support::{partitions, within};

/// Rule 5: a reader that acted on a record which a crash takes back would have acted on nothing.
pub async fn rule_5_readers_see_durable_records_only<X: LogFaults>(make: impl AsyncFn(PartitionCount) -> X) {
    let fixture = make(partitions(1)).await;
    let log = fixture.log();
    let end = store(&*log, P0, samples(&*log, P0, 0, 2)).await;
    let mut member = Member::alone(&log, "group").await;
    member.until(P0, 2).await;
    fixture.hold().await;
    let mut append = log.append(P0, samples(&*log, P0, 2, 2));
    for _ in 0..50 {
        tokio::task::yield_now().await;
        assert!((&mut append).now_or_never().is_none(), "an append resolved before it was durable");
        member.step_now();
    }
    assert_eq!(member.got[&P0].len(), 2);
    assert_eq!(within("a range", log.range(P0)).await.expect("range").end, end);
    assert_eq!(read_all(&*log, P0, Position::START, 1 << 20).await.len(), 2);
    fixture.release().await;
    within("an append", append).await.expect("append");
    member.until(P0, 4).await;
}

/// Rule 4: what lands is a prefix. Everything enqueued before the failure was told fails with it; afterwards the log
/// works again.
pub async fn rule_4_a_failed_append_takes_all_later_ones_with_it<X: LogFaults>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let fixture = make(partitions(2)).await;
    let log = fixture.log();
    store(&*log, P0, samples(&*log, P0, 0, 3)).await;
    fixture.hold().await;
    fixture.fail_next_write().await;
    let appends: Vec<_> = (0..5).map(|round| log.append(P0, samples(&*log, P0, 3 + round * 2, 2))).collect();
    fixture.release().await;
    let mut stored = 3;
    let mut failed = false;
    for append in appends {
        match within("an append", append).await {
            Ok(_) => {
                assert!(!failed, "a later append went through after an earlier one had failed");
                stored += 2;
            }
            Err(error) => {
                // The ones behind it may know that nothing of them was written.
                let known = matches!(error, LogError::Full(_) | LogError::Unavailable(_));
                assert!(known || matches!(error, LogError::Ambiguous(_)), "{error}");
                failed = true;
            }
        }
    }
    assert!(failed, "the fault did not show");
    let read = read_all(&*log, P0, Position::START, 1 << 20).await;
    assert!(read.len() >= stored as usize, "what was acknowledged is there");
    assert_eq!(read, samples(&*log, P0, 0, read.len() as u64), "what landed is a prefix");
    let next = samples(&*log, P0, 100, 2);
    store(&*log, P0, next.clone()).await;
    let again = read_all(&*log, P0, Position::START, 1 << 20).await;
    assert_eq!(again[again.len() - 2..], next);
    store(&*log, P1, samples(&*log, P1, 0, 1)).await;
}

/// Rule 4, for a caller that does not look at its answers at once: what it appends behind a failure that it has not seen yet
/// does not land either. Otherwise the failed one, sent again, would come behind it and pass for a duplicate.
pub async fn rule_4_an_appender_ends_with_its_first_failure<X: LogFaults>(make: impl AsyncFn(PartitionCount) -> X) {
    let fixture = make(partitions(2)).await;
    let log = fixture.log();
    let appender = log.appender();
    within("an append", appender.append(P0, samples(&*log, P0, 0, 2))).await.expect("append");
    fixture.hold().await;
    fixture.fail_next_write().await;
    let unseen: Vec<_> = (0..3).map(|round| appender.append(P0, samples(&*log, P0, 2 + round, 1))).collect();
    fixture.release().await;
    // Another caller's append may fail along; once one goes through, the failure has been reported to everybody.
    while within("an append", log.append(P1, samples(&*log, P1, 0, 1))).await.is_err() {}
    let before = read_all(&*log, P0, Position::START, 1 << 20).await.len();
    let behind = [P0, P1].map(|partition| appender.append(partition, samples(&*log, partition, 50, 1)));
    for append in behind {
        let told = within("an append", append).await;
        assert!(matches!(told, Err(LogError::Unavailable(_))), "{told:?}");
    }
    for append in unseen {
        within("an append", append).await.expect_err("the fault did not show");
    }
    assert_eq!(read_all(&*log, P0, Position::START, 1 << 20).await.len(), before);
    let next = samples(&*log, P0, 100, 2);
    within("an append", log.appender().append(P0, next.clone())).await.expect("a new appender goes on");
    let again = read_all(&*log, P0, Position::START, 1 << 20).await;
    assert_eq!(again[again.len() - 2..], next);
}

/// What was begun because of a record that is not stored in the end ends with it: its offset will be another's.
pub async fn what_follows_from_records_that_were_taken_back_is_refused<X: LogFaults>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let fixture = make(partitions(2)).await;
    let log = fixture.log();
    let mut member = Member::join(&log, "group").await;
    member.consumer.show_early();
    while member.owned.len() < 2 {
        member.step().await;
    }
    let begun = log.appender_of_answers();
    fixture.hold().await;
    fixture.fail_next_write().await;
    let append = log.append(P0, samples(&*log, P0, 0, 2));
    for _ in 0..50 {
        tokio::task::yield_now().await;
        member.step_now();
    }
    fixture.release().await;
    within("an append", append).await.expect_err("the fault did not show");
    for fate in std::mem::take(&mut member.fates) {
        assert!(!within("a decision", fate.is_durable()).await);
        let told = within("an append", begun.append(P1, samples(&*log, P1, 0, 1))).await;
        assert!(matches!(told, Err(LogError::Unavailable(_))), "{told:?}");
    }
    // Whoever begins anew goes on, and finds what is there now.
    let anew = log.appender_of_answers();
    while within("an append", anew.append(P1, samples(&*log, P1, 1, 1))).await.is_err() {}
    member.got.clear();
    member.seek(P0, Position::START);
    store(&*log, P0, samples(&*log, P0, 10, 1)).await;
    while member.got.get(&P0).and_then(|got| got.last()) != samples(&*log, P0, 10, 1).last() {
        member.step().await;
    }
    assert_eq!(member.got[&P0], read_all(&*log, P0, Position::START, 1 << 20).await);
}
