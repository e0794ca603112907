//! One session that holds.

use nimbus_proto::v1::{self, PartKind as Kind, client_frame::Kind as Up, server_frame::Kind as Down};

use super::gateway::{FakeGateway, in_time};
use crate::{Answer, Client, Error, Event, Incoming, Outbox, Outcome, PartKind, Resumed, State};

async fn connected(outbox: Outbox) -> (FakeGateway, Client, super::gateway::Conversation) {
    let mut gateway = FakeGateway::start().await;
    let connecting = tokio::spawn(Client::builder(gateway.url()).client_id("device-1").outbox(outbox).connect());
    let (_, conversation) = gateway.welcomed().await;
    let client = in_time("connect", connecting).await.unwrap().unwrap();
    (gateway, client, conversation)
}

async fn answer(client: &Client) -> Answer {
    match in_time("an answer", client.recv()).await.unwrap() {
        Some(Incoming::Answer(answer)) => answer,
        other => panic!("{other:?} instead of an answer"),
    }
}

#[tokio::test]
async fn an_event_goes_up_and_its_answer_comes_down() {
    let (_gateway, client, mut server) = connected(Outbox::memory()).await;
    assert!(
        matches!(&*client.state().borrow(), State::Connected(s) if s.resumed == Resumed::New && s.server_id == "fake")
    );

    let seq = client.send(Event::new("sq", "12").content_type("application/json")).await.unwrap();
    let event = server.event().await;
    assert_eq!((event.seq, event.name.as_str(), &event.payload[..]), (1, "sq", &b"12"[..]));
    server.accept(1);
    in_time("accepted", client.accepted(seq)).await.unwrap();
    server.answer(101, 1, "144");

    let answer = answer(&client).await;
    assert_eq!((answer.seq, answer.event_name.as_str(), answer.attempt), (seq, "sq", 1));
    let body = answer.into_result().unwrap();
    assert_eq!((&body.payload[..], body.content_type.as_str()), (&b"144"[..], "application/json"));
    assert_eq!(client.close().await.unanswered, 0);
}

#[tokio::test]
async fn a_failed_event_is_answered_too() {
    let (_gateway, client, server) = connected(Outbox::memory()).await;
    client.send(Event::new("sq", "x")).await.unwrap();
    server.deliver(101, 1, Kind::Error, "not a number");
    let failure = answer(&client).await.into_result().unwrap_err();
    assert_eq!((failure.code, failure.reason.as_str()), (3, "INVALID_PAYLOAD"));
}

#[tokio::test]
async fn parts_come_before_the_answer_and_a_lower_attempt_is_void() {
    let (_gateway, client, server) = connected(Outbox::memory()).await;
    client.send(Event::new("sq", "1")).await.unwrap();
    let part = |position, attempt, text: &str| {
        let mut delivery = super::gateway::delivery(client.outbox_id(), position, 1, Kind::Progress, text);
        if let Some(v1::delivery::Source::Result(result)) = &mut delivery.source {
            result.attempt = attempt;
        }
        server.send(Down::Delivery(delivery));
    };
    part(101, 1, "a");
    part(102, 2, "b");
    part(103, 1, "late, of the first attempt");
    server.answer(104, 1, "1");
    for (attempt, text) in [(1, "a"), (2, "b")] {
        match in_time("a part", client.recv()).await.unwrap() {
            Some(Incoming::Part(part)) => {
                assert_eq!(
                    (part.attempt, part.kind, &part.body.payload[..]),
                    (attempt, PartKind::Progress, text.as_bytes())
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(answer(&client).await.outcome, Outcome::Final(_)));
}

#[tokio::test]
async fn a_full_outbox_holds_the_sender_back() {
    let (_gateway, client, mut server) = connected(Outbox::memory().capacity(2)).await;
    client.send(Event::new("sq", "1")).await.unwrap();
    client.send(Event::new("sq", "2")).await.unwrap();
    assert!(matches!(client.try_send(Event::new("sq", "3")), Err(Error::Full)));

    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.send(Event::new("sq", "3")).await }
    });
    assert_eq!(server.event().await.seq, 1);
    assert_eq!(server.event().await.seq, 2);
    assert!(!waiting.is_finished());
    server.accept(1);
    assert_eq!(in_time("room", waiting).await.unwrap().unwrap().get(), 3);
    assert_eq!(server.event().await.seq, 3);
}

#[tokio::test]
async fn no_more_is_under_way_than_the_server_allows() {
    let mut gateway = FakeGateway::start().await;
    let client = Client::builder(gateway.url()).client_id("device-1").start().await.unwrap();
    for n in 0..10 {
        client.send(Event::new("sq", n.to_string())).await.unwrap();
    }
    let mut server = gateway.conversation().await;
    let hello = server.hello().await;
    let mut welcome = super::gateway::welcome(&hello);
    welcome.limits = Some(v1::Limits { max_payload_bytes: 100, max_in_flight: 3, receive_window: 8 });
    server.welcome(welcome);
    for seq in 1..=3 {
        assert_eq!(server.event().await.seq, seq);
    }
    // The pong is the proof: it comes although nothing else may.
    server.send(Down::Ping(v1::Ping { bookmark: 100 }));
    assert!(matches!(server.frame().await, Some(Up::Pong(_))));
    server.accept(2);
    assert_eq!(server.event().await.seq, 4);
    assert_eq!(server.event().await.seq, 5);
    let refused = client.send(Event::new("sq", vec![0; 101])).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_was_handed_over_is_acknowledged_and_not_more() {
    let (_gateway, client, mut server) = connected(Outbox::memory()).await;
    for seq in 1..=3 {
        client.send(Event::new("sq", "1")).await.unwrap();
        assert_eq!(server.event().await.seq, seq);
        server.answer(100 + seq, seq, "1");
    }
    answer(&client).await;
    answer(&client).await;
    // The second is in the application's hands, the first is done with.
    server.acked(101).await;
    answer(&client).await;
    server.acked(102).await;
    client.send(Event::new("sq", "1")).await.unwrap();
    let (item, receipt) = {
        server.answer(104, 4, "1");
        in_time("an item", client.recv_unacked()).await.unwrap().unwrap()
    };
    assert!(matches!(item, Incoming::Answer(_)));
    in_time("ack", client.ack(receipt)).await.unwrap();
    assert_eq!(server.event().await.seq, 4);
    server.acked(104).await;
}

#[tokio::test]
async fn a_call_gets_its_own_answer() {
    let (_gateway, client, mut server) = connected(Outbox::memory()).await;
    client.send(Event::new("sq", "1")).await.unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(Event::new("sq", "5")).await }
    });
    assert_eq!(server.event().await.seq, 1);
    assert_eq!(server.event().await.seq, 2);
    server.deliver(101, 2, Kind::Progress, "half");
    server.answer(102, 2, "25");
    server.answer(103, 1, "1");
    let called = in_time("the call", call).await.unwrap().unwrap();
    assert_eq!(&called.into_result().unwrap().payload[..], b"25");
    assert_eq!(answer(&client).await.seq.get(), 1);
}

#[tokio::test]
async fn an_abandoned_call_is_answered_like_any_other_event() {
    let (_gateway, client, mut server) = connected(Outbox::memory()).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(Event::new("sq", "5")).await }
    });
    assert_eq!(server.event().await.seq, 1);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    server.answer(101, 1, "25");
    assert_eq!(answer(&client).await.seq.get(), 1);
}

#[tokio::test]
async fn a_push_and_an_answer_to_an_older_outbox_are_told_apart() {
    let (_gateway, client, server) = connected(Outbox::memory()).await;
    server.send(Down::Delivery(v1::Delivery {
        position: 101,
        source: Some(v1::delivery::Source::Push(v1::PushOf { request_id: "r1".to_owned() })),
        payload: "news".into(),
        ..v1::Delivery::default()
    }));
    let other = bytes::Bytes::from_static(&[9; 16]);
    server.send(Down::Delivery(super::gateway::delivery(&other, 102, 7, Kind::Final, "49")));
    match in_time("a push", client.recv()).await.unwrap() {
        Some(Incoming::Push(push)) => {
            assert_eq!((push.request_id.as_str(), &push.body.payload[..]), ("r1", &b"news"[..]))
        }
        other => panic!("{other:?}"),
    }
    match in_time("an extra", client.recv()).await.unwrap() {
        Some(Incoming::Extra(extra)) => {
            assert_eq!((extra.kind, extra.seq.get()), (crate::ExtraKind::OtherOutbox, 7));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn finish_waits_for_every_answer() {
    let (_gateway, client, mut server) = connected(Outbox::memory()).await;
    client.send(Event::new("sq", "1")).await.unwrap();
    client.send(Event::new("sq", "2")).await.unwrap();
    let finishing = tokio::spawn({
        let client = client.clone();
        async move { client.finish().await }
    });
    assert_eq!(server.event().await.seq, 1);
    assert_eq!(server.event().await.seq, 2);
    server.accept(2);
    assert!(matches!(server.frame().await, Some(Up::Goodbye(_))));
    assert!(matches!(client.send(Event::new("sq", "3")).await, Err(Error::Closed)));
    server.answer(101, 1, "1");
    server.answer(102, 2, "4");
    server.end();
    assert_eq!(answer(&client).await.seq.get(), 1);
    assert!(!finishing.is_finished());
    assert_eq!(answer(&client).await.seq.get(), 2);
    assert!(in_time("the end", client.recv()).await.unwrap().is_none());
    in_time("finish", finishing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let (_gateway, client, mut server) = connected(Outbox::memory()).await;
    client.send(Event::new("sq", "1")).await.unwrap();
    assert_eq!(server.event().await.seq, 1);
    let receiving = tokio::spawn({
        let client = client.clone();
        async move { client.recv().await }
    });
    let remains = client.close().await;
    assert_eq!((remains.unaccepted, remains.unanswered), (1, 1));
    assert!(in_time("recv", receiving).await.unwrap().unwrap().is_none());
    assert!(matches!(client.send(Event::new("sq", "1")).await, Err(Error::Closed)));
    assert!(matches!(client.accepted(crate::Seq::new(1)).await, Err(Error::Closed)));
    assert!(matches!(&*client.state().borrow(), State::Closed));
    server.gone().await;
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_stream() {
    let (_gateway, client, mut server) = connected(Outbox::memory()).await;
    drop(client);
    server.gone().await;
}

#[tokio::test]
async fn what_was_described_wrongly_is_said_at_once() {
    for builder in [
        Client::builder("127.0.0.1:1").client_id(""),
        Client::builder("127.0.0.1:1").client_id("no spaces"),
        Client::builder("not an address").client_id("ok"),
        Client::builder("127.0.0.1:1").client_id("ok").receive_window(0),
        Client::builder("127.0.0.1:1").client_id("ok").token("line\nbreak"),
        Client::builder("127.0.0.1:1").client_id("ok").outbox(Outbox::memory().capacity(0)),
    ] {
        let described = format!("{builder:?}");
        assert!(matches!(builder.start().await, Err(Error::Invalid { .. })), "{described}");
    }
}
