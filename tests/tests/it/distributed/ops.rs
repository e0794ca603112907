//! What an operator sees of an installation: `nimbus doctor`, `nimbus topics`, `nimbus client show`, and dead letters over
//! Kafka.

use std::process::Output;

use anyhow::{Context as _, ensure};
use nimbus_harness::{PATIENCE, RawSession, TestCluster, hello};
use nimbus_proto::v1::{self, delivery::Source};
use nimbus_services::{RedisOptions, shared};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{cluster, own_redis};
use crate::cli::{nimbus, stderr, stdout};

async fn ask(cluster: &TestCluster, args: &[&str]) -> anyhow::Result<Output> {
    nimbus(args, &cluster.settings().collect::<Vec<_>>()).await
}

fn objects(output: &Output) -> anyhow::Result<Vec<Value>> {
    stdout(output).lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Everything that the doctor found, and its exit code.
async fn examine(cluster: &TestCluster) -> anyhow::Result<(Option<i32>, Vec<Value>)> {
    let output = ask(cluster, &["doctor", "--json"]).await?;
    let checks = objects(&output)?;
    ensure!(!checks.is_empty(), "{}", stderr(&output));
    Ok((output.status.code(), checks))
}

fn of<'a>(checks: &'a [Value], severity: &str) -> Vec<&'a Value> {
    checks.iter().filter(|check| check["severity"] == severity).collect()
}

fn severity<'a>(checks: &'a [Value], name: &str) -> Option<&'a str> {
    checks.iter().find(|check| check["check"] == name)?["severity"].as_str()
}

fn remedy(check: &Value) -> &str {
    check["remedy"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_healthy_installation_has_no_problem() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let _server = cluster.start("server").await?;
    let (code, checks) = examine(&cluster).await?;
    assert_eq!((code, of(&checks, "problem")), (Some(0), vec![]));
    for name in ["configuration", "kafka", "topics", "partitions", "redis", "scripts", "clock", "epoch"] {
        assert_eq!(severity(&checks, name), Some("ok"), "{name}: {checks:#?}");
    }
    assert!(of(&checks, "warning").into_iter().all(|check| !remedy(check).is_empty()), "{checks:#?}");

    let output = ask(&cluster, &["doctor"]).await?;
    let text = stdout(&output);
    assert!(text.lines().all(|line| line.split('\t').count() == 4), "{text}");
    Ok(())
}

#[tokio::test]
async fn missing_topics_are_a_problem_and_are_not_made() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    for _ in 0..2 {
        let (code, checks) = examine(&cluster).await?;
        let problems = of(&checks, "problem");
        assert_eq!((code, problems.len()), (Some(1), 1), "{checks:#?}");
        let found = problems[0]["found"].as_str().unwrap_or_default();
        for topic in ["NIMBUS_KAFKA_EVENTS_TOPIC", "NIMBUS_KAFKA_RESULTS_TOPIC", "NIMBUS_KAFKA_DLQ_TOPIC"] {
            assert!(found.contains(cluster.setting(topic)), "{found}");
        }
        assert!(remedy(problems[0]).contains("start a role"), "{checks:#?}");
        assert_eq!(severity(&checks, "redis"), Some("ok"), "one problem hides no other: {checks:#?}");
    }
    let output = ask(&cluster, &["topics"]).await?;
    assert!(output.status.code() == Some(64) && stderr(&output).contains("does not exist"), "{}", stderr(&output));
    Ok(())
}

#[tokio::test]
async fn services_that_do_not_answer_hide_nothing_of_each_other() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let _server = cluster.start("server").await?;
    let (code, checks) = examine(&cluster.clone().env("NIMBUS_REDIS_ADDRESS", "127.0.0.1:1")).await?;
    assert_eq!((code, severity(&checks, "redis")), (Some(1), Some("problem")));
    assert!(remedy(of(&checks, "problem")[0]).contains("NIMBUS_REDIS_ADDRESS"), "{checks:#?}");
    assert_eq!((severity(&checks, "kafka"), severity(&checks, "topics")), (Some("ok"), Some("ok")));

    let (code, checks) = examine(&cluster.clone().env("NIMBUS_KAFKA_BROKERS", "127.0.0.1:1")).await?;
    assert_eq!((code, severity(&checks, "kafka")), (Some(1), Some("problem")));
    assert!(remedy(of(&checks, "problem")[0]).contains("NIMBUS_KAFKA_BROKERS"), "{checks:#?}");
    assert_eq!((severity(&checks, "redis"), severity(&checks, "scripts")), (Some("ok"), Some("ok")));

    let (code, checks) = examine(&cluster.clone().env("NIMBUS_PARTITIONS", 8)).await?;
    assert_eq!((code, severity(&checks, "partitions")), (Some(1), Some("problem")));
    assert!(remedy(of(&checks, "problem")[0]).contains("NIMBUS_PARTITIONS"), "{checks:#?}");

    let (code, checks) = examine(&cluster.clone().env("NIMBUS_REDIS_KEY_PREFIX", "another-installation")).await?;
    assert_eq!((code, severity(&checks, "epoch")), (Some(0), Some("warning")), "{checks:#?}");

    let (code, checks) = examine(&cluster.env("NIMBUS_PORT", "many")).await?;
    assert_eq!((code, severity(&checks, "configuration")), (Some(1), Some("problem")));
    Ok(())
}

#[tokio::test]
async fn a_redis_that_evicts_is_a_problem_with_its_remedy_and_the_rest_is_looked_at() -> anyhow::Result<()> {
    let evicting = RedisOptions::default().line("maxmemory 100mb").line("maxmemory-policy allkeys-lru");
    let (Some(kafka), Some(redis)) = (shared::kafka(), own_redis(evicting).await?) else { return Ok(()) };
    let (code, checks) = examine(&TestCluster::new(&kafka, &redis.address())).await?;
    assert_eq!(code, Some(1));
    let problems = of(&checks, "problem");
    let named = problems.iter().any(|check| remedy(check).contains("CONFIG SET maxmemory-policy noeviction"));
    assert!(named, "{checks:#?}");
    assert_eq!((severity(&checks, "scripts"), severity(&checks, "clock")), (Some("ok"), Some("ok")));
    Ok(())
}

#[tokio::test]
async fn topics_show_what_was_sent_and_no_lag_once_it_is_answered() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello("ten")).await?;
    for seq in 1..=10 {
        session.square(seq, 2).await?;
        session.delivery().await.with_context(|| consumers.output())?;
    }
    let deadline = Instant::now() + PATIENCE;
    let all = loop {
        let output = ask(&cluster, &["topics", "--json"]).await?;
        ensure!(output.status.success(), "{}", stderr(&output));
        let all = objects(&output)?;
        let totals = all.iter().filter(|object| object["partition"] == "total");
        let lags = totals.flat_map(|total| total["groups"].as_array().into_iter().flatten());
        if lags.map(|group| group["lag"].as_u64()).all(|lag| lag == Some(0)) {
            break all;
        }
        ensure!(Instant::now() < deadline, "it stays behind: {all:#?}");
        sleep(std::time::Duration::from_millis(200)).await;
    };
    assert_eq!(all.len(), 3 * 4 + 3, "partitions and totals: {all:#?}");
    for (topic, records, groups) in [("EVENTS", 10, 2), ("RESULTS", 10, 1), ("DLQ", 0, 0)] {
        let name = cluster.setting(&format!("NIMBUS_KAFKA_{topic}_TOPIC"));
        let of_topic: Vec<_> = all.iter().filter(|object| object["topic"] == name).collect();
        let total = of_topic.iter().find(|object| object["partition"] == "total").context("no total")?;
        assert_eq!(total["records"], records, "{topic}: {all:#?}");
        assert_eq!(total["groups"].as_array().map(Vec::len), Some(groups), "{topic}: {all:#?}");
        let ends: u64 = of_topic.iter().filter_map(|object| object["end"].as_u64()).sum();
        assert_eq!(ends, records, "{topic}: {all:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_is_shown_with_its_server_and_one_that_nobody_knows_is_not() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let cluster = cluster.env("NIMBUS_SERVER_ID", "server-of-phone");
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello("phone")).await?;
    for seq in 1..=3 {
        session.square(seq, 2).await?;
        session.delivery().await.with_context(|| consumers.output())?;
    }
    let show = async || -> anyhow::Result<Value> {
        let output = ask(&cluster, &["client", "show", "phone", "--json"]).await?;
        ensure!(output.status.success(), "{}", stderr(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let shown = show().await?;
    assert_eq!((&shown["client"], &shown["server"]), (&"phone".into(), &"server-of-phone".into()), "{shown:#}");
    assert_eq!((&shown["outboxes"][0]["answered"], &shown["waiting_records"]), (&3.into(), &3.into()), "{shown:#}");
    assert_eq!((&shown["events"]["end"], &shown["results"]["end"]), (&3.into(), &3.into()), "{shown:#}");
    assert_eq!((&shown["applied"], &shown["behind"]), (&3.into(), &0.into()), "{shown:#}");
    assert!(shown["since"].is_string() && shown["session"].is_string(), "{shown:#}");

    let output = ask(&cluster, &["client", "show", "phone"]).await?;
    assert!(stdout(&output).contains("server server-of-phone, session "), "{}", stdout(&output));
    let output = ask(&cluster, &["client", "show", "nobody"]).await?;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));

    drop(session);
    let deadline = Instant::now() + PATIENCE;
    while !show().await?["server"].is_null() {
        ensure!(Instant::now() < deadline, "it is still held");
    }
    Ok(())
}

/// What `delivery` answers.
fn result(delivery: &v1::Delivery) -> anyhow::Result<(u64, u32)> {
    match delivery.source.as_ref().context("no source")? {
        Source::Result(result) => Ok((result.seq, result.replay_no)),
        other => anyhow::bail!("not a result: {other:?}"),
    }
}

#[tokio::test]
async fn a_dead_letter_in_kafka_is_listed_shown_and_replayed_as_an_extra() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello("phone")).await?;
    session.event(1, "fail", r#"{"kind":"poison"}"#).await?;
    let failed = session.delivery().await.with_context(|| consumers.output())?;
    assert!(failed.error.is_some() && result(&failed)? == (1, 0), "{failed:?}");

    let output = ask(&cluster, &["dlq", "list", "--json"]).await?;
    ensure!(output.status.success(), "{}", stderr(&output));
    let letters = objects(&output)?;
    assert_eq!(letters.len(), 1, "{letters:#?}");
    assert_eq!((&letters[0]["client"], &letters[0]["state"]), (&"phone".into(), &"open".into()));
    let id = letters[0]["id"].as_str().context("no id")?;
    let output = ask(&cluster, &["dlq", "show", id, "--json"]).await?;
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((&shown["payload"], &shown["event"]), (&r#"{"kind":"poison"}"#.into(), &"fail".into()));

    let output = ask(&cluster, &["dlq", "replay", id]).await?;
    assert_eq!(stdout(&output), format!("{id} replayed as 1\n"), "{}", stderr(&output));
    let extra = session.delivery().await.with_context(|| consumers.output())?;
    assert_eq!(result(&extra)?, (1, 1), "{extra:?}");
    let all = objects(&ask(&cluster, &["dlq", "list", "--all", "--json"]).await?)?;
    let states: Vec<_> = all.iter().map(|letter| (&letter["replay_no"], &letter["state"])).collect();
    let expected = [(&0.into(), &"replayed".into()), (&1.into(), &"open".into())];
    assert_eq!(states, expected, "it failed again: {all:#?}");
    Ok(())
}
