//! Clients that wander between servers, and clients of the original protocol behind a balancer.

use std::time::Duration;

use anyhow::Context as _;
use nimbus_harness::{Balancer, PATIENCE};
use nimbus_proto::original::{EventRequest, EventResponse, nimbus_service_client::NimbusServiceClient};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming, transport::Endpoint};

use super::{Site, addresses, cluster};
use crate::ledger::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_thousand_clients_that_hop_between_servers_get_each_result_once_and_in_order()
-> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let site = Site::start(&cluster).await?;
    let mut load = Load::of(&site.balancer.url(), 1_000, 100);
    // Each cut sends every client to the other server, in the middle of its work.
    for _ in 0..4 {
        load.progress(15_000).await.with_context(|| site.output())?;
        site.balancer.cut();
    }
    let books = load.completed().await;
    if let Ok(books) = &books {
        assert_eq!(books.sent, 100_000);
    }
    site.balanced(books)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reconnects_a_hundred_times_in_a_loop_loses_and_repeats_nothing() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let site = Site::start(&cluster).await?;
    let mut load = site.load(1);
    for _ in 0..100 {
        load.progress(1).await.with_context(|| site.output())?;
        site.balancer.cut();
    }
    site.balanced(load.finish().await)
}

/// A stream of the original protocol through a balancer.
async fn original(balancer: &Balancer) -> anyhow::Result<(mpsc::Sender<EventRequest>, Streaming<EventResponse>)> {
    let (requests, outgoing) = mpsc::channel(1_024);
    let mut request = Request::new(ReceiverStream::new(outgoing));
    request.metadata_mut().insert("client_id", "wanderer".parse()?);
    let channel = Endpoint::from_shared(balancer.url())?.connect().await?;
    let answers = NimbusServiceClient::new(channel).process_event(request).await?.into_inner();
    Ok((requests, answers))
}

#[tokio::test]
async fn clients_of_the_original_protocol_run_against_two_servers_behind_a_balancer() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (one, other, consumers) =
        tokio::try_join!(cluster.start("server"), cluster.start("server"), cluster.start("consumers"))?;
    let servers = [one, other];
    let balancer = Balancer::start(addresses(&servers)).await?;
    let square = |number: i32| EventRequest { event_name: "sq".into(), number, client_sequence: 0 };
    let delayed = EventRequest { event_name: "delay".into(), number: 300, client_sequence: 0 };
    let (requests, mut answers) = original(&balancer).await?;
    for number in 1..=100 {
        requests.send(square(number)).await?;
    }
    for number in 1..=100 {
        let answer = timeout(PATIENCE, answers.message()).await.with_context(|| consumers.output())??;
        let answer = answer.context("the stream ended")?;
        assert_eq!((answer.number, answer.result), (number, number * number));
    }
    // What is answered while it is away waits, and comes on its next stream, which is the other server's.
    requests.send(delayed).await?;
    let accepted = async |server: &nimbus_harness::TestNimbus| -> anyhow::Result<f64> {
        server.metrics().await?.get("nimbus_events_accepted_total")
    };
    while accepted(&servers[0]).await? + accepted(&servers[1]).await? < 101.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    balancer.cut();
    drop((requests, answers));
    let (requests, mut answers) = original(&balancer).await?;
    requests.send(square(7)).await?;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(name, number)| (name, *number) != (&"sq".to_owned(), 7)) {
        let answer = timeout(PATIENCE, answers.message()).await.with_context(|| consumers.output())??;
        let answer = answer.context("the stream ended")?;
        seen.push((String::from_utf8(answer.event_name.to_vec())?, answer.number));
    }
    assert!(seen.contains(&("delay".to_owned(), 300)), "{seen:?}");
    for server in &servers {
        let streams = server.metrics().await?.get(r#"nimbus_streams_opened_total{protocol="original"}"#)?;
        assert!(streams >= 1.0, "both servers took a stream");
    }
    Ok(())
}
