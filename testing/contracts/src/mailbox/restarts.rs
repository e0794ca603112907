//! What a mailbox knows after it was opened again.

use bytes::Bytes;
use nimbus_core::{
    Lane, PartKind, PartitionCount, Position,
    ports::mailbox::{Claim, ClaimError, ClaimKind, Head},
};

use super::{
    MailboxFixture,
    world::{World, record},
};
use crate::support::{outbox, principal, server};

/// Durable when they return.
pub async fn claims_outlive_a_restart<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=3);
    world.route().await;
    let first = world.claim(&world.sdk(1, 5, 1)).await;
    world.claim(&world.sdk(2, 7, 2)).await;
    world.answers(&own, 4..=5);
    world.restart().await;

    assert_eq!(world.refused(&world.sdk(2, 6, 3)).await, ClaimError::Stale { given: 6, seen: 7 });
    assert_eq!(world.refused(&world.sdk(1, 5, 3)).await, ClaimError::Stale { given: 5, seen: 5 });
    let with = |world: &World<X>, token: Bytes| Claim {
        kind: ClaimKind::Sdk { outbox: outbox(1), session_no: 6, token: Some(token) },
        ..world.sdk(1, 6, 4)
    };
    assert_eq!(world.refused(&with(&world, Bytes::from_static(b"wrong"))).await, ClaimError::WrongToken);
    let back = world.claim(&with(&world, first.token.clone())).await;
    assert_eq!((back.start, back.known, back.token), (first.start, true, first.token));

    let bob = Claim { principal: principal("bob"), ..world.sdk(3, 1, 5) };
    let start = world.claim(&bob).await.start;
    world.restart().await;
    world.route().await;
    assert!(start == Position::START || world.waiting(Position::START).await.is_err(), "Alice's results, to Bob");
    assert_eq!(world.waiting(start).await, Ok(vec![]));
}

/// What was answered to one holder says nothing about the next one, also where both had an outbox of the same name.
pub async fn a_change_of_hands_outlives_a_restart<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let (hers, his) = (world.origin("alice", 1), world.origin("bob", 1));
    world.answers(&hers, 1..=3);
    world.route().await;
    // Whatever is written down at a restart is from Alice's time.
    world.restart().await;
    world.route().await;
    let bob = Claim { principal: principal("bob"), ..world.sdk(1, 2, 2) };
    let start = world.claim(&bob).await.start;
    world.restart().await;
    world.route().await;
    let late = world.answers(&hers, 4..=5);
    let own = world.answers(&his, 1..=2);
    assert_eq!(world.route().await, (2, 0), "Alice's late results are nobody's");
    assert_eq!(world.waiting(start).await, Ok(own));
    assert!(late.iter().all(|offset| !start.covers(*offset)));
    let back = world.claim(&Claim { principal: principal("bob"), ..world.sdk(1, 3, 3) }).await;
    assert_eq!((back.start, back.known, back.answered), (start, true, 2));
}

/// It may have lost what waited, and even how far it was; then a floor says so, and the log gives it back.
pub async fn rule_16_a_restart_is_never_silent_about_what_it_lost<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let start = world.claim(&world.sdk(1, 1, 1)).await.start;
    let own = world.origin("alice", 1);
    let mut offsets = world.answers(&own, 1..=3);
    world.route().await;
    offsets.extend(world.answers(&own, 4..=6));
    for round in 0..3 {
        world.restart().await;
        assert!(world.applied().await <= world.end());
        world.route().await;
        let positions = offsets.iter().map(|offset| offset.position_after()).chain([start]);
        for from in positions.collect::<Vec<_>>() {
            let expected: Vec<_> = offsets.iter().copied().filter(|offset| !from.covers(*offset)).collect();
            match world.waiting(from).await {
                Ok(waiting) => assert_eq!(waiting, expected, "from {from}"),
                Err(floor) => {
                    let above: Vec<_> = offsets.iter().copied().filter(|offset| !floor.covers(*offset)).collect();
                    assert_eq!(world.waiting(floor).await, Ok(above));
                }
            }
        }
        offsets.extend(world.answers(&own, 7 + round * 2..=8 + round * 2));
        world.route().await;
    }
}

/// Folding goes on where it stopped: what was answered before stays answered.
pub async fn rule_16_a_restart_forgets_no_answer<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=3);
    world.append(record(&own, 5, PartKind::Final, Lane::Jobs));
    world.route().await;
    for _ in 0..3 {
        world.restart().await;
        world.route().await;
        let applied = world.applied().await;
        world.answers(&own, 1..=3);
        world.append(record(&own, 5, PartKind::Final, Lane::Jobs));
        assert_eq!(world.route().await, (0, 4));
        assert_eq!(world.waiting(applied).await, Ok(vec![]));
        assert_eq!(world.claim(&world.sdk(1, 1, 1)).await.answered, 3);
    }
}

/// Retention overtook the router: what it never saw is a gap for whoever asks, and folding goes on behind it.
pub async fn rule_16_what_retention_took_unread_is_below_a_floor<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let start = world.claim(&world.sdk(1, 1, 1)).await.start;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=3);
    world.route().await;
    let applied = world.end();
    let mut listener = world.listen(&server("s1")).await;
    world.skip_to(applied).await;
    world.skip_to(Position(applied.0 - 1)).await;
    assert_eq!((world.applied().await, listener.missed().await), (applied, false), "nothing is missing");

    world.answers(&own, 4..=6);
    let first = world.end();
    let later = world.answers(&own, 7..=8);
    world.skip_to(first).await;
    // Not by the word alone, which may be lost or come late: a server that compares sees that it was told less.
    let heads = world.mailbox().heads(&server("s1"), &[world.partition()]).await.expect("heads");
    assert_eq!(heads, [Head { partition: world.partition(), applied: first, notified: first }]);
    assert_eq!((world.applied().await, listener.missed().await), (first, true));
    for from in [start, applied] {
        assert_eq!(world.waiting(from).await, Err(first));
    }
    assert_eq!(world.route().await, (2, 0));
    assert_eq!(world.waiting(first).await, Ok(later));
}

/// After a restore the log may end earlier than the mailbox had read. What is appended there now is new.
pub async fn rule_28_a_mailbox_ahead_of_its_log_skips_nothing<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=3);
    world.route().await;
    let end = world.end();
    world.answers(&own, 4..=9);
    world.route().await;
    world.restart_with_end(end).await;
    assert!(world.applied().await <= end);
    let again = world.answers(&own, 4..=9);
    world.route().await;
    assert_eq!(world.waiting(end).await, Ok(again));
}
