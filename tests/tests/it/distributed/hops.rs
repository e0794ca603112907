//! Clients that wander between servers, and clients of the original protocol behind a balancer.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use nimbus_harness::{Balancer, PATIENCE, RawSession, hello};
use nimbus_proto::{
    original::{EventRequest, EventResponse, nimbus_service_client::NimbusServiceClient},
    v1::{self, client_frame::Kind as Up, delivery::Source},
};
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
    // Each cut sends the clients to whichever server the balancer has for them, in the middle of their work.
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

#[tokio::test]
async fn a_client_that_reconnects_a_hundred_times_in_a_loop_loses_and_repeats_nothing() -> anyhow::Result<()> {
    const SESSIONS: u64 = 100;
    let Some(cluster) = cluster() else { return Ok(()) };
    let (one, other, consumers) =
        tokio::try_join!(cluster.start("server"), cluster.start("server"), cluster.start("consumers"))?;
    let servers = [one, other];
    let (mut position, mut answered, mut token) = (0, 0, Bytes::new());
    for session_no in 1..=SESSIONS {
        let resume = v1::Resume { token: token.clone(), position, answered, ..v1::Resume::default() };
        let resume = (session_no > 1).then_some(resume);
        let hello = v1::Hello { session_no, first_unaccepted: answered + 1, resume, ..hello("restless") };
        let server = &servers[(session_no % 2) as usize];
        let (mut session, welcome) = RawSession::welcome(server.connect().await?, hello).await?;
        assert_ne!(welcome.resume_outcome(), v1::ResumeOutcome::Gap, "{welcome:?}");
        token = welcome.resume_token;
        // What it does not know to be accepted it sends again, and three more.
        for seq in welcome.accepted_seq + 1..=3 * session_no {
            session.square(seq, 2).await?;
        }
        // Gone in the middle of it, but for the last time.
        let enough = if session_no == SESSIONS { 3 * SESSIONS } else { answered + 1 };
        while answered < enough {
            let delivery = session.delivery().await.with_context(|| consumers.output())?;
            let Some(Source::Result(result)) = delivery.source else { anyhow::bail!("no result") };
            assert!(delivery.position > position, "what it has comes again: {} after {position}", delivery.position);
            assert_eq!(result.seq, answered + 1, "in order, each once");
            (answered, position) = (result.seq, delivery.position);
            session.send(Up::Ack(v1::Ack { position })).await?;
        }
    }
    Ok(())
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
    let all = async {
        while accepted(&servers[0]).await? + accepted(&servers[1]).await? < 101.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all).await.context("not all events were accepted")??;
    balancer.cut();
    drop((requests, answers));
    // 100 squares; of the delay four words on its way, and its answer.
    consumers.wait_for_metric("nimbus_router_records_total", |routed| routed >= 105.0).await?;
    let (requests, mut answers) = original(&balancer).await?;
    requests.send(square(1_000)).await?;
    let mut seen: Vec<(String, i32)> = Vec::new();
    // At-least-once across reconnects: what it had may come again before.
    while seen.last().is_none_or(|(_, number)| *number != 1_000) {
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
