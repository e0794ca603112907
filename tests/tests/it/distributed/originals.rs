//! Clients of the original protocol, which keep no position of their own, over a Redis that forgets theirs.

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, TestCluster, TestNimbus};
use nimbus_proto::original::{EventRequest, EventResponse, nimbus_service_client::NimbusServiceClient};
use nimbus_services::{RedisOptions, shared};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::own_redis;

struct Stream {
    requests: mpsc::Sender<EventRequest>,
    answers: Streaming<EventResponse>,
}

impl Stream {
    async fn open(server: &TestNimbus, client_id: &str) -> anyhow::Result<Self> {
        let (requests, outgoing) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert("client_id", client_id.parse()?);
        let answers = NimbusServiceClient::new(server.connect().await?).process_event(request).await?.into_inner();
        Ok(Self { requests, answers })
    }

    async fn send(&self, name: &str, number: i32) -> anyhow::Result<()> {
        let request = EventRequest { event_name: name.to_owned().into(), number, client_sequence: 0 };
        self.requests.send(request).await.context("the stream is gone")
    }

    /// The number that the next answer is for.
    async fn answer(&mut self) -> anyhow::Result<i32> {
        let answer = timeout(PATIENCE, self.answers.message()).await.context("nothing came")??;
        Ok(answer.context("the stream ended")?.number)
    }
}

/// Rule 26: it is away, and what is answered meanwhile waits for it, when Redis loses everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_26_an_original_client_that_was_away_when_redis_was_emptied_gets_what_waited_for_it() -> anyhow::Result<()>
{
    let (Some(kafka), Some(mut redis)) = (shared::kafka(), own_redis(RedisOptions::default()).await?) else {
        return Ok(());
    };
    let cluster = TestCluster::new(&kafka, &redis.address());
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let mut before = Stream::open(&server, "traveller").await?;
    before.send("sq", 1).await?;
    assert_eq!(before.answer().await.with_context(|| consumers.output())?, 1);
    before.send("delay", 500).await?;
    server.wait_for_metric("nimbus_events_accepted_total", |accepted| accepted >= 2.0).await?;
    drop(before);
    server.wait_for_metric("nimbus_sessions_open", |open| open == 0.0).await?;
    let folded = r#"nimbus_mailbox_results_total{outcome="fresh"}"#;
    consumers.wait_for_metric(folded, |results| results >= 2.0).await?;
    redis = tokio::task::spawn_blocking(move || redis.restart_empty().map(|()| redis)).await??;

    let mut after = loop {
        match Stream::open(&server, "traveller").await {
            Ok(stream) => break stream,
            // Its claim can come before the connection is there again.
            Err(error) if format!("{error:#}").contains("BACKEND_UNAVAILABLE") => {}
            Err(error) => return Err(error),
        }
    };
    // What it had may come again; what waited comes, without a word from it.
    let mut seen = Vec::new();
    while seen.last() != Some(&500) {
        seen.push(after.answer().await.with_context(|| format!("{seen:?}\n{}", server.output()))?);
    }
    assert!(seen.iter().filter(|number| **number == 500).count() == 1 && seen.len() <= 2, "{seen:?}");
    // One that is new hears only of its own.
    let mut new = Stream::open(&server, "newcomer").await?;
    new.send("sq", 7).await?;
    assert_eq!(new.answer().await.with_context(|| server.output())?, 7);
    drop(redis);
    Ok(())
}
