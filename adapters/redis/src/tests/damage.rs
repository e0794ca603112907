//! One client of which something cannot be read stops nobody else.

use fred::{interfaces::HashesInterface as _, types::Value};
use nimbus_core::{
    Partition, Position,
    mailbox::LogStarts,
    ports::mailbox::{Claim, ClaimError, Mailbox as _},
};

use super::races::{apply, listen, through, waiting};
use crate::{
    keys::{Keys, PartitionKeys},
    testing::{LIMITS, OwnRedis, World, answer, answers, batch, client, config, sdk, server, session, shared},
};

fn keys(world: &World) -> PartitionKeys {
    Keys::new(&world.config.key_prefix, &world.config.channel_prefix, world.epoch, false).partition(Partition(0))
}

/// Cuts a stored piece off behind its version.
async fn damage(world: &World, hash: &str, field: &str, piece: &'static [u8]) {
    let piece = Value::Bytes(bytes::Bytes::from_static(piece));
    world.store.link.quick.hset::<(), _, _>(hash, (field, piece)).await.unwrap();
}

const CUT: &[u8] = &[1, 7];
const EMPTY: &[u8] = &[];
const NEWER: &[u8] = &[9, 7];

#[tokio::test]
async fn a_damaged_fold_is_lost_and_the_partition_goes_on() {
    let Some(url) = shared("a damaged fold") else { return };
    for piece in [CUT, EMPTY] {
        let (world, c, d) = (World::new(config(&url), 1).await, client("c"), client("d"));
        world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
        apply(&world, &answers(&c, 0, 1..=3)).await;
        damage(&world, &keys(&world).seen(), "c", piece).await;
        let router = world.another().await;
        let both = vec![answer(&c, "alice", 4), answer(&d, "alice", 1)];
        assert_eq!(apply(&router, &batch(3, both)).await, through(5, 2, 0));
        assert_eq!(
            waiting(&world, &c, 0).await,
            Err(Position(3)),
            "what waited is left to the log, and a floor says so"
        );
        assert_eq!(waiting(&world, &c, 3).await, Ok(vec![3]));
        let view = world.ports.mailbox.inspect(&c).await.unwrap();
        assert_eq!(view.owner, Some((server("s1"), session(1))), "the session goes on");
        assert_eq!(router.metrics.mailbox.unreadable.get(), 1);
    }
}

#[tokio::test]
async fn damaged_claims_are_lost_and_the_session_that_had_them_is_told() {
    let Some(url) = shared("damaged claims") else { return };
    let (world, c, d) = (World::new(config(&url), 1).await, client("c"), client("d"));
    let mut heard = listen(&world, "s1").await;
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    apply(&world, &answers(&c, 0, 1..=3)).await;
    damage(&world, &keys(&world).claim(), "c", CUT).await;
    let router = world.another().await;
    let both = vec![answer(&c, "alice", 4), answer(&d, "alice", 1)];
    assert_eq!(apply(&router, &batch(3, both)).await, through(5, 2, 0));
    loop {
        use nimbus_core::ports::notifier::Notification;
        match nimbus_contracts::within("the end of the session", heard.next()).await {
            Some(Notification::Superseded { client, session: ended }) => {
                break assert_eq!((client, ended), (c.clone(), session(1)));
            }
            Some(_) => {}
            None => panic!("the subscription ended"),
        }
    }
    // Its next one begins as after an emptied Redis; and finds the damage itself, if nothing came before it.
    world.ports.mailbox.claim(sdk(&c, "s1", 2)).await.unwrap();
    damage(&world, &keys(&world).claim(), "c", CUT).await;
    world.ports.mailbox.claim(sdk(&c, "s1", 3)).await.unwrap();
    assert_eq!(waiting(&world, &c, 0).await, Err(Position(5)));
    assert_eq!(world.ports.mailbox.inspect(&c).await.unwrap().owner, Some((server("s1"), session(3))));
}

#[tokio::test]
async fn a_client_that_cannot_be_read_keeps_no_other_from_being_forgotten() {
    let Some(url) = shared("a sweep over damage") else { return };
    let world = World::new(config(&url), 1).await;
    let all: Vec<_> = (0..20).map(|number| client(&format!("c{number}"))).collect();
    for of in &all {
        world.ports.mailbox.claim(sdk(of, "s1", 1)).await.unwrap();
        world.ports.mailbox.release(of, session(1)).await.unwrap();
    }
    damage(&world, &keys(&world).claim(), "c3", CUT).await;
    damage(&world, &keys(&world).claim(), "c4", NEWER).await;
    world.clock.advance(LIMITS.retention * 2);
    let starts = LogStarts { events: Position(100), results: Position(100) };
    assert_eq!(world.ports.mailbox.sweep(|_| starts).await.unwrap(), 18);
    assert_eq!(world.metrics.mailbox.unreadable.get(), 2);
}

#[tokio::test]
async fn a_client_of_a_newer_build_keeps_no_other_from_being_claimed_again() {
    let Some(redis) = OwnRedis::start("claiming again beside a newer build", &[]).await else { return };
    let world = World::new(config(&redis.url()), 1).await;
    let all: Vec<_> = (0..200).map(|number| client(&format!("c{number}"))).collect();
    for of in &all {
        world.ports.mailbox.claim(sdk(of, "s1", 1)).await.unwrap();
    }
    redis.command(&["FLUSHALL"]).await;
    for number in 0..100 {
        damage(&world, &keys(&world).claim(), &format!("c{number}"), NEWER).await;
    }
    let heads = world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await;
    assert!(
        heads.is_err_and(|error| error.to_string().contains("newer build")),
        "nobody is told that it has everything"
    );
    for of in &all[100..] {
        assert!(world.ports.mailbox.inspect(of).await.unwrap().owner.is_some(), "{of}");
    }
    let refused = world.ports.mailbox.claim(Claim { ..sdk(&all[3], "s1", 2) }).await;
    assert!(matches!(refused, Err(ClaimError::Unavailable(why)) if why.contains("newer build")));
    // It is rolled back.
    let field = |number: usize| format!("c{number}");
    let fields: Vec<String> = (0..100).map(field).collect();
    world.store.link.quick.hdel::<(), _, _>(keys(&world).claim(), fields).await.unwrap();
    crate::testing::until("all are claimed", async || {
        world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await.is_ok()
    })
    .await;
    assert!(world.ports.mailbox.inspect(&all[3]).await.unwrap().owner.is_some());
}
