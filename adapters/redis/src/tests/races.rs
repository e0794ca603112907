//! Two at the same thing (rules 10, 11, 18, 19).

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use nimbus_contracts::within;
use nimbus_core::{
    ClientId, Lane, OutboxId, Partition, Position, PrincipalId, ResultRecord,
    ports::{
        log::Batch,
        mailbox::{Applied, Claim, ClaimError, ClaimKind, Mailbox as _, MailboxAck, MailboxError, Page},
        notifier::{Notification, Notifier as _, Subscription},
    },
};

use crate::testing::{OwnRedis, World, answer, answers, batch, client, config, sdk, server, session, shared, until};

async fn world(test: &str) -> Option<World> {
    Some(World::new(config(&shared(test)?), 1).await)
}

/// The offsets that wait for a client.
pub(super) async fn waiting(world: &World, of: &ClientId, from: u64) -> Result<Vec<u64>, Position> {
    let (mut at, mut all) = (Position(from), Vec::new());
    loop {
        match world.ports.mailbox.read(of, at, 1_000, 1 << 20).await.unwrap() {
            Page::BelowFloor { floor } => return Err(floor),
            Page::Records { records, through, complete } => {
                all.extend(records.iter().map(|stored| stored.offset.0));
                if complete {
                    return Ok(all);
                }
                at = through;
            }
        }
    }
}

pub(super) async fn apply(world: &World, batch: &Batch<ResultRecord>) -> Applied {
    within("applying", world.ports.mailbox.apply(batch)).await.unwrap()
}

pub(super) fn through(applied: u64, fresh: usize, duplicates: usize) -> Applied {
    Applied::Through { applied: Position(applied), fresh, duplicates }
}

pub(super) async fn listen(world: &World, name: &str) -> Box<dyn Subscription> {
    let mut subscription = world.ports.notifier.subscribe(&server(name)).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Notification::MayHaveMissed)));
    subscription
}

/// The offsets of the next notification of results.
pub(super) async fn told(subscription: &mut Box<dyn Subscription>) -> Vec<u64> {
    loop {
        match within("a notification", subscription.next()).await {
            Some(Notification::Results { clients, .. }) => {
                return clients.iter().flat_map(|client| client.results.iter()).map(|it| it.offset.0).collect();
            }
            Some(_) => {}
            None => panic!("the subscription ended"),
        }
    }
}

#[tokio::test]
async fn rule_10_a_router_that_lost_its_partition_changes_nothing() {
    let Some(one) = world("two routers").await else { return };
    let (two, c) = (one.another().await, client("c"));
    assert_eq!(apply(&one, &answers(&c, 0, 1..=3)).await, through(3, 3, 0));
    // The partition moves; the new router begins a little too early, and goes on.
    assert_eq!(apply(&two, &answers(&c, 1, 2..=5)).await, through(5, 2, 0));
    // The old one still believes that the partition is where it left it.
    assert_eq!(apply(&one, &answers(&c, 3, 4..=4)).await, through(5, 0, 0));
    assert_eq!(apply(&one, &answers(&c, 3, 4..=7)).await, through(7, 2, 0));
    let ahead = answers(&c, 9, 10..=10);
    for router in [&one, &two] {
        assert_eq!(apply(router, &ahead).await, Applied::Hole { applied: Position(7) });
    }
    assert_eq!(waiting(&one, &c, 0).await, Ok((0..7).collect()));
}

#[tokio::test]
async fn rule_10_two_routers_at_once_apply_every_record_once_in_order() {
    let Some(one) = world("two routers at once").await else { return };
    let (two, owner) = (one.another().await, client("owner"));
    one.ports.mailbox.claim(sdk(&owner, "s1", 1)).await.unwrap();
    let mut heard = listen(&one, "s1").await;
    // Fewer than fill the mailbox, every third answered twice.
    let log: Vec<_> = (0..30).map(|at| answer(&owner, "alice", 1 + at - u64::from(at % 3 == 2))).collect();
    let route = async |world: &World, size: usize| {
        loop {
            let from = world.ports.mailbox.applied(Partition(0)).await.unwrap().0;
            let some: Vec<_> = log[from as usize..].iter().take(size).cloned().collect();
            if some.is_empty() {
                return;
            }
            apply(world, &batch(from, some)).await;
        }
    };
    futures_util::join!(route(&one, 4), route(&two, 3));
    let fresh: Vec<u64> = (0..30).filter(|at| at % 3 != 2).collect();
    // A duplicate of the same sequence number is dropped; whatever came first stands.
    assert_eq!(waiting(&one, &owner, 0).await, Ok(fresh.clone()));
    let (mut all, mut chain) = (Vec::new(), Position::START);
    while all.len() < fresh.len() {
        let Some(Notification::Results { previous, last, clients, .. }) = heard.next().await else { panic!("a miss") };
        assert_eq!(previous, chain, "the chain broke");
        chain = last;
        all.extend(clients.iter().flat_map(|client| client.results.iter()).map(|it| it.offset.0));
    }
    assert_eq!(all, fresh);
}

#[tokio::test]
async fn rule_10_a_batch_whose_outcome_is_unknown_is_applied_again_and_counts_once() {
    let Some(redis) = OwnRedis::start("an unknown outcome", &[]).await else { return };
    let slow = crate::RedisConfig { command_timeout: Duration::from_millis(300), ..config(&redis.url()) };
    let (world, c) = (World::new(slow, 1).await, client("c"));
    apply(&world, &answers(&c, 0, 1..=2)).await;
    let next = answers(&c, 2, 3..=6);
    redis.signal("-STOP");
    let unknown = world.ports.mailbox.apply(&next).await.unwrap_err();
    assert!(matches!(unknown, MailboxError::Unavailable(_)), "{unknown}");
    redis.signal("-CONT");
    let again = until_applied(&world, &next).await;
    assert!(matches!(again, Applied::Through { applied: Position(6), .. }), "{again:?}");
    assert_eq!(waiting(&world, &c, 0).await, Ok((0..6).collect()));
    assert_eq!(apply(&world, &answers(&c, 6, 6..=7)).await, through(8, 1, 1), "the fold is what it should be");
}

/// As the router does.
pub(super) async fn until_applied(world: &World, batch: &Batch<ResultRecord>) -> Applied {
    let mut applied = None;
    until("the batch is applied", async || {
        applied = world.ports.mailbox.apply(batch).await.ok();
        applied.is_some()
    })
    .await;
    applied.unwrap()
}

/// Lets a call wait for Redis so many times, each time until the answer is there, and then drops it while it waits once
/// more; `Some` when it ended before that.
async fn give_up<T>(call: impl Future<Output = T>, waits: usize) -> Option<T> {
    let (mut call, mut waited) = (pin!(call), 0);
    within(
        "a call that is given up",
        std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if waited == waits => Poll::Ready(None),
            Poll::Pending => {
                waited += 1;
                Poll::Pending
            }
        }),
    )
    .await
}

#[tokio::test]
async fn rule_10_a_batch_that_is_given_up_half_way_leaves_nothing_behind() {
    let Some(world) = world("given up half way").await else { return };
    let (c, mut at, mut fresh) = (client("c"), 0, Vec::new());
    // A router that knows the partition and the client only writes; one that knows neither reads both first.
    for (has_memory, least) in [(true, 1), (false, 3)] {
        let mut steps = 0;
        loop {
            let router = world.another().await;
            if has_memory {
                apply(&router, &answers(&c, at, [at + 1])).await;
                fresh.push(at);
                at += 1;
            }
            let next = answers(&c, at, [at + 1]);
            let ended = give_up(router.ports.mailbox.apply(&next), steps).await;
            assert!(matches!(apply(&router, &next).await, Applied::Through { applied, .. } if applied.0 == at + 1));
            // What it remembers now is what there is: the copy is one.
            let again = batch(at + 1, vec![answer(&c, "alice", at + 1)]);
            assert_eq!(apply(&router, &again).await, through(at + 2, 0, 1));
            fresh.push(at);
            at += 2;
            if ended.is_some() {
                break;
            }
            steps += 1;
        }
        assert!(steps >= least, "given up at {steps} places only");
    }
    assert_eq!(waiting(&world, &c, 0).await, Ok(fresh));
}

#[tokio::test]
async fn a_change_of_hands_costs_a_router_the_memory_of_no_other_client() {
    let Some(router) = world("a change of hands and the cache").await else { return };
    let edge = router.another().await;
    let others: Vec<_> = (0..20).map(|number| client(&format!("c{number}"))).collect();
    apply(&router, &batch(0, others.iter().map(|of| answer(of, "alice", 1)).collect())).await;
    for of in &others[..2] {
        edge.ports.mailbox.claim(sdk(of, "s1", 1)).await.unwrap();
    }
    let loads = || router.metrics.mailbox.loads.get();
    let before = loads();
    assert_eq!(apply(&router, &batch(20, vec![answer(&others[0], "alice", 2)])).await, through(21, 1, 0));
    assert_eq!(loads() - before, 1, "only the one that changed hands is read again");
    // As one batch with others: all of its clients are, and nobody else.
    let both = vec![answer(&others[1], "alice", 2), answer(&others[2], "alice", 2)];
    assert_eq!(apply(&router, &batch(21, both)).await, through(23, 2, 0));
    assert_eq!(loads() - before, 3);
    let all = others.iter().map(|of| answer(of, "alice", 2)).collect();
    assert_eq!(apply(&router, &batch(23, all)).await, through(43, 17, 3));
    assert_eq!(loads() - before, 3);
}

#[tokio::test]
async fn rule_11_a_router_that_gets_its_partition_back_folds_on_what_the_other_one_left() {
    let Some(one) = world("there and back").await else { return };
    let (two, c) = (one.another().await, client("c"));
    apply(&one, &answers(&c, 0, 1..=3)).await;
    apply(&two, &answers(&c, 3, 4..=5)).await;
    // It finds the partition further than it left it; so is the client.
    assert_eq!(apply(&one, &answers(&c, 5, 5..=6)).await, through(7, 1, 1));
    assert_eq!(waiting(&one, &c, 0).await, Ok(vec![0, 1, 2, 3, 4, 6]));
}

#[tokio::test]
async fn rule_11_a_router_without_a_memory_folds_as_the_one_before() {
    let Some(one) = world("a replay").await else { return };
    let c = client("c");
    let job = |seq| ResultRecord { lane: Lane::Jobs, ..answer(&c, "alice", seq) };
    apply(&one, &answers(&c, 0, 1..=3)).await;
    apply(&one, &batch(3, [9, 5, 6, 30].map(job).into())).await;
    for round in 0..2 {
        let fresh = one.another().await;
        let from = 7 + round * 8;
        let mut again = answers(&c, from, 1..=3).records.iter().map(|it| it.record.clone()).collect::<Vec<_>>();
        again.extend([9, 5, 6, 30, 7 + round].map(job));
        assert_eq!(apply(&fresh, &batch(from, again)).await, through(from + 8, 1, 7));
    }
    assert_eq!(waiting(&one, &c, 0).await, Ok(vec![0, 1, 2, 3, 4, 5, 6, 14, 22]));
}

fn as_bob(claim: Claim) -> Claim {
    let kind = ClaimKind::Sdk { outbox: OutboxId::new([2; 16]), session_no: 1, token: None };
    Claim { principal: PrincipalId::try_new("bob").unwrap(), kind, ..claim }
}

#[tokio::test]
async fn rule_18_a_client_that_changes_hands_between_two_batches_is_judged_anew() {
    let Some(router) = world("a change of hands").await else { return };
    let (edge, c) = (router.another().await, client("c"));
    edge.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    apply(&router, &answers(&c, 0, 1..=3)).await;
    let claimed = edge.ports.mailbox.claim(as_bob(sdk(&c, "s1", 2))).await.unwrap();
    assert!(claimed.start >= Position(3) && claimed.answered == 0);
    // What the router remembers is from Alice's time: under it Bob's answers are foreign, and Alice's are not.
    let his = vec![answer(&c, "bob", 1), answer(&c, "bob", 2)];
    assert_eq!(apply(&router, &batch(3, his)).await, through(5, 2, 0));
    assert_eq!(apply(&router, &answers(&c, 5, 4..=4)).await, through(6, 0, 0), "hers are nobody's");
    assert_eq!(waiting(&edge, &c, claimed.start.0).await, Ok(vec![3, 4]));
    assert_eq!(waiting(&edge, &c, 0).await, Err(claimed.start));
    assert_eq!(router.metrics.mailbox.foreign.get(), 1);
}

#[tokio::test]
async fn rule_18_the_first_claim_decides_whose_the_waiting_records_are() {
    let Some(router) = world("a first claim").await else { return };
    let (edge, c) = (router.another().await, client("c"));
    let both = vec![answer(&c, "bob", 1), answer(&c, "alice", 2), answer(&c, "bob", 3)];
    apply(&router, &batch(0, both)).await;
    edge.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    assert_eq!(waiting(&edge, &c, 0).await, Ok(vec![1]));
    assert_eq!(apply(&router, &batch(3, vec![answer(&c, "bob", 9)])).await, through(4, 0, 0));
    assert_eq!(waiting(&edge, &c, 0).await, Ok(vec![1]));
}

#[tokio::test]
async fn rule_18_what_is_applied_around_a_claim_is_told_or_read_and_never_lost() {
    let Some(router) = world("around a claim").await else { return };
    let (edge, c) = (router.another().await, client("c"));
    let mut heard = listen(&edge, "s1").await;
    let routing = async {
        for at in 0..30 {
            apply(&router, &answers(&c, at, [at + 1])).await;
        }
    };
    let claiming = async {
        for number in 1..=10 {
            edge.ports.mailbox.claim(sdk(&c, "s1", number)).await.unwrap();
        }
        waiting(&edge, &c, 0).await.unwrap()
    };
    let ((), read) = futures_util::join!(routing, claiming);
    apply(&router, &answers(&c, 30, [31])).await;
    let mut all = read;
    while all.last() != Some(&30) {
        for offset in told(&mut heard).await {
            if !all.contains(&offset) {
                all.push(offset);
            }
        }
    }
    assert_eq!(all, (0..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn rule_19_a_release_that_comes_late_leaves_the_new_session_alone() {
    let Some(one) = world("a late release").await else { return };
    let (two, c) = (one.another().await, client("c"));
    let mut heard = listen(&two, "s2").await;
    one.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    let claimed = two.ports.mailbox.claim(sdk(&c, "s2", 2)).await.unwrap();
    assert_eq!(claimed.previous, Some((server("s1"), session(1))));
    one.ports.mailbox.release(&c, session(1)).await.unwrap();
    let stale = MailboxAck { client: c.clone(), session: session(1), position: Position(9) };
    apply(&one, &answers(&c, 0, [1])).await;
    one.ports.mailbox.ack(&[stale]).await.unwrap();
    assert_eq!(told(&mut heard).await, [0]);
    assert_eq!(waiting(&two, &c, 0).await, Ok(vec![0]));
    assert_eq!(two.ports.mailbox.inspect(&c).await.unwrap().owner, Some((server("s2"), session(2))));
}

#[tokio::test]
async fn rule_19_of_claims_at_the_same_time_each_but_the_last_is_told_who_took_its_place() {
    let Some(one) = world("claims at once").await else { return };
    let (two, c) = (Arc::new(one.another().await), client("c"));
    let one = Arc::new(one);
    // Fewer than a claim is decided anew.
    let claims = (1..=20).map(|number| {
        let (world, c) = (Arc::clone(if number % 2 == 0 { &one } else { &two }), c.clone());
        // Of one number, as Hellos sent again: none of them is stale.
        let claim = Claim { session: session(number), ..sdk(&c, "s1", 1) };
        async move { (session(number), world.ports.mailbox.claim(claim).await.unwrap().previous) }
    });
    let outcomes = futures_util::future::join_all(claims).await;
    let mut displaced: Vec<_> = outcomes.iter().filter_map(|(_, previous)| Some(previous.as_ref()?.1)).collect();
    displaced.sort();
    displaced.dedup();
    let winner = one.ports.mailbox.inspect(&c).await.unwrap().owner.unwrap().1;
    assert_eq!(displaced.len(), 19);
    assert!(outcomes.iter().all(|(session, _)| displaced.contains(session) != (*session == winner)));
}

#[tokio::test]
async fn rule_19_a_session_that_was_never_told_who_took_its_place_hears_of_it_from_the_check() {
    let Some(one) = world("a word that was lost").await else { return };
    let (two, mut heard) = (one.another().await, listen(&one, "s1").await);
    let (taken, left, kept) = (client("taken"), client("left"), client("kept"));
    for c in [&taken, &left, &kept] {
        one.ports.mailbox.claim(sdk(c, "s1", 1)).await.unwrap();
    }
    let check = async || within("a check", one.ports.mailbox.heads(&server("s1"), &[Partition(0)])).await.unwrap();
    check().await;
    // Nobody sends the word that a server sends for a claim like these. One of them has ended since.
    for c in [&taken, &left] {
        two.ports.mailbox.claim(sdk(c, "s2", 2)).await.unwrap();
    }
    two.ports.mailbox.release(&left, session(2)).await.unwrap();
    check().await;
    let mut ended = Vec::new();
    for _ in 0..2 {
        match within("the end of a session", heard.next()).await {
            Some(Notification::Superseded { client, session: lost }) => {
                assert_eq!(lost, session(1));
                ended.push(client);
            }
            other => panic!("{other:?}"),
        }
    }
    ended.sort();
    assert_eq!(ended, [left, taken]);
    // Said once; and whoever comes back to its place has not lost it.
    assert_eq!(one.metrics.mailbox.untold.get(), 2);
    check().await;
    one.ports.mailbox.claim(sdk(&kept, "s1", 2)).await.unwrap();
    check().await;
    assert_eq!(one.metrics.mailbox.untold.get(), 2);
}

#[tokio::test]
async fn rule_19_a_claim_of_unknown_outcome_leaves_nobody_waiting_for_ever() {
    let Some(redis) = OwnRedis::start("an unsure claim", &[]).await else { return };
    let slow = crate::RedisConfig { command_timeout: Duration::from_millis(300), ..config(&redis.url()) };
    let (one, c) = (World::new(slow, 1).await, client("c"));
    let mut heard = listen(&one, "s1").await;
    one.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    // Its decision is made; what it wrote is carried out after nobody waits for it any more.
    let two = one.another().await;
    let unsure = Claim { session: session(2), ..sdk(&c, "s2", 2) };
    let held = two.ports.mailbox.claim_on_a_stopped_redis(unsure, || redis.signal("-STOP")).await;
    assert!(held.is_err());
    redis.signal("-CONT");
    until("the claim was made after all, and settled", async || {
        let settled = two.ports.mailbox.heads(&server("s2"), &[Partition(0)]).await.is_ok();
        settled && two.ports.mailbox.inspect(&c).await.is_ok_and(|view| view.owner.is_none())
    })
    .await;
    loop {
        match within("the end of the old session", heard.next()).await {
            Some(Notification::Superseded { session: ended, .. }) => break assert_eq!(ended, session(1)),
            Some(_) => {}
            None => panic!("the subscription ended"),
        }
    }
}

#[tokio::test]
async fn rule_19_a_claim_that_is_given_up_half_way_leaves_nobody_waiting_for_ever() {
    let Some(one) = world("a claim given up").await else { return };
    let (two, mut heard) = (one.another().await, listen(&one, "s1").await);
    let mut was_made = 0;
    for waits in 0.. {
        let c = client(&format!("c{waits}"));
        one.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
        // Its server drains.
        let next = Claim { session: session(100 + waits as u128), ..sdk(&c, "s2", 2) };
        if give_up(two.ports.mailbox.claim(next), waits).await.is_some() {
            break;
        }
        two.ports.mailbox.heads(&server("s2"), &[Partition(0)]).await.unwrap();
        let view = two.ports.mailbox.inspect(&c).await.unwrap();
        if view.owner == Some((server("s1"), session(1))) {
            continue;
        }
        // It was made after all: what it took is given up, and the session that lost its client hears of it.
        assert_eq!(view.owner, None);
        was_made += 1;
        loop {
            match within("the end of the old session", heard.next()).await {
                Some(Notification::Superseded { client, session: ended }) => {
                    break assert_eq!((client, ended), (c, session(1)));
                }
                Some(_) => {}
                None => panic!("the subscription ended"),
            }
        }
    }
    assert!(was_made > 0, "no claim was made");
}

#[tokio::test]
async fn rule_19_of_claims_at_the_same_time_the_highest_number_is_remembered() {
    let Some(one) = world("numbers at once").await else { return };
    let (two, c) = (one.another().await, client("c"));
    for round in 0..20 {
        let number = |at: u64| round * 10 + at;
        let claims = [3, 1, 4, 2, 5, 1].map(|at| {
            let claim =
                Claim { session: session(u128::from(number(at)) << 8 | round as u128), ..sdk(&c, "s1", number(at)) };
            (if at % 2 == 0 { &one } else { &two }).ports.mailbox.claim(claim)
        });
        let outcomes = futures_util::future::join_all(claims).await;
        assert!(outcomes[4].is_ok(), "the highest is never stale");
        let late = one.ports.mailbox.claim(sdk(&c, "s1", number(4))).await.unwrap_err();
        assert_eq!(late, ClaimError::Stale { given: number(4), seen: number(5) });
        let (_, holder) = one.ports.mailbox.inspect(&c).await.unwrap().owner.unwrap();
        assert_eq!(holder.0.0 >> 8, number(5).into(), "and its session holds the client");
    }
}
