//! Who holds a client.

use bytes::Bytes;
use nimbus_core::{
    PartitionCount, Position,
    ports::mailbox::{Claim, ClaimError, ClaimKind},
};

use super::{MailboxFixture, world::World};
use crate::support::{outbox, principal, server, session};

/// A client without a memory begins where the log ended when it came.
pub async fn a_first_claim_begins_at_the_end_of_the_log<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let old = world.origin("alice", 9);
    world.answers(&old, 1..=3);
    world.route().await;
    let claimed = world.claim(&world.sdk(1, 1, 1)).await;
    assert_eq!((claimed.start, claimed.known, claimed.answered), (world.end(), false, 0));
    assert_eq!(claimed.previous, None);
    assert!(!claimed.token.is_empty());
}

/// The newest session wins, also with the number of the one before (a Hello sent twice); what it needs to know stays.
pub async fn the_same_outbox_takes_its_client_over_again<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let first = world.claim(&world.sdk(1, 5, 1)).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=2);
    let elsewhere = Claim { server: server("s2"), ..world.sdk(1, 5, 2) };
    let second = world.claim(&elsewhere).await;
    assert_eq!(second.previous, Some((server("s1"), session(1))));
    assert_eq!((second.start, second.known, &second.token), (first.start, true, &first.token));
    let third = world.claim(&world.sdk(1, 9, 3)).await;
    assert_eq!(third.previous, Some((server("s2"), session(2))));
    let again = world.claim(&world.sdk(1, 9, 3)).await;
    assert_eq!(again.previous, None, "a session that claims again takes nobody's place");
}

/// And changes nothing.
pub async fn a_delayed_hello_is_stale<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let world = World::new(make).await;
    world.claim(&world.sdk(1, 5, 1)).await;
    let stale = world.refused(&world.sdk(1, 4, 2)).await;
    assert_eq!(stale, ClaimError::Stale { given: 4, seen: 5 });
    assert_eq!(world.claim(&world.sdk(1, 6, 3)).await.previous, Some((server("s1"), session(1))));
    world.release(3).await;
    assert!(matches!(world.refused(&world.sdk(1, 5, 4)).await, ClaimError::Stale { given: 5, seen: 6 }));
}

/// A new outbox is a new client memory: its numbers say nothing about the old one's.
pub async fn a_newer_outbox_wins_and_retires_the_older_one<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 50, 1)).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=2);
    let newer = world.claim(&world.sdk(2, 1, 2)).await;
    assert_eq!((newer.start, newer.known), (world.end(), false));
    assert_eq!(newer.previous, Some((server("s1"), session(1))));
    let delayed = world.refused(&world.sdk(1, 50, 3)).await;
    assert_eq!(delayed, ClaimError::Stale { given: 50, seen: 50 });
}

/// The device itself, not its delayed word. It finds its old place.
pub async fn a_retired_outbox_comes_back_only_with_a_higher_number<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    let first = world.claim(&world.sdk(1, 5, 1)).await;
    let own = world.origin("alice", 1);
    world.answers(&own, 1..=2);
    world.claim(&world.sdk(2, 7, 2)).await;
    let back = world.claim(&world.sdk(1, 6, 3)).await;
    assert_eq!((back.start, back.known), (first.start, true));
    assert_eq!(world.refused(&world.sdk(2, 7, 4)).await, ClaimError::Stale { given: 7, seen: 7 });
}

/// A client whose first Welcome was lost has no position, but events that were accepted: it is served from where its
/// outbox began.
pub async fn a_lost_first_welcome_costs_nothing<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let old = world.origin("alice", 9);
    world.answers(&old, 1..=3);
    world.route().await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let own = world.origin("alice", 1);
    let offsets = world.answers(&own, 1..=4);
    world.route().await;
    let again = world.claim(&world.sdk(1, 2, 2)).await;
    assert!(again.known);
    assert_eq!(world.waiting(again.start).await, Ok(offsets));
}

/// A token belongs to a client and a principal.
pub async fn a_token_is_checked_if_given<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let world = World::new(make).await;
    let with = |session_no, token: &Bytes| Claim {
        kind: ClaimKind::Sdk { outbox: outbox(1), session_no, token: Some(token.clone()) },
        ..world.sdk(1, 1, 1)
    };
    let token = world.claim(&world.sdk(1, 1, 1)).await.token;
    for wrong in [Bytes::new(), token.slice(1..), Bytes::from(vec![0; token.len()])] {
        assert_eq!(world.refused(&with(2, &wrong)).await, ClaimError::WrongToken);
    }
    assert_eq!(world.claim(&with(2, &token)).await.token, token);
    let other = world.claim(&Claim { client: world.other.clone(), ..world.sdk(1, 1, 9) }).await;
    assert_ne!(other.token, token, "no two clients share a token");
}

/// Nothing of the former holder shows, neither what waits nor what was answered; its token and its delayed word are void.
pub async fn a_client_id_that_changes_hands_starts_empty<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    let alices = world.claim(&world.sdk(1, 1, 1)).await;
    let before = world.end();
    let hers = world.origin("alice", 1);
    world.answers(&hers, 1..=3);
    world.route().await;
    let bobs = |world: &World<X>, number, session_no, id| Claim {
        principal: principal("bob"),
        ..world.sdk(number, session_no, id)
    };
    // Bob's server asked for the log's end before Alice's last results came.
    let claimed = world.claim(&Claim { log_end: before, ..bobs(&world, 1, 2, 2) }).await;
    assert_eq!(claimed.answered, 0, "what was answered to Alice says nothing about Bob");
    assert!(claimed.token != alices.token && claimed.start >= world.end());
    assert!(world.waiting(before).await.is_err(), "from before the change there is nothing to have");
    assert_eq!(world.waiting(claimed.start).await, Ok(vec![]));
    let his = world.origin("bob", 1);
    let offsets = world.answers(&his, 1..=2);
    world.route().await;
    assert_eq!(world.waiting(claimed.start).await, Ok(offsets));
    let kind = ClaimKind::Sdk { outbox: outbox(3), session_no: 1, token: Some(alices.token) };
    assert_eq!(world.refused(&Claim { kind, ..bobs(&world, 3, 1, 3) }).await, ClaimError::WrongToken);
    let carol = Claim { principal: principal("carol"), log_end: before, ..world.sdk(4, 1, 4) };
    let claimed = world.claim(&carol).await;
    assert!(!claimed.known && claimed.start >= world.end(), "also with an outbox that nobody had");
}

/// The former holder's events may still be running; their results are for nobody (invariant 4).
pub async fn a_result_of_another_principal_is_delivered_to_nobody<X: MailboxFixture>(
    make: impl AsyncFn(PartitionCount) -> X,
) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let bob = Claim { principal: principal("bob"), ..world.sdk(2, 1, 2) };
    let claimed = world.claim(&bob).await;
    let mut listener = world.listen(&server("s1")).await;
    let (hers, his) = (world.origin("alice", 2), world.origin("bob", 2));
    world.answers(&hers, 1..=2);
    let own = world.answers(&his, 1..=2);
    world.answers(&hers, 3..=3);
    assert_eq!(world.route().await, (2, 0), "neither fresh nor duplicates, and they answer none of Bob's events");
    assert_eq!(world.waiting(claimed.start).await, Ok(own.clone()));
    let notices = listener.notices().await;
    assert_eq!(notices.into_iter().map(|notice| notice.3).collect::<Vec<_>>(), [[(world.client.clone(), own)]]);
}

/// Everything up to there was accepted, so the client need not send it again.
pub async fn a_claim_tells_what_was_answered<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    let mut world = World::new(make).await;
    world.claim(&world.sdk(1, 1, 1)).await;
    let (one, two) = (world.origin("alice", 1), world.origin("alice", 2));
    world.answers(&one, 1..=3);
    world.answers(&two, 1..=7);
    world.route().await;
    assert_eq!(world.claim(&world.sdk(1, 2, 2)).await.answered, 3);
    assert_eq!(world.claim(&world.sdk(2, 1, 3)).await.answered, 7);
    assert_eq!(world.claim(&world.sdk(3, 1, 4)).await.answered, 0);
    assert!(world.end() > Position::START);
}
