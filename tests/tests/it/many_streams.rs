//! Streams that open and say nothing.

use nimbus_harness::{RawSession, TestNimbus, hello};

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
