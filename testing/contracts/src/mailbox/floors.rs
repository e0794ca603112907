//! What waits, and what the mailbox says when it does not have it.

use std::{ops::RangeInclusive, sync::Arc};

use nimbus_core::{Offset, Origin, PartitionCount, Position, ports::mailbox::Page};

use super::{
    MailboxFixture,
    world::{World, answer},
};
use crate::support::origin;

/// Trimming raises a floor: an expired mailbox must not pass for "nothing missed".
pub async fn rule_14_a_client_that_outgrows_its_mailbox_is_below_a_floor<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let limit = world.fixture.client_records();
    let own = world.origin("alice", 1);
    let mut offsets = Vec::new();
    // More than twice what fits, in batches that do not divide it.
    let mut seqs = 1..=(2 * limit as u64 + 5);
    loop {
        let some: Vec<_> = seqs.by_ref().take(limit / 3 + 1).collect();
        if some.is_empty() {
            break;
        }
        offsets.extend(world.answers(&own, some));
        world.route().await;
    }
    let floor = world.waiting(claimed.start).await.expect_err("it cannot have all of this");
    let kept: Vec<_> = offsets.iter().copied().filter(|offset| !floor.covers(*offset)).collect();
    assert!(!kept.is_empty() && kept.len() <= limit, "{} records are kept", kept.len());
    assert_eq!(world.waiting(floor).await, Ok(kept), "from the floor on it is complete");
    let other = world.waiting_for(&world.other, Position::START).await;
    assert!(other.is_err() || other == Ok(vec![]), "another client's trimming is not its own");
}

/// One client's backlog makes room for what is newer, whosever that is; what was acknowledged takes up none.
pub async fn rule_14_what_outgrows_the_partition_goes_oldest_first<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let (own, others) = (world.origin("alice", 1), origin(&world.other, "alice", 1));
    // A tenth of what fits, with room for whatever an adapter adds to it.
    let tenth = world.fixture.partition_bytes() * 9 / 100;
    let old = fill(&mut world, &others, 1..=8, tenth).await;
    let new = fill(&mut world, &own, 1..=8, tenth).await;
    assert_eq!(world.waiting(Position::START).await, Ok(new.clone()), "the newer ones fit");
    let floor = world.waiting_for(&world.other, Position::START).await.expect_err("there is no room for all of it");
    let kept: Vec<_> = old.iter().copied().filter(|offset| !floor.covers(*offset)).collect();
    assert!((1..=3).contains(&kept.len()), "{} of the older ones are kept", kept.len());
    assert_eq!(world.waiting_for(&world.other, floor).await, Ok(kept.clone()), "from the floor on it is complete");

    world.ack(1, world.end()).await;
    let more = fill(&mut world, &others, 9..=15, tenth).await;
    assert_eq!(
        world.waiting_for(&world.other, floor).await,
        Ok([kept, more].concat()),
        "the acknowledged ones are gone"
    );
}

/// Bytes that no adapter can store in less. By Marsaglia's xorshift ("Xorshift RNGs", 2003; 13, 7, 17).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    // The first few still resemble the seed.
    words.skip(8).flat_map(u64::to_le_bytes).take(bytes).collect()
}

/// Routes answers of this size one by one.
async fn fill<X: MailboxFixture>(
    world: &mut World<X>,
    of: &Arc<Origin>,
    seqs: RangeInclusive<u64>,
    bytes: usize,
) -> Vec<Offset> {
    let mut offsets = Vec::new();
    for seq in seqs {
        let mut record = answer(of, seq);
        record.payload = noise(seq, bytes).into();
        offsets.push(world.append(record));
        world.route().await;
    }
    offsets
}

/// A client that was away for too long is told so as well.
pub async fn rule_14_a_mailbox_that_expired_is_below_a_floor<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let start = world.claim(&world.sdk(1, 1, 1)).await.start;
    let own = world.origin("alice", 1);
    let mut offsets = world.answers(&own, 1..=3);
    world.route().await;
    world.fixture.outlive_window().await;
    for round in 0..2 {
        match world.waiting(start).await {
            Ok(waiting) => assert_eq!(waiting, offsets, "it may be late with trimming, but not silent"),
            Err(floor) => {
                let above: Vec<_> = offsets.iter().copied().filter(|offset| !floor.covers(*offset)).collect();
                assert_eq!(world.waiting(floor).await, Ok(above));
            }
        }
        offsets.extend(world.answers(&own, [4 + round]));
        world.route().await;
    }
}

/// Silence is right above the partition's floor, and only there.
pub async fn rule_14_a_client_that_nobody_knows_has_nothing_waiting<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=3);
    world.route().await;
    match world.page(&world.other, world.end(), 9).await {
        Page::Records { records, through, complete } => {
            assert!(records.is_empty() && complete && through >= world.end());
        }
        Page::BelowFloor { floor } => panic!("the end of the log is below the floor {floor}"),
    }
}

/// A client that was told "you have everything before this" is not sent to the log for it, however quiet it is.
pub async fn rule_15_a_bookmark_is_above_the_floor<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let others = crate::support::origin(&world.other, "alice", 1);
    for seq in 1..=20 {
        world.answers(&others, [seq]);
        world.route().await;
        let bookmark = world.applied().await;
        assert_eq!(world.waiting(bookmark).await, Ok(vec![]));
    }
}

/// Whatever the router's own commits say.
pub async fn rule_17_applied_is_where_the_router_goes_on<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    assert_eq!(world.applied().await, Position::START);
    let own = world.origin("alice", 1);
    for seq in 1..=3 {
        world.answers(&own, [seq]);
        world.route().await;
        assert_eq!(world.applied().await, world.end());
    }
    // Erased records move it as well, behind others and on their own.
    let from = world.applied().await;
    world.answers(&own, [4]);
    for hole in [5, 10] {
        let mut batch = world.batch(from);
        batch.next = Position(world.end().0 + hole);
        world.apply(&batch).await;
        assert_eq!(world.applied().await, batch.next);
    }
}

/// Acknowledged records may go; what was not acknowledged stays, and a stale session's word counts for nothing.
pub async fn rule_22_an_ack_takes_away_nothing_that_is_still_needed<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let offsets = world.answers(&own, 1..=6);
    world.route().await;
    world.claim(&world.sdk(1, 2, 2)).await;
    world.ack(1, world.end()).await;
    assert_eq!(world.waiting(claimed.start).await, Ok(offsets.clone()), "a stale session's word");
    let position = offsets[2].position_after();
    world.ack(2, position).await;
    assert_eq!(world.waiting(position).await, Ok(offsets[3..].to_vec()));
    match world.waiting(claimed.start).await {
        Ok(all) => assert_eq!(all, offsets),
        Err(floor) => assert!(floor <= position, "the floor {floor} is beyond what was acknowledged"),
    }
    world.ack(2, Position(world.end().0 + 100)).await;
    let later = world.answers(&own, 7..=8);
    world.route().await;
    assert_eq!(world.waiting(Position(later[0].0)).await, Ok(later));
}

/// Some records at a time, each once, and no page claims more than it has.
pub async fn rule_23_a_mailbox_is_read_by_position_page_by_page<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let mut offsets = Vec::new();
    for round in 0..4 {
        offsets.extend(world.answers(&own, round * 5 + 1..=round * 5 + 5));
        world.route().await;
    }
    for size in [1, 2, 3, 7, 20, 100] {
        let mut at = claimed.start;
        let mut got = Vec::new();
        loop {
            let Page::Records { records, through, complete } = world.page(&world.client, at, size).await else {
                panic!("{at} is below a floor")
            };
            assert!(records.len() <= size);
            got.extend(records.iter().map(|stored| stored.offset));
            at = through;
            let missing = offsets.iter().any(|offset| through.covers(*offset) && !got.contains(offset));
            assert!(!missing, "a page of {size} claims to be complete through {through}");
            if complete {
                assert!(through >= world.end());
                break;
            }
        }
        assert_eq!(got, offsets);
    }
    for (at, offset) in offsets.iter().enumerate() {
        assert_eq!(world.waiting(offset.position_after()).await, Ok(offsets[at + 1..].to_vec()));
    }
}
