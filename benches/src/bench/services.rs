//! The Kafka and the Redis of a run.

use std::{path::Path, thread};

use anyhow::Context;
use nimbus_services::{Kafka, KafkaOptions, Redis, RedisOptions, kafka, redis, shared};
use tempfile::TempDir;

use super::{Plan, redis::RedisClient, server::files_in};

/// Whether there is a distributed part.
#[derive(Debug)]
pub(super) enum Wanted {
    Yes,
    /// Nobody asked for it: that is all right.
    No,
    /// Something is not on this machine, and that is not.
    Missing(String),
}

/// Fetches and looks for what services are made of, and starts nothing yet: it would take from what is measured before.
///
/// # Errors
/// Something is missing although the distributed part was asked for, or under CI.
pub(super) async fn wanted(plan: &Plan) -> anyhow::Result<Wanted> {
    if plan.embedded_only {
        return Ok(Wanted::No);
    }
    let prepared = tokio::task::spawn_blocking(|| kafka::prepare().and_then(|()| redis::prepare())).await?;
    match prepared {
        Ok(()) => Ok(Wanted::Yes),
        Err(error) if error.is_unavailable() && !plan.distributed && !shared::is_ci() => {
            Ok(Wanted::Missing(error.to_string()))
        }
        Err(error) => Err(error).context("the distributed part cannot be measured"),
    }
}

/// Running services. Ended when dropped, with their files.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) kafka: Kafka,
    pub(super) redis: Redis,
    /// For questions to this Redis.
    pub(super) client: RedisClient,
    _files: Option<TempDir>,
}

impl Services {
    /// Names and process ids.
    pub(super) fn processes(&self) -> anyhow::Result<Vec<(&'static str, u32)>> {
        let kafka = self.kafka.pid().context("Kafka has ended")?;
        let redis = self.redis.pid().context("Redis has ended")?;
        Ok(vec![("Kafka", kafka), ("Redis", redis)])
    }

    /// Starts both. Blocks for some seconds. Their files are in `directory`, or where the system keeps temporary ones.
    pub(super) async fn start(directory: Option<&Path>) -> anyhow::Result<Self> {
        let files = directory.map(files_in).transpose()?;
        let (mut for_kafka, mut for_redis) = (KafkaOptions::default(), RedisOptions::default());
        if let Some(files) = &files {
            for_kafka = for_kafka.data_dir(files.path().join("kafka"));
            for_redis = for_redis.data_dir(files.path().join("redis"));
        }
        let (kafka, redis) = tokio::task::spawn_blocking(move || {
            let kafka = thread::spawn(|| Kafka::start(for_kafka));
            let redis = Redis::start(for_redis);
            (kafka.join(), redis)
        })
        .await?;
        let kafka = kafka.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let redis = redis?;
        let client = RedisClient::connect(&redis.address()).await?;
        Ok(Self { kafka, redis, client, _files: files })
    }
}
