//! Redis loses something: everything, its tail, a connection, its memory for scripts, its room (rules 13, 14, 16, 20).

use std::sync::atomic::Ordering;

use nimbus_contracts::within;
use nimbus_core::{
    Partition, Position,
    mailbox::LogStarts,
    ports::{
        mailbox::{Applied, Claim, ClaimKind, Landmark, Mailbox as _, MailboxAck, MailboxError},
        notifier::{Notification, Notifier as _, Subscription},
    },
};

use super::races::{apply, listen, told, until_applied, waiting};
use crate::RedisConfig;
use crate::testing::{OwnRedis, World, answer, answers, batch, client, config, original, sdk, server, session, until};

async fn world(redis: &OwnRedis) -> World {
    World::new(config(&redis.url()), 1).await
}

/// As the server does once a second, until it finds nothing wrong.
pub(super) async fn check_until_whole(world: &World) {
    until("the heads are there", async || world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await.is_ok())
        .await;
}

async fn missed(subscription: &mut Box<dyn Subscription>) {
    let next = within("the word that something was missed", subscription.next()).await;
    assert!(matches!(next, Some(Notification::MayHaveMissed)), "{next:?}");
}

#[tokio::test]
async fn rule_16_an_emptied_redis_begins_at_the_window_and_says_so_by_a_floor() {
    let Some(redis) = OwnRedis::start("an emptied redis", &[]).await else { return };
    let (world, c, o) = (world(&redis).await, client("c"), client("o"));
    let mut heard = listen(&world, "s1").await;
    let token = world.ports.mailbox.claim(sdk(&c, "s1", 7)).await.unwrap().token;
    world.ports.mailbox.claim(original(&o, "s1", 8)).await.unwrap();
    check_until_whole(&world).await;
    apply(&world, &answers(&c, 0, 1..=10)).await;
    let ack = MailboxAck { client: o.clone(), session: session(8), position: Position(9) };
    world.ports.mailbox.ack(&[ack]).await.unwrap();
    assert_eq!(told(&mut heard).await.len(), 10);

    redis.command(&["FLUSHALL"]).await;
    world.beginning.0.store(6, Ordering::Relaxed);
    let ahead = answers(&c, 10, 11..=12);
    assert_eq!(apply(&world, &ahead).await, Applied::Hole { applied: Position(6) });
    assert_eq!(world.ports.mailbox.applied(Partition(0)).await.unwrap(), Position(6));
    assert_eq!(waiting(&world, &c, 0).await, Err(Position(6)));
    let heads = world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await;
    assert!(heads.is_err(), "nobody may be told that they have everything: {heads:?}");
    missed(&mut heard).await;
    check_until_whole(&world).await;

    // The sessions hold their clients again: what is applied from now on is told.
    apply(&world, &answers(&c, 6, 7..=12)).await;
    assert_eq!(told(&mut heard).await, (6..12).collect::<Vec<_>>());
    assert_eq!(waiting(&world, &c, 6).await, Ok((6..12).collect()));
    // With the token and the place they had.
    let kind = |session_no| ClaimKind::Sdk {
        outbox: nimbus_core::OutboxId::new([1; 16]),
        session_no,
        token: Some(token.clone()),
    };
    let back = world.ports.mailbox.claim(Claim { kind: kind(8), ..sdk(&c, "s1", 9) }).await.unwrap();
    assert_eq!((back.known, back.previous), (true, Some((server("s1"), session(7)))));
    assert_eq!(world.ports.mailbox.claim(original(&o, "s1", 10)).await.unwrap().start, Position(9));
}

#[tokio::test]
async fn rule_16_of_two_servers_that_claim_again_the_newer_session_stays() {
    let Some(redis) = OwnRedis::start("two that claim again", &[]).await else { return };
    let (one, c) = (world(&redis).await, client("c"));
    let two = one.another().await;
    let (mut old, mut new) = (listen(&one, "s1").await, listen(&two, "s2").await);
    one.ports.mailbox.claim(original(&c, "s1", 1)).await.unwrap();
    two.ports.mailbox.claim(original(&c, "s2", 2)).await.unwrap();
    check_until_whole(&one).await;
    check_until_whole(&two).await;
    redis.command(&["FLUSHALL"]).await;
    // The newer first: the older finds it there. It was never released, as if its server had not heard yet.
    check_until_whole(&two).await;
    check_until_whole(&one).await;
    let mut superseded = false;
    while !superseded {
        let next = within("the end of the old session", old.next()).await;
        superseded = matches!(next, Some(Notification::Superseded { session: ended, .. }) if ended == session(1));
    }
    apply(&one, &answers(&c, 0, [1])).await;
    assert_eq!(told(&mut new).await, [0]);
}

#[tokio::test]
async fn rule_16_a_session_that_ends_while_all_are_claimed_again_holds_nothing() {
    let Some(redis) = OwnRedis::start("an end while claiming again", &[]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    redis.command(&["FLUSHALL"]).await;
    // Its release finds nothing in the emptied Redis, and nobody will release it a second time.
    let ending = async || world.ports.mailbox.release(&c, session(1)).await.unwrap();
    world.ports.mailbox.claim_again_after(ending).await.unwrap();
    assert_eq!(world.ports.mailbox.inspect(&c).await.unwrap().owner, None);
}

#[tokio::test]
async fn rule_16_a_lost_tail_is_applied_again_and_counts_once() {
    let Some(mut redis) = OwnRedis::start("a lost tail", &[]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    check_until_whole(&world).await;
    apply(&world, &answers(&c, 0, 1..=5)).await;
    assert!(redis.command(&["SAVE"]).await.contains("OK"));
    apply(&world, &answers(&c, 5, 6..=9)).await;
    redis.crash().await;
    // What the router holds of the partition is from after what Redis remembers.
    assert_eq!(until_applied(&world, &answers(&c, 9, 10..=10)).await, Applied::Hole { applied: Position(5) });
    let again = [3, 6, 7, 8, 9, 10].map(|seq| answer(&c, "alice", seq)).to_vec();
    assert!(matches!(apply(&world, &batch(5, again)).await, Applied::Through { fresh: 5, duplicates: 1, .. }));
    // Until this process has claimed its clients in it nobody takes its word for what there is: a read waits.
    let early = async { (waiting(&world, &c, 0).await, world.store.link.metrics.losses.get()) };
    let (early, ()) = futures_util::join!(early, check_until_whole(&world));
    assert_eq!(early, (Ok(vec![0, 1, 2, 3, 4, 6, 7, 8, 9, 10]), 1));
}

#[tokio::test]
async fn rule_20_another_replication_id_makes_everybody_claim_and_repair() {
    let Some(redis) = OwnRedis::start("a failover", &["--enable-debug-command", "yes"]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    let mut heard = listen(&world, "s1").await;
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    check_until_whole(&world).await;
    // A replica that had not heard of the claim yet.
    let owner = world.store.link.quick.clone();
    let key = crate::keys::Keys::new(&world.config.key_prefix, "", world.epoch, false).partition(Partition(0)).owner();
    fred::interfaces::HashesInterface::hdel::<(), _, _>(&owner, key, c.as_str()).await.unwrap();
    assert!(redis.command(&["DEBUG", "CHANGE-REPL-ID"]).await.contains("OK"));
    assert!(world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await.is_err());
    missed(&mut heard).await;
    check_until_whole(&world).await;
    apply(&world, &answers(&c, 0, [1])).await;
    assert_eq!(told(&mut heard).await, [0]);
}

/// The checker of `nimbus-model` found it: taken into the chain after the loss, it put the chain ahead of what the new Redis had
/// told, and a bookmark passed over that.
#[tokio::test]
async fn rule_20_what_was_told_before_a_loss_is_not_heard_after_it() {
    let Some(redis) = OwnRedis::start("a late word", &["--enable-debug-command", "yes"]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    let mut heard = listen(&world, "s1").await;
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    check_until_whole(&world).await;
    let (partition, last) = (Partition(0), Position(77));
    let stale = Notification::Results { partition, previous: Position::START, last, clients: Vec::new() };
    world.ports.notifier.publish(&server("s1"), stale).await.unwrap();
    assert!(redis.command(&["DEBUG", "CHANGE-REPL-ID"]).await.contains("OK"));
    check_until_whole(&world).await;
    missed(&mut heard).await;
    apply(&world, &answers(&c, 0, [1])).await;
    loop {
        match within("the new results", heard.next()).await.unwrap() {
            // Once more, when the channel's connection was made anew.
            Notification::MayHaveMissed => {}
            Notification::Results { last, .. } => break assert_eq!(last, Position(1)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn rule_20_a_connection_that_was_made_again_says_so_and_hears_again() {
    let Some(redis) = OwnRedis::start("a broken connection", &[]).await else { return };
    let world = world(&redis).await;
    let mut heard = listen(&world, "s1").await;
    for round in 1..=3 {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        missed(&mut heard).await;
        let note = Notification::Superseded { client: client("c"), session: session(round) };
        world.ports.notifier.publish(&server("s1"), note).await.unwrap();
        loop {
            match within("the notification", heard.next()).await {
                Some(Notification::Superseded { session: ended, .. }) => break assert_eq!(ended, session(round)),
                Some(Notification::MayHaveMissed) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn rule_20_a_connection_that_says_nothing_is_made_again() {
    let Some(redis) = OwnRedis::start("a silent connection", &[]).await else { return };
    let quick = crate::RedisConfig { command_timeout: std::time::Duration::from_millis(200), ..config(&redis.url()) };
    let world = World::new(quick, 1).await;
    let mut heard = listen(&world, "s1").await;
    let before = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    redis.signal("-STOP");
    until("the silence is noticed", async || world.metrics.notifier.silences.get() > 0).await;
    redis.signal("-CONT");
    missed(&mut heard).await;
    let after = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    assert!(!before.is_empty() && before != after);
}

#[tokio::test]
async fn a_redis_that_is_away_is_unavailable_and_then_there_again() {
    let Some(mut redis) = OwnRedis::start("a redis that is away", &[]).await else { return };
    let quick = crate::RedisConfig { command_timeout: std::time::Duration::from_millis(300), ..config(&redis.url()) };
    let (world, c) = (World::new(quick, 1).await, client("c"));
    apply(&world, &answers(&c, 0, [1])).await;
    redis.kill();
    assert!(matches!(world.ports.mailbox.applied(Partition(0)).await, Err(MailboxError::Unavailable(_))));
    assert!(matches!(world.ports.mailbox.apply(&answers(&c, 1, [2])).await, Err(MailboxError::Unavailable(_))));
    assert!(world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.is_err());
    assert!(world.store.ping().await.is_err());
    redis.revive().await;
    assert!(matches!(until_applied(&world, &answers(&c, 0, 1..=2)).await, Applied::Through { fresh: 2, .. }));
    until("a claim", async || world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.is_ok()).await;
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_again() {
    let Some(redis) = OwnRedis::start("forgotten scripts", &[]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    for round in 0..3 {
        redis.command(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(apply(&world, &answers(&c, round, [round + 1])).await, super::races::through(round + 1, 1, 0));
    }
    assert!(world.store.link.metrics.reloads.get() >= 3);
}

async fn used_memory(redis: &OwnRedis) -> u64 {
    let info = redis.command(&["INFO", "memory"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().to_owned();
    line.parse().unwrap()
}

#[tokio::test]
async fn rule_13_a_full_redis_is_drained_before_a_batch_is_refused() {
    let Some(redis) = OwnRedis::start("a full redis", &[]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    let large = |seq| {
        let mut record = answer(&c, "alice", seq);
        // Noise: it cannot be stored in less.
        record.payload = std::iter::repeat_with(rand::random::<u8>).take(60_000).collect();
        record
    };
    apply(&world, &batch(0, (1..=20).map(large).collect())).await;
    // Less than there is: what waits has to go, and is enough.
    let limit = used_memory(&redis).await - 300_000;
    redis.command(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).await;
    assert_eq!(apply(&world, &answers(&c, 20, [21])).await, super::races::through(21, 1, 0));
    assert_eq!(world.metrics.mailbox.pressed.get(), 1);
    assert_eq!(waiting(&world, &c, 0).await, Err(Position(20)), "left to the log, and a floor says so");
    assert_eq!(waiting(&world, &c, 20).await, Ok(vec![20]));
    // Nothing left to drain: refused, and what is there can still be read, acknowledged and given up.
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = world.ports.mailbox.apply(&answers(&c, 21, [22])).await;
    assert!(matches!(refused, Err(MailboxError::Full(_))), "{refused:?}");
    assert_eq!(waiting(&world, &c, 21).await, Ok(vec![]));
    let ack = MailboxAck { client: c.clone(), session: session(1), position: Position(21) };
    world.ports.mailbox.ack(&[ack]).await.unwrap();
    world.ports.mailbox.release(&c, session(1)).await.unwrap();
    assert_eq!(world.ports.mailbox.inspect(&c).await.unwrap().owner, None);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(apply(&world, &answers(&c, 21, [22])).await, super::races::through(22, 1, 0));
}

/// Each batch lets go of a few clients; those that are left are let go of by the next ones, also while the floor is where it was.
#[tokio::test]
async fn rule_14_what_lies_below_the_floor_goes_a_few_clients_at_a_time_until_nothing_is_left() {
    let Some(redis) = OwnRedis::start("what lies below the floor", &[]).await else { return };
    let world = world(&redis).await;
    let clients: Vec<_> = (0..20).map(|number| client(&format!("c{number}"))).collect();
    apply(&world, &batch(0, clients.iter().map(|of| answer(of, "alice", 1)).collect())).await;
    let last = client("last");
    let still_there = async || redis.command(&["KEYS", "*box:*"]).await.matches("box:").count();
    world.clock.advance(crate::testing::LIMITS.window + std::time::Duration::from_secs(1));
    for (seq, left) in (1..).zip([12, 4, 0, 0]) {
        apply(&world, &batch(19 + seq, vec![answer(&last, "alice", seq)])).await;
        // And that of the one that still gets results.
        assert_eq!(still_there().await, left + 1, "after {seq} batches");
        let head =
            redis.command(&["EVAL", "return redis.call('HGET', redis.call('KEYS', '*:head')[1], 'behind')", "0"]).await;
        assert_eq!(head.lines().last() == Some("1"), seq < 3, "{head} after {seq} batches");
    }
    assert_eq!(waiting(&world, &clients[3], 0).await, Err(Position(20)));
}

#[tokio::test]
async fn rule_14_the_window_moves_the_floor_of_everybody_and_leaves_no_stream_behind() {
    let Some(redis) = OwnRedis::start("the window", &[]).await else { return };
    let world = world(&redis).await;
    let clients: Vec<_> = (0..40).map(|number| client(&format!("c{number}"))).collect();
    let mut at = 0;
    let window = crate::testing::LIMITS.window;
    for _ in 0..40 {
        let records = clients.iter().map(|of| answer(of, "alice", at / 40 + 1)).collect();
        apply(&world, &batch(at, records)).await;
        at += 40;
        world.clock.advance(window / 8);
    }
    let floor = waiting(&world, &clients[3], 0).await.unwrap_err();
    assert!(floor.0 > at - 11 * 40 && floor.0 <= at - 8 * 40, "{floor} of {at}");
    for of in &clients {
        assert_eq!(waiting(&world, of, floor.0).await.unwrap().len() as u64, (at - floor.0) / 40);
    }
    // Nobody sends any more: the sweep lets go of the rest.
    world.clock.advance(window * 2);
    let starts = LogStarts { events: Position::START, results: Position::START };
    world.ports.mailbox.sweep(|_| starts).await.unwrap();
    let apart: usize = {
        let keys = redis.command(&["KEYS", "*box:*"]).await;
        keys.matches("box:").count()
    };
    assert_eq!(apart, 0);
    assert_eq!(waiting(&world, &clients[0], at).await, Ok(vec![]));
}

#[tokio::test]
async fn rule_13_only_what_no_log_can_bring_back_is_forgotten() {
    let Some(redis) = OwnRedis::start("the sweep", &[]).await else { return };
    let (world, idle, held) = (world(&redis).await, client("idle"), client("held"));
    let _listens = listen(&world, "s1").await;
    for of in [&idle, &held] {
        world.ports.mailbox.claim(sdk(of, "s1", 1)).await.unwrap();
    }
    apply(&world, &batch(0, vec![answer(&idle, "alice", 1), answer(&held, "alice", 1)])).await;
    world.ports.mailbox.release(&idle, session(1)).await.unwrap();
    let sweep = async |results| {
        let starts = LogStarts { events: Position(100), results: Position(results) };
        world.ports.mailbox.sweep(|_| starts).await.unwrap()
    };
    world.clock.advance(crate::testing::LIMITS.window * 2);
    assert_eq!(sweep(100).await, 0, "too early");
    world.clock.advance(crate::testing::LIMITS.retention * 2);
    assert_eq!(sweep(0).await, 0, "the log still has its results");
    assert_eq!(sweep(100).await, 1);
    let view = world.ports.mailbox.inspect(&idle).await.unwrap();
    assert_eq!((view.principal, view.answered), (None, vec![]));
    assert!(world.ports.mailbox.inspect(&held).await.unwrap().owner.is_some());
}

#[tokio::test]
async fn rule_13_what_a_server_that_crashed_held_is_forgotten_with_it() {
    let Some(redis) = OwnRedis::start("a crashed server", &[]).await else { return };
    let (world, c, d) = (world(&redis).await, client("c"), client("d"));
    let (crashed, lives) = (listen(&world, "crashed").await, listen(&world, "lives").await);
    world.ports.mailbox.claim(sdk(&c, "crashed", 1)).await.unwrap();
    world.ports.mailbox.claim(sdk(&d, "lives", 1)).await.unwrap();
    apply(&world, &batch(0, vec![answer(&c, "alice", 1), answer(&d, "alice", 1)])).await;
    let sweep = async || {
        let starts = LogStarts { events: Position(100), results: Position(100) };
        world.ports.mailbox.sweep(|_| starts).await.unwrap()
    };
    let notified = async || {
        let key =
            crate::keys::Keys::new(&world.config.key_prefix, "", world.epoch, false).partition(Partition(0)).notified();
        redis.command(&["HKEYS", &key]).await
    };
    let retention = crate::testing::LIMITS.retention;
    world.clock.advance(retention * 2);
    assert_eq!(sweep().await, 0, "both servers listen");
    // It releases nobody, and nobody comes back.
    drop(crashed);
    until("redis has noticed", async || {
        let channel = crate::keys::Keys::new("", &world.config.channel_prefix, world.epoch, false)
            .channel(Partition(0), &server("crashed"));
        redis.command(&["PUBSUB", "NUMSUB", &channel]).await.ends_with(":0\r\n")
    })
    .await;
    assert_eq!(sweep().await, 0, "it may be a connection that is made again");
    assert!(notified().await.contains("crashed"));
    world.clock.advance(std::time::Duration::from_secs(3_600));
    assert_eq!(sweep().await, 1);
    assert_eq!(world.ports.mailbox.inspect(&c).await.unwrap().owner, None);
    assert!(world.ports.mailbox.inspect(&d).await.unwrap().owner.is_some());
    let left = notified().await;
    assert!(left.contains("lives") && !left.contains("crashed"), "{left}");
    drop(lives);
}

#[tokio::test]
async fn an_emptied_redis_keeps_the_epoch_of_whoever_comes_first_and_the_others_do_not_go_on() {
    let Some(redis) = OwnRedis::start("the epoch after a loss", &[]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    check_until_whole(&world).await;
    redis.command(&["FLUSHALL"]).await;
    check_until_whole(&world).await;
    let stranger = nimbus_core::LogEpoch(ulid::Ulid::generate());
    assert_eq!(world.store.get_or_put_epoch(stranger).await.unwrap(), world.epoch, "it was put again");
    // This time a process that starts anew is faster.
    redis.command(&["FLUSHALL"]).await;
    assert_eq!(world.store.get_or_put_epoch(stranger).await.unwrap(), stranger);
    assert!(!world.ports.mailbox.epoch_is_current().await.unwrap());
    let heads = world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await;
    assert!(heads.is_err_and(|error| error.to_string().contains("log epoch")));
    assert!(world.ports.mailbox.claim(sdk(&c, "s1", 2)).await.is_err());
    assert!(world.ports.mailbox.apply(&answers(&c, 0, [1])).await.is_err());
}

#[tokio::test]
async fn an_operator_sees_what_there_is_of_a_client_and_of_the_last_record() {
    let Some(redis) = OwnRedis::start("an operator's view", &[]).await else { return };
    let (world, c) = (world(&redis).await, client("c"));
    assert_eq!(world.ports.mailbox.landmark(Partition(0)).await.unwrap(), None);
    world.ports.mailbox.claim(sdk(&c, "s1", 7)).await.unwrap();
    apply(&world, &answers(&c, 0, 1..=5)).await;
    apply(&world, &answers(&c, 5, 6..=6)).await;
    let view = world.ports.mailbox.inspect(&c).await.unwrap();
    let outbox = nimbus_core::OutboxId::new([1; 16]);
    assert_eq!((view.owner, view.outbox), (Some((server("s1"), session(7))), Some((outbox, 7))));
    assert_eq!((view.last, view.applied, view.floor), (Position(6), Position(6), Position(0)));
    assert_eq!((view.waiting, view.answered, view.kept), (2, vec![(outbox, 6)], None));
    let landmark = Landmark { position: Position(6), fingerprint: answer(&c, "alice", 6).fingerprint() };
    assert_eq!(world.ports.mailbox.landmark(Partition(0)).await.unwrap(), Some(landmark));
    let unknown = world.ports.mailbox.inspect(&client("nobody")).await.unwrap();
    assert_eq!((unknown.owner, unknown.waiting, unknown.last), (None, 0, Position(0)));
}

/// Passes connections on to a Redis; once it is told, those that are open stay open and never say anything again.
struct Relay {
    address: std::net::SocketAddr,
    silent: tokio::sync::watch::Sender<u64>,
}

impl Relay {
    async fn start(redis: &OwnRedis) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, port) = (listener.local_addr().unwrap(), redis.port);
        let silent = tokio::sync::watch::Sender::new(0);
        let told = silent.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut told = told.subscribe();
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = told.changed() => {}
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, silent }
    }
}

/// Something is asked all the time, which must not pass for an answer.
#[tokio::test]
async fn rule_20_a_connection_that_goes_silent_is_made_again_however_busy_it_is() {
    let Some(redis) = OwnRedis::start("a silent connection", &[]).await else { return };
    let relay = Relay::start(&redis).await;
    let config = RedisConfig {
        command_timeout: std::time::Duration::from_millis(200),
        ..config(&format!("redis://{}", relay.address))
    };
    let world = World::new(config, 1).await;
    apply(&world, &answers(&client("c"), 0, 1..=3)).await;
    relay.silent.send_modify(|times| *times += 1);
    let busy = async {
        loop {
            // Whatever comes of it: what counts is that it is asked.
            drop(world.ports.mailbox.applied(Partition(0)).await);
        }
    };
    let answered = until("redis answers again", async || {
        matches!(world.ports.mailbox.applied(Partition(0)).await, Ok(Position(3)))
    });
    tokio::select! {
        () = answered => {}
        () = busy => {}
    }
}
