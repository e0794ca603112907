//! Services that would lose what they are given are refused at the start, and the remedy is named.

use anyhow::Context as _;
use nimbus_harness::TestCluster;
use nimbus_services::{RedisOptions, shared};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

use super::{cluster, own_redis};

/// What a start is refused with.
pub(super) async fn refusal(cluster: &TestCluster) -> anyhow::Result<String> {
    let refused = cluster.start("server").await.err().context("it started")?;
    Ok(format!("{refused:#}"))
}

async fn make(cluster: &TestCluster, partitions: [i32; 3], setting: (&str, &str)) -> anyhow::Result<()> {
    let topics = ["NIMBUS_KAFKA_EVENTS_TOPIC", "NIMBUS_KAFKA_RESULTS_TOPIC", "NIMBUS_KAFKA_DLQ_TOPIC"];
    let new = topics.iter().zip(partitions).map(|(topic, partitions)| {
        NewTopic::new(cluster.setting(topic), partitions, TopicReplication::Fixed(1)).set(setting.0, setting.1)
    });
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?;
    for outcome in admin.create_topics(&new.collect::<Vec<_>>(), &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_with_the_remedy() -> anyhow::Result<()> {
    let evicting = RedisOptions::default().line("maxmemory 100mb").line("maxmemory-policy allkeys-lru");
    let (Some(kafka), Some(redis)) = (shared::kafka(), own_redis(evicting).await?) else { return Ok(()) };
    let refused = refusal(&TestCluster::new(&kafka, &redis.address())).await?;
    assert!(refused.contains("CONFIG SET maxmemory-policy noeviction"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn compacted_topics_are_refused_with_the_remedy() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    make(&cluster, [4, 4, 4], ("cleanup.policy", "compact")).await?;
    let refused = refusal(&cluster).await?;
    assert!(refused.contains("cleanup.policy"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn unequal_partition_counts_are_refused_with_the_remedy() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    make(&cluster, [4, 8, 4], ("cleanup.policy", "delete")).await?;
    let refused = refusal(&cluster).await?;
    assert!(refused.contains("the same number"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn another_partition_count_than_configured_is_refused_with_the_remedy() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    make(&cluster, [8, 8, 8], ("cleanup.policy", "delete")).await?;
    let refused = refusal(&cluster).await?;
    assert!(refused.contains("NIMBUS_PARTITIONS"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn services_that_are_not_there_are_named_with_their_settings() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let refused = refusal(&cluster.clone().env("NIMBUS_REDIS_ADDRESS", "127.0.0.1:1")).await?;
    assert!(refused.contains("NIMBUS_REDIS_ADDRESS"), "{refused}");
    let refused = refusal(&cluster.env("NIMBUS_KAFKA_BROKERS", "127.0.0.1:1")).await?;
    assert!(refused.contains("NIMBUS_KAFKA_BROKERS"), "{refused}");
    Ok(())
}
