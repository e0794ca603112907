//! What a result costs Redis: its own processor time, which says the same on a busy machine (rule 12).

use nimbus_core::{Partition, ports::mailbox::Mailbox as _};

use super::races::listen;
use crate::testing::{OwnRedis, World, answer, batch, client, config, sdk};

/// Seconds of the main thread.
async fn spent(redis: &OwnRedis) -> f64 {
    let info = redis.command(&["INFO", "cpu"]).await;
    let of =
        |name: &str| -> f64 { info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap() };
    of("used_cpu_user_main_thread:") + of("used_cpu_sys_main_thread:")
}

#[tokio::test]
async fn rule_12_a_result_in_a_batch_costs_redis_a_few_microseconds() {
    let Some(redis) = OwnRedis::start("the cost of a result", &[]).await else { return };
    // A batch, and over how many clients; what one result may cost. Six microseconds are the bound for batches of 64 and more,
    // about twice what is measured; but not where every result of a batch is another client's: each costs an entry and a fold
    // of its own then, seven to eight, and the same margin.
    for (size, clients, most) in [(64, 16, 6.0), (64, 64, 14.0), (512, 64, 6.0), (512, 16, 6.0)] {
        let limits = Default::default();
        let world = World::new(crate::RedisConfig { limits, ..config(&redis.url()) }, 1).await;
        let _heard = listen(&world, "s1").await;
        let all: Vec<_> = (0..clients).map(|number| client(&format!("device-{number:06}"))).collect();
        for of in &all {
            world.ports.mailbox.claim(sdk(of, "s1", 1)).await.unwrap();
        }
        let mut at = 0;
        let before = spent(&redis).await;
        while at < 40_000 {
            let records = (at..at + size).map(|seq| answer(&all[(seq % clients) as usize], "alice", seq / clients + 1));
            world.ports.mailbox.apply(&batch(at, records.collect())).await.unwrap();
            at += size;
        }
        let each = (spent(&redis).await - before) * 1e6 / at as f64;
        assert_eq!(world.ports.mailbox.applied(Partition(0)).await.unwrap().0, at);
        println!("batches of {size} over {clients} clients: {each:.2} µs of redis a result");
        assert!(each < most, "{each:.2} µs a result in batches of {size} over {clients} clients");
    }
}
