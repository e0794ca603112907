//! The mailbox on the log it belongs to: what a kill, a restart and retention leave of it.

use std::sync::Arc;

use nimbus_contracts::Sample as _;
use nimbus_core::{
    ClientId, Lane, Origin, OutboxId, PartKind, Position, PrincipalId, ResultRecord, ServerId, SessionId,
    ports::mailbox::{Applied, Claim, ClaimError, ClaimKind, MailboxAck, Page},
};
use ulid::Ulid;

use crate::{
    Embedded,
    disk::simulated::SimulatedDisk,
    testing::{P0, open_on, small},
};

/// A client of partition 0.
fn client() -> ClientId {
    let names = (0..).map(|number| ClientId::try_new(&format!("client-{number}")).unwrap());
    names.into_iter().find(|client| small().partitions.partition_of(client) == P0).unwrap()
}

fn claim(session_no: u64, log_end: Position) -> Claim {
    Claim {
        client: client(),
        principal: PrincipalId::try_new("alice").unwrap(),
        server: ServerId::try_new("s").unwrap(),
        session: SessionId(Ulid(session_no.into())),
        kind: ClaimKind::Sdk { outbox: OutboxId::new([1; 16]), session_no, token: None },
        log_end,
    }
}

fn answer(seq: u64) -> ResultRecord {
    let principal = PrincipalId::try_new("alice").unwrap();
    let origin = Arc::new(Origin { client: client(), principal, outbox: OutboxId::new([1; 16]) });
    let sample = ResultRecord::sample(&client(), 0);
    ResultRecord { origin, seq, kind: PartKind::Final, lane: Lane::Ordered, replay_no: 0, ..sample }
}

/// What a router does: applies what is new, from where the mailbox is.
async fn route(log: &Embedded) -> (usize, usize) {
    let (mut fresh_total, mut duplicates_total) = (0, 0);
    loop {
        let from = log.mailbox().applied(P0).await.unwrap();
        let batch = log.results().read(P0, from, 4_096).await.unwrap();
        if batch.next == from {
            return (fresh_total, duplicates_total);
        }
        match log.mailbox().apply(&batch).await.unwrap() {
            Applied::Through { fresh, duplicates, .. } => {
                fresh_total += fresh;
                duplicates_total += duplicates;
            }
            hole @ Applied::Hole { .. } => panic!("{hole:?}"),
        }
    }
}

async fn store(log: &Embedded, seqs: std::ops::RangeInclusive<u64>) -> Position {
    log.results().append(P0, seqs.map(answer).collect()).await.unwrap()
}

#[tokio::test]
async fn a_claim_that_was_granted_outlives_a_power_loss() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let granted = log.mailbox().claim(claim(5, Position(0))).await.unwrap();
    for seed in 0..10 {
        let log = open_on(&disk.after_power_loss(seed), small()).unwrap();
        let stale = log.mailbox().claim(claim(4, Position(0))).await;
        assert!(matches!(stale, Err(ClaimError::Stale { given: 4, seen: 5 })), "{stale:?}");
        let again = log.mailbox().claim(claim(6, Position(9))).await.unwrap();
        assert_eq!((again.token, again.known, again.start), (granted.token.clone(), true, granted.start));
        assert_eq!(again.previous, None, "no session outlives its process");
    }
}

#[tokio::test]
async fn a_claim_whose_sync_fails_is_not_granted() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    disk.fail_next_sync();
    let refused = log.mailbox().claim(claim(1, Position(0))).await;
    assert!(matches!(refused, Err(ClaimError::Unavailable(_))), "{refused:?}");
    log.mailbox().claim(claim(1, Position(0))).await.unwrap();
}

/// The fold goes on over segments, snapshots and kills: what was answered once stays answered.
#[tokio::test]
async fn no_answer_is_forgotten_over_many_segments() {
    let mut disk = SimulatedDisk::new();
    let mut log = open_on(&disk, small()).unwrap();
    log.mailbox().claim(claim(1, Position(0))).await.unwrap();
    let mut seq = 1;
    // Where the first copy of each answer lies.
    let mut answers = Vec::new();
    for session_no in 2..8 {
        // Each append fills a segment of its own.
        for _ in 0..4 {
            let before = log.results().range(P0).await.unwrap().end;
            store(&log, seq..=seq + 29).await;
            let stored = log.results().read(P0, before, usize::MAX).await.unwrap();
            answers.extend(stored.records.iter().map(|stored| stored.offset));
            seq += 30;
            assert_eq!(route(&log).await, (30, 0));
        }
        // Taken by a thread of its own, so the kill comes between a snapshot and what was applied after it.
        while !disk.files().keys().any(|file| file.starts_with("snapshots/") && file.ends_with(".snap")) {
            tokio::task::yield_now().await;
        }
        disk = disk.after_kill();
        log = open_on(&disk, small()).unwrap();
        let repeated = log.mailbox().applied(P0).await.unwrap();
        let end = log.results().range(P0).await.unwrap().end;
        assert!(Position(0) < repeated && repeated <= end, "the snapshot was used");
        let (fresh, _) = route(&log).await;
        let expected = answers.iter().filter(|offset| !repeated.covers(**offset)).count();
        assert_eq!(fresh, expected, "what is folded again is not taken for its own duplicate, nor a duplicate for it");
        // What was folded again waits again; what was not is below the floor.
        match log.mailbox().read(&client(), repeated, usize::MAX, usize::MAX).await.unwrap() {
            Page::Records { records, .. } => assert_eq!(records.len(), fresh),
            below @ Page::BelowFloor { .. } => panic!("{below:?}"),
        }
        store(&log, 1..=seq - 1).await;
        assert_eq!(route(&log).await, (0, seq as usize - 1));
        let claimed = log.mailbox().claim(claim(session_no, end)).await.unwrap();
        assert_eq!((claimed.answered, claimed.known, claimed.start), (seq - 1, true, Position(0)));
    }
}

#[tokio::test]
async fn the_position_of_an_original_client_outlives_a_clean_stop() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, small()).unwrap();
    let original = |session_no| Claim { kind: ClaimKind::Original, ..claim(session_no, Position(0)) };
    log.mailbox().claim(original(1)).await.unwrap();
    let end = store(&log, 1..=3).await;
    route(&log).await;
    let ack = MailboxAck { client: client(), session: SessionId(Ulid(1)), position: end };
    log.mailbox().ack(&[ack]).await.unwrap();
    log.close().await.unwrap();
    let log = open_on(&disk, small()).unwrap();
    let back = log.mailbox().claim(original(2)).await.unwrap();
    assert_eq!((back.start, back.known), (end, true));
}
