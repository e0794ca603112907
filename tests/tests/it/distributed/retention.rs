//! Rule 8: Kafka deletes by age, whether or not anybody has executed.

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, RawSession, TestCluster, hello};
use nimbus_proto::v1::server_frame::Kind as Down;
use nimbus_services::{KafkaOptions, shared};
use tokio::time::Instant;

use super::own_kafka;

#[tokio::test]
async fn rule_8_a_server_stops_accepting_before_retention_overtakes_execution() -> anyhow::Result<()> {
    // It deletes nothing while this runs: what is tested is who stops first.
    let lazy = KafkaOptions::default().set("log.retention.check.interval.ms", 3_600_000);
    let (Some(kafka), Some(redis)) = (own_kafka(lazy).await?, shared::redis()) else { return Ok(()) };
    let cluster = TestCluster::new(&kafka.address(), &redis).env("NIMBUS_KAFKA_RETENTION", "5s");
    let server = cluster.start("server").await?;
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello("early")).await?;
    session.square(1, 2).await?;
    session.accepted(1).await?;
    // Nobody executes it. Sooner or later the next one is refused, for now.
    let deadline = Instant::now() + PATIENCE;
    let mut seq = 2;
    let rejected = loop {
        session.square(seq, 2).await?;
        match session.next().await.with_context(|| server.output())? {
            Down::Rejected(rejected) => break rejected,
            Down::Accepted(accepted) => seq = accepted.up_to_seq + 1,
            other => anyhow::bail!("{other:?}"),
        }
        anyhow::ensure!(Instant::now() < deadline, "it never stopped accepting: {}", server.output());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!((rejected.reason.as_str(), rejected.seq), ("STORAGE_FULL", seq));
    assert!(rejected.message.contains("executors must catch up"), "{}", rejected.message);
    // With somebody who executes, what was accepted is answered, and more is taken.
    let _consumers = cluster.start("consumers").await?;
    assert_eq!(session.delivery().await.with_context(|| server.output())?.payload, "4");
    loop {
        session.square(seq, 2).await?;
        match session.next().await.with_context(|| server.output())? {
            Down::Accepted(accepted) if accepted.up_to_seq >= seq => return Ok(()),
            Down::Rejected(_) | Down::Accepted(_) | Down::Delivery(_) | Down::Ping(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
        anyhow::ensure!(Instant::now() < deadline, "it never accepted again: {}", server.output());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
