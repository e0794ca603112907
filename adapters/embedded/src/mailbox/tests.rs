//! The embedded mailbox passes the contract suite from whatever snapshot it comes back; and its state as bytes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use nimbus_contracts::{Sample as _, mailbox::MailboxFixture};
use nimbus_core::{
    ClientId, Lane, Offset, Origin, OutboxId, PartKind, Partition, PartitionCount, Position, PrincipalId, ResultRecord,
    ServerId, SessionId,
    mailbox::{ClaimChange, LogStarts, MailboxLimits, PartitionMailbox},
    ports::{
        log::{Appending, Batch, LogError, Range, Stored},
        mailbox::{Applied, Claim, ClaimError, ClaimKind, Mailbox, MailboxAck, MailboxError},
        notifier::{Notification, Notifier},
    },
};
use proptest::prelude::*;
use ulid::Ulid;

use super::{EmbeddedMailbox, Journal, MailboxMetrics, codec};
use crate::{
    notifier::{EmbeddedNotifier, NotifierConfig, NotifierMetrics},
    state::StateMachine,
    testing::TestClock,
};

const LIMITS: MailboxLimits = MailboxLimits {
    client_records: 32,
    client_bytes: MailboxLimits::CLIENT_BYTES,
    partition_bytes: 2 << 20,
    window: MailboxLimits::WINDOW,
    retention: MailboxLimits::RETENTION,
};

/// A journal in memory; it can fail.
#[derive(Debug, Clone, Default)]
struct Records {
    written: Arc<Mutex<Vec<Vec<u8>>>>,
    fails: Arc<AtomicBool>,
}

impl Journal for Records {
    fn append(&self, record: &[u8]) -> Appending {
        self.written.lock().unwrap().push(record.to_vec());
        let outcome = if self.fails.load(Ordering::Relaxed) {
            Err(LogError::Full("no room".to_owned()))
        } else {
            Ok(Position::START)
        };
        std::future::ready(outcome).boxed()
    }

    fn note(&self, record: &[u8]) {
        self.written.lock().unwrap().push(record.to_vec());
    }
}

/// When the state was last written down before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Snapshots {
    Never,
    /// At the restart before this one: the journal since then is replayed, and older records with it.
    Stale,
    /// Just now.
    Fresh,
}

struct Fixture {
    clock: Arc<TestClock>,
    partitions: PartitionCount,
    mailbox: Arc<EmbeddedMailbox>,
    notifier: EmbeddedNotifier,
    journal: Records,
    snapshots: Snapshots,
    snapshot: Option<Vec<u8>>,
}

fn closed(partitions: PartitionCount, notifier: &EmbeddedNotifier) -> Arc<EmbeddedMailbox> {
    closed_with(partitions, notifier, Arc::default())
}

fn closed_with(partitions: PartitionCount, notifier: &EmbeddedNotifier, clock: Arc<TestClock>) -> Arc<EmbeddedMailbox> {
    Arc::new(EmbeddedMailbox::new(partitions, LIMITS, clock, notifier.clone(), MailboxMetrics::default()))
}

fn empty(partitions: PartitionCount) -> Vec<Range> {
    vec![Range { start: Position::START, end: Position::START }; partitions.len()]
}

fn fixture(partitions: PartitionCount, snapshots: Snapshots) -> Fixture {
    let notifier = EmbeddedNotifier::new(NotifierConfig::default(), NotifierMetrics::default());
    let clock = Arc::default();
    let mailbox = closed_with(partitions, &notifier, Arc::clone(&clock));
    let journal = Records::default();
    mailbox.start(journal.clone(), &empty(partitions));
    Fixture { clock, partitions, mailbox, notifier, journal, snapshots, snapshot: None }
}

#[async_trait]
impl MailboxFixture for Fixture {
    fn mailbox(&self) -> Arc<dyn Mailbox> {
        Arc::clone(&self.mailbox) as Arc<dyn Mailbox>
    }

    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.notifier.clone())
    }

    fn partition_bytes(&self) -> usize {
        LIMITS.partition_bytes
    }

    fn client_records(&self) -> usize {
        LIMITS.client_records
    }

    async fn outlive_window(&self) {
        self.clock.advance(LIMITS.window * 2);
        self.mailbox.sweep(|_| LogStarts { events: Position::START, results: Position::START });
    }

    async fn restart(&mut self, logs: Vec<Range>) {
        let now = self.mailbox.snapshot();
        let found = match self.snapshots {
            Snapshots::Never => None,
            Snapshots::Stale => self.snapshot.replace(now),
            Snapshots::Fresh => Some(now),
        };
        self.mailbox = closed_with(self.partitions, &self.notifier, Arc::clone(&self.clock));
        if let Some(snapshot) = found {
            self.mailbox.restore(&snapshot).unwrap();
        }
        for record in &*self.journal.written.lock().unwrap() {
            self.mailbox.replay(record).unwrap();
        }
        self.mailbox.start(self.journal.clone(), &logs);
    }
}

mod without_snapshots {
    async fn make(partitions: nimbus_core::PartitionCount) -> super::Fixture {
        super::fixture(partitions, super::Snapshots::Never)
    }

    nimbus_contracts::mailbox_contract!(make);
}

mod with_stale_snapshots {
    async fn make(partitions: nimbus_core::PartitionCount) -> super::Fixture {
        super::fixture(partitions, super::Snapshots::Stale)
    }

    nimbus_contracts::mailbox_contract!(make);
}

mod with_fresh_snapshots {
    async fn make(partitions: nimbus_core::PartitionCount) -> super::Fixture {
        super::fixture(partitions, super::Snapshots::Fresh)
    }

    nimbus_contracts::mailbox_contract!(make);
}

fn one_partition() -> PartitionCount {
    PartitionCount(std::num::NonZeroU32::MIN)
}

fn claim(kind: ClaimKind) -> Claim {
    Claim {
        client: ClientId::try_new("c").unwrap(),
        principal: PrincipalId::try_new("alice").unwrap(),
        server: ServerId::try_new("s").unwrap(),
        session: SessionId(Ulid(1)),
        kind,
        log_end: Position::START,
    }
}

fn sdk(session_no: u64) -> Claim {
    claim(ClaimKind::Sdk { outbox: OutboxId::new([1; 16]), session_no, token: None })
}

#[tokio::test]
async fn nothing_is_served_before_the_log_is_open() {
    let notifier = EmbeddedNotifier::new(NotifierConfig::default(), NotifierMetrics::default());
    let mailbox = closed(one_partition(), &notifier);
    assert!(matches!(mailbox.claim(sdk(1)).await, Err(ClaimError::Unavailable(_))));
    assert!(matches!(mailbox.applied(Partition(0)).await, Err(MailboxError::Unavailable(_))));
    mailbox.start(Records::default(), &empty(one_partition()));
    assert!(mailbox.claim(sdk(1)).await.is_ok());
    assert!(matches!(mailbox.applied(Partition(1)).await, Err(MailboxError::Unavailable(_))), "no such partition");
}

/// A disk that is full for a moment must not cost the live session its notifications.
#[tokio::test]
async fn a_claim_that_is_not_durable_leaves_the_client_where_it_was() {
    let notifier = EmbeddedNotifier::new(NotifierConfig::default(), NotifierMetrics::default());
    let mailbox = closed(one_partition(), &notifier);
    let journal = Records::default();
    mailbox.start(journal.clone(), &empty(one_partition()));
    let mut subscription = notifier.subscribe(&sdk(1).server).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Notification::MayHaveMissed)));
    mailbox.claim(sdk(1)).await.unwrap();

    journal.fails.store(true, Ordering::Relaxed);
    let newer = Claim { session: SessionId(Ulid(2)), server: ServerId::try_new("elsewhere").unwrap(), ..sdk(2) };
    for _ in 0..2 {
        let refused = mailbox.claim(newer.clone()).await;
        assert!(matches!(refused, Err(ClaimError::Unavailable(_))), "never stale: {refused:?}");
    }
    let answer = ResultRecord { origin: origin("alice"), ..ResultRecord::sample(&sdk(1).client, 0) };
    let records = Arc::new([Stored { offset: Offset(0), record: answer }]);
    mailbox
        .apply(&Batch { partition: Partition(0), from: Position(0), records, next: Position(1), provisional: None })
        .await
        .unwrap();
    assert!(matches!(subscription.next().await, Some(Notification::Results { .. })), "it is still session 1's");

    let bob = Claim { principal: PrincipalId::try_new("bob").unwrap(), ..newer.clone() };
    assert!(matches!(mailbox.claim(bob).await, Err(ClaimError::Unavailable(_))));
    let told = subscription.next().await;
    assert!(matches!(told, Some(Notification::Superseded { session: SessionId(Ulid(1)), .. })), "{told:?}");
    journal.fails.store(false, Ordering::Relaxed);
    mailbox.claim(newer).await.unwrap();
}

fn origin(owner: &str) -> Arc<Origin> {
    let principal = PrincipalId::try_new(owner).unwrap();
    Arc::new(Origin { client: sdk(1).client, principal, outbox: OutboxId::new([1; 16]) })
}

#[tokio::test]
async fn positions_of_original_clients_are_noted_once_a_call() {
    let fixture = fixture(one_partition(), Snapshots::Never);
    fixture.mailbox.claim(claim(ClaimKind::Original)).await.unwrap();
    let written = || fixture.journal.written.lock().unwrap().len();
    assert_eq!(written(), 1);
    let ack =
        |position| MailboxAck { position: Position(position), session: SessionId(Ulid(1)), client: sdk(1).client };
    fixture.mailbox.ack(&[ack(1), ack(2), ack(2)]).await.unwrap();
    assert_eq!(written(), 2);
    fixture.mailbox.ack(&[ack(2), ack(1)]).await.unwrap();
    assert_eq!(written(), 2, "nothing moved");
}

#[tokio::test]
async fn the_metrics_tell_what_happened() {
    let notifier = EmbeddedNotifier::new(NotifierConfig::default(), NotifierMetrics::default());
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = MailboxMetrics::register(&mut registry);
    let clock = Arc::new(TestClock::default());
    let limits = MailboxLimits { retention: Duration::from_secs(60), ..LIMITS };
    let mailbox = EmbeddedMailbox::new(one_partition(), limits, Arc::clone(&clock) as _, notifier, metrics);
    mailbox.start(Records::default(), &empty(one_partition()));
    mailbox.claim(sdk(2)).await.unwrap();
    assert!(mailbox.claim(sdk(1)).await.is_err());
    let sample = ResultRecord::sample(&sdk(1).client, 0);
    let answer = |owner: &str| ResultRecord {
        origin: origin(owner),
        seq: 1,
        kind: PartKind::Final,
        lane: Lane::Ordered,
        ..sample.clone()
    };
    let stored = |offset, record| Stored { offset: Offset(offset), record };
    let records = Arc::new([stored(0, answer("alice")), stored(1, answer("alice")), stored(2, answer("bob"))]);
    let batch = Batch { partition: Partition(0), from: Position(0), records, next: Position(3), provisional: None };
    let applied = mailbox.apply(&batch).await.unwrap();
    assert_eq!(applied, Applied::Through { applied: Position(3), fresh: 1, duplicates: 1 });
    mailbox.sweep(|_| LogStarts { events: Position(0), results: Position(0) });

    let text = |registry: &_| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    };
    let now = text(&registry);
    for line in [
        r#"nimbus_mailbox_results_total{outcome="fresh"} 1"#,
        r#"nimbus_mailbox_results_total{outcome="duplicate"} 1"#,
        r#"nimbus_mailbox_results_total{outcome="foreign"} 1"#,
        r#"nimbus_mailbox_claims_total{outcome="granted"} 1"#,
        r#"nimbus_mailbox_claims_total{outcome="stale"} 1"#,
        r#"nimbus_mailbox_claims_total{outcome="wrong_token"} 0"#,
        "nimbus_mailbox_clients 1",
    ] {
        assert!(now.contains(line), "{line} is not in\n{now}");
    }
    assert!(!now.contains("nimbus_mailbox_waiting_bytes 0\n"));

    mailbox.release(&sdk(1).client, SessionId(Ulid(1))).await.unwrap();
    clock.advance(LIMITS.window * 2);
    mailbox.sweep(|_| LogStarts { events: Position(9), results: Position(9) });
    let later = text(&registry);
    for line in ["nimbus_mailbox_forgotten_total 1", "nimbus_mailbox_clients 0", "nimbus_mailbox_waiting_bytes 0"] {
        assert!(later.contains(line), "{line} is not in\n{later}");
    }
}

/// A mailbox with everything in it that a snapshot can hold.
fn busy() -> (PartitionMailbox, Vec<(Partition, ClaimChange)>) {
    let mut mailbox = PartitionMailbox::new(Partition(0), LIMITS);
    let mut changes = Vec::new();
    for (number, session_no) in [(1, 1), (2, 9), (3, 4)] {
        let kind = ClaimKind::Sdk { outbox: OutboxId::new([number; 16]), session_no, token: None };
        let claimed = mailbox.claim(&claim(kind), [number; 16], nimbus_core::clock::UnixMillis(5)).unwrap();
        changes.push((Partition(0), claimed.change));
    }
    let original = Claim { client: ClientId::try_new("o").unwrap(), ..claim(ClaimKind::Original) };
    changes.push((Partition(0), mailbox.claim(&original, [9; 16], nimbus_core::clock::UnixMillis(6)).unwrap().change));
    let ack = MailboxAck { client: original.client, session: SessionId(Ulid(1)), position: Position(4) };
    changes.push((Partition(0), mailbox.ack(&ack, nimbus_core::clock::UnixMillis(7)).unwrap()));
    let records: Arc<[_]> = (0..40)
        .map(|at| Stored { offset: Offset(at), record: ResultRecord::sample(&ClientId::try_new("x").unwrap(), at) })
        .collect();
    mailbox.apply(
        &Batch { partition: Partition(0), from: Position(0), records, next: Position(40), provisional: None },
        nimbus_core::clock::UnixMillis(8),
    );
    (mailbox, changes)
}

#[test]
fn state_comes_back_as_it_was() {
    let (mailbox, changes) = busy();
    let snapshot = mailbox.snapshot();
    assert!(snapshot.clients.iter().any(|client| client.fold.iter().any(|(_, known)| known.jobs.is_some())));
    let mut writer = codec::SnapshotWriter::new(2);
    writer.partition(Partition(0), &snapshot);
    writer.partition(Partition(1), &PartitionMailbox::new(Partition(1), LIMITS).snapshot());
    let read = codec::decode_snapshot(&writer.finish()).unwrap();
    assert_eq!(read[0], (Partition(0), snapshot));
    assert_eq!(read[1].1.clients, []);
    assert_eq!(codec::decode_changes(&codec::encode_changes(&changes)).unwrap(), changes);
}

#[test]
fn state_that_is_cut_or_newer_is_refused_with_a_reason() {
    let (mailbox, changes) = busy();
    let mut writer = codec::SnapshotWriter::new(1);
    writer.partition(Partition(0), &mailbox.snapshot());
    let (snapshot, record) = (writer.finish(), codec::encode_changes(&changes));
    for bytes in 0..snapshot.len() {
        assert!(codec::decode_snapshot(&snapshot[..bytes]).is_err(), "cut to {bytes} of {}", snapshot.len());
    }
    for bytes in 0..record.len() {
        assert!(codec::decode_changes(&record[..bytes]).is_err(), "cut to {bytes} of {}", record.len());
    }
    let mut longer = record.clone();
    longer.push(0);
    assert!(codec::decode_changes(&longer).unwrap_err().0.contains("too many"));
    let mut newer = record;
    newer[0] = 2;
    assert!(codec::decode_changes(&newer).unwrap_err().0.contains("format 2"));
    let elsewhere = codec::encode_changes(&[(Partition(7), changes[0].1.clone())]);
    let notifier = EmbeddedNotifier::new(NotifierConfig::default(), NotifierMetrics::default());
    assert!(closed(one_partition(), &notifier).replay(&elsewhere).unwrap_err().0.contains("partition 7"));
}

proptest! {
    #[test]
    fn damaged_state_never_panics(at in 0..4_000_usize, bits in 1..=255_u8) {
        let (mailbox, changes) = busy();
        let mut writer = codec::SnapshotWriter::new(1);
        writer.partition(Partition(0), &mailbox.snapshot());
        for mut bytes in [writer.finish(), codec::encode_changes(&changes)] {
            let at = at % bytes.len();
            bytes[at] ^= bits;
            // Either way is right: not every bit can be told from another value. The checksums outside catch it.
            drop(codec::decode_snapshot(&bytes));
            drop(codec::decode_changes(&bytes));
        }
    }
}
