//! Sessions that do not hold.

use std::time::{Duration, Instant};

use nimbus_proto::v1::{self, client_frame::Kind as Up, server_frame::Kind as Down};
use tonic::{Code, Status};

use super::gateway::{FakeGateway, in_time, welcome};
use crate::{Client, Departures, Error, Event, Incoming, Outcome, Resumed, State, status::encode_details};

#[tokio::test]
async fn what_was_not_accepted_is_sent_again_and_no_answer_comes_twice() {
    let mut gateway = FakeGateway::start().await;
    let client = Client::builder(gateway.url()).client_id("device-1").token("secret").start().await.unwrap();
    for n in 1..=4 {
        client.send(Event::new("sq", n.to_string())).await.unwrap();
    }
    let (first, mut server) = gateway.welcomed().await;
    assert_eq!(server.metadata.get("authorization").unwrap(), "Bearer secret");
    assert_eq!((first.session_no, first.first_unaccepted), (1, 1));
    assert!(first.resume.is_none());
    for seq in 1..=4 {
        assert_eq!(server.event().await.seq, seq);
    }
    server.accept(2);
    server.answer(101, 1, "1");
    assert!(matches!(in_time("recv", client.recv()).await.unwrap(), Some(Incoming::Answer(a)) if a.seq.get() == 1));
    server.fail(Status::unavailable("crash"));

    let mut server = gateway.conversation().await;
    let hello = server.hello().await;
    assert_eq!((hello.session_no, hello.first_unaccepted, &hello.outbox_id), (2, 3, &first.outbox_id));
    let resume = hello.resume.clone().unwrap();
    // The first answer is in the application's hands, so it is not acknowledged.
    assert_eq!((&resume.token[..], resume.position, resume.answered), (&b"token"[..], 100, 0));
    server.welcome(v1::Welcome { accepted_seq: 3, ..welcome(&hello) });
    assert_eq!(server.event().await.seq, 4);
    for seq in 1..=4 {
        server.answer(100 + seq, seq, "again");
    }
    for seq in 2..=4 {
        match in_time("recv", client.recv()).await.unwrap() {
            Some(Incoming::Answer(answer)) => assert_eq!(answer.seq.get(), seq),
            other => panic!("{other:?}"),
        }
    }
    server.acked(103).await;
}

#[tokio::test]
async fn it_goes_back_to_the_refused_event_and_not_too_soon() {
    let mut gateway = FakeGateway::start().await;
    let client = Client::builder(gateway.url()).client_id("device-1").start().await.unwrap();
    let (_, mut server) = gateway.welcomed().await;
    for n in 1..=3 {
        client.send(Event::new("sq", n.to_string())).await.unwrap();
        assert_eq!(server.event().await.seq, n);
    }
    server.send(Down::Rejected(v1::Rejected {
        seq: 2,
        code: 8,
        reason: "RATE_LIMITED".to_owned(),
        message: String::new(),
        retry_after_ms: 300,
    }));
    let since = Instant::now();
    assert_eq!(server.event().await.seq, 2);
    assert!(since.elapsed() >= Duration::from_millis(290), "{:?}", since.elapsed());
    assert_eq!(server.event().await.seq, 3);
}

#[tokio::test]
async fn go_away_is_obeyed() {
    let mut gateway = FakeGateway::start().await;
    let client = Client::builder(gateway.url()).client_id("device-1").start().await.unwrap();
    let (_, mut server) = gateway.welcomed().await;
    client.send(Event::new("sq", "1")).await.unwrap();
    assert_eq!(server.event().await.seq, 1);
    let since = Instant::now();
    server.send(Down::GoAway(v1::GoAway { reason: v1::GoAwayReason::Draining as i32, retry_after_ms: 400 }));
    // What is under way still comes.
    server.accept(1);
    server.answer(101, 1, "1");
    assert!(matches!(in_time("recv", client.recv()).await.unwrap(), Some(Incoming::Answer(_))));
    client.send(Event::new("sq", "2")).await.unwrap();
    server.fail(encode_details(Code::Unavailable, "draining", "DRAINING", None));
    let (hello, mut server) = gateway.welcomed().await;
    assert!(since.elapsed() >= Duration::from_millis(390), "{:?}", since.elapsed());
    assert_eq!(hello.first_unaccepted, 2);
    assert_eq!(server.event().await.seq, 2);
    assert_eq!(client.departures(), Departures { asked: 1, lost: 0 });
    server.fail(Status::unavailable("crash"));
    gateway.welcomed().await;
    assert_eq!(client.departures(), Departures { asked: 1, lost: 1 });
}

#[tokio::test]
async fn a_superseded_client_stops_for_good() {
    for by_frame in [true, false] {
        let mut gateway = FakeGateway::start().await;
        let client = Client::builder(gateway.url()).client_id("device-1").start().await.unwrap();
        let (_, server) = gateway.welcomed().await;
        if by_frame {
            let reason = v1::GoAwayReason::Superseded as i32;
            server.send(Down::GoAway(v1::GoAway { reason, retry_after_ms: 0 }));
        } else {
            server.fail(encode_details(Code::Aborted, "newer", "SUPERSEDED", None));
        }
        let received = in_time("recv", client.recv()).await;
        assert!(matches!(received, Err(Error::Superseded { .. })), "{received:?}");
        assert!(matches!(client.send(Event::new("sq", "1")).await, Err(Error::Superseded { .. })));
        assert!(matches!(&*client.state().borrow(), State::Failed(Error::Superseded { .. })));
    }
}

#[tokio::test]
async fn a_refusal_for_good_ends_connect() {
    let mut gateway = FakeGateway::start().await;
    let connecting = tokio::spawn(Client::builder(gateway.url()).client_id("device-1").connect());
    let server = gateway.conversation().await;
    server.fail(encode_details(Code::Unauthenticated, "no such token", "UNAUTHENTICATED", None));
    match in_time("connect", connecting).await.unwrap() {
        Err(Error::Refused { code: 16, reason, .. }) => assert_eq!(reason, "UNAUTHENTICATED"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn connect_says_why_nobody_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connecting =
        Client::builder(address.to_string()).client_id("device-1").connect_timeout(Duration::from_millis(300));
    match connecting.connect().await {
        Err(error @ Error::Unreachable { .. }) => assert!(error.is_retryable(), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_old_copy_of_an_outbox_is_found_out() {
    let mut gateway = FakeGateway::start().await;
    let client = Client::builder(gateway.url()).client_id("device-1").start().await.unwrap();
    client.send(Event::new("sq", "1")).await.unwrap();
    let mut server = gateway.conversation().await;
    let hello = server.hello().await;
    server.welcome(v1::Welcome { accepted_seq: 7, ..welcome(&hello) });
    let received = in_time("recv", client.recv()).await;
    assert!(matches!(received, Err(Error::OutboxOutdated { accepted: 7, last: 1 })), "{received:?}");
}

#[tokio::test]
async fn a_gap_is_told_and_what_nobody_answers_is_unknown_in_the_end() {
    let mut gateway = FakeGateway::start().await;
    let client = Client::builder(gateway.url()).client_id("device-1").start().await.unwrap();
    let (_, mut server) = gateway.welcomed().await;
    for n in 1..=3 {
        client.send(Event::new("sq", n.to_string())).await.unwrap();
        assert_eq!(server.event().await.seq, n);
    }
    server.accept(3);
    in_time("accepted", client.accepted(crate::Seq::new(3))).await.unwrap();
    server.fail(Status::unavailable("crash"));

    let mut server = gateway.conversation().await;
    let hello = server.hello().await;
    server.welcome(v1::Welcome {
        resume_outcome: v1::ResumeOutcome::Gap as i32,
        gap: Some(v1::Gap { from: 100, to: 500 }),
        position: 500,
        ..welcome(&hello)
    });
    server.answer(501, 2, "4");
    server.answer(502, 3, "9");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(in_time("recv", client.recv()).await.unwrap().unwrap());
    }
    assert!(matches!(seen[0], Incoming::Gap(gap) if (gap.from, gap.to) == (100, 500)));
    assert!(matches!(&seen[1], Incoming::Answer(a) if a.seq.get() == 2 && a.outcome != Outcome::Unknown));
    assert!(matches!(&seen[2], Incoming::Answer(a) if a.seq.get() == 3 && a.outcome != Outcome::Unknown));
    assert!(matches!(&*client.state().borrow(), State::Connected(s) if s.resumed == Resumed::WithGap));
    // Both in their turn.
    server.acked(501).await;
    client.goodbye();
    while !matches!(server.frame().await, Some(Up::Goodbye(_))) {}
    server.end();
    let last = in_time("recv", client.recv()).await.unwrap();
    assert!(
        matches!(&last, Some(Incoming::Answer(a)) if a.seq.get() == 1 && a.outcome == Outcome::Unknown),
        "{last:?}"
    );
    assert!(in_time("the end", client.recv()).await.unwrap().is_none());
}

#[tokio::test]
async fn it_says_goodbye_again_after_a_loss() {
    let mut gateway = FakeGateway::start().await;
    let client = Client::builder(gateway.url()).client_id("device-1").start().await.unwrap();
    client.send(Event::new("sq", "1")).await.unwrap();
    client.goodbye();
    let (_, mut server) = gateway.welcomed().await;
    assert_eq!(server.event().await.seq, 1);
    server.accept(1);
    assert!(matches!(server.frame().await, Some(Up::Goodbye(_))));
    server.fail(Status::unavailable("crash"));
    let (_, mut server) = gateway.welcomed().await;
    assert!(matches!(server.frame().await, Some(Up::Goodbye(_))));
    server.answer(101, 1, "1");
    server.end();
    assert!(matches!(in_time("recv", client.recv()).await.unwrap(), Some(Incoming::Answer(_))));
    assert!(in_time("the end", client.recv()).await.unwrap().is_none());
}
