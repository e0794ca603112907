//! What a wrong client gets on `nimbus.v1.Gateway/Session`: the typed error of docs/errors.md, and a stream whose fate is
//! defined. In every test another client is served before, during and after.

use std::time::Duration;

use nimbus_harness::{RawSession, TestNimbus, hello, outbox};
use nimbus_proto::v1::{self, PartKind, client_frame::Kind as Up, server_frame::Kind as Down};

/// A server, and a client on it that must notice nothing.
struct Bystander {
    nimbus: TestNimbus,
    session: RawSession,
    seq: u64,
}

impl Bystander {
    async fn start(builder: nimbus_harness::Builder) -> anyhow::Result<Self> {
        let nimbus = builder.start().await?;
        let (session, _) = RawSession::welcome(nimbus.connect().await?, hello("bystander")).await?;
        let mut bystander = Self { nimbus, session, seq: 0 };
        bystander.is_served().await?;
        Ok(bystander)
    }

    async fn is_served(&mut self) -> anyhow::Result<()> {
        self.seq += 1;
        self.session.square(self.seq, 12).await?;
        let delivery = self.session.delivery().await?;
        assert_eq!(delivery.payload, "144");
        self.session.send(Up::Ack(v1::Ack { position: delivery.position })).await
    }

    /// Sends frames after a good Hello and returns the reason the stream ends with.
    async fn reason_after_hello(&mut self, frames: Vec<Up>) -> anyhow::Result<String> {
        let (mut session, _) = RawSession::welcome(self.nimbus.connect().await?, hello("offender")).await?;
        for frame in frames {
            session.send(frame).await?;
        }
        let reason = session.end_reason().await?;
        self.is_served().await?;
        Ok(reason)
    }

    /// Sends a first frame and returns the reason the stream ends with.
    async fn reason_of_first(&mut self, first: v1::ClientFrame) -> anyhow::Result<String> {
        let mut session = RawSession::open(self.nimbus.connect().await?).await?;
        session.send_frame(first).await?;
        let reason = session.end_reason().await?;
        self.is_served().await?;
        Ok(reason)
    }
}

fn event(seq: u64) -> Up {
    Up::Event(v1::Event { seq, name: "sq".to_owned(), payload: "3".into(), ..v1::Event::default() })
}

fn frame(kind: Up) -> v1::ClientFrame {
    v1::ClientFrame { kind: Some(kind) }
}

#[tokio::test]
async fn a_wrong_opening_is_refused_with_its_reason() -> anyhow::Result<()> {
    let mut bystander = Bystander::start(TestNimbus::builder()).await?;
    let first = bystander.reason_of_first(frame(event(1))).await?;
    assert_eq!(first, "HELLO_EXPECTED");
    let empty = bystander.reason_of_first(v1::ClientFrame { kind: None }).await?;
    assert_eq!(empty, "HELLO_EXPECTED");
    for bad in ["", "spaces are bad", "\u{e9}", &"x".repeat(129)] {
        let reason = bystander.reason_of_first(frame(Up::Hello(hello(bad)))).await?;
        assert_eq!(reason, "INVALID_CLIENT_ID", "{bad:?}");
    }
    let short_outbox = v1::Hello { outbox_id: vec![1; 15].into(), ..hello("offender") };
    assert_eq!(bystander.reason_of_first(frame(Up::Hello(short_outbox))).await?, "INVALID_HELLO");
    let from_zero = v1::Hello { first_unaccepted: 0, ..hello("offender") };
    assert_eq!(bystander.reason_of_first(frame(Up::Hello(from_zero))).await?, "INVALID_HELLO");
    let wordy = v1::Hello { sdk: "x".repeat(129), ..hello("offender") };
    assert_eq!(bystander.reason_of_first(frame(Up::Hello(wordy))).await?, "INVALID_HELLO");
    Ok(())
}

#[tokio::test]
async fn hello_twice_ends_the_stream() -> anyhow::Result<()> {
    let mut bystander = Bystander::start(TestNimbus::builder()).await?;
    let reason = bystander.reason_after_hello(vec![Up::Hello(hello("offender"))]).await?;
    assert_eq!(reason, "HELLO_REPEATED");
    Ok(())
}

#[tokio::test]
async fn no_hello_within_the_deadline_ends_the_stream() -> anyhow::Result<()> {
    let builder = TestNimbus::builder().env("NIMBUS_SESSION_HANDSHAKE_TIMEOUT", "200ms");
    let mut bystander = Bystander::start(builder).await?;
    let mut silent = RawSession::open(bystander.nimbus.connect().await?).await?;
    assert_eq!(silent.end_reason().await?, "HANDSHAKE_TIMEOUT");
    bystander.is_served().await
}

#[tokio::test]
async fn a_wrong_resume_token_is_refused_and_the_right_one_is_not() -> anyhow::Result<()> {
    let mut bystander = Bystander::start(TestNimbus::builder()).await?;
    let (session, welcome) = RawSession::welcome(bystander.nimbus.connect().await?, hello("resumer")).await?;
    drop(session);
    let resume = |token: Vec<u8>| v1::Hello {
        session_no: 2,
        resume: Some(v1::Resume { token: token.into(), position: welcome.position, ..v1::Resume::default() }),
        ..hello("resumer")
    };
    let mut tampered = welcome.resume_token.to_vec();
    *tampered.last_mut().expect("a token has bytes") ^= 1;
    for wrong in [tampered, b"short".to_vec(), Vec::new()] {
        let reason = bystander.reason_of_first(frame(Up::Hello(resume(wrong)))).await?;
        assert_eq!(reason, "RESUME_TOKEN_MISMATCH");
    }
    let right = resume(welcome.resume_token.to_vec());
    let (_, welcome) = RawSession::welcome(bystander.nimbus.connect().await?, right).await?;
    assert_eq!(welcome.resume_outcome(), v1::ResumeOutcome::Resumed);
    Ok(())
}

#[tokio::test]
async fn a_position_from_the_future_is_refused() -> anyhow::Result<()> {
    let mut bystander = Bystander::start(TestNimbus::builder()).await?;
    let (session, welcome) = RawSession::welcome(bystander.nimbus.connect().await?, hello("resumer")).await?;
    drop(session);
    let resume =
        v1::Resume { token: welcome.resume_token, position: welcome.position + 1_000, ..v1::Resume::default() };
    let hello = v1::Hello { session_no: 3, resume: Some(resume), ..hello("resumer") };
    let (mut live, _) =
        RawSession::welcome(bystander.nimbus.connect().await?, v1::Hello { session_no: 2, ..self::hello("resumer") })
            .await?;
    assert_eq!(bystander.reason_of_first(frame(Up::Hello(hello))).await?, "POSITION_FROM_THE_FUTURE");
    // A Hello that is refused does not end the session that is live.
    live.square(1, 6).await?;
    assert_eq!(live.delivery().await?.payload, "36");
    Ok(())
}

#[tokio::test]
async fn wrong_sequence_numbers_and_acks_end_the_stream() -> anyhow::Result<()> {
    let mut bystander = Bystander::start(TestNimbus::builder()).await?;
    assert_eq!(bystander.reason_after_hello(vec![event(1), event(3)]).await?, "SEQ_GAP");
    assert_eq!(bystander.reason_after_hello(vec![event(0)]).await?, "SEQ_ZERO");
    assert_eq!(bystander.reason_after_hello(vec![event(u64::MAX)]).await?, "SEQ_OVERFLOW");
    let beyond = Up::Ack(v1::Ack { position: u64::MAX });
    assert_eq!(bystander.reason_after_hello(vec![beyond]).await?, "ACK_BEYOND_SENT");
    // Something is outstanding, so the stream stays open after Goodbye.
    let slow = v1::Event { seq: 1, name: "delay".to_owned(), payload: "5000".into(), ..v1::Event::default() };
    let late = vec![Up::Event(slow), Up::Goodbye(v1::Goodbye {}), event(2)];
    assert_eq!(bystander.reason_after_hello(late).await?, "EVENT_AFTER_GOODBYE");
    bystander.is_served().await
}

#[tokio::test]
async fn a_repeated_event_is_accepted_again_and_answered_once() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("repeater")).await?;
    session.square(1, 5).await?;
    session.accepted(1).await?;
    session.square(1, 5).await?;
    session.square(2, 6).await?;
    session.half_close();
    let mut answers = Vec::new();
    while let Ok(frame) = session.next().await {
        if let Down::Delivery(delivery) = frame {
            answers.push(delivery.payload);
        }
    }
    assert_eq!(answers, ["25", "36"]);
    Ok(())
}

#[tokio::test]
async fn events_that_can_never_work_are_answered_with_a_typed_error_in_their_turn() -> anyhow::Result<()> {
    let builder = TestNimbus::builder().env("NIMBUS_EXECUTOR_UNKNOWN_GRACE", "0s");
    let mut bystander = Bystander::start(builder).await?;
    let (mut session, welcome) = RawSession::welcome(bystander.nimbus.connect().await?, hello("clumsy")).await?;
    let max = welcome.limits.expect("Welcome carries the limits").max_payload_bytes as usize;
    session.square(1, 2).await?;
    session.event(2, "sq", vec![b'1'; max + 1]).await?;
    session.event(3, "no such executor", "1").await?;
    session.event(4, "nobody-handles-this", "1").await?;
    session.event(5, "sq", "text").await?;
    session.event(6, "sq", "3037000500").await?;
    session.event(7, "sq", "3037000499").await?;
    let mut reserved = v1::Event { seq: 8, name: "echo".to_owned(), ..v1::Event::default() };
    reserved.attributes.insert("nimbus.x".to_owned(), "1".to_owned());
    session.send(Up::Event(reserved)).await?;
    session.square(9, 3).await?;
    let mut answers = Vec::new();
    for _ in 0..9 {
        let delivery = session.delivery().await?;
        answers.push(match delivery.kind() {
            PartKind::Final => String::from_utf8(delivery.payload.to_vec())?,
            _ => delivery.error.expect("an ERROR says why").reason,
        });
    }
    let expected = [
        "4",
        "EVENT_TOO_LARGE",
        "INVALID_EVENT",
        "UNKNOWN_EVENT",
        "INVALID_PAYLOAD",
        "RESULT_OUT_OF_RANGE",
        "9223372030926249001",
        "INVALID_EVENT",
        "9",
    ];
    assert_eq!(answers, expected);
    bystander.is_served().await
}

#[tokio::test]
async fn a_message_beyond_all_limits_ends_the_stream_and_leaves_the_others_alone() -> anyhow::Result<()> {
    let mut bystander = Bystander::start(TestNimbus::builder()).await?;
    let huge = v1::Event { seq: 1, name: "echo".to_owned(), payload: vec![0; 4 << 20].into(), ..v1::Event::default() };
    assert_eq!(bystander.reason_after_hello(vec![Up::Event(huge)]).await?, "MALFORMED_FRAME");
    Ok(())
}

#[tokio::test]
async fn a_frame_of_a_newer_client_is_counted_and_ignored() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("newer")).await?;
    // On the wire a kind this version does not know looks like a frame without any.
    session.send_frame(v1::ClientFrame { kind: None }).await?;
    session.square(1, 4).await?;
    assert_eq!(session.delivery().await?.payload, "16");
    assert_eq!(nimbus.metrics().await?.get("nimbus_unknown_frames_total")?, 1.0);
    Ok(())
}

#[tokio::test]
async fn a_client_that_never_reads_costs_only_itself() -> anyhow::Result<()> {
    let builder =
        TestNimbus::builder().env("NIMBUS_SESSION_PING_INTERVAL", "500ms").env("NIMBUS_SESSION_PONG_TIMEOUT", "500ms");
    let mut bystander = Bystander::start(builder).await?;
    let greedy = v1::Hello { receive_window: 60_000, ..hello("never-reads") };
    let (session, _) = RawSession::welcome(bystander.nimbus.connect().await?, greedy).await?;
    let before = bystander.nimbus.resident_bytes()?;
    for seq in 1..=1_500 {
        if session.event(seq, "echo", vec![7; 30_000]).await.is_err() {
            break;
        }
        if seq % 50 == 0 {
            bystander.is_served().await?;
        }
    }
    // It sends up to 45 MB and reads nothing: its queue is bounded, and as it answers no ping it is given up.
    let ended = r#"nimbus_streams_ended_total{reason="CLIENT_UNRESPONSIVE"}"#;
    let given_up = async {
        while bystander.nimbus.metrics().await?.get(ended)? < 1.0 {
            bystander.is_served().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(nimbus_harness::PATIENCE, given_up).await??;
    bystander.is_served().await?;
    assert_eq!(bystander.nimbus.metrics().await?.get("nimbus_session_queue_bytes")?, 0.0);
    let grown = bystander.nimbus.resident_bytes()?.saturating_sub(before);
    assert!(grown < 100 << 20, "the server grew by {grown} bytes");
    drop(session);
    Ok(())
}

#[tokio::test]
async fn a_client_that_repeats_itself_for_ever_and_never_reads_is_given_up() -> anyhow::Result<()> {
    let builder =
        TestNimbus::builder().env("NIMBUS_SESSION_PING_INTERVAL", "500ms").env("NIMBUS_SESSION_PONG_TIMEOUT", "500ms");
    let nimbus = builder.start().await?;
    // A small window, or its own HTTP/2 library would tire of what it does not read before the server does.
    let endpoint = tonic::transport::Endpoint::from_shared(nimbus.url())?.initial_stream_window_size(1_024);
    let (session, _) = RawSession::welcome(endpoint.connect().await?, hello("parrot")).await?;
    let flood = async {
        // Each repeat is accepted again, so the queue towards the client fills with accepts.
        while session.square(1, 1).await.is_ok() {}
    };
    let ended = r#"nimbus_streams_ended_total{reason="CLIENT_UNRESPONSIVE"}"#;
    let given_up = nimbus.wait_for_metric(ended, |count| count >= 1.0);
    tokio::select! {
        given_up = given_up => given_up.map(drop)?,
        // The sending side may learn of the end first; then the count is there already, or will be.
        () = flood => nimbus.wait_for_metric(ended, |count| count >= 1.0).await.map(drop)?,
    }
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("bystander")).await?;
    session.square(1, 3).await?;
    assert_eq!(session.delivery().await?.payload, "9");
    Ok(())
}

#[tokio::test]
async fn over_the_rate_limit_the_client_goes_back_and_loses_nothing() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().env("NIMBUS_SESSION_RATE_LIMIT", "5").start().await?;
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("eager")).await?;
    for seq in 1..=7 {
        session.square(seq, 1).await?;
    }
    let rejected = loop {
        if let Down::Rejected(rejected) = session.next().await? {
            break rejected;
        }
    };
    assert_eq!((rejected.seq, rejected.reason.as_str()), (6, "RATE_LIMITED"));
    assert_eq!(rejected.code, tonic::Code::ResourceExhausted as i32);
    // sleep: the server said how long.
    tokio::time::sleep(Duration::from_millis(u64::from(rejected.retry_after_ms) + 1)).await;
    session.square(6, 1).await?;
    session.accepted(6).await
}

#[tokio::test]
async fn beside_others_a_client_that_floods_is_held_to_its_share_and_loses_nothing() -> anyhow::Result<()> {
    let mut bystander = Bystander::start(TestNimbus::builder().env("NIMBUS_SESSION_FAIR_RATE", "50")).await?;
    let (mut flooder, _) = RawSession::welcome(bystander.nimbus.connect().await?, hello("flooder")).await?;
    let held = r#"nimbus_streams_held_total{reason="share"}"#;
    let flood = async {
        let mut sent = 0;
        while bystander.nimbus.metrics().await?.get(held)? < 1.0 {
            bystander.is_served().await?;
            for seq in sent + 1..=sent + 50 {
                flooder.square(seq, 3).await?;
            }
            for seq in sent + 1..=sent + 50 {
                let delivery = flooder.delivery().await?;
                let Some(v1::delivery::Source::Result(result)) = delivery.source else {
                    panic!("no result: {delivery:?}")
                };
                assert_eq!((result.seq, &delivery.payload[..]), (seq, &b"9"[..]));
                flooder.send(Up::Ack(v1::Ack { position: delivery.position })).await?;
            }
            sent += 50;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(nimbus_harness::PATIENCE, flood).await??;
    bystander.is_served().await
}

#[tokio::test]
async fn hostile_metadata_shows_no_token_and_harms_nobody() -> anyhow::Result<()> {
    let builder = TestNimbus::builder().env("NIMBUS_AUTH_TOKENS", "fleet open-sesame-4711 car-* bystander");
    let nimbus = builder.start().await?;
    for token in ["", "\u{7f}x", "wrong", "open-sesame-471"] {
        let Ok(mut session) = RawSession::open_with(nimbus.connect().await?, Some(token)).await else { continue };
        session.send(Up::Hello(hello("car-1"))).await?;
        assert_eq!(session.end_reason().await?, "UNAUTHENTICATED", "{token:?}");
    }
    let mut stranger = RawSession::open_with(nimbus.connect().await?, Some("open-sesame-4711")).await?;
    stranger.send(Up::Hello(hello("truck-1"))).await?;
    assert_eq!(stranger.end_reason().await?, "CLIENT_ID_FORBIDDEN");
    let mut known = RawSession::open_with(nimbus.connect().await?, Some("open-sesame-4711")).await?;
    known.send(Up::Hello(hello("car-1"))).await?;
    assert!(matches!(known.next().await?, Down::Welcome(_)));
    Ok(())
}

#[tokio::test]
async fn the_newest_session_wins_and_a_delayed_hello_does_not() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let second = v1::Hello { session_no: 2, ..hello("phone") };
    let third = v1::Hello { session_no: 3, ..hello("phone") };
    let (mut old, _) = RawSession::welcome(nimbus.connect().await?, second.clone()).await?;
    let (mut new, _) = RawSession::welcome(nimbus.connect().await?, third).await?;
    assert_eq!(old.end_reason().await?, "SUPERSEDED");
    let mut delayed = RawSession::open(nimbus.connect().await?).await?;
    delayed.send(Up::Hello(second)).await?;
    assert_eq!(delayed.end_reason().await?, "STALE_SESSION");
    new.square(1, 9).await?;
    assert_eq!(new.delivery().await?.payload, "81");
    let another_memory = v1::Hello { outbox_id: outbox(2), ..hello("phone") };
    let (_, _) = RawSession::welcome(nimbus.connect().await?, another_memory).await?;
    assert_eq!(new.end_reason().await?, "SUPERSEDED");
    Ok(())
}
