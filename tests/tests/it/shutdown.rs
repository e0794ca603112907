//! SIGTERM under load, with streams open; and a second signal.

use std::time::Duration;

use nimbus_harness::{RawSession, TestNimbus, hello};
use nimbus_proto::v1::{GoAwayReason, server_frame::Kind as Down};

use crate::ledger::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing_and_ends_within_the_limit() -> anyhow::Result<()> {
    let limit = Duration::from_secs(20);
    let mut nimbus = TestNimbus::builder().env("NIMBUS_SHUTDOWN_DRAIN_WINDOW", "1s").start().await?;
    let mut load = Load::start(&nimbus.url(), 16);
    for _ in 0..2 {
        load.progress(2_000).await?;
        // Streams that say nothing must not hold the server up either.
        let (_idle, _) = RawSession::welcome(nimbus.connect().await?, hello("idle")).await?;
        let _silent = RawSession::open(nimbus.connect().await?).await?;
        nimbus.terminate()?;
        let status = nimbus.wait(limit).await?;
        assert!(status.success(), "{status}:\n{}", nimbus.output());
        nimbus.restart().await?;
    }
    load.progress(1_000).await?;
    let books = load.finish().await?;
    println!("{books}");
    books.balance()
}

#[tokio::test]
async fn a_draining_server_says_so_before_it_ends_a_stream() -> anyhow::Result<()> {
    let mut nimbus = TestNimbus::builder().env("NIMBUS_SHUTDOWN_DRAIN_WINDOW", "1s").start().await?;
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    nimbus.terminate()?;
    let go_away = loop {
        if let Down::GoAway(go_away) = session.next().await? {
            break go_away;
        }
    };
    assert_eq!(go_away.reason(), GoAwayReason::Draining);
    assert_eq!(session.end_reason().await?, "DRAINING");
    assert!(nimbus.wait(Duration::from_secs(20)).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_at_once() -> anyhow::Result<()> {
    let mut nimbus = TestNimbus::builder()
        .env("NIMBUS_SHUTDOWN_TIMEOUT_SEC", "80")
        .env("NIMBUS_SHUTDOWN_DRAIN_WINDOW", "40s")
        .start()
        .await?;
    // Work that would hold an orderly shutdown up.
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    session.event(1, "delay", r#"{"ms": 60000}"#).await?;
    session.accepted(1).await?;
    nimbus.terminate()?;
    loop {
        if nimbus.admin_get("/ready").await.is_ok_and(|(status, why)| status == 503 && why.contains("shutdown")) {
            break;
        }
    }
    nimbus.terminate()?;
    // At once, and never mind the 60 s of work or the 40 s of drain: what is short of a busy machine is at once here.
    let status = nimbus.wait(Duration::from_secs(5)).await?;
    assert_eq!(status.code(), Some(130), "not an orderly end: {status}");
    nimbus.restart().await?;
    Ok(())
}
