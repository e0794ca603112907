//! What two servers claim again after a loss: the session that opened last stays, whatever the clocks of the servers say.
//! The id of a session begins with the time at which its server made it; here the older one always has the greater id.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use fred::interfaces::HashesInterface as _;
use nimbus_contracts::within;
use nimbus_core::{
    ClientId, OutboxId, Partition, Position, SessionId,
    mailbox::LogStarts,
    ports::{
        mailbox::{Claim, ClaimError, ClaimKind, Claimed, Mailbox as _},
        notifier::{Notification, Subscription},
    },
};

use super::{
    losses::check_until_whole,
    races::{apply, listen, told},
};
use crate::{
    keys::Keys,
    testing::{OwnRedis, World, answers, client, config, original, sdk, server, session},
};

/// Of a server whose clock is ahead.
const OLD: u64 = 1 << 40;

/// And of one whose clock is not.
const NEW: u64 = 7;

/// Two servers, `s1` and `s2`, on a Redis of their own.
async fn servers(redis: &OwnRedis) -> (World, World) {
    let one = World::new(config(&redis.url()), 1).await;
    let two = one.another().await;
    (one, two)
}

/// By a client that came back with a new outbox each time: the numbers of one say nothing about another.
fn outbox(of: &ClientId, on: &str, id: u64) -> Claim {
    let kind = ClaimKind::Sdk { outbox: OutboxId::new(u128::from(id).to_le_bytes()), session_no: 1, token: None };
    Claim { kind, ..sdk(of, on, id) }
}

async fn claim(world: &World, claim: Claim) {
    world.ports.mailbox.claim(claim).await.unwrap();
}

/// In a Redis that is not known to be another one until the check has found it out.
async fn claim_over_a_check(world: &World, claim: Claim) -> Result<Claimed, ClaimError> {
    let claiming = within("a claim", world.ports.mailbox.claim(claim));
    let (claimed, ()) = tokio::join!(claiming, check_until_whole(world));
    claimed
}

async fn owner(world: &World, of: &ClientId) -> Option<SessionId> {
    world.ports.mailbox.inspect(of).await.unwrap().owner.map(|(_, session)| session)
}

async fn ends(subscription: &mut Box<dyn Subscription>) -> SessionId {
    loop {
        match within("the end of a session", subscription.next()).await {
            Some(Notification::Superseded { session, .. }) => return session,
            Some(_) => {}
            None => panic!("the subscription ended"),
        }
    }
}

/// Whichever of the two servers finds out first.
async fn both_claim_again(kind: fn(&ClientId, &str, u64) -> Claim, old_first: bool) {
    let Some(redis) = OwnRedis::start("two clocks", &[]).await else { return };
    let ((one, two), c) = (servers(&redis).await, client("c"));
    let (mut old, mut new) = (listen(&one, "s1").await, listen(&two, "s2").await);
    claim(&one, kind(&c, "s1", OLD)).await;
    claim(&two, kind(&c, "s2", NEW)).await;
    check_until_whole(&one).await;
    check_until_whole(&two).await;
    redis.command(&["FLUSHALL"]).await;
    // The old session was never released, as if its server had not heard yet.
    let order = if old_first { [&one, &two] } else { [&two, &one] };
    for world in order {
        check_until_whole(world).await;
    }
    assert_eq!(ends(&mut old).await, session(OLD.into()));
    assert_eq!(owner(&one, &c).await, Some(session(NEW.into())));
    apply(&one, &answers(&c, 0, [1])).await;
    assert_eq!(told(&mut new).await, [0]);
}

#[tokio::test]
async fn rule_16_the_newer_session_keeps_its_client_from_an_older_one_with_a_greater_id() {
    both_claim_again(outbox, false).await;
    both_claim_again(original, false).await;
}

#[tokio::test]
async fn rule_16_the_newer_session_takes_its_client_back_from_an_older_one_with_a_greater_id() {
    both_claim_again(outbox, true).await;
    both_claim_again(original, true).await;
}

#[tokio::test]
async fn rule_16_a_memory_that_went_back_to_an_older_session_with_a_greater_id_keeps_the_newer_one_from_nothing() {
    let Some(mut redis) = OwnRedis::start("back to an older session", &[]).await else { return };
    let ((one, two), c) = (servers(&redis).await, client("c"));
    claim(&one, outbox(&c, "s1", OLD)).await;
    check_until_whole(&two).await;
    assert!(redis.command(&["SAVE"]).await.contains("OK"));
    claim(&two, outbox(&c, "s2", NEW)).await;
    // The older one's server hears of it, and nobody claims it again: only what Redis goes back to knows of it.
    one.ports.mailbox.release(&c, session(OLD.into())).await.unwrap();
    redis.crash().await;
    check_until_whole(&two).await;
    assert_eq!(owner(&two, &c).await, Some(session(NEW.into())));
}

#[tokio::test]
async fn rule_16_a_session_that_opened_after_the_loss_is_newer_than_what_is_claimed_again() {
    let Some(redis) = OwnRedis::start("after the loss", &[]).await else { return };
    let ((one, two), c) = (servers(&redis).await, client("c"));
    let mut old = listen(&one, "s1").await;
    claim(&one, outbox(&c, "s1", OLD)).await;
    check_until_whole(&one).await;
    check_until_whole(&two).await;
    redis.command(&["FLUSHALL"]).await;
    claim_over_a_check(&two, outbox(&c, "s2", NEW)).await.unwrap();
    // It has not heard of the loss when the session opens; then it claims again what is there.
    check_until_whole(&one).await;
    assert_eq!(ends(&mut old).await, session(OLD.into()));
    assert_eq!(owner(&two, &c).await, Some(session(NEW.into())));
}

#[tokio::test]
async fn rule_19_a_session_whose_claim_was_lost_is_told_when_another_takes_its_place() {
    let Some(redis) = OwnRedis::start("a lost claim", &[]).await else { return };
    let (world, c) = (World::new(config(&redis.url()), 1).await, client("c"));
    let mut heard = listen(&world, "s1").await;
    claim(&world, outbox(&c, "s1", OLD)).await;
    check_until_whole(&world).await;
    // It knows nobody whom the new one supersedes.
    let hash = Keys::new(&world.config.key_prefix, "", world.epoch, false).partition(Partition(0)).owner();
    world.store.link.quick.hdel::<(), _, _>(&hash, c.as_str()).await.unwrap();
    claim(&world, outbox(&c, "s1", NEW)).await;
    assert_eq!(ends(&mut heard).await, session(OLD.into()));
}

#[tokio::test]
async fn rule_16_two_sessions_at_one_server_are_told_apart_by_what_redis_decided() {
    let Some(redis) = OwnRedis::start("two sessions at one server", &[]).await else { return };
    let (world, c) = (World::new(config(&redis.url()), 1).await, client("c"));
    // The server's clock was set back in between.
    claim(&world, outbox(&c, "s1", OLD)).await;
    claim(&world, outbox(&c, "s1", NEW)).await;
    check_until_whole(&world).await;
    redis.command(&["FLUSHALL"]).await;
    check_until_whole(&world).await;
    assert_eq!(owner(&world, &c).await, Some(session(NEW.into())));
}

#[tokio::test]
async fn an_older_build_that_knows_no_tenures_hides_nobody() {
    let Some(redis) = OwnRedis::start("an older build", &[]).await else { return };
    let ((one, two), c) = (servers(&redis).await, client("c"));
    let mut old = listen(&one, "s1").await;
    let hash = Keys::new(&one.config.key_prefix, "", one.epoch, false).partition(Partition(0)).tenure();
    claim(&one, outbox(&c, "s1", OLD)).await;
    let tenure: Bytes = one.store.link.quick.hget(&hash, c.as_str()).await.unwrap();
    claim(&two, outbox(&c, "s2", NEW)).await;
    // As the older build leaves it: what it wrote itself, beside what it does not know.
    one.store.link.quick.hset::<(), _, _>(&hash, (c.as_str(), fred::types::Value::Bytes(tenure))).await.unwrap();
    one.ports.mailbox.claim_again_after(async || {}).await.unwrap();
    assert_eq!(ends(&mut old).await, session(OLD.into()));
    assert_eq!(owner(&one, &c).await, Some(session(NEW.into())));
    // What cannot be read is as good as not there.
    one.store.link.quick.hset::<(), _, _>(&hash, (c.as_str(), "\u{2}?")).await.unwrap();
    claim(&one, outbox(&c, "s1", NEW + 1)).await;
    assert_eq!(owner(&one, &c).await, Some(session((NEW + 1).into())));
}

#[tokio::test]
async fn rule_13_a_client_that_is_forgotten_leaves_no_tenure() {
    let Some(redis) = OwnRedis::start("a forgotten tenure", &[]).await else { return };
    let (world, c) = (World::new(config(&redis.url()), 1).await, client("c"));
    claim(&world, sdk(&c, "s1", 1)).await;
    world.ports.mailbox.release(&c, session(1)).await.unwrap();
    let hash = Keys::new(&world.config.key_prefix, "", world.epoch, false).partition(Partition(0)).tenure();
    assert!(redis.command(&["HKEYS", &hash]).await.contains('c'));
    world.clock.advance(crate::testing::LIMITS.retention * 2);
    let starts = LogStarts { events: Position(100), results: Position(100) };
    assert_eq!(world.ports.mailbox.sweep(|_| starts).await.unwrap(), 1);
    assert!(redis.command(&["HKEYS", &hash]).await.starts_with("*0"));
}

#[tokio::test]
async fn rule_18_what_was_told_to_nobody_is_read_before_anything_is_handed_out_again() {
    let Some(redis) = OwnRedis::start("told to nobody", &[]).await else { return };
    let (world, c, d) = (World::new(config(&redis.url()), 1).await, client("c"), client("d"));
    let mut heard = listen(&world, "s1").await;
    claim(&world, sdk(&c, "s1", 1)).await;
    claim(&world, sdk(&d, "s1", 2)).await;
    check_until_whole(&world).await;
    redis.command(&["FLUSHALL"]).await;
    // Nobody holds the client just now.
    apply(&world, &answers(&c, 0, [1])).await;
    // The last of the clients cannot be claimed again yet, so that it is not over when the next result comes.
    let hash = Keys::new(&world.config.key_prefix, "", world.epoch, false).partition(Partition(0)).claim();
    world.store.link.quick.hset::<(), _, _>(&hash, (d.as_str(), "\u{2}of a newer build")).await.unwrap();
    assert!(world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await.is_err());
    // This process takes nobody's word on the new memory yet; another one does.
    assert_eq!(owner(&world.another().await, &c).await, Some(session(1)));
    // It is the first of the chain, as if nothing had been before it.
    apply(&world, &answers(&c, 1, [2])).await;
    let next = within("a notification", heard.next()).await;
    assert!(matches!(next, Some(Notification::MayHaveMissed)), "{next:?}");
    world.store.link.quick.hdel::<(), _, _>(&hash, d.as_str()).await.unwrap();
    check_until_whole(&world).await;
    apply(&world, &answers(&c, 2, [3])).await;
    // It goes on, whether or not the one before came over the channel that was made anew.
    while told(&mut heard).await != [2] {}
}

/// Its client got it before the loss. A Hello of that client that was delayed got another one, in the emptied Redis.
#[tokio::test]
async fn rule_16_a_session_that_is_claimed_again_has_the_token_that_its_client_shows() {
    let Some(redis) = OwnRedis::start("a token", &[]).await else { return };
    let ((one, two), c) = (servers(&redis).await, client("c"));
    let token = two.ports.mailbox.claim(sdk(&c, "s2", 7)).await.unwrap().token;
    check_until_whole(&two).await;
    redis.command(&["FLUSHALL"]).await;
    claim(&one, sdk(&c, "s1", 6)).await;
    one.ports.mailbox.release(&c, session(6)).await.unwrap();
    check_until_whole(&two).await;
    two.ports.mailbox.release(&c, session(7)).await.unwrap();
    let kind = ClaimKind::Sdk { outbox: OutboxId::new([1; 16]), session_no: 8, token: Some(token) };
    claim(&one, Claim { kind, ..sdk(&c, "s1", 8) }).await;
}

/// Nobody holds the client when Redis is emptied, so that nobody claims it again with its token.
#[tokio::test]
async fn rule_16_a_token_from_before_a_loss_is_not_judged_by_one_that_was_made_after_it() {
    let Some(redis) = OwnRedis::start("a token of before", &[]).await else { return };
    let ((one, _), c) = (servers(&redis).await, client("c"));
    let resume = |number, token| {
        let kind = ClaimKind::Sdk { outbox: OutboxId::new([1; 16]), session_no: number, token: Some(token) };
        Claim { kind, ..sdk(&c, "s1", number) }
    };
    let token = one.ports.mailbox.claim(sdk(&c, "s1", 6)).await.unwrap().token;
    one.ports.mailbox.release(&c, session(6)).await.unwrap();
    apply(&one, &answers(&c, 1, [1])).await;
    let tampered = one.ports.mailbox.claim(resume(7, Bytes::from_static(&[0; 16]))).await;
    assert_eq!(tampered.unwrap_err(), ClaimError::WrongToken, "while nothing was lost");
    redis.command(&["FLUSHALL"]).await;
    one.beginning.0.store(1, Ordering::Relaxed);
    check_until_whole(&one).await;
    // A Hello that was delayed comes first.
    claim(&one, sdk(&c, "s1", 5)).await;
    claim(&one, resume(7, token)).await;
}

/// The answer to the first claim was lost, and then Redis: its client has sent all the same, and cannot say where it is.
#[tokio::test]
async fn rule_16_a_client_that_does_not_know_where_it_began_gets_its_answers_after_a_loss() {
    let Some(redis) = OwnRedis::start("a lost beginning", &[]).await else { return };
    let ((one, two), c) = (servers(&redis).await, client("c"));
    claim(&one, sdk(&c, "s1", 1)).await;
    one.ports.mailbox.release(&c, session(1)).await.unwrap();
    apply(&one, &answers(&c, 0, 1..=3)).await;
    redis.command(&["FLUSHALL"]).await;
    two.beginning.0.store(1, Ordering::Relaxed);
    check_until_whole(&two).await;
    apply(&two, &answers(&c, 1, 2..=3)).await;
    let again = two.ports.mailbox.claim(Claim { log_end: Position(9), ..sdk(&c, "s2", 2) }).await.unwrap();
    assert_eq!(again.start, Position(1));
}

/// Its number tells that it is the older one, once the newer one is claimed again; before that nothing would. What is folded in for the
/// client would be told to this server, and to the session that it still has: past what was folded in while nobody held the client.
#[tokio::test]
async fn rule_16_a_delayed_hello_does_not_open_before_the_newer_session_is_claimed_again() {
    let Some(redis) = OwnRedis::start("a delayed hello", &[]).await else { return };
    let ((one, _), c) = (servers(&redis).await, client("c"));
    claim(&one, sdk(&c, "s1", 7)).await;
    check_until_whole(&one).await;
    redis.command(&["FLUSHALL"]).await;
    let delayed = claim_over_a_check(&one, sdk(&c, "s1", 5)).await;
    assert_eq!(delayed.unwrap_err(), ClaimError::Stale { given: 5, seen: 7 });
    assert_eq!(owner(&one, &c).await, Some(session(7)));
}
