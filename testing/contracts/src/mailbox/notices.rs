//! Ownership and notification.

use nimbus_core::{
    Offset, Partition, PartitionCount, Position,
    ports::mailbox::{Claim, Head},
};

use super::{
    MailboxFixture,
    world::{Notice, World},
};
use crate::support::{server, session};

/// Whatever is applied after a claim returned is told; whatever was applied before is read.
pub async fn rule_18_nothing_falls_between_claim_and_read<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let own = world.origin("alice", 1);
    let start = world.claim(&world.sdk(1, 1, 1)).await.start;
    let mut listener = world.listen(&server("s2")).await;
    let before = world.answers(&own, 1..=3);
    world.route().await;
    world.claim(&Claim { server: server("s2"), ..world.sdk(1, 2, 2) }).await;
    let after = world.answers(&own, 4..=6);
    world.route().await;
    let read = world.waiting(start).await.expect("above the floor");
    let told: Vec<Offset> =
        listener.notices().await.into_iter().flat_map(|notice| notice.3).flat_map(|it| it.1).collect();
    assert_eq!(told, after);
    assert_eq!(read, [before, after].concat());
}

/// The old stream's cleanup does not remove the new stream.
pub async fn rule_19_a_release_removes_only_its_own_session<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let mut listener = world.listen(&server("s1")).await;
    let own = world.origin("alice", 1);
    world.claim(&world.sdk(1, 1, 1)).await;
    world.claim(&world.sdk(1, 2, 2)).await;
    world.release(1).await;
    world.answers(&own, [1]);
    world.route().await;
    assert_eq!(listener.notices().await.len(), 1, "session 2 owns the client");
    world.release(2).await;
    world.answers(&own, [2]);
    world.route().await;
    assert_eq!(listener.notices().await.len(), 0, "nobody owns it");
    assert_eq!(world.claim(&world.sdk(1, 3, 3)).await.previous, None);
    let stranger = world.mailbox().release(&world.other, session(9)).await;
    stranger.expect("a client that nobody knows is no error");
}

/// Each names the one before, so that whoever misses one finds out; a server that has no record in a batch is not told,
/// and its chain does not move.
pub async fn rule_20_notifications_form_a_chain_per_server<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let (mut one, mut two) = (world.listen(&server("s1")).await, world.listen(&server("s2")).await);
    world.claim(&world.sdk(1, 1, 1)).await;
    let other = Claim { client: world.other.clone(), server: server("s2"), ..world.sdk(1, 1, 2) };
    world.claim(&other).await;
    let (own, others) = (world.origin("alice", 1), crate::support::origin(&world.other, "alice", 1));

    let mut mine = world.answers(&own, [1]);
    let first_theirs = world.answers(&others, [1]);
    mine.extend(world.answers(&own, [2]));
    world.route().await;
    let theirs = world.answers(&others, [2, 3]);
    world.route().await;
    let last = world.answers(&own, [3]);
    world.route().await;

    let (p, zero) = (world.partition(), Position::START);
    let after = |offsets: &[Offset]| offsets[offsets.len() - 1].position_after();
    let expected: [Notice; 2] = [
        (p, zero, after(&mine), vec![(world.client.clone(), mine.clone())]),
        (p, after(&mine), after(&last), vec![(world.client.clone(), last.clone())]),
    ];
    assert_eq!(one.notices().await, expected);
    let expected: [Notice; 2] = [
        (p, zero, after(&first_theirs), vec![(world.other.clone(), first_theirs.clone())]),
        (p, after(&first_theirs), after(&theirs), vec![(world.other.clone(), theirs.clone())]),
    ];
    assert_eq!(two.notices().await, expected);
}

/// A server's partitions have chains of their own.
pub async fn rule_20_a_chain_per_partition<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let mut listener = world.listen(&server("s1")).await;
    for partition in [Partition(1), Partition(0), Partition(2)] {
        world.move_to(partition);
        world.claim(&world.sdk(1, 1, 1)).await;
        let own = world.origin("alice", 1);
        let offsets = world.answers(&own, 1..=2);
        world.route().await;
        let notices = listener.notices().await;
        let expected: Notice = (partition, Position::START, world.end(), vec![(world.client.clone(), offsets)]);
        assert_eq!(notices, [expected]);
    }
}

/// No later notification would show that it was missed; the heads do.
pub async fn rule_20_heads_show_the_last_message_before_a_silence<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let (own, others) = (world.origin("alice", 1), crate::support::origin(&world.other, "alice", 1));
    world.answers(&own, [1, 2]);
    world.route().await;
    let notified = world.end();
    world.answers(&others, [1]);
    world.route().await;
    let asked = [Partition(2), world.partition()];
    let heads = world.mailbox().heads(&server("s1"), &asked).await.expect("heads");
    let expected = [
        Head { partition: Partition(2), applied: Position::START, notified: Position::START },
        Head { partition: world.partition(), applied: world.end(), notified },
    ];
    assert_eq!(heads, expected);
    let heads = world.mailbox().heads(&server("s2"), &[world.partition()]).await.expect("heads");
    assert_eq!(heads[0].notified, Position::START, "a server that was told nothing");
}

/// A server is not woken for what its client has.
pub async fn rule_11_duplicates_are_no_news<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let mut listener = world.listen(&server("s1")).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=2);
    world.route().await;
    world.answers(&own, 1..=2);
    world.route().await;
    assert_eq!(listener.notices().await.len(), 1);
}
