//! How many bytes wait in a partition is counted, not looked up: whatever comes and goes, the count is what is there.

use std::time::Duration;

use nimbus_core::{
    Position, PrincipalId,
    mailbox::LogStarts,
    ports::mailbox::{Claim, Mailbox as _, MailboxAck},
};

use super::races::{apply, waiting};
use crate::{
    RedisConfig,
    testing::{LIMITS, OwnRedis, World, answer, batch, client, config, sdk, session},
};

/// What all streams hold, and what is counted.
const LOOK: &str = "local sum = 0
for _, key in ipairs(redis.call('KEYS', '*box:*')) do
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do sum = sum + #entry[2][2] end
end
return sum .. ' ' .. (redis.call('HGET', redis.call('KEYS', '*:head')[1], 'bytes') or '0')";

async fn is_right(redis: &OwnRedis, after: &str) -> u64 {
    let answer = redis.command(&["EVAL", LOOK, "0"]).await;
    let text = answer.lines().nth(1).unwrap_or(&answer).to_owned();
    let (there, counted) = text.split_once(' ').unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(there, counted, "after {after}");
    there.parse().unwrap()
}

#[tokio::test]
async fn rule_14_the_bytes_of_a_partition_are_counted_right_whatever_comes_and_goes() {
    let Some(redis) = OwnRedis::start("the count of bytes", &[]).await else { return };
    let limits = nimbus_core::mailbox::MailboxLimits { partition_bytes: 40_000, ..LIMITS };
    let world = World::new(RedisConfig { limits, ..config(&redis.url()) }, 1).await;
    let all: Vec<_> = (0..8).map(|number| client(&format!("c{number}"))).collect();
    for of in &all {
        world.ports.mailbox.claim(sdk(of, "s1", 1)).await.unwrap();
    }
    let mut at = 0;
    for round in 0..60 {
        let records = all.iter().enumerate().map(|(number, of)| {
            let mut record = answer(of, "alice", round + 1);
            record.payload = vec![7; 40 * (number + 1)].into();
            record
        });
        apply(&world, &batch(at, records.collect())).await;
        at += all.len() as u64;
        let left = is_right(&redis, "a batch").await;
        assert!(left <= 40_000, "{left} bytes");
        // Some acknowledge, one of them past everything; others never do.
        for of in all.iter().take(3) {
            let position = Position(at.saturating_sub(round % 5 * 8));
            world.ports.mailbox.ack(&[MailboxAck { client: of.clone(), session: session(1), position }]).await.unwrap();
        }
        is_right(&redis, "acknowledgements").await;
        world.clock.advance(Duration::from_secs(1));
    }
    // A second copy adds nothing, and a client that changes hands takes what waited for it along.
    apply(&world, &batch(at - 1, vec![answer(&all[7], "alice", 60)])).await;
    is_right(&redis, "a batch that was there already").await;
    let bob = PrincipalId::try_new("bob").unwrap();
    world.ports.mailbox.claim(Claim { principal: bob, ..sdk(&all[7], "s1", 2) }).await.unwrap();
    let before = is_right(&redis, "a change of hands").await;
    assert_eq!(waiting(&world, &all[6], at).await, Ok(vec![]));
    world.clock.advance(LIMITS.window * 2);
    let starts = LogStarts { events: Position::START, results: Position::START };
    world.ports.mailbox.sweep(|_| starts).await.unwrap();
    assert!(is_right(&redis, "a sweep").await < before);
}
