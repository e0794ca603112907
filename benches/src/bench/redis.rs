//! What Redis does for one result: the CPU time of its process, and how many results the router gave it at once.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use fred::{clients::Client, interfaces::ClientLike, types::InfoKind};
use nimbus_loadtest::Protocol;
use serde::{Deserialize, Serialize};

use super::metrics;
use crate::glue;

/// Servers tell Redis once a second what was acknowledged: that is part of what the results of a load cost.
const TRAILING: Duration = Duration::from_millis(1500);

/// What one load has cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RedisCost {
    pub(super) round: usize,
    pub(super) protocol: Protocol,
    /// Events answered, warm-up included: what the time is divided by.
    pub(super) answered: u64,
    /// CPU time of the whole process from before the first stream until 1.5 s after the last, in microseconds: user and
    /// system, claims, acknowledgements and the looks of an idle second included.
    pub(super) redis_cpu_us: f64,
    /// Results that the router applied in that time.
    pub(super) records: f64,
    /// In how many calls.
    pub(super) batches: f64,
}

impl RedisCost {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn us_per_result(&self) -> f64 {
        self.redis_cpu_us / self.answered as f64
    }

    pub(super) fn results_per_batch(&self) -> f64 {
        self.records / self.batches
    }
}

/// A look at counters that only grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    cpu_us: f64,
    records: f64,
    batches: f64,
}

/// A connection of the benchmark's own.
#[derive(Debug)]
pub(super) struct RedisClient {
    client: Client,
}

impl RedisClient {
    pub(super) async fn connect(address: &str) -> anyhow::Result<Self> {
        let client: Client = glue::redis(address)?.build()?;
        client.init().await.with_context(|| format!("Redis at {address}"))?;
        Ok(Self { client })
    }

    pub(super) async fn look(&self, router: SocketAddr) -> anyhow::Result<Look> {
        let scraped = metrics::scrape(router).await?;
        let counter = |name: &str| metrics::counter(&scraped, name);
        let (records, batches) = (counter("nimbus_router_records")?, counter("nimbus_router_batches")?);
        let info: String = self.client.info(Some(InfoKind::Cpu)).await?;
        Ok(Look { cpu_us: cpu_us(&info)?, records, batches })
    }

    /// What was spent since a look, once what trails behind a load is done.
    pub(super) async fn cost_since(
        &self,
        before: Look,
        router: SocketAddr,
        (round, protocol, answered): (usize, Protocol, u64),
    ) -> anyhow::Result<RedisCost> {
        tokio::time::sleep(TRAILING).await;
        let after = self.look(router).await?;
        let cost = RedisCost {
            round,
            protocol,
            answered,
            redis_cpu_us: after.cpu_us - before.cpu_us,
            records: after.records - before.records,
            batches: after.batches - before.batches,
        };
        ensure!(answered > 0 && cost.batches > 0.0, "the router says that it has done nothing: {cost:?}");
        Ok(cost)
    }

    /// Forgets everything, so that the next server finds as little as the one before.
    pub(super) async fn empty(&self) -> anyhow::Result<()> {
        Ok(self.client.flushall::<()>(false).await?)
    }
}

/// User and system time of all threads, without those of children that have ended.
fn cpu_us(info: &str) -> anyhow::Result<f64> {
    let seconds = |name: &str| -> anyhow::Result<f64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("Redis does not say {name}"))?.trim().parse()?)
    };
    Ok((seconds("used_cpu_user")? + seconds("used_cpu_sys")?) * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# CPU\r\nused_cpu_sys:0.250000\r\nused_cpu_user:1.500000\r\nused_cpu_sys_children:8.000000\r\n\
                        used_cpu_user_children:9.000000\r\nused_cpu_sys_main_thread:0.1\r\n";

    #[test]
    fn the_time_of_the_process_is_both_its_times_and_nobody_elses() {
        assert!((cpu_us(INFO).unwrap() - 1_750_000.0).abs() < 1e-6);
        assert!(cpu_us("used_cpu_user:1.0").is_err());
    }

    #[test]
    fn what_is_divided_by_is_said() {
        let cost = RedisCost {
            round: 0,
            protocol: Protocol::V1,
            answered: 1000,
            redis_cpu_us: 5000.0,
            records: 1024.0,
            batches: 16.0,
        };
        assert_eq!((cost.us_per_result(), cost.results_per_batch()), (5.0, 64.0));
    }
}
