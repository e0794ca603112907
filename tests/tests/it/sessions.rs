//! What a session promises, over the wire: resume, credit, half-close.

use nimbus_harness::{RawSession, TestNimbus, hello};
use nimbus_proto::v1::{self, ResumeOutcome, client_frame::Kind as Up, delivery::Source, server_frame::Kind as Down};

/// Which event a delivery answers.
pub(crate) fn seq_of(delivery: &v1::Delivery) -> u64 {
    match &delivery.source {
        Some(Source::Result(result)) => result.seq,
        other => panic!("a result, not {other:?}"),
    }
}

/// A Hello that goes on behind `position`.
pub(crate) fn resumed(client: &str, session_no: u64, welcome: &v1::Welcome, position: u64, answered: u64) -> v1::Hello {
    let resume = v1::Resume { token: welcome.resume_token.clone(), position, answered, ..v1::Resume::default() };
    v1::Hello { session_no, first_unaccepted: answered + 1, resume: Some(resume), ..hello(client) }
}

#[tokio::test]
async fn what_came_while_the_client_was_away_follows_from_its_position() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, welcome) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    for seq in 1..=10 {
        session.square(seq, 2).await?;
    }
    let first = session.delivery().await?;
    session.accepted(10).await.ok();
    drop(session);
    let again = resumed("phone", 2, &welcome, first.position, 1);
    let (mut session, welcome) = RawSession::welcome(nimbus.connect().await?, again).await?;
    assert_eq!(welcome.resume_outcome(), ResumeOutcome::Resumed);
    for seq in 2..=10 {
        session.square(seq, 2).await?;
    }
    session.half_close();
    let mut seqs = Vec::new();
    while let Ok(frame) = session.next().await {
        if let Down::Delivery(delivery) = frame {
            seqs.push(seq_of(&delivery));
        }
    }
    assert_eq!(seqs, (2..=10).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn after_a_crash_old_positions_are_served_from_the_log() -> anyhow::Result<()> {
    let mut nimbus = TestNimbus::builder().start().await?;
    let (mut session, welcome) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    for seq in 1..=100 {
        session.square(seq, 3).await?;
    }
    let mut positions = Vec::new();
    for seq in 1..=100 {
        let delivery = session.delivery().await?;
        assert_eq!(seq_of(&delivery), seq);
        positions.push(delivery.position);
    }
    nimbus.crash_and_restart().await?;
    let again = resumed("phone", 2, &welcome, positions[9], 10);
    let (mut session, welcome) = RawSession::welcome(nimbus.connect().await?, again).await?;
    assert!(matches!(welcome.resume_outcome(), ResumeOutcome::FromLog | ResumeOutcome::Resumed));
    for (n, position) in positions.iter().enumerate().skip(10) {
        let delivery = session.delivery().await?;
        assert_eq!((seq_of(&delivery), delivery.position), (n as u64 + 1, *position));
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_lost_its_first_welcome_gets_every_answer() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, _lost) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    for seq in 1..=5 {
        session.square(seq, 2).await?;
    }
    session.accepted(5).await?;
    nimbus.wait_for_metric("nimbus_deliveries_total", |count| count >= 5.0).await?;
    drop(session);
    let again = v1::Hello { session_no: 2, ..hello("phone") };
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, again).await?;
    for seq in 1..=5 {
        assert_eq!(seq_of(&session.delivery().await?), seq);
    }
    Ok(())
}

#[tokio::test]
async fn deliveries_stop_at_the_receive_window_and_go_on_with_each_ack() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let narrow = v1::Hello { receive_window: 4, ..hello("narrow") };
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, narrow).await?;
    for seq in 1..=20 {
        session.square(seq, 1).await?;
    }
    session.accepted(20).await?;
    nimbus.wait_for_metric("nimbus_deliveries_total", |count| count >= 4.0).await?;
    let mut next = 1;
    while next <= 20 {
        let mut last = 0;
        for _ in 0..4 {
            let delivery = session.delivery().await?;
            assert_eq!(seq_of(&delivery), next);
            next += 1;
            last = delivery.position;
        }
        assert_eq!(nimbus.metrics().await?.get("nimbus_deliveries_total")?, (next - 1) as f64);
        session.send(Up::Ack(v1::Ack { position: last })).await?;
    }
    Ok(())
}

#[tokio::test]
async fn parts_come_before_the_answer_and_carry_their_attempt() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("patient")).await?;
    session.event(1, "delay", r#"{"ms": 50}"#).await?;
    let mut kinds = Vec::new();
    loop {
        let delivery = session.delivery().await?;
        kinds.push(delivery.kind());
        if delivery.kind() == v1::PartKind::Final {
            break;
        }
        assert_eq!(delivery.kind(), v1::PartKind::Progress);
    }
    assert!(kinds.len() > 1, "progress before the answer: {kinds:?}");
    Ok(())
}

#[tokio::test]
async fn goodbye_delivers_what_is_outstanding_and_ends_with_ok() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("polite")).await?;
    session.event(1, "delay", r#"{"ms": 200}"#).await?;
    session.square(2, 8).await?;
    session.send(Up::Goodbye(v1::Goodbye {})).await?;
    let mut finals = Vec::new();
    while finals.len() < 2 {
        let delivery = session.delivery().await?;
        if delivery.kind() == v1::PartKind::Final {
            finals.push(seq_of(&delivery));
        }
    }
    assert_eq!(finals, [1, 2]);
    assert!(session.end().await?.is_none(), "OK");
    Ok(())
}

#[tokio::test]
async fn a_backlog_and_then_live_answers_without_a_pause() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, welcome) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    for seq in 1..=100 {
        session.square(seq, 2).await?;
    }
    session.accepted(100).await?;
    drop(session);
    let again = v1::Hello { receive_window: 1_000, ..resumed("phone", 2, &welcome, welcome.position, 0) };
    let again = v1::Hello { first_unaccepted: 101, ..again };
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, again).await?;
    session.square(101, 3).await?;
    // The original took up to a minute to go from replay to live; far below that is enough to tell.
    let all = async {
        for seq in 1..=101 {
            assert_eq!(seq_of(&session.delivery().await?), seq);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), all).await?
}
