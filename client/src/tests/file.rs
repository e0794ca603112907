//! A client with an outbox file, restarted.

use super::gateway::{FakeGateway, in_time};
use crate::{Client, Error, Event, Incoming, Outbox, State, outbox::tests::unnamed};

fn builder(gateway: &FakeGateway, path: &std::path::Path) -> crate::Builder {
    Client::builder(gateway.url()).client_id("device-1").outbox(Outbox::file(path))
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_process_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox");
    let mut gateway = FakeGateway::start().await;
    let client = builder(&gateway, &path).start().await.unwrap();
    let (first, mut server) = gateway.welcomed().await;
    for n in 1..=4 {
        client.send(Event::new("sq", n.to_string())).await.unwrap();
        assert_eq!(server.event().await.seq, n);
    }
    server.accept(2);
    in_time("accepted", client.accepted(crate::Seq::new(2))).await.unwrap();
    server.answer(101, 1, "1");
    server.answer(102, 2, "4");
    let (_, receipt) = in_time("recv", client.recv_unacked()).await.unwrap().unwrap();
    in_time("ack", client.ack(receipt)).await.unwrap();
    in_time("recv", client.recv_unacked()).await.unwrap().unwrap();

    // Somebody else cannot have it meanwhile.
    assert!(matches!(builder(&gateway, &path).start().await, Err(Error::OutboxInUse { .. })));
    // What a crash would leave: nothing is acknowledged at the end.
    std::fs::copy(&path, directory.path().join("copy")).unwrap();
    drop(client);
    server.gone().await;

    let client = builder(&gateway, &directory.path().join("copy")).start().await.unwrap();
    assert_eq!(client.outbox_id(), &first.outbox_id);
    let (hello, mut server) = gateway.welcomed().await;
    assert!(hello.session_no > first.session_no);
    let resume = hello.resume.unwrap();
    assert_eq!((resume.position, resume.answered), (101, 1));
    // Accepts are kept in batches; sending accepted events again is harmless.
    assert!((1..=3).contains(&hello.first_unaccepted));
    for seq in hello.first_unaccepted..=4 {
        let event = server.event().await;
        assert_eq!((event.seq, &event.payload[..]), (seq, seq.to_string().as_bytes()));
    }
    server.answer(101, 1, "again");
    server.answer(102, 2, "4");
    match in_time("recv", client.recv()).await.unwrap() {
        Some(Incoming::Answer(answer)) => assert_eq!(answer.seq.get(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.send(Event::new("sq", "5")).await.unwrap().get(), 5);
    client.close().await;

    // Closing acknowledges what was handed out, and frees the file at once.
    let client = builder(&gateway, &directory.path().join("copy")).start().await.unwrap();
    let (hello, mut server) = gateway.welcomed().await;
    assert_eq!(hello.resume.unwrap().answered, 2);
    while server.event().await.seq < 5 {}
    client.close().await;
}

#[tokio::test]
async fn an_outbox_fills_up_offline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox");
    let mut gateway = FakeGateway::start().await;
    let offline = Client::builder("127.0.0.1:9").client_id("device-1").outbox(Outbox::file(&path).capacity(20));
    let client = offline.start().await.unwrap();
    for n in 0..20 {
        client.send(Event::new("sq", n.to_string())).await.unwrap();
    }
    assert!(matches!(client.try_send(Event::new("sq", "x")), Err(Error::Full)));
    assert_eq!(client.close().await.unaccepted, 20);

    // A smaller one than what waits: no room until enough is gone.
    let client = Client::builder(gateway.url()).client_id("device-1").outbox(Outbox::file(&path).capacity(5));
    let client = client.start().await.unwrap();
    let (_, mut server) = gateway.welcomed().await;
    for seq in 1..=20 {
        assert_eq!(server.event().await.seq, seq);
    }
    server.accept(15);
    in_time("accepted", client.accepted(crate::Seq::new(15))).await.unwrap();
    assert!(matches!(client.try_send(Event::new("sq", "x")), Err(Error::Full)));
    server.accept(16);
    assert_eq!(in_time("room", client.send(Event::new("sq", "x"))).await.unwrap().get(), 21);
    client.close().await;
}

#[tokio::test]
async fn a_file_of_version_1_says_whose_it_is_once_a_server_has_welcomed_its_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox");
    std::fs::write(&path, unnamed(&[])).unwrap();
    let mut gateway = FakeGateway::start().await;
    // Until then nobody knows whose it is, and a wrong one does not take it away.
    let offline = || Client::builder("127.0.0.1:9").client_id("device-2").outbox(Outbox::file(&path));
    offline().start().await.unwrap().close().await;

    let client = builder(&gateway, &path).start().await.unwrap();
    let (_, mut server) = gateway.welcomed().await;
    let mut state = client.state();
    in_time("connected", state.wait_for(|state| matches!(state, State::Connected(_)))).await.unwrap();
    client.send(Event::new("sq", "1")).await.unwrap();
    assert_eq!(server.event().await.seq, 1);
    client.close().await;
    match offline().start().await {
        Err(Error::OutboxForeign { owner, client_id, .. }) => {
            assert_eq!((&owner[..], &client_id[..]), ("device-1", "device-2"))
        }
        other => panic!("{other:?}"),
    }
    builder(&gateway, &path).start().await.unwrap().close().await;
}
