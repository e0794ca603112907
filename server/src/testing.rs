//! What the tests of this crate share: real logs in a temporary directory, and a mailbox whose word they write.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use nimbus_core::{
    ClientId, ContentType, Event, EventName, Lane, Offset, Origin, OutboxId, PartKind, Partition, PartitionCount,
    Position, PrincipalId, ResultRecord, ServerId, SessionId,
    clock::{SystemClock, UnixMillis},
    ports::{
        log::Batch,
        mailbox::{Applied, Claim, ClaimError, Claimed, Head, Landmark, Mailbox, MailboxAck, MailboxError, Page},
        notifier::{Notification, Notifier, NotifierError, Subscription},
    },
};
use nimbus_embedded::{Embedded, EmbeddedConfig};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    auth::AllowAll,
    config::EdgeConfig,
    metrics::Metrics,
    shared::{EdgePorts, Shared},
};

/// A store in a directory of its own.
pub(crate) async fn store() -> (TempDir, Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = EmbeddedConfig::new(dir.path().join("data"));
    config.partitions = PartitionCount(NonZeroU32::new(2).unwrap());
    let store = Embedded::open(config, Arc::new(SystemClock), &mut Registry::default()).await.unwrap();
    (dir, store)
}

/// The shared state of an edge over these ports.
pub(crate) fn shared(store: &Embedded, mailbox: Arc<dyn Mailbox>, notifier: Arc<dyn Notifier>) -> Arc<Shared> {
    let ports = EdgePorts {
        events: store.events(),
        results: store.results(),
        mailbox,
        notifier,
        authenticator: Arc::new(AllowAll),
        clock: Arc::new(SystemClock),
    };
    let config = EdgeConfig::new(ServerId::try_new("s1").unwrap());
    Shared::new(ports, config, Metrics::register(&mut Registry::default()))
}

pub(crate) fn client(id: &str) -> ClientId {
    ClientId::try_new(id).unwrap()
}

pub(crate) fn origin(id: &str) -> Arc<Origin> {
    Arc::new(Origin {
        client: client(id),
        principal: PrincipalId::try_new("anyone").unwrap(),
        outbox: OutboxId::new([1; 16]),
    })
}

/// The FINAL answer to one event of a client.
pub(crate) fn answer(id: &str, seq: u64) -> ResultRecord {
    let event = Event {
        origin: origin(id),
        seq,
        name: EventName::try_new("sq").unwrap(),
        payload: Bytes::new(),
        content_type: ContentType::default(),
        attributes: Vec::new(),
        deadline: None,
        traceparent: String::new(),
        received: UnixMillis(0),
        replay_no: 0,
        refused: None,
        edge_context: Bytes::new(),
    };
    ResultRecord::answering(&event, Offset(seq), Lane::Ordered, PartKind::Final, UnixMillis(0))
}

/// A mailbox that knows only how far it is, and keeps each call with acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    pub(crate) heads: Mutex<Vec<Head>>,
    pub(crate) acks: Mutex<Vec<Vec<MailboxAck>>>,
    /// While it is held, no call is answered.
    pub(crate) answers: tokio::sync::Mutex<()>,
}

impl Heads {
    pub(crate) fn set(&self, partition: u32, applied: u64, notified: u64) {
        let head = Head { partition: Partition(partition), applied: Position(applied), notified: Position(notified) };
        *self.heads.lock().unwrap() = vec![head];
    }
}

#[async_trait]
impl Mailbox for Heads {
    async fn claim(&self, _: Claim) -> Result<Claimed, ClaimError> {
        Err(ClaimError::Unavailable("not in this test".to_owned()))
    }

    async fn release(&self, _: &ClientId, _: SessionId) -> Result<(), MailboxError> {
        Ok(())
    }

    async fn apply(&self, _: &Batch<ResultRecord>) -> Result<Applied, MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn applied(&self, _: Partition) -> Result<Position, MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn landmark(&self, _: Partition) -> Result<Option<Landmark>, MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn skip_to(&self, _: Partition, _: Position) -> Result<(), MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn read(&self, _: &ClientId, _: Position, _: usize, _: usize) -> Result<Page, MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn ack(&self, acks: &[MailboxAck]) -> Result<(), MailboxError> {
        drop(self.answers.lock().await);
        self.acks.lock().unwrap().push(acks.to_vec());
        Ok(())
    }

    async fn heads(&self, _: &ServerId, _: &[Partition]) -> Result<Vec<Head>, MailboxError> {
        // As they are when it is asked; the answer may be late.
        let heads = self.heads.lock().unwrap().clone();
        drop(self.answers.lock().await);
        Ok(heads)
    }
}

/// A notifier whose one channel the test fills.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Notification>>>,
}

impl Channel {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedSender<Notification>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { receiver: Mutex::new(Some(receiver)) }), sender)
    }
}

#[async_trait]
impl Notifier for Channel {
    async fn subscribe(&self, _: &ServerId) -> Result<Box<dyn Subscription>, NotifierError> {
        Ok(Box::new(Receiver(self.receiver.lock().unwrap().take().expect("one subscription"))))
    }

    async fn publish(&self, _: &ServerId, _: Notification) -> Result<(), NotifierError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Receiver(mpsc::UnboundedReceiver<Notification>);

#[async_trait]
impl Subscription for Receiver {
    async fn next(&mut self) -> Option<Notification> {
        self.0.recv().await
    }
}
