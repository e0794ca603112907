//! A disk that fills up, fails an fsync, or breaks: what callers are told, and what is there afterwards.

use futures_util::FutureExt as _;
use nimbus_core::{
    GroupId, Offset, Position,
    ports::log::{Committed, ConsumerEvent, EventLog, LogError},
};

use crate::{
    Embedded, EmbeddedConfig,
    disk::simulated::SimulatedDisk,
    testing::{P0, P1, event, event_of, open_on, origin, read_all, small},
};

async fn sequences(log: &EventLog) -> Vec<u64> {
    read_all(log, P0).await.unwrap().into_iter().map(|(_, seq)| seq).collect()
}

/// Waits until an append is possible again, as a client would.
async fn append_until_stored(log: &Embedded, seq: u64) -> Position {
    loop {
        match log.events().append(P0, vec![event(seq)]).await {
            Ok(position) => return position,
            Err(LogError::Unavailable(_) | LogError::Full(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_works_again_when_there_is_room() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let events = log.events();
    events.append(P0, vec![event(1)]).await.unwrap();

    disk.set_capacity(Some(disk.used() + 2000));
    let large = event_of(&origin("client"), 2, 3000);
    let error = events.append(P0, vec![large.clone()]).await.unwrap_err();
    assert!(matches!(error, LogError::Full(_)), "{error}");
    assert_eq!(events.append(P0, vec![event(3)]).await.unwrap(), Position(2), "small ones still fit");

    disk.set_capacity(None);
    assert_eq!(events.append(P0, vec![large]).await.unwrap(), Position(3));
    assert_eq!(sequences(&*events).await, [1, 3, 2]);

    // What was refused is not there after a power loss either.
    for seed in 0..20 {
        let log = open_on(&disk.after_power_loss(seed), small()).unwrap();
        assert_eq!(sequences(&*log.events()).await, [1, 3, 2], "seed {seed}");
    }
}

#[tokio::test]
async fn nothing_of_a_write_that_did_not_fit_comes_back() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let events = log.events();
    // While the first write is held, the next two gather into one: the first of them fits, the second does not.
    disk.hold_syncs();
    let first = events.append(P0, vec![event(1)]);
    disk.await_held_sync();
    let fits = events.append(P0, vec![event(2)]);
    let does_not = events.append(P1, vec![event_of(&origin("client"), 3, 3000)]);
    disk.set_capacity(Some(disk.used() + 1000));
    disk.release_syncs();
    first.await.unwrap();
    assert!(matches!(fits.await, Err(LogError::Full(_))));
    assert!(matches!(does_not.await, Err(LogError::Full(_))));

    for crashed in (0..20).map(|seed| disk.after_power_loss(seed)).chain([disk.after_kill()]) {
        let log = open_on(&crashed, small()).unwrap();
        assert_eq!(sequences(&*log.events()).await, [1]);
    }
}

#[tokio::test]
async fn after_a_failed_fsync_the_log_goes_on_in_a_new_segment() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let events = log.events();
    events.append(P0, vec![event(1), event(2)]).await.unwrap();

    disk.fail_next_sync();
    let error = events.append(P0, vec![event(3)]).await.unwrap_err();
    assert!(matches!(error, LogError::Ambiguous(_)), "{error}");
    assert_eq!(sequences(&*events).await, [1, 2], "readers see synced records only");
    // The offset was never visible, so it may be used again.
    assert_eq!(append_until_stored(&log, 4).await, Position(3));
    assert_eq!(sequences(&*events).await, [1, 2, 4]);
    assert!(disk.files().contains_key("segments/00000000000000000002.log"));

    for crashed in (0..20).map(|seed| disk.after_power_loss(seed)).chain([disk.after_kill()]) {
        let log = open_on(&crashed, small()).unwrap();
        assert_eq!(read_all(&*log.events(), P0).await.unwrap(), [(Offset(0), 1), (Offset(1), 2), (Offset(2), 4)]);
    }
}

#[tokio::test]
async fn a_broken_disk_refuses_until_it_works_again() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let events = log.events();
    events.append(P0, vec![event(1)]).await.unwrap();

    disk.fail_writes(true);
    assert!(matches!(events.append(P0, vec![event(2)]).await, Err(LogError::Ambiguous(_))));
    for _ in 0..3 {
        assert!(matches!(events.append(P0, vec![event(3)]).await, Err(LogError::Unavailable(_))));
    }
    assert_eq!(sequences(&*events).await, [1], "reading goes on");
    disk.fail_writes(false);
    append_until_stored(&log, 4).await;
    assert_eq!(sequences(&*events).await, [1, 4]);
    log.close().await.unwrap();
    let log = open_on(&disk, small()).unwrap();
    assert_eq!(sequences(&*log.events()).await, [1, 4]);
}

#[tokio::test]
async fn what_was_enqueued_before_a_failure_was_reported_fails_as_well() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let events = log.events();
    for round in 0..20u64 {
        disk.hold_syncs();
        let first = events.append(P0, vec![event(round * 10)]);
        disk.await_held_sync();
        let later: Vec<_> = (1..4).map(|n| events.append(P0, vec![event(round * 10 + n)])).collect();
        disk.fail_next_sync();
        disk.release_syncs();
        assert!(matches!(first.await, Err(LogError::Ambiguous(_))));
        for append in later {
            assert!(matches!(append.await, Err(LogError::Unavailable(_))));
        }
        append_until_stored(&log, round * 10 + 9).await;
    }
    assert_eq!(sequences(&*events).await, (0..20).map(|round| round * 10 + 9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_commit_outlives_the_failed_write_it_was_part_of() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let events = log.events();
    let group = GroupId::try_new("g").unwrap();
    events.append(P0, vec![event(1)]).await.unwrap();
    let mut consumer = events.consume(&group).await.unwrap();
    while !matches!(consumer.next().await.unwrap(), ConsumerEvent::Records(_)) {}
    consumer.flush().await.unwrap();

    disk.hold_syncs();
    consumer.commit(P0, Committed { position: Position(1), ..Committed::default() });
    let failing = events.append(P0, vec![event(2)]);
    disk.await_held_sync();
    disk.fail_next_sync();
    disk.release_syncs();
    assert!(failing.await.is_err());
    consumer.flush().await.unwrap();

    let log = open_on(&disk.after_power_loss(1), small()).unwrap();
    assert_eq!(log.events().committed(P0).await.unwrap(), [(group, Position(1))]);
}

#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, EmbeddedConfig { append_queue_bytes: 1, ..small() }).unwrap();
    let events = log.events();
    let mut consumer = events.consume(&GroupId::try_new("g").unwrap()).await.unwrap();
    events.append(P0, vec![event(1)]).await.unwrap();
    disk.panic_at_next_sync();
    assert!(matches!(events.append(P0, vec![event(2)]).await, Err(LogError::Ambiguous(_))));
    assert!(matches!(events.append(P0, vec![event(3)]).await, Err(LogError::Closed)));
    events.ready().await;
    let closed = loop {
        match consumer.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(closed, LogError::Closed), "{closed}");
    assert!(log.close().await.is_err(), "and closing owns up to it");
    let log = open_on(&disk.after_kill(), small()).unwrap();
    assert_eq!(sequences(&*log.events()).await[0], 1);
}

#[tokio::test]
async fn waiting_for_room_ends_when_there_is_room() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, EmbeddedConfig { append_queue_bytes: 100, ..small() }).unwrap();
    let events = log.events();
    events.ready().await;
    disk.hold_syncs();
    let append = events.append(P0, vec![event(1)]);
    assert!(events.ready().now_or_never().is_none(), "the queue is beyond its budget");
    disk.await_held_sync();
    disk.release_syncs();
    events.ready().await;
    append.await.unwrap();
}
