//! Two builds on one Redis while a deployment is rolled: what a newer one wrote is refused by name or read from the log,
//! never misread.

use bytes::Bytes;
use fred::interfaces::{ClientLike as _, HashesInterface as _, PubsubInterface as _};
use fred::types::{ClusterHash, CustomCommand, Value};
use nimbus_contracts::within;
use nimbus_core::{
    Partition, Position,
    ports::{
        mailbox::{ClaimError, Mailbox as _, MailboxError, Page},
        notifier::{Notification, Notifier as _},
    },
};

use super::races::{apply, listen, through, waiting};
use crate::{
    codec::notice,
    keys::{Keys, PartitionKeys},
    testing::{World, answers, client, config, sdk, server, session, shared},
};

async fn world(test: &str) -> Option<(World, PartitionKeys)> {
    let world = World::new(config(&shared(test)?), 1).await;
    let keys = Keys::new(&world.config.key_prefix, &world.config.channel_prefix, world.epoch, false);
    Some((world, keys.partition(Partition(0))))
}

/// Raises the version of a stored piece, as a newer build would.
async fn raise(world: &World, hash: &str, field: &str) {
    let redis = &world.store.link.quick;
    let mut piece: Vec<u8> = redis.hget::<Bytes, _, _>(hash, field).await.unwrap().into();
    piece[0] += 1;
    redis.hset::<(), _, _>(hash, (field, Value::Bytes(piece.into()))).await.unwrap();
}

#[tokio::test]
async fn a_newer_fold_stops_the_older_router_until_it_is_rolled_too() {
    let Some((world, keys)) = world("a newer fold").await else { return };
    let c = client("c");
    apply(&world, &answers(&c, 0, 1..=3)).await;
    raise(&world, &keys.seen(), "c").await;
    let older = world.another().await;
    let refused = older.ports.mailbox.apply(&answers(&c, 3, [4])).await.unwrap_err();
    assert!(matches!(&refused, MailboxError::Unavailable(why) if why.contains("newer build")), "{refused}");
    assert_eq!(older.ports.mailbox.applied(Partition(0)).await.unwrap(), Position(3), "nothing changed");
    // Others of the partition go on.
    assert_eq!(apply(&older, &answers(&client("d"), 3, [1])).await, through(4, 1, 0));
}

#[tokio::test]
async fn newer_claims_are_refused_by_name() {
    let Some((world, keys)) = world("newer claims").await else { return };
    let c = client("c");
    world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
    raise(&world, &keys.claim(), "c").await;
    let refused = world.ports.mailbox.claim(sdk(&c, "s1", 2)).await.unwrap_err();
    assert!(matches!(&refused, ClaimError::Unavailable(why) if why.contains("newer build")), "{refused}");
}

#[tokio::test]
async fn a_chunk_of_a_newer_build_is_left_to_the_log() {
    let Some((world, keys)) = world("a newer chunk").await else { return };
    let c = client("c");
    apply(&world, &answers(&c, 0, 1..=3)).await;
    let xadd = CustomCommand::new_static("XADD", ClusterHash::FirstKey, false);
    let newer = Value::Bytes(Bytes::from_static(&[3, 1, 0, 0, 0, 9]));
    let arguments = vec![keys.stream(&c).into(), "5".into(), "c".into(), newer];
    world.store.link.quick.custom::<Value, _>(xadd, arguments).await.unwrap();
    let page = world.ports.mailbox.read(&c, Position(0), 100, 1 << 20).await.unwrap();
    assert!(matches!(page, Page::BelowFloor { floor } if floor == Position(3)), "{page:?}");
    // Never the same position again: whoever reads the log up to the floor comes further each time.
    for from in 3..5 {
        assert!(waiting(&world, &c, from).await.unwrap_err() > Position(from));
    }
}

#[tokio::test]
async fn a_notification_of_a_newer_build_is_a_miss() {
    let Some((world, _)) = world("a newer notification").await else { return };
    let mut heard = listen(&world, "s1").await;
    let note = Notification::Superseded { client: client("c"), session: session(1) };
    let mut newer: Vec<u8> = notice::encode(&note).into();
    newer[0] += 1;
    let keys = Keys::new(&world.config.key_prefix, &world.config.channel_prefix, world.epoch, false);
    let channel = keys.channel(Partition(0), &server("s1"));
    for message in [newer, b"".to_vec(), b"\x01\x01".to_vec(), b"hello".to_vec()] {
        let message = Value::Bytes(message.into());
        world.store.link.quick.publish::<(), _, _>(channel.as_str(), message).await.unwrap();
        let next = within("the word that something was missed", heard.next()).await;
        assert!(matches!(next, Some(Notification::MayHaveMissed)), "{next:?}");
    }
    world.ports.notifier.publish(&server("s1"), note).await.unwrap();
    assert!(matches!(within("the next", heard.next()).await, Some(Notification::Superseded { .. })));
}
