//! Clients of the original protocol that were away when Redis lost its memory (rule 26): what waited for them still does.

use std::sync::atomic::Ordering;

use nimbus_core::{
    Position, PrincipalId,
    ports::mailbox::{Claim, Mailbox as _, MailboxAck},
};

use super::races::{apply, through, waiting};
use crate::testing::{OwnRedis, World, answer, answers, batch, client, config, original, sdk, session};

/// A memory that was lost and filled again from position 1, over a log of four answers: three to `c`, one to `d`.
async fn refilled(redis: &OwnRedis) -> World {
    let world = World::new(config(&redis.url()), 1).await;
    let (c, d) = (client("c"), client("d"));
    let first = world.ports.mailbox.claim(original(&c, "s1", 1)).await.unwrap();
    assert_eq!((first.start, first.known), (Position(0), false), "an empty log has nothing that waits");
    let log = vec![answer(&c, "alice", 1), answer(&c, "alice", 2), answer(&d, "alice", 1), answer(&c, "alice", 3)];
    apply(&world, &batch(0, log.clone())).await;
    let acked = MailboxAck { client: c.clone(), session: session(1), position: Position(2) };
    world.ports.mailbox.ack(&[acked]).await.unwrap();
    world.ports.mailbox.release(&c, session(1)).await.unwrap();
    redis.command(&["FLUSHALL"]).await;
    world.beginning.0.store(1, Ordering::Relaxed);
    // A process that never saw what was lost.
    let anew = world.another().await;
    assert_eq!(apply(&anew, &batch(0, log)).await, through(4, 3, 0));
    anew
}

fn at_end(claim: Claim, end: u64) -> Claim {
    Claim { log_end: Position(end), ..claim }
}

#[tokio::test]
async fn rule_26_what_waited_for_an_absent_original_client_outlives_the_memory() {
    let Some(redis) = OwnRedis::start("an absent original client", &[]).await else { return };
    let (world, c) = (refilled(&redis).await, client("c"));
    let back = world.ports.mailbox.claim(at_end(original(&c, "s1", 2), 4)).await.unwrap();
    assert_eq!((back.start, back.known), (Position(1), false));
    // What it had may come again, as ever across its reconnects; what it had not comes.
    assert_eq!(waiting(&world, &c, 1).await, Ok(vec![1, 3]));
    // From here on it is where it says.
    let ack = MailboxAck { client: c.clone(), session: session(2), position: Position(4) };
    world.ports.mailbox.ack(&[ack]).await.unwrap();
    world.ports.mailbox.release(&c, session(2)).await.unwrap();
    apply(&world, &answers(&c, 4, [4])).await;
    let again = world.ports.mailbox.claim(at_end(original(&c, "s2", 3), 5)).await.unwrap();
    assert_eq!((again.start, again.known), (Position(4), true));
}

#[tokio::test]
async fn rule_26_what_came_while_nobody_was_there_is_served_from_where_the_memory_began() {
    let Some(redis) = OwnRedis::start("a long absence", &[]).await else { return };
    let (world, c) = (refilled(&redis).await, client("c"));
    // The window passes: nothing waits in Redis any more, and the place stays.
    for seq in 4..=80 {
        apply(&world, &answers(&c, seq, [seq])).await;
        world.clock.advance(crate::testing::LIMITS.window / 8);
    }
    let back = world.ports.mailbox.claim(at_end(original(&c, "s1", 2), 81)).await.unwrap();
    assert_eq!(back.start, Position(1), "the log has what came since, and is read from there");
    assert!(waiting(&world, &c, 1).await.is_err(), "below the floor");
}

#[tokio::test]
async fn rule_26_a_client_that_is_new_in_a_refilled_memory_gets_nobody_elses_results() {
    let Some(redis) = OwnRedis::start("a new original client", &[]).await else { return };
    let world = refilled(&redis).await;
    // Nothing came for it: it begins behind what is folded in, and hears of what is not yet.
    let new = world.ports.mailbox.claim(at_end(original(&client("new"), "s1", 1), 9)).await.unwrap();
    assert_eq!(new.start, Position(4));
    // The name was somebody else's: the answers belong to him.
    let d = client("d");
    let bob = PrincipalId::try_new("bob").unwrap();
    let taken = world.ports.mailbox.claim(Claim { principal: bob, ..original(&d, "s1", 1) }).await.unwrap();
    assert_eq!(waiting(&world, &d, taken.start.0.max(1)).await, Ok(vec![]));
}

/// An SDK has claimed the name since: what was answered is that one's, and was told to it.
#[tokio::test]
async fn rule_26_an_original_client_after_an_sdk_begins_at_the_end() {
    let Some(redis) = OwnRedis::start("an original client after an sdk", &[]).await else { return };
    let (world, c) = (refilled(&redis).await, client("c"));
    world.ports.mailbox.claim(at_end(sdk(&c, "s1", 1), 4)).await.unwrap();
    let after = world.ports.mailbox.claim(at_end(original(&c, "s1", 2), 4)).await.unwrap();
    assert_eq!((after.start, after.known), (Position(4), false));
}

/// It is connected when the memory is lost: it is where it was.
#[tokio::test]
async fn rule_26_a_connected_original_client_stays_where_it_is() {
    let Some(redis) = OwnRedis::start("a connected original client", &[]).await else { return };
    let (world, c) = (World::new(config(&redis.url()), 1).await, client("c"));
    world.ports.mailbox.claim(original(&c, "s1", 1)).await.unwrap();
    apply(&world, &answers(&c, 0, 1..=4)).await;
    let ack = MailboxAck { client: c.clone(), session: session(1), position: Position(3) };
    world.ports.mailbox.ack(&[ack]).await.unwrap();
    super::losses::check_until_whole(&world).await;
    redis.command(&["FLUSHALL"]).await;
    world.beginning.0.store(1, Ordering::Relaxed);
    super::losses::check_until_whole(&world).await;
    assert_eq!(world.ports.mailbox.inspect(&c).await.unwrap().kept, Some(Position(3)));
}
