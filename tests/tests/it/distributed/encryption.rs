//! Redis behind TLS and a password: it works, and every way in which it cannot is told at the start with what to change.

use anyhow::{Context as _, ensure};
use nimbus_harness::TestCluster;
use nimbus_services::{Redis, RedisOptions, shared};

use super::{Site, own_redis};
use crate::cli::{nimbus, stderr};

const ADDRESS: &str = "NIMBUS_REDIS_ADDRESS";
const CA_FILE: &str = "NIMBUS_REDIS_CA_FILE";

/// A Redis that only lets in whoever knows this, by a port that speaks TLS or by one that does not.
async fn guarded() -> anyhow::Result<Option<Redis>> {
    let user = "user nimbus on >a-long-password ~* &* +@all";
    own_redis(RedisOptions::default().tls().line("requirepass another-password").line(user)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_behind_tls_and_a_password_serves_like_any_other() -> anyhow::Result<()> {
    let (Some(kafka), Some(mut redis)) = (shared::kafka(), guarded().await?) else { return Ok(()) };
    let address = format!("rediss://nimbus:a-long-password@{}", redis.tls_address());
    let cluster = TestCluster::new(&kafka, &address).env(CA_FILE, redis.authority().display());
    let site = Site::start(&cluster).await?;
    let mut load = site.load(16);
    load.progress(2_000).await.with_context(|| site.output())?;
    // Every connection is made anew, the one for notifications too.
    redis = tokio::task::spawn_blocking(move || redis.restart_empty().map(|()| redis)).await??;
    load.progress(2_000).await.with_context(|| site.output())?;
    let books = load.finish().await;
    drop(redis);
    site.balanced(books)
}

/// The start ends by itself, with this exit code, and the message says all of this.
async fn is_refused(cluster: &TestCluster, says: &[&str]) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().display().to_string();
    let mut settings: Vec<_> = cluster.settings().collect();
    settings.extend([("NIMBUS_PORT", "0"), ("NIMBUS_ADMIN_ADDR", "127.0.0.1:0"), ("NIMBUS_DATA_DIR", &data_dir)]);
    let output = nimbus(&["server"], &settings).await?;
    let told = stderr(&output);
    ensure!(output.status.code() == Some(64), "{}: {told}", output.status);
    for words in says {
        ensure!(told.contains(words), "it does not say {words:?}: {told}");
    }
    ensure!(!told.contains("password@") && !told.contains("wrong-one"), "a password is shown: {told}");
    Ok(())
}

#[tokio::test]
async fn a_redis_that_cannot_be_trusted_or_does_not_trust_us_is_refused_with_the_remedy() -> anyhow::Result<()> {
    let (Some(kafka), Some(redis)) = (shared::kafka(), guarded().await?) else { return Ok(()) };
    let (plain, tls) = (redis.address(), redis.tls_address());
    // All of them have the same topics: those of a refused start are made once.
    let stranger = TestCluster::new(&kafka, &plain);
    let at = |address: &str| stranger.clone().env(ADDRESS, address);
    let with_authority = |address: &str| at(address).env(CA_FILE, redis.authority().display());

    let wrong = with_authority(&format!("rediss://nimbus:wrong-one@{tls}"));
    is_refused(&wrong, &["WRONGPASS", "correct the user and the password", ADDRESS]).await?;
    let wrong = at(&format!("redis://nimbus:wrong-one@{plain}"));
    is_refused(&wrong, &["WRONGPASS", "correct the user and the password", ADDRESS]).await?;
    is_refused(&with_authority(&format!("rediss://{tls}")), &["NOAUTH", "the password", ADDRESS]).await?;

    let address = format!("rediss://nimbus:a-long-password@{tls}");
    is_refused(&at(&address), &["signed by an authority that is not trusted", CA_FILE]).await?;
    let none = at(&address).env(CA_FILE, "/nowhere/ca.pem");
    is_refused(&none, &["/nowhere/ca.pem", "certificates of authorities", CA_FILE]).await?;

    let without = at(&format!("redis://nimbus:a-long-password@{tls}"));
    is_refused(&without, &["the port speaks TLS", "rediss://", ADDRESS]).await?;
    let with = with_authority(&format!("rediss://nimbus:a-long-password@{plain}"));
    is_refused(&with, &["without TLS", "begin the address with redis://", ADDRESS]).await?;
    // Whoever names an authority believes that the connection is encrypted.
    let believed = with_authority(&format!("redis://nimbus:a-long-password@{plain}"));
    is_refused(&believed, &["does not ask for TLS", "rediss://", CA_FILE]).await
}
