//! Any one process, and either service, killed in the middle of the work.

use anyhow::Context as _;
use nimbus_harness::{TestCluster, TestNimbus};
use nimbus_services::{KafkaOptions, RedisOptions, shared};
use rustix::process::{Pid, Signal, kill_process};

use super::{Site, addresses, cluster, own_kafka, own_redis};

/// How many clients are at work in these tests.
const CLIENTS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_killed_server_loses_repeats_and_reorders_nothing() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let mut site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    for victim in [0, 1, 0] {
        load.progress(2_000).await.with_context(|| site.output())?;
        site.servers[victim].crash().await?;
        load.progress(2_000).await.with_context(|| site.output())?;
        site.servers[victim].restart().await?;
        site.balancer.use_servers(addresses(&site.servers));
    }
    site.balanced(load.finish().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_killed_executor_loses_repeats_and_reorders_nothing() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let mut site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    for victim in [0, 1] {
        load.progress(2_000).await.with_context(|| site.output())?;
        site.executors[victim].crash().await?;
        load.progress(5_000).await.with_context(|| site.output())?;
        site.executors[victim].restart().await?;
    }
    site.balanced(load.finish().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_killed_router_loses_repeats_and_reorders_nothing() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let mut site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    for victim in [0, 1] {
        load.progress(2_000).await.with_context(|| site.output())?;
        site.routers[victim].crash().await?;
        load.progress(5_000).await.with_context(|| site.output())?;
        site.routers[victim].restart().await?;
    }
    site.balanced(load.finish().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_consumers_that_come_and_go_lose_repeat_and_reorder_nothing() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let mut site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    for _ in 0..2 {
        load.progress(2_000).await.with_context(|| site.output())?;
        let mut third = cluster.start("consumers").await?;
        load.progress(5_000).await.with_context(|| site.output())?;
        third.terminate()?;
        let status = third.wait(nimbus_harness::PATIENCE).await?;
        assert!(status.success(), "{status}: {}", third.output());
    }
    // A role that is asked to end leaves its groups: nobody waits for its session to run out.
    let mut leaving = site.executors.remove(0);
    leaving.terminate()?;
    assert!(leaving.wait(nimbus_harness::PATIENCE).await?.success(), "{}", leaving.output());
    load.progress(2_000).await.with_context(|| site.output())?;
    site.balanced(load.finish().await)
}

fn signal(process: &TestNimbus, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(process.pid()?)?).context("no pid")?;
    Ok(kill_process(pid, signal)?)
}

/// Rule 10 and rule 11: a router and an executor that were away for longer than their session go on as zombies: what they
/// still have in hand is somebody else's by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_11_zombies_that_wake_up_write_nothing_twice() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    load.progress(2_000).await.with_context(|| site.output())?;
    let routes = ("nimbus_router_partitions", &site.routers);
    let executes = (r#"nimbus_executor_partitions{lane="ordered"}"#, &site.executors);
    for (partitions, processes) in [routes, executes] {
        signal(&processes[0], Signal::STOP)?;
        // Longer than its session: all of its partitions are the other one's.
        processes[1].wait_for_metric(partitions, |owned| owned == 4.0).await?;
        load.progress(2_000).await.with_context(|| site.output())?;
        signal(&processes[0], Signal::CONT)?;
        load.progress(2_000).await.with_context(|| site.output())?;
    }
    site.balanced(load.finish().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_redis_that_is_restarted_empty_costs_nobody_anything() -> anyhow::Result<()> {
    let (Some(kafka), Some(mut redis)) = (shared::kafka(), own_redis(RedisOptions::default()).await?) else {
        return Ok(());
    };
    let cluster = TestCluster::new(&kafka, &redis.address());
    let site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    for _ in 0..2 {
        load.progress(3_000).await.with_context(|| site.output())?;
        redis = tokio::task::spawn_blocking(move || redis.restart_empty().map(|()| redis)).await??;
        load.progress(3_000).await.with_context(|| site.output())?;
    }
    site.balanced(load.finish().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_kafka_that_is_killed_and_restarted_costs_nobody_anything() -> anyhow::Result<()> {
    let (Some(mut kafka), Some(redis)) = (own_kafka(KafkaOptions::default()).await?, shared::redis()) else {
        return Ok(());
    };
    let cluster = TestCluster::new(&kafka.address(), &redis);
    let site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    load.progress(3_000).await.with_context(|| site.output())?;
    kafka = tokio::task::spawn_blocking(move || kafka.restart().map(|()| kafka)).await??;
    load.progress(3_000).await.with_context(|| site.output())?;
    let books = load.finish().await;
    drop(kafka);
    site.balanced(books)
}
