//! Redis fails over to a replica that does not have everything: what the replica missed is lost, and no client notices.

use anyhow::{Context as _, ensure};
use nimbus_harness::{Balancer, TestCluster};
use nimbus_services::{Redis, RedisOptions, shared};
use tokio::task::spawn_blocking;

use super::{Site, own_redis};
use crate::ledger::Load;

const CLIENTS: usize = 16;

/// Holds the replica still and cuts it off: it hears nothing more.
fn hold_back(primary: &Redis, replica: &Redis) -> anyhow::Result<()> {
    replica.pause()?;
    // What is on its way waits in the replica's own socket; from here on nothing follows.
    primary.ask(&["CLIENT", "KILL", "TYPE", "replica"])?;
    Ok(())
}

fn offset(redis: &Redis, field: &str) -> anyhow::Result<u64> {
    redis.replication_field(field)?.parse().with_context(|| format!("no {field}"))
}

/// Takes the replica's word for the truth from now on. Fails unless a tail was lost, and the replication id is another.
fn promote(replica: &Redis, primary: (&str, u64), how: &[&str]) -> anyhow::Result<()> {
    let (id, has) = primary;
    let replica_has = offset(replica, "slave_repl_offset")?;
    ensure!(replica_has < has, "nothing is lost: the replica has {replica_has} of {has}");
    println!("{} bytes of the primary's changes are lost", has - replica_has);
    replica.ask(how)?;
    while replica.replication_field("role")? != "master" {
        std::thread::yield_now();
    }
    ensure!(replica.replication_field("master_replid")? != id, "it is still replication {id}");
    Ok(())
}

/// Each server has noticed, and made its clients whole.
async fn noticed(site: &Site) -> anyhow::Result<()> {
    for server in &site.servers {
        server.wait_for_metric("nimbus_redis_losses_total", |losses| losses >= 1.0).await?;
    }
    Ok(())
}

/// A primary and its replica, one address that leads to the primary, and a site at work over it.
struct Pair {
    primary: Redis,
    replica: Redis,
    address: Balancer,
    site: Site,
    load: Load,
}

async fn pair() -> anyhow::Result<Option<Pair>> {
    let (Some(kafka), Some(primary)) = (shared::kafka(), own_redis(RedisOptions::default()).await?) else {
        return Ok(None);
    };
    let (primary, replica) = spawn_blocking(move || {
        let replica = Redis::start(RedisOptions::default().replica_of(&primary))?;
        replica.wait_until_copied()?;
        anyhow::Ok((primary, replica))
    })
    .await??;
    let address = Balancer::start(vec![primary.address().parse()?]).await?;
    let cluster = TestCluster::new(&kafka, &address.addr().to_string());
    let site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    load.progress(2_000).await.with_context(|| site.output())?;
    Ok(Some(Pair { primary, replica, address, site, load }))
}

/// One address, behind which a managed Redis puts the replica in the place of the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_20_a_replica_that_takes_over_behind_one_address_without_the_tail_costs_nobody_anything()
-> anyhow::Result<()> {
    let Some(Pair { mut primary, replica, address, site, mut load }) = pair().await? else { return Ok(()) };
    hold_back(&primary, &replica)?;
    load.progress(2_000).await.with_context(|| site.output())?;
    let (id, has) = (primary.replication_field("master_replid")?, offset(&primary, "master_repl_offset")?);
    primary.kill()?;
    replica.resume()?;
    // For a while the address leads to one that takes no writes, and keeps the connections when it does.
    address.use_servers(vec![replica.address().parse()?]);
    promote(&replica, (&id, has), &["REPLICAOF", "NO", "ONE"])?;
    load.progress(2_000).await.with_context(|| site.output())?;
    noticed(&site).await?;
    site.balanced(load.finish().await)
}

/// The primary stays, is made a replica, and keeps every connection that it has: nobody would leave it by himself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_20_a_primary_that_is_made_a_replica_is_left_for_its_successor() -> anyhow::Result<()> {
    let Some(Pair { primary, replica, address, site, mut load }) = pair().await? else { return Ok(()) };
    hold_back(&primary, &replica)?;
    load.progress(2_000).await.with_context(|| site.output())?;
    let id = primary.replication_field("master_replid")?;
    // New connections go to the successor; those that are there stay where they are.
    address.use_servers(vec![replica.address().parse()?]);
    let (host, port) =
        replica.address().split_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).context("no port")?;
    primary.ask(&["REPLICAOF", &host, &port])?;
    let has = offset(&primary, "master_repl_offset")?;
    replica.resume()?;
    promote(&replica, (&id, has), &["REPLICAOF", "NO", "ONE"])?;
    load.progress(2_000).await.with_context(|| site.output())?;
    noticed(&site).await?;
    site.balanced(load.finish().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_20_a_replica_that_takes_over_in_a_cluster_without_the_tail_costs_nobody_anything() -> anyhow::Result<()> {
    let Some(kafka) = shared::kafka() else { return Ok(()) };
    if shared::redis().is_none() {
        return Ok(());
    }
    let mut redis = spawn_blocking(|| Redis::cluster_with_replicas(2, 1)).await??;
    let cluster = TestCluster::new(&kafka, &redis.url());
    let site = Site::start(&cluster).await?;
    let mut load = site.load(CLIENTS);
    load.progress(2_000).await.with_context(|| site.output())?;
    let [primary, _, replica] = redis.nodes() else { anyhow::bail!("two with slots, and one replica") };
    hold_back(primary, replica)?;
    load.progress(2_000).await.with_context(|| site.output())?;
    let (id, has) = (primary.replication_field("master_replid")?, offset(primary, "master_repl_offset")?);
    primary.kill()?;
    replica.resume()?;
    promote(replica, (&id, has), &["CLUSTER", "FAILOVER", "TAKEOVER"])?;
    load.progress(2_000).await.with_context(|| site.output())?;
    noticed(&site).await?;
    site.balanced(load.finish().await)
}
