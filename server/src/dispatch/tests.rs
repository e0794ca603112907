//! The chain of notifications: breaks, last messages that never came, and bookmarks.

use std::sync::Arc;

use nimbus_core::{
    Offset, Partition, Position, SessionId,
    ports::{
        log::Stored,
        mailbox::MailboxAck,
        notifier::{ClientResults, Notification},
    },
    registry::{Mail, Registration},
};
use nimbus_embedded::Embedded;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::run;
use crate::{
    shared::{CheckNo, Shared},
    testing::{Channel, Heads, answer, client, shared, store},
};

struct Fixture {
    shared: Arc<Shared>,
    heads: Arc<Heads>,
    notify: UnboundedSender<Notification>,
    phone: Registration,
    partition: Partition,
    _running: tokio_util::sync::DropGuard,
    _store: (TempDir, Embedded),
}

impl Fixture {
    async fn new() -> Self {
        let store = store().await;
        let heads = Arc::new(Heads::default());
        let (channel, notify) = Channel::new();
        let shared = shared(&store.1, Arc::clone(&heads) as _, channel);
        let phone = shared.registry.register(client("phone"), SessionId(Ulid(1)));
        let partition = shared.ports.results.partitions().partition_of(&client("phone"));
        let stop = CancellationToken::new();
        tokio::spawn(run(Arc::clone(&shared), stop.clone()));
        Self { shared, heads, notify, phone, partition, _running: stop.drop_guard(), _store: store }
    }

    fn results(&self, previous: u64, seq: u64) {
        let stored = Stored { offset: Offset(seq), record: answer("phone", seq) };
        let results = ClientResults { client: client("phone"), results: Arc::from([stored]) };
        let notification = Notification::Results {
            partition: self.partition,
            previous: Position(previous),
            last: Position(seq + 1),
            clients: vec![results],
        };
        self.notify.send(notification).unwrap();
    }

    async fn mail(&self) -> Mail {
        loop {
            if let Some(mail) = self.phone.inbox().take() {
                return mail;
            }
            self.phone.inbox().arrived().await;
        }
    }
}

#[tokio::test]
async fn rule_20_a_break_in_the_chain_is_told_with_what_lies_behind_it() {
    let fixture = Fixture::new().await;
    fixture.results(0, 5);
    assert!(fixture.mail().await.missed.is_none(), "nothing came before the first");
    fixture.results(6, 6);
    assert!(fixture.mail().await.missed.is_none(), "the chain holds");
    fixture.results(9, 9);
    let mail = fixture.mail().await;
    // Told before or together with the results, never after them.
    assert!(mail.missed.is_some());
    fixture.results(3, 3);
    let mut missed = false;
    while !missed {
        missed = fixture.mail().await.missed.is_some();
    }
}

/// What was lost is not made up for by the word at the start: it was sent after that.
#[tokio::test]
async fn rule_20_the_first_that_is_heard_need_not_be_the_first_that_was_sent() {
    let fixture = Fixture::new().await;
    fixture.results(6, 6);
    assert!(fixture.mail().await.missed.is_some(), "one that ended at 6 was sent and lost");
    fixture.notify.send(Notification::MayHaveMissed).unwrap();
    assert!(fixture.mail().await.missed.is_some());
    fixture.results(9, 9);
    assert!(fixture.mail().await.missed.is_some(), "one that ended at 9 was sent and lost");
}

#[tokio::test(start_paused = true)]
async fn rule_20_the_last_message_before_a_silence_is_missed_within_two_checks() {
    let fixture = Fixture::new().await;
    fixture.results(0, 5);
    assert!(fixture.mail().await.missed.is_none());
    // The mailbox notified up to 9, and nothing came.
    fixture.heads.set(fixture.partition.0, 9, 9);
    let asked = tokio::time::Instant::now();
    assert!(fixture.mail().await.missed.is_some());
    assert!(asked.elapsed() <= 2 * fixture.shared.config.repair_interval, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_is_merely_on_its_way_is_not_taken_for_lost() {
    let fixture = Fixture::new().await;
    fixture.heads.set(fixture.partition.0, 6, 6);
    tokio::time::sleep(fixture.shared.config.repair_interval / 2).await;
    fixture.results(0, 5);
    assert!(fixture.mail().await.missed.is_none());
    tokio::time::sleep(fixture.shared.config.repair_interval * 3).await;
    assert!(fixture.phone.inbox().take().is_none());
    assert_eq!(fixture.shared.bookmarks.get(fixture.partition, CheckNo::default()), Position(6));
}

#[tokio::test(start_paused = true)]
async fn rule_15_a_bookmark_never_runs_ahead_of_the_inboxes() {
    let fixture = Fixture::new().await;
    fixture.heads.set(fixture.partition.0, 40, 0);
    tokio::time::sleep(fixture.shared.config.repair_interval * 2).await;
    assert_eq!(
        fixture.shared.bookmarks.get(fixture.partition, CheckNo::default()),
        Position(40),
        "none of it was for this server"
    );
    fixture.heads.set(fixture.partition.0, 60, 50);
    tokio::time::sleep(fixture.shared.config.repair_interval + std::time::Duration::from_millis(1)).await;
    let before = fixture.shared.bookmarks.get(fixture.partition, CheckNo::default());
    assert_eq!(before, Position(40), "a notification up to 50 has not come");
}

/// A session that read a mailbox which had lost its memory has not read what was known of it before.
#[tokio::test(start_paused = true)]
async fn rule_15_a_bookmark_from_before_a_sessions_last_read_is_not_for_it() {
    let fixture = Fixture::new().await;
    let (bookmarks, partition) = (&fixture.shared.bookmarks, fixture.partition);
    let period = fixture.shared.config.repair_interval;
    fixture.heads.set(partition.0, 40, 0);
    tokio::time::sleep(period * 3 / 2).await;
    assert_eq!(bookmarks.get(partition, CheckNo::default()), Position(40));
    fixture.heads.set(partition.0, 10, 0);
    let read = bookmarks.latest();
    assert_eq!(bookmarks.get(partition, read), Position::START);
    tokio::time::sleep(period).await;
    assert_eq!(bookmarks.get(partition, read), Position(10), "what is found stands, although it is less");
}

#[tokio::test]
async fn a_superseded_session_is_told() {
    let fixture = Fixture::new().await;
    let session = SessionId(Ulid(1));
    fixture.notify.send(Notification::Superseded { client: client("phone"), session }).unwrap();
    assert!(fixture.mail().await.superseded);
    fixture.notify.send(Notification::MayHaveMissed).unwrap();
    assert!(fixture.mail().await.missed.is_some());
}

/// Rule 22: whatever the clients say in a second is one call, with the newest word of each.
#[tokio::test(start_paused = true)]
async fn rule_22_acks_reach_the_mailbox_once_a_second() {
    let fixture = Fixture::new().await;
    let period = fixture.shared.config.repair_interval;
    assert_eq!(period, std::time::Duration::from_secs(1));
    // The first check comes at once, so from here on it is half a second to the next.
    tokio::time::sleep(period / 2).await;
    for position in 1..=100 {
        for name in ["phone", "tablet"] {
            let session = SessionId(Ulid(1));
            fixture.shared.acks.note(MailboxAck { client: client(name), session, position: Position(position) });
        }
        tokio::time::sleep(period / 1_000).await;
    }
    assert!(fixture.heads.acks.lock().unwrap().is_empty(), "not before the second is over");
    tokio::time::sleep(period).await;
    let said = |calls: &[Vec<MailboxAck>]| -> Vec<_> {
        let mut all: Vec<_> = calls.iter().flatten().map(|ack| (ack.client.to_string(), ack.position.0)).collect();
        all.sort();
        all
    };
    {
        let calls = fixture.heads.acks.lock().unwrap();
        assert_eq!((calls.len(), said(&calls)), (1, vec![("phone".to_owned(), 100), ("tablet".to_owned(), 100)]));
    }
    tokio::time::sleep(period * 10).await;
    assert_eq!(fixture.heads.acks.lock().unwrap().len(), 1, "silence is no call");
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_does_not_answer_holds_no_notification_up() {
    let fixture = Fixture::new().await;
    let (heads, period) = (Arc::clone(&fixture.heads), fixture.shared.config.repair_interval);
    tokio::time::sleep(period / 2).await;
    let held = heads.answers.lock().await;
    fixture.heads.set(fixture.partition.0, 6, 6);
    fixture.shared.acks.note(MailboxAck {
        client: client("phone"),
        session: SessionId(Ulid(1)),
        position: Position(1),
    });
    // It is asked, and does not answer.
    tokio::time::sleep(period).await;
    for seq in 5..=20 {
        fixture.results(if seq == 5 { 0 } else { seq }, seq);
        let asked = tokio::time::Instant::now();
        assert!(fixture.mail().await.missed.is_none());
        assert!(asked.elapsed() < period / 10, "{:?}", asked.elapsed());
        tokio::time::sleep(period / 4).await;
    }
    assert_eq!(
        fixture.shared.bookmarks.get(fixture.partition, CheckNo::default()),
        Position(0),
        "nothing is known of the others"
    );
    drop(held);
    // The late answer counts for what was true when it was asked for.
    tokio::time::sleep(period / 10).await;
    assert_eq!(fixture.shared.bookmarks.get(fixture.partition, CheckNo::default()), Position(6));
    assert_eq!(fixture.heads.acks.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rule_15_a_late_answer_of_the_mailbox_raises_no_bookmark_past_a_repair() {
    let fixture = Fixture::new().await;
    let (heads, period) = (Arc::clone(&fixture.heads), fixture.shared.config.repair_interval);
    tokio::time::sleep(period / 2).await;
    fixture.results(0, 5);
    assert!(fixture.mail().await.missed.is_none());
    let held = heads.answers.lock().await;
    fixture.heads.set(fixture.partition.0, 6, 6);
    tokio::time::sleep(period).await;
    // It was asked before; whatever came after that may not have come here.
    fixture.notify.send(Notification::MayHaveMissed).unwrap();
    assert!(fixture.mail().await.missed.is_some());
    drop(held);
    tokio::time::sleep(period / 10).await;
    assert_eq!(fixture.shared.bookmarks.get(fixture.partition, CheckNo::default()), Position(0));
}
