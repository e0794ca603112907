//! Rule 3: what a topic could never take is refused for good, and nothing gets stuck behind it.

use anyhow::Context as _;
use nimbus_harness::{RawSession, TestCluster, error_reason, hello};
use nimbus_proto::v1::{self, PartKind};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
};
use tonic::Status;

use super::cluster;
use crate::sessions::seq_of;

const LIMIT: &str = "max.message.bytes";
const EVENTS: &str = "NIMBUS_KAFKA_EVENTS_TOPIC";
const RESULTS: &str = "NIMBUS_KAFKA_RESULTS_TOPIC";
const DEAD_LETTERS: &str = "NIMBUS_KAFKA_DLQ_TOPIC";

fn admin(cluster: &TestCluster) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?)
}

async fn make(cluster: &TestCluster, limits: [(&str, &str); 3]) -> anyhow::Result<()> {
    let new = limits
        .map(|(topic, limit)| NewTopic::new(cluster.setting(topic), 4, TopicReplication::Fixed(1)).set(LIMIT, limit));
    for outcome in admin(cluster)?.create_topics(&new, &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

async fn lower(cluster: &TestCluster, limits: [(&str, &str); 2]) -> anyhow::Result<()> {
    let changes = limits
        .map(|(topic, limit)| AlterConfig::new(ResourceSpecifier::Topic(cluster.setting(topic))).set(LIMIT, limit));
    for outcome in admin(cluster)?.alter_configs(&changes, &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("{topic:?}: {code}"))?;
    }
    Ok(())
}

/// What no compression makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    rand::random_iter().take(bytes).collect()
}

/// The answer to this event: how large it is, or why there is none. Answers to earlier ones are passed over.
async fn answer(session: &mut RawSession, seq: u64) -> anyhow::Result<Result<usize, String>> {
    loop {
        let delivery = session.delivery().await?;
        if seq_of(&delivery) == seq {
            return Ok(match delivery.kind() {
                PartKind::Final => Ok(delivery.payload.len()),
                _ => Err(delivery.error.context("an ERROR says why")?.reason),
            });
        }
    }
}

#[tokio::test]
async fn rule_3_what_a_topic_does_not_take_is_answered_for_good_also_when_its_limit_was_lowered() -> anyhow::Result<()>
{
    let Some(cluster) = cluster() else { return Ok(()) };
    make(&cluster, [(EVENTS, "30000"), (RESULTS, "12000"), (DEAD_LETTERS, "3000")]).await?;
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let output = || format!("{}\n--\n{}", server.output(), consumers.output());
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello("bulky")).await?;
    session.square(1, 3).await?;
    for (seq, bytes) in [(2, 40_000), (3, 20_000), (4, 8_000)] {
        session.event(seq, "echo", noise(bytes)).await?;
    }
    let too_large = |reason: &str| Err(reason.to_owned());
    let expected = [Ok(1), too_large("EVENT_TOO_LARGE"), too_large("RESULT_TOO_LARGE"), Ok(8_000)];
    for (seq, expected) in (1..).zip(expected) {
        assert_eq!(answer(&mut session, seq).await.with_context(output)?, expected, "{seq}");
    }

    lower(&cluster, [(EVENTS, "6000"), (RESULTS, "3000")]).await?;
    // Until the broker has heard of it. The event that meets the new limit was on its way to it: its session ends.
    let mut seq = 5;
    let ended = loop {
        session.event(seq, "echo", noise(8_000)).await?;
        match session.accepted(seq).await {
            Ok(()) => seq += 1,
            Err(error) => break error,
        }
    };
    let status = ended.downcast_ref::<Status>().with_context(|| format!("{ended:#}"))?;
    assert_eq!(error_reason(status), "APPEND_FAILED", "{status:?}");
    let again = v1::Hello { session_no: 2, first_unaccepted: seq, ..hello("bulky") };
    let (mut session, _) = RawSession::welcome(server.connect().await?, again).await?;
    session.event(seq, "echo", noise(8_000)).await?;
    session.event(seq + 1, "echo", noise(4_000)).await?;
    session.square(seq + 2, 4).await?;
    assert_eq!(answer(&mut session, seq).await.with_context(output)?, too_large("EVENT_TOO_LARGE"));
    assert_eq!(answer(&mut session, seq + 1).await.with_context(output)?, too_large("RESULT_TOO_LARGE"));
    assert_eq!(answer(&mut session, seq + 2).await.with_context(output)?, Ok(2));
    Ok(())
}
