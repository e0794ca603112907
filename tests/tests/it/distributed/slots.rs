//! Slots of a Redis Cluster that go from one node to another while everybody works.

use anyhow::{Context as _, ensure};
use nimbus_harness::TestCluster;
use nimbus_services::{Redis, shared};
use tokio::task::spawn_blocking;

use super::Site;

/// Rule 29: in the middle of a move half of a partition's keys are here and half there, and whoever needs both is refused
/// for now; at its end the channels of the slot are ended where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_29_slots_that_move_while_it_runs_cost_nobody_anything() -> anyhow::Result<()> {
    let Some(kafka) = shared::kafka() else { return Ok(()) };
    if shared::redis().is_none() {
        return Ok(());
    }
    let redis = spawn_blocking(|| Redis::cluster(2)).await??;
    let cluster = TestCluster::new(&kafka, &redis.url());
    let site = Site::start(&cluster).await?;
    let mut load = site.load(16);
    load.progress(2_000).await.with_context(|| site.output())?;
    let partitions: u32 = cluster.setting("NIMBUS_PARTITIONS").parse()?;
    for partition in 0..partitions {
        let slot = redis.slot_of(&format!("{{{partition}}}"))?;
        let (from, to) = redis.way_of(slot);
        redis.begin_to_move(slot, from, to)?;
        // Some of the keys: the rest of the site goes on, this partition waits.
        let moved = redis.move_keys(slot, from, to, 4)?;
        ensure!(moved == 4, "partition {partition} has keys: {moved}");
        load.progress(200).await.with_context(|| site.output())?;
        while redis.move_keys(slot, from, to, 100)? > 0 {}
        // Nothing of it is here any more, and the slot still is.
        load.progress(200).await.with_context(|| site.output())?;
        redis.end_move(slot, from, to)?;
        load.progress(2_000).await.with_context(|| site.output())?;
    }
    // Every server has subscribed anew (moves that are done between two looks are one), and what is told from here on reaches it.
    for server in &site.servers {
        server.wait_for_metric("nimbus_notifier_resubscribed_total", |times| times >= 1.0).await?;
    }
    load.progress(2_000).await.with_context(|| site.output())?;
    site.balanced(load.finish().await)
}
