//! Clients of the original protocol: the mailbox keeps their place.

use nimbus_core::{PartitionCount, ports::mailbox::Claim};

use super::{MailboxFixture, world::World};
use crate::support::server;

/// First contact begins at the end of the log; later ones where the client is known to be.
pub async fn rule_26_an_original_client_is_where_its_owner_says<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=2);
    world.route().await;
    let first = world.claim(&world.original(1)).await;
    assert_eq!((first.start, first.known), (world.end(), false));
    let offsets = world.answers(&own, 3..=6);
    world.route().await;
    world.ack(1, offsets[1].position_after()).await;
    world.ack(1, offsets[0].position_after()).await;
    world.release(1).await;
    // While it is away, results wait.
    let away = world.answers(&own, 7..=8);
    world.route().await;
    let second = world.claim(&Claim { server: server("s2"), ..world.original(2) }).await;
    assert_eq!((second.start, second.known), (offsets[1].position_after(), true));
    assert_eq!(world.waiting(second.start).await, Ok([&offsets[2..], &away[..]].concat()));
}

/// A stream that was superseded may still see its keepalives answered.
pub async fn rule_26_a_stale_session_moves_nothing<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let start = world.claim(&world.original(1)).await.start;
    let own = world.origin("alice", 1);
    let offsets = world.answers(&own, 1..=2);
    world.route().await;
    world.claim(&world.original(2)).await;
    world.ack(1, world.end()).await;
    let third = world.claim(&world.original(3)).await;
    assert_eq!(third.start, start);
    assert_eq!(world.waiting(start).await, Ok(offsets));
}

/// It may come back late, never ahead: these clients are at-least-once.
pub async fn rule_26_the_position_outlives_a_restart<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let first = world.claim(&world.original(1)).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=2);
    world.route().await;
    let position = world.end();
    world.ack(1, position).await;
    // Durable for sure: a claim is durable when it returns.
    world.claim(&world.original(2)).await;
    world.answers(&own, 3..=4);
    world.route().await;
    world.restart().await;
    let back = world.claim(&world.original(3)).await;
    assert_eq!((back.start, back.known), (position, true));
    assert!(position > first.start);
    // In good order nothing at all is lost.
    world.route().await;
    world.ack(3, world.end()).await;
    world.restart().await;
    assert_eq!(world.claim(&world.original(4)).await.start, world.end());
}
