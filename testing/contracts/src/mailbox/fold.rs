//! Batches and duplicates.

use nimbus_core::{Lane, PartKind, PartitionCount, Position, ResultRecord, ports::mailbox::Applied};

use super::{
    MailboxFixture,
    world::{World, answer, record},
};
use crate::support::server;

/// Refused as a whole, and told where to go on.
pub async fn rule_10_a_batch_that_would_leave_a_hole_is_refused<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let first = world.answers(&own, 1..=2);
    world.route().await;
    let applied = world.end();
    let lost = world.answers(&own, 3..=4);
    let ahead = world.end();
    let later = world.answers(&own, 5..=6);
    assert_eq!(world.apply(&world.batch(ahead)).await, Applied::Hole { applied });
    assert_eq!((world.applied().await, world.waiting(claimed.start).await), (applied, Ok(first.clone())));
    assert_eq!(world.route().await, (4, 0));
    assert_eq!(world.waiting(claimed.start).await, Ok([first, lost, later].concat()));
}

/// However small.
pub async fn rule_10_a_hole_of_one_record_is_a_hole<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let own = world.origin("alice", 1);
    for seq in 1..=9 {
        let applied = world.applied().await;
        world.answers(&own, [seq]);
        let mut ahead = world.batch(world.end());
        ahead.from = Position(applied.0 + 1);
        assert_eq!(world.apply(&ahead).await, Applied::Hole { applied });
        assert_eq!(world.route().await, (1, 0));
    }
}

/// A router that begins further back than it must does no harm.
pub async fn rule_10_a_batch_that_overlaps_is_applied_once<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let part = record(&own, 3, PartKind::Part, Lane::Ordered);
    let mut all = world.answers(&own, 1..=2);
    all.push(world.append(part));
    world.route().await;
    all.extend(world.answers(&own, 3..=5));
    let mut listener = world.listen(&server("s1")).await;
    let whole = world.batch(Position::START);
    assert_eq!(world.apply(&whole).await, Applied::Through { applied: world.end(), fresh: 3, duplicates: 0 });
    assert_eq!(world.apply(&whole).await, Applied::Through { applied: world.end(), fresh: 0, duplicates: 0 });
    assert_eq!(world.waiting(claimed.start).await, Ok(all.clone()));
    let told: Vec<_> = listener.notices().await.into_iter().flat_map(|notice| notice.3).collect();
    assert_eq!(told, [(world.client.clone(), all[3..].to_vec())]);
}

/// Whoever comes second is the duplicate: a zombie executor, an event appended twice, an execution repeated.
pub async fn rule_11_the_first_answer_on_the_ordered_lane_stands<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let mut kept = world.answers(&own, 1..=3);
    world.append(record(&own, 2, PartKind::Error, Lane::Ordered));
    assert_eq!(world.route().await, (3, 1), "within a batch");
    world.answers(&own, 1..=3);
    kept.push(world.append(record(&own, 4, PartKind::Error, Lane::Ordered)));
    world.append(ResultRecord { attempt: 2, ..answer(&own, 4) });
    assert_eq!(world.route().await, (1, 4), "and across batches");
    assert_eq!(world.waiting(claimed.start).await, Ok(kept));
}

/// Jobs overtake one another, and ordered events in the same outbox do not answer them.
pub async fn rule_11_jobs_are_answered_once_in_any_order<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let job = |seq| record(&own, seq, PartKind::Final, Lane::Jobs);
    let mut kept: Vec<_> = [job(5), job(2), answer(&own, 6), job(3)].map(|record| world.append(record)).into();
    world.route().await;
    for seq in [2, 3, 5] {
        world.append(job(seq));
    }
    kept.push(world.append(job(4)));
    world.append(job(4));
    assert_eq!(world.route().await, (1, 4));
    assert_eq!(world.waiting(claimed.start).await, Ok(kept));
}

/// Parts are at-least-once: a later attempt sends them again. After the answer they mean nothing.
pub async fn rule_11_parts_pass_until_their_event_is_answered<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let mut kept = Vec::new();
    for lane in [Lane::Ordered, Lane::Jobs] {
        for (kind, attempt) in [(PartKind::Part, 1), (PartKind::Log, 1), (PartKind::Part, 2), (PartKind::Final, 2)] {
            kept.push(world.append(ResultRecord { attempt, ..record(&own, 1 + lane as u64, kind, lane) }));
        }
        world.append(record(&own, 1 + lane as u64, PartKind::Progress, lane));
    }
    assert_eq!(world.route().await, (8, 2));
    assert_eq!(world.waiting(claimed.start).await, Ok(kept));
}

/// An answer to the old outbox's 5 does not answer the new one's.
pub async fn rule_11_outboxes_count_apart<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let (one, two) = (world.origin("alice", 1), world.origin("alice", 2));
    let mut kept = world.answers(&one, 1..=5);
    kept.extend(world.answers(&two, 1..=5));
    assert_eq!(world.route().await, (10, 0));
    world.answers(&one, [5]);
    world.answers(&two, [5]);
    assert_eq!(world.route().await, (0, 2));
    assert_eq!(world.waiting(claimed.start).await, Ok(kept));
}

/// The first terminal answer stands; what a replayed dead letter brings is delivered on top, and answers nothing.
pub async fn rule_9_a_replay_is_an_extra<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let replay = |seq| ResultRecord { replay_no: 1, ..answer(&own, seq) };
    let records = [record(&own, 1, PartKind::Error, Lane::Ordered), replay(1), replay(2), answer(&own, 2)];
    let kept: Vec<_> = records.map(|record| world.append(record)).into();
    assert_eq!(world.route().await, (4, 0));
    assert_eq!(world.waiting(claimed.start).await, Ok(kept));
}
