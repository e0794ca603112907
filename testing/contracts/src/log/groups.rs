//! Consumer groups.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use nimbus_core::{
    Partition, PartitionCount, Position,
    ports::log::{Committed, Log},
};

use super::{LogFixture, P0, P1, member::Member, samples, store};
use crate::{
    Sample,
    support::{group, partitions, within},
};

/// Lets two members take events until `done`; each gives up at once what it is asked for.
async fn settle<R: Sample>(
    one: &mut Member<R>,
    two: &mut Member<R>,
    mut done: impl FnMut(&Member<R>, &Member<R>) -> bool,
) {
    let both = async {
        while !done(one, two) {
            tokio::select! {
                () = one.step() => one.release_revoked(),
                () = two.step() => two.release_revoked(),
            }
        }
    };
    within("the group to settle", both).await;
}

fn shared<R: Sample>(log: &Arc<dyn Log<R>>, one: &Member<R>, two: &Member<R>) -> bool {
    let all: BTreeSet<_> = one.owned().union(&two.owned()).copied().collect();
    assert!(one.owned().is_disjoint(&two.owned()), "a partition has two owners");
    !one.owned.is_empty() && !two.owned.is_empty() && all.len() == log.partitions().len()
}

/// From a commit of nothing, from the beginning, every record once.
pub async fn a_lone_member_owns_every_partition<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(3)).await.log();
    for partition in log.partitions().all() {
        for round in 0..10 {
            store(&*log, partition, samples(&*log, partition, round * 5, 5)).await;
        }
    }
    let mut member = Member::alone(&log, "group").await;
    for partition in log.partitions().all() {
        member.until(partition, 50).await;
        assert_eq!(member.owned[&partition].metadata, Bytes::new());
        assert_eq!(member.got[&partition], samples(&*log, partition, 0, 50));
    }
}

/// Nobody polls: what becomes durable wakes whoever waits for it.
pub async fn a_waiting_member_hears_of_new_records<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(2)).await.log();
    let mut member = Member::alone(&log, "group").await;
    for number in 0..5 {
        let partition = Partition(number % 2);
        let count = member.got.get(&partition).map_or(0, Vec::len) + 1;
        let records = samples(&*log, partition, number.into(), 1);
        futures_util::join!(member.until(partition, count), store(&*log, partition, records));
    }
}

/// Early or not: each record comes once, in order, and what was shown early and appended became durable.
pub async fn a_member_that_wants_to_see_records_early_sees_each_once<X: LogFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let log = make(partitions(2)).await.log();
    let mut member = Member::join(&log, "group").await;
    member.consumer.show_early();
    while member.owned.len() < 2 {
        member.step().await;
    }
    let answers = log.appender_of_answers();
    for number in 0..20 {
        let append = log.append(P0, samples(&*log, P0, number * 3, 3));
        member.until(P0, (number as usize + 1) * 3).await;
        within("what follows", answers.append(P1, samples(&*log, P1, number, 1))).await.expect("append");
        within("an append", append).await.expect("append");
    }
    member.until(P1, 20).await;
    assert_eq!(member.got[&P0], samples(&*log, P0, 0, 60));
    assert_eq!(member.got[&P1], samples(&*log, P1, 0, 20));
    for fate in std::mem::take(&mut member.fates) {
        assert!(within("a decision", fate.is_durable()).await);
    }
    member.commit(P0, Committed { position: member.position(P0), ..Committed::default() });
    member.flush().await;
    let committed = within("commits", log.committed(P0)).await.expect("committed");
    assert_eq!(committed, [(group("group"), member.position(P0))]);
}

/// Each partition has one owner at a time, and each member gets a share.
pub async fn members_share_the_partitions<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(4)).await.log();
    let mut one = Member::alone(&log, "group").await;
    let mut two = Member::join(&log, "group").await;
    settle(&mut one, &mut two, |one, two| shared(&log, one, two)).await;
    for partition in log.partitions().all() {
        store(&*log, partition, samples(&*log, partition, 0, 3)).await;
    }
    let count = |member: &Member<_>| member.got.values().map(Vec::len).sum::<usize>();
    settle(&mut one, &mut two, |one, two| count(one) + count(two) >= 12).await;
    for partition in log.partitions().all() {
        let owner = if one.owned.contains_key(&partition) { &one } else { &two };
        assert_eq!(owner.got[&partition], samples(&*log, partition, 0, 3));
    }
}

/// Its owner settles and commits in peace; only then the successor begins, with that commit.
pub async fn a_revoked_partition_stays_until_it_is_released<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(2)).await.log();
    let records = samples(&*log, P0, 0, 4);
    store(&*log, P0, records.clone()).await;
    store(&*log, P1, samples(&*log, P1, 0, 4)).await;
    let mut one = Member::alone(&log, "group").await;
    one.until(P0, 4).await;
    one.until(P1, 4).await;
    let mut two = Member::join(&log, "group").await;
    let asked = async {
        while one.revoked.is_empty() {
            tokio::select! {
                () = one.step() => {}
                () = two.step() => assert!(two.owned.is_empty(), "assigned before it was released"),
            }
        }
    };
    within("a partition to be revoked", asked).await;
    two.step_now();
    assert!(two.owned.is_empty(), "assigned before it was released");
    let leaving: Vec<_> = one.revoked.iter().copied().collect();
    for partition in &leaving {
        let committed = Committed { position: one.position(*partition), metadata: Bytes::from_static(b"settled") };
        one.commit(*partition, committed);
    }
    one.release_revoked();
    settle(&mut one, &mut two, |_, two| !two.owned.is_empty()).await;
    for (partition, committed) in &two.owned {
        assert!(leaving.contains(partition));
        assert_eq!(committed.metadata, Bytes::from_static(b"settled"));
        assert_eq!(committed.position, one.position(*partition));
    }
}

/// A crash of a member stops nothing but itself.
pub async fn a_member_that_is_dropped_leaves_its_partitions_to_the_others<X: LogFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let log = make(partitions(4)).await.log();
    let mut one = Member::alone(&log, "group").await;
    let mut two = Member::join(&log, "group").await;
    settle(&mut one, &mut two, |one, two| shared(&log, one, two)).await;
    drop(one);
    while two.owned.len() < 4 {
        two.step().await;
        two.release_revoked();
    }
}

/// Work that was committed is not done again, work that was not is.
pub async fn a_successor_begins_where_its_predecessor_committed<X: LogFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let log = make(partitions(1)).await.log();
    let first = store(&*log, P0, samples(&*log, P0, 0, 3)).await;
    store(&*log, P0, samples(&*log, P0, 3, 3)).await;
    let mut member = Member::alone(&log, "group").await;
    member.until(P0, 6).await;
    let notes = Bytes::from(vec![0xa5; 4096]);
    member.commit(P0, Committed { position: Position(1), metadata: Bytes::from_static(b"older") });
    member.commit(P0, Committed { position: first, metadata: notes.clone() });
    member.flush().await;
    drop(member);
    let mut successor = Member::alone(&log, "group").await;
    assert_eq!(successor.owned[&P0], Committed { position: first, metadata: notes });
    successor.until(P0, 3).await;
    assert_eq!(successor.got[&P0], samples(&*log, P0, 3, 3));
}

/// The late word of a former owner does not overrule the new one.
pub async fn a_commit_of_a_partition_that_is_not_owned_is_ignored<X: LogFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let log = make(partitions(2)).await.log();
    let end = store(&*log, P0, samples(&*log, P0, 0, 3)).await;
    store(&*log, P1, samples(&*log, P1, 0, 3)).await;
    let mut one = Member::alone(&log, "group").await;
    let mut two = Member::join(&log, "group").await;
    settle(&mut one, &mut two, |one, two| shared(&log, one, two)).await;
    let lost = *two.owned.keys().next().expect("two has a share");
    one.commit(lost, Committed { position: end, metadata: Bytes::from_static(b"late") });
    within("a flush", one.consumer.flush()).await.expect("flush");
    drop((one, two));
    let successor = Member::alone(&log, "group").await;
    assert_eq!(successor.owned[&lost], Committed::default());
}

/// As durable as anything else, once flushed.
pub async fn commits_outlive_a_restart<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut fixture = make(partitions(2)).await;
    let log = fixture.log();
    let end = store(&*log, P1, samples(&*log, P1, 0, 3)).await;
    let mut member = Member::alone(&log, "group").await;
    member.until(P1, 3).await;
    let committed = Committed { position: end, metadata: Bytes::from_static(b"notes") };
    member.commit(P1, committed.clone());
    member.flush().await;
    drop((member, log));
    fixture.restart().await;
    let log = fixture.log();
    let mut member = Member::alone(&log, "group").await;
    assert_eq!((&member.owned[&P0], &member.owned[&P1]), (&Committed::default(), &committed));
    store(&*log, P1, samples(&*log, P1, 3, 1)).await;
    member.until(P1, 1).await;
    assert_eq!(member.got[&P1], samples(&*log, P1, 3, 1));
}

/// Every group reads everything.
pub async fn groups_do_not_know_one_another<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let end = store(&*log, P0, samples(&*log, P0, 0, 3)).await;
    let mut one = Member::alone(&log, "one").await;
    one.until(P0, 3).await;
    one.commit(P0, Committed { position: end, metadata: Bytes::new() });
    one.flush().await;
    let mut two = Member::alone(&log, "two").await;
    assert_eq!(two.owned[&P0], Committed::default());
    two.until(P0, 3).await;
    assert_eq!(two.got[&P0], one.got[&P0]);
}

/// For lag, and for retention.
pub async fn the_log_tells_how_far_each_group_is<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(2)).await.log();
    let end = store(&*log, P0, samples(&*log, P0, 0, 3)).await;
    let mut member = Member::alone(&log, "group").await;
    member.until(P0, 3).await;
    member.commit(P0, Committed { position: end, metadata: Bytes::new() });
    member.flush().await;
    let committed = within("committed positions", log.committed(P0)).await.expect("committed");
    assert!(committed.contains(&(group("group"), end)), "{committed:?}");
    let committed = within("committed positions", log.committed(P1)).await.expect("committed");
    assert!(committed.iter().all(|(_, position)| *position == Position::START), "{committed:?}");
}

/// One batch may still come; after that nothing, until it is resumed; then everything.
pub async fn a_paused_partition_is_silent_and_misses_nothing<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(2)).await.log();
    let mut member = Member::alone(&log, "group").await;
    store(&*log, P0, samples(&*log, P0, 0, 1)).await;
    member.until(P0, 1).await;
    member.consumer.pause(P0);
    let before = member.batches[&P0];
    for number in 1..6 {
        store(&*log, P0, samples(&*log, P0, number, 1)).await;
        store(&*log, P1, samples(&*log, P1, number, 1)).await;
        member.until(P1, number as usize).await;
    }
    assert!(member.batches[&P0] <= before + 1, "{} batches while paused", member.batches[&P0] - before);
    member.consumer.resume(P0);
    member.until(P0, 6).await;
    assert_eq!(member.got[&P0], samples(&*log, P0, 0, 6));
}

/// What was read ahead is forgotten: the next batch begins exactly there, forwards and backwards.
pub async fn a_seek_decides_what_is_read_next<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(1)).await.log();
    let mut ends = Vec::new();
    for number in 0..10 {
        ends.push(store(&*log, P0, samples(&*log, P0, number, 1)).await);
    }
    let mut member = Member::alone(&log, "group").await;
    member.step().await;
    for (at, first) in [(0, Position::START), (5, ends[4]), (2, ends[1]), (9, ends[8])] {
        member.seek(P0, first);
        member.got.clear();
        // The member checks that its next batch begins at `first`.
        member.until(P0, 10 - at).await;
        assert_eq!(member.got[&P0], samples(&*log, P0, at as u64, 10 - at as u64));
    }
}

/// A wait that is given up takes no record with it.
pub async fn waiting_for_records_is_cancel_safe<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let log = make(partitions(2)).await.log();
    let mut member = Member::join(&log, "group").await;
    for number in 0..30 {
        let partition = Partition(number % 2);
        member.step_now();
        store(&*log, partition, samples(&*log, partition, (number / 2).into(), 1)).await;
        member.step_now();
        tokio::task::yield_now().await;
    }
    member.until(P0, 15).await;
    member.until(P1, 15).await;
    for partition in [P0, P1] {
        assert_eq!(member.got[&partition], samples(&*log, partition, 0, 15));
    }
}
