//! A Redis that would lose what it is given is refused, with what to do about it.

use nimbus_core::LogEpoch;
use ulid::Ulid;

use crate::{
    RedisConfig, RedisError, RedisMetrics, RedisStore,
    testing::{OwnRedis, config},
};

async fn refused(config: RedisConfig) -> RedisError {
    RedisStore::connect(config, RedisMetrics::default()).await.unwrap_err()
}

#[tokio::test]
async fn rule_13_a_redis_that_evicts_is_refused_with_the_remedy() {
    let evicts = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(redis) = OwnRedis::start("eviction", &evicts).await else { return };
    let error = refused(config(&redis.url())).await;
    assert!(matches!(&error, RedisError::Unfit(finding) if finding.is_fatal), "{error:?}");
    assert!(error.to_string().contains("CONFIG SET maxmemory-policy noeviction"), "{error}");
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let store = RedisStore::connect(config(&redis.url()), RedisMetrics::default()).await.unwrap();
    let findings = store.findings().await.unwrap();
    assert!(findings.iter().all(|finding| !finding.is_fatal && !finding.remedy.is_empty()));
    assert!(findings.iter().any(|finding| finding.remedy.contains("appendonly")), "{findings:?}");
}

#[tokio::test]
async fn a_replica_and_a_node_of_a_cluster_are_refused() {
    let Some(replica) = OwnRedis::start("a replica", &["--replicaof", "127.0.0.1 1"]).await else { return };
    assert!(refused(config(&replica.url())).await.to_string().contains("address of the primary"));
    let Some(node) = OwnRedis::start("a node", &["--cluster-enabled", "yes"]).await else { return };
    assert!(refused(config(&node.url())).await.to_string().contains("redis-cluster://"));
}

#[tokio::test]
async fn nobody_there_and_a_wrong_password_are_told_without_the_password() {
    let Some(redis) = OwnRedis::start("a password", &["--requirepass", "open-sesame"]).await else { return };
    let with = |password: &str| config(&format!("redis://:{password}@{}", redis.url()));
    let store = RedisStore::connect(with("open-sesame"), RedisMetrics::default()).await.unwrap();
    let shown = format!("{store:?}");
    assert!(!shown.contains("open-sesame"), "{shown}");
    let error = refused(with("hush-hush")).await;
    let shown = format!("{error} {error:?}");
    assert!(matches!(error, RedisError::Denied { .. }) && !shown.contains("hush-hush"), "{shown}");
    assert!(matches!(refused(config(&redis.url())).await, RedisError::Denied { .. }), "it wants a password");
    let error = refused(config("127.0.0.1:1")).await;
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn every_process_gets_the_epoch_that_was_put_first_until_it_is_replaced() {
    let Some(redis) = OwnRedis::start("the epoch", &[]).await else { return };
    let config = config(&redis.url());
    let one = RedisStore::connect(config.clone(), RedisMetrics::default()).await.unwrap();
    let two = RedisStore::connect(config, RedisMetrics::default()).await.unwrap();
    let epoch = |number| LogEpoch(Ulid(number));
    assert_eq!(one.get_or_put_epoch(epoch(1)).await.unwrap(), epoch(1));
    assert_eq!(two.get_or_put_epoch(epoch(2)).await.unwrap(), epoch(1));
    assert_eq!(two.replace_epoch(epoch(1), epoch(3)).await.unwrap(), epoch(3));
    assert_eq!(one.replace_epoch(epoch(1), epoch(4)).await.unwrap(), epoch(3), "somebody was faster");
    redis.command(&["FLUSHALL"]).await;
    assert_eq!(one.replace_epoch(epoch(3), epoch(5)).await.unwrap(), epoch(5));
}
