//! Streams that open and say nothing.

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, RawSession, TestNimbus, hello};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{net::TcpStream, time::timeout};

#[tokio::test]
async fn ten_thousand_silent_streams_end_by_themselves_and_nobody_notices() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().env("NIMBUS_SESSION_HANDSHAKE_TIMEOUT", "5s").start().await?;
    let (mut bystander, _) = RawSession::welcome(nimbus.connect().await?, hello("bystander")).await?;
    let before = nimbus.resident_bytes()?;
    let mut silent = Vec::new();
    for _ in 0..100 {
        let channel = nimbus.connect().await?;
        for _ in 0..100 {
            silent.push(RawSession::open(channel.clone()).await?);
        }
    }
    let grown = nimbus.resident_bytes()?.saturating_sub(before);
    bystander.square(1, 11).await?;
    assert_eq!(bystander.delivery().await?.payload, "121");
    for stream in &mut silent {
        assert_eq!(stream.end_reason().await?, "HANDSHAKE_TIMEOUT");
    }
    nimbus.wait_for_metric(r#"nimbus_streams_open{protocol="v1"}"#, |open| open == 1.0).await?;
    assert!(grown < 400 << 20, "10,000 silent streams took {grown} bytes");
    bystander.square(2, 12).await?;
    assert_eq!(bystander.delivery().await?.payload, "144");
    Ok(())
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().env("NIMBUS_SESSION_MAX_STREAMS", "2").start().await?;
    let channel = nimbus.connect().await?;
    let _first = RawSession::welcome(channel.clone(), hello("a")).await?;
    let (second, _) = RawSession::welcome(channel.clone(), hello("b")).await?;
    let refused = RawSession::open(channel.clone()).await.map(drop).expect_err("a third stream");
    assert_eq!(nimbus_harness::error_reason(&refused), "TOO_MANY_STREAMS");
    drop(second);
    nimbus.wait_for_metric(r#"nimbus_streams_open{protocol="v1"}"#, |open| open == 1.0).await?;
    RawSession::welcome(channel, hello("c")).await?;
    Ok(())
}

/// Whoever finds no room is not told: TCP tries again after a second, then three, seven, fifteen.
#[tokio::test]
async fn two_thousand_that_connect_at_once_find_room_also_while_nobody_accepts() -> anyhow::Result<()> {
    let most: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn")?.trim().parse()?;
    if most < 4_096 {
        nimbus_services::shared::skip("needs net.core.somaxconn of 4096, as Linux has it by itself");
        return Ok(());
    }
    let nimbus = TestNimbus::builder().start().await?;
    let pid = Pid::from_raw(i32::try_from(nimbus.pid()?)?).context("no pid")?;
    kill_process(pid, Signal::STOP)?;
    let mut waiting = Vec::new();
    for number in 0..2_000 {
        let connected = timeout(PATIENCE, TcpStream::connect(nimbus.addr())).await;
        waiting.push(connected.with_context(|| format!("{number} found room and the next did not"))??);
    }
    kill_process(pid, Signal::CONT)?;
    drop(waiting);
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    session.square(1, 11).await?;
    assert_eq!(session.delivery().await?.payload, "121");
    Ok(())
}
