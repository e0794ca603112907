//! One live session per client, whichever servers its sessions are on.

use anyhow::Context as _;
use nimbus_harness::{RawSession, hello};
use nimbus_proto::v1::{self, GoAwayReason, server_frame::Kind as Down};

use super::cluster;

/// Rule 19: the cleanup of a session that lost its client comes after the claim of the one that has it.
#[tokio::test]
async fn rule_19_an_old_sessions_cleanup_after_the_new_sessions_claim_takes_nothing_away() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (one, other, _consumers) =
        tokio::try_join!(cluster.start("server"), cluster.start("server"), cluster.start("consumers"))?;
    let (mut old, _) = RawSession::welcome(one.connect().await?, hello("mover")).await?;
    old.square(1, 2).await?;
    old.accepted(1).await?;
    let again = v1::Hello { session_no: 2, first_unaccepted: 2, ..hello("mover") };
    let (mut new, _) = RawSession::welcome(other.connect().await?, again).await?;
    // The old one is told, and ends for good: its SDK does not come back.
    let reason = loop {
        match old.next().await {
            Ok(Down::GoAway(away)) => break away.reason(),
            Ok(_) => {}
            Err(error) => anyhow::bail!("the old stream ended without a word: {error:#}\n{}", one.output()),
        }
    };
    assert_eq!(reason, GoAwayReason::Superseded);
    assert_eq!(old.end_reason().await?, "SUPERSEDED");
    one.wait_for_metric("nimbus_sessions_open", |open| open == 0.0).await?;
    // Its cleanup is done; the new one still owns the client.
    for seq in 2..=20 {
        new.square(seq, 3).await?;
    }
    let mut seqs = Vec::new();
    while seqs.last() != Some(&20) {
        let delivery = new.delivery().await.with_context(|| other.output())?;
        let Some(v1::delivery::Source::Result(result)) = delivery.source else { anyhow::bail!("no result") };
        seqs.push(result.seq);
    }
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    Ok(())
}

/// A Hello that was delayed on its way must not take the client from the session that came after it.
#[tokio::test]
async fn a_delayed_hello_is_refused_on_another_server_too() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (one, other) = tokio::try_join!(cluster.start("server"), cluster.start("server"))?;
    let (_live, _) = RawSession::welcome(one.connect().await?, v1::Hello { session_no: 5, ..hello("late") }).await?;
    let mut delayed = RawSession::open(other.connect().await?).await?;
    let hello = v1::Hello { session_no: 4, ..hello("late") };
    delayed.send(v1::client_frame::Kind::Hello(hello)).await?;
    assert_eq!(delayed.end_reason().await?, "STALE_SESSION");
    Ok(())
}

/// Rule 24: compared with the end of the log, asked just now, never with what Redis has folded in.
#[tokio::test]
async fn rule_24_a_position_from_the_future_is_refused_and_the_newest_one_is_not() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    // Nothing is folded in: there is no router.
    let (server, _executor) = tokio::try_join!(cluster.start("server"), cluster.start("executor"))?;
    let (mut session, welcome) = RawSession::welcome(server.connect().await?, hello("seer")).await?;
    session.square(1, 2).await?;
    session.accepted(1).await?;
    drop(session);
    let resumed = |session_no, position| {
        let resume = v1::Resume { token: welcome.resume_token.clone(), position, ..v1::Resume::default() };
        v1::Hello { session_no, resume: Some(resume), ..hello("seer") }
    };
    let mut future = RawSession::open(server.connect().await?).await?;
    future.send(v1::client_frame::Kind::Hello(resumed(2, 1 << 40))).await?;
    assert_eq!(future.end_reason().await?, "POSITION_FROM_THE_FUTURE");
    // The result lies in the log by now or soon; its position is not from the future although Redis knows nothing of it.
    let mut session_no = 3;
    loop {
        let mut newest = RawSession::open(server.connect().await?).await?;
        newest.send(v1::client_frame::Kind::Hello(resumed(session_no, 1))).await?;
        match newest.next().await {
            Ok(Down::Welcome(_)) => return Ok(()),
            Ok(other) => anyhow::bail!("{other:?}"),
            Err(_not_yet) => session_no += 1,
        }
        anyhow::ensure!(session_no < 500, "the result never came into the log: {}", server.output());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
