//! Clients of the original protocol: one that another language's gRPC generated from the protocol facts, and what they
//! may rely on across reconnects.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use nimbus_harness::{PATIENCE, RawSession, TestNimbus, hello};
use nimbus_proto::original::{EventRequest, EventResponse, nimbus_service_client::NimbusServiceClient};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// The Python with grpcio that `make test` provides; `None` when there is none and the tests run outside of it.
fn python() -> anyhow::Result<Option<PathBuf>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")?;
    let python = workspace.join("target/python/bin/python");
    if python.is_file() {
        return Ok(Some(python));
    }
    ensure!(std::env::var_os("CI").is_none(), "{} is missing; `make test` makes it", python.display());
    Ok(None)
}

#[tokio::test]
async fn a_client_generated_by_another_languages_grpc_works() -> anyhow::Result<()> {
    let Some(python) = python()? else {
        println!("SKIPPED: no Python with grpcio; `make test` provides it");
        return Ok(());
    };
    let nimbus = TestNimbus::builder().start().await?;
    let address = nimbus.addr().to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/original_client.py");
    let run = tokio::task::spawn_blocking(move || {
        Command::new(python).arg(script).args([address.as_str(), "python-client", "1", "100"]).output()
    });
    let output = run.await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    assert_eq!(lines, (1..=100).map(|n| format!("{n} {}", n * n)).collect::<Vec<_>>());
    Ok(())
}

/// An open stream of the original protocol.
struct Stream {
    requests: mpsc::Sender<EventRequest>,
    answers: Streaming<EventResponse>,
}

impl Stream {
    async fn open(nimbus: &TestNimbus, client_id: &str) -> anyhow::Result<Self> {
        let (requests, outgoing) = mpsc::channel(1_024);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert("client_id", client_id.parse()?);
        let mut client = NimbusServiceClient::new(nimbus.connect().await?);
        Ok(Self { requests, answers: client.process_event(request).await?.into_inner() })
    }

    async fn send(&self, event_name: &str, number: i32) -> anyhow::Result<()> {
        let request = EventRequest { event_name: event_name.to_owned().into(), number, client_sequence: 0 };
        Ok(self.requests.send(request).await?)
    }

    async fn answer(&mut self) -> anyhow::Result<EventResponse> {
        match timeout(PATIENCE, self.answers.message()).await.context("no answer")?? {
            Some(answer) => Ok(answer),
            None => bail!("the stream ended"),
        }
    }
}

#[tokio::test]
async fn a_client_that_stays_connected_and_silent_keeps_receiving() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let mut stream = Stream::open(&nimbus, "listener").await?;
    stream.send("delay", 300).await?;
    stream.send("sq", 4).await?;
    assert_eq!(stream.answer().await?.event_name, "delay");
    assert_eq!(stream.answer().await?.result, 16);
    Ok(())
}

#[tokio::test]
async fn results_wait_while_the_client_is_away_and_come_first_on_its_next_stream() -> anyhow::Result<()> {
    let mut nimbus = TestNimbus::builder().start().await?;
    let mut stream = Stream::open(&nimbus, "wanderer").await?;
    stream.send("sq", 2).await?;
    assert_eq!(stream.answer().await?.result, 4);
    stream.send("delay", 400).await?;
    stream.send("sq", 3).await?;
    nimbus.wait_for_metric("nimbus_events_accepted_total", |count| count >= 3.0).await?;
    drop(stream);
    // Also over a crash: the position of such a client is kept by the server.
    nimbus.crash_and_restart().await?;
    let mut stream = Stream::open(&nimbus, "wanderer").await?;
    stream.send("sq", 5).await?;
    let mut results = Vec::new();
    while results.last() != Some(&25) {
        results.push(stream.answer().await?.result);
    }
    // At-least-once across reconnects: the 4 may come again, the 9 must come.
    assert!(results.contains(&9), "{results:?}");
    assert!(results.iter().filter(|result| **result == 9).count() == 1, "{results:?}");
    Ok(())
}

#[tokio::test]
async fn parts_that_this_protocol_cannot_carry_hold_no_answer_up() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().env("NIMBUS_SESSION_QUEUE_MESSAGES", "8").start().await?;
    // The client is known, so what comes while it is away waits for it.
    let mut stream = Stream::open(&nimbus, "mixed").await?;
    stream.send("sq", 3).await?;
    assert_eq!(stream.answer().await?.result, 9);
    drop(stream);
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("mixed")).await?;
    session.event(1, "delay", r#"{"ms":200,"steps":50}"#).await?;
    session.accepted(1).await?;
    drop(session);
    let answered = r#"nimbus_router_records_total"#;
    nimbus.wait_for_metric(answered, |records| records >= 52.0).await?;
    let mut stream = Stream::open(&nimbus, "mixed").await?;
    stream.send("sq", 4).await?;
    while stream.answer().await?.result != 16 {}
    Ok(())
}

#[tokio::test]
async fn a_burst_that_nobody_reads_yet_waits_and_loses_nothing() -> anyhow::Result<()> {
    const BURST: i32 = 20_000;
    let nimbus = TestNimbus::builder().start().await?;
    let mut stream = Stream::open(&nimbus, "burst").await?;
    let requests = stream.requests.clone();
    let sender = tokio::spawn(async move {
        for number in 1..=BURST {
            let request = EventRequest { event_name: "sq".into(), number: number % 1_000, client_sequence: 0 };
            requests.send(request).await?;
        }
        anyhow::Ok(())
    });
    // The server stops reading at its limit; what was sent beyond it waits in the transport.
    nimbus.wait_for_metric("nimbus_events_accepted_total", |count| count >= 1_000.0).await?;
    for number in 1..=BURST {
        let answer = stream.answer().await?;
        assert_eq!((answer.number, answer.result), (number % 1_000, (number % 1_000).pow(2)));
    }
    sender.await?
}
