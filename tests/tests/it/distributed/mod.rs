//! The same promises over real Kafka and Redis, with many processes. Each test has topics, groups and keys of its own;
//! those that harm a service start one of their own.

mod brokers;
mod demo;
mod encryption;
mod failover;
mod faults;
mod hops;
mod jobs;
mod log;
mod ops;
mod originals;
mod ownership;
mod readiness;
mod refusals;
mod replays;
mod retention;
mod secured;
mod sizes;
mod slots;
mod upgrade;

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use nimbus_harness::{Balancer, TestCluster, TestNimbus};
use nimbus_services::{Kafka, KafkaOptions, Redis, RedisOptions, shared};

use crate::ledger::{Books, Load};

/// An installation over the services that all tests share; `None`, said aloud, when there are none.
fn cluster() -> Option<TestCluster> {
    let (kafka, redis) = (shared::kafka()?, shared::redis()?);
    Some(TestCluster::new(&kafka, &redis))
}

/// Two of each role, and a balancer before the servers.
struct Site {
    servers: Vec<TestNimbus>,
    executors: Vec<TestNimbus>,
    routers: Vec<TestNimbus>,
    balancer: Balancer,
}

/// The time between two events of a client. As fast as answers come they would take both processors of a small machine, and a
/// broker that is restarted meanwhile needs a minute for what is done in seconds.
const PACE: Duration = Duration::from_millis(25);

impl Site {
    async fn start(cluster: &TestCluster) -> anyhow::Result<Self> {
        let two = async |role: &str| -> anyhow::Result<Vec<TestNimbus>> {
            let (one, other) = tokio::try_join!(cluster.start(role), cluster.start(role))?;
            Ok(vec![one, other])
        };
        let (servers, executors, routers) = tokio::try_join!(two("server"), two("executor"), two("router"))?;
        let balancer = Balancer::start(addresses(&servers)).await?;
        Ok(Self { servers, executors, routers, balancer })
    }

    fn load(&self, clients: usize) -> Load {
        self.paced_load(clients, PACE)
    }

    fn paced_load(&self, clients: usize, pace: Duration) -> Load {
        Load::paced(&self.balancer.url(), clients, pace)
    }

    /// What every process wrote lately, for a test that fails.
    fn output(&self) -> String {
        let all = self.servers.iter().chain(&self.executors).chain(&self.routers);
        all.map(TestNimbus::output).collect::<Vec<_>>().join("\n--\n")
    }

    /// Fails, with what the processes wrote, unless the books balance.
    fn balanced(&self, books: anyhow::Result<Books>) -> anyhow::Result<()> {
        let books = books.with_context(|| self.output())?;
        println!("{books}");
        books.balance().with_context(|| self.output())
    }
}

fn addresses(servers: &[TestNimbus]) -> Vec<SocketAddr> {
    servers.iter().map(TestNimbus::addr).collect()
}

/// A Kafka that this test may harm.
async fn own_kafka(options: KafkaOptions) -> anyhow::Result<Option<Kafka>> {
    // Whoever runs without the shared ones has none to spare either, and was told so.
    if shared::kafka().is_none() {
        return Ok(None);
    }
    Ok(Some(tokio::task::spawn_blocking(|| Kafka::start(options.short_lived())).await??))
}

/// A Redis that this test may harm.
async fn own_redis(options: RedisOptions) -> anyhow::Result<Option<Redis>> {
    if shared::redis().is_none() {
        return Ok(None);
    }
    Ok(Some(tokio::task::spawn_blocking(|| Redis::start(options)).await??))
}
