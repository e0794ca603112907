//! The results log of one partition, the router that applies it, and short words for claims and reads.

use std::sync::Arc;

use bytes::Bytes;
use nimbus_core::{
    Attributes, ClientId, ContentType, EventName, Lane, Offset, Origin, PartKind, Partition, PartitionCount, Position,
    ResultRecord, ServerId,
    clock::UnixMillis,
    ports::{
        log::{Batch, Range, Stored},
        mailbox::{Applied, Claim, ClaimError, ClaimKind, Claimed, Mailbox, MailboxAck, Page},
        notifier::{Notification, Notifier, Subscription},
    },
};

use super::MailboxFixture;
use crate::support::{client_in, origin, outbox, partitions, principal, rise, server, session, within};

pub(super) struct World<X> {
    pub(super) fixture: X,
    count: PartitionCount,
    partition: Partition,
    /// Offsets are not dense: compare, never count.
    log: Vec<Stored<ResultRecord>>,
    /// Two clients of the partition.
    pub(super) client: ClientId,
    pub(super) other: ClientId,
}

impl<X: MailboxFixture> World<X> {
    pub(super) async fn new(make: impl AsyncFn(PartitionCount) -> X) -> Self {
        let count = partitions(3);
        let partition = Partition(1);
        Self {
            fixture: make(count).await,
            count,
            partition,
            log: Vec::new(),
            client: client_in(partition, count, 1),
            other: client_in(partition, count, 2),
        }
    }

    pub(super) fn mailbox(&self) -> Arc<dyn Mailbox> {
        self.fixture.mailbox()
    }

    pub(super) fn partition(&self) -> Partition {
        self.partition
    }

    /// Goes on in another partition; its log is empty.
    pub(super) fn move_to(&mut self, partition: Partition) {
        self.partition = partition;
        self.log.clear();
        self.client = client_in(partition, self.count, 1);
        self.other = client_in(partition, self.count, 2);
    }

    pub(super) fn end(&self) -> Position {
        self.log.last().map_or(Position::START, |stored| stored.offset.position_after())
    }

    pub(super) fn origin(&self, owner: &str, number: u8) -> Arc<Origin> {
        origin(&self.client, owner, number)
    }

    /// Puts a record into the log; returns where. Sometimes right behind the last one, sometimes with a hole between.
    pub(super) fn append(&mut self, record: ResultRecord) -> Offset {
        let offset = Offset(self.log.last().map_or(3, |stored| stored.offset.0 + 1 + stored.offset.0 % 3));
        self.log.push(Stored { offset, record });
        offset
    }

    /// Puts FINALs of the ordered lane into the log.
    pub(super) fn answers(&mut self, of: &Arc<Origin>, seqs: impl IntoIterator<Item = u64>) -> Vec<Offset> {
        seqs.into_iter().map(|seq| self.append(answer(of, seq))).collect()
    }

    /// The log from `from` to its end, as one batch.
    pub(super) fn batch(&self, from: Position) -> Batch<ResultRecord> {
        let records = self.log.iter().filter(|stored| !from.covers(stored.offset)).cloned().collect();
        Batch { partition: self.partition, from, records, next: self.end().max(from), provisional: None }
    }

    pub(super) async fn apply(&self, batch: &Batch<ResultRecord>) -> Applied {
        within("applying a batch", self.mailbox().apply(batch)).await.expect("apply")
    }

    pub(super) async fn applied(&self) -> Position {
        within("applied", self.mailbox().applied(self.partition)).await.expect("applied")
    }

    pub(super) async fn skip_to(&self, start: Position) {
        within("skipping", self.mailbox().skip_to(self.partition, start)).await.expect("skip_to");
    }

    /// Applies all that is new in one batch; returns how many records were fresh and how many were duplicates.
    pub(super) async fn route(&self) -> (usize, usize) {
        let batch = self.batch(self.applied().await);
        match self.apply(&batch).await {
            Applied::Through { applied, fresh, duplicates } => {
                assert_eq!(applied, self.end());
                (fresh, duplicates)
            }
            Applied::Hole { applied } => panic!("a batch from {} was refused at {applied}", batch.from),
        }
    }

    /// Restarts the mailbox on the log as it is.
    pub(super) async fn restart(&mut self) {
        let end = self.end();
        self.restart_with_end(end).await;
    }

    pub(super) async fn restart_with_end(&mut self, end: Position) {
        self.log.retain(|stored| end.covers(stored.offset));
        let range = |partition| Range {
            start: Position::START,
            end: if partition == self.partition { end } else { Position::START },
        };
        let logs = self.count.all().map(range).collect();
        self.fixture.restart(logs).await;
    }

    pub(super) fn sdk(&self, number: u8, session_no: u64, id: u128) -> Claim {
        Claim {
            client: self.client.clone(),
            principal: principal("alice"),
            server: server("s1"),
            session: session(id),
            kind: ClaimKind::Sdk { outbox: outbox(number), session_no, token: None },
            log_end: self.end(),
        }
    }

    pub(super) fn original(&self, id: u128) -> Claim {
        Claim { kind: ClaimKind::Original, ..self.sdk(0, 0, id) }
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Claimed {
        within("a claim", self.mailbox().claim(claim.clone())).await.expect("claim")
    }

    pub(super) async fn refused(&self, claim: &Claim) -> ClaimError {
        within("a claim", self.mailbox().claim(claim.clone())).await.expect_err("the claim was granted")
    }

    pub(super) async fn release(&self, id: u128) {
        within("a release", self.mailbox().release(&self.client, session(id))).await.expect("release");
    }

    pub(super) async fn ack(&self, id: u128, position: Position) {
        let ack = MailboxAck { client: self.client.clone(), session: session(id), position };
        within("an ack", self.mailbox().ack(&[ack])).await.expect("ack");
    }

    pub(super) async fn page(&self, client: &ClientId, from: Position, max_records: usize) -> Page {
        within("a read", self.mailbox().read(client, from, max_records, usize::MAX >> 1)).await.expect("read")
    }

    /// What waits for the client from `from` on, all of it; or the floor.
    pub(super) async fn waiting(&self, from: Position) -> Result<Vec<Offset>, Position> {
        self.waiting_for(&self.client, from).await
    }

    pub(super) async fn waiting_for(&self, client: &ClientId, from: Position) -> Result<Vec<Offset>, Position> {
        let mut at = from;
        let mut offsets = Vec::new();
        loop {
            match self.page(client, at, 7).await {
                Page::BelowFloor { floor } => {
                    assert!(floor > at, "the floor {floor} refuses {at}");
                    return Err(floor);
                }
                Page::Records { records, through, complete } => {
                    assert!(through >= at);
                    assert!(records.iter().all(|stored| through.covers(stored.offset) && !at.covers(stored.offset)));
                    offsets.extend(records.iter().map(|stored| stored.offset));
                    assert!(rise(offsets.iter().copied()));
                    if complete {
                        assert!(through >= self.applied().await);
                        return Ok(offsets);
                    }
                    assert!(through > at, "a page that is not the last one moves on");
                    at = through;
                }
            }
        }
    }

    /// Subscribes, and takes the first word.
    pub(super) async fn listen(&self, name: &ServerId) -> Listener {
        let notifier: Arc<dyn Notifier> = self.fixture.notifier();
        let mut subscription = within("subscribing", notifier.subscribe(name)).await.expect("subscribe");
        let first = within("the first notification", subscription.next()).await;
        assert!(matches!(first, Some(Notification::MayHaveMissed)), "{first:?}");
        Listener { subscription, notifier, name: name.clone() }
    }
}

/// One notification of results: partition, previous, last, offsets by client.
pub(super) type Notice = (Partition, Position, Position, Vec<(ClientId, Vec<Offset>)>);

pub(super) struct Listener {
    subscription: Box<dyn Subscription>,
    notifier: Arc<dyn Notifier>,
    name: ServerId,
}

impl Listener {
    /// Everything that was sent so far, in order.
    pub(super) async fn notices(&mut self) -> Vec<Notice> {
        let all = self.all().await;
        all.into_iter().map(|notice| notice.unwrap_or_else(|other| panic!("{other:?}"))).collect()
    }

    /// Whether anything that was sent so far says that something may have been missed.
    pub(super) async fn missed(&mut self) -> bool {
        self.all().await.iter().any(|notice| matches!(notice, Err(Notification::MayHaveMissed)))
    }

    /// A notification of our own marks the end.
    async fn all(&mut self) -> Vec<Result<Notice, Notification>> {
        let mark = session(u128::MAX);
        let client = client_in(Partition(0), partitions(1), 0);
        let end = Notification::Superseded { client, session: mark };
        within("publishing", self.notifier.publish(&self.name, end)).await.expect("publish");
        let mut all = Vec::new();
        loop {
            match within("a notification", self.subscription.next()).await {
                Some(Notification::Superseded { session, .. }) if session == mark => return all,
                Some(Notification::Results { partition, previous, last, clients }) => {
                    let clients = clients.into_iter().map(|client| {
                        let offsets: Vec<_> = client.results.iter().map(|stored| stored.offset).collect();
                        assert!(rise(offsets.iter().copied()) && !offsets.is_empty());
                        (client.client, offsets)
                    });
                    all.push(Ok((partition, previous, last, clients.collect())));
                }
                Some(other) => all.push(Err(other)),
                None => panic!("the subscription ended"),
            }
        }
    }
}

pub(super) fn record(of: &Arc<Origin>, seq: u64, kind: PartKind, lane: Lane) -> ResultRecord {
    ResultRecord {
        origin: Arc::clone(of),
        seq,
        event_name: EventName::try_new("sq").expect("it is within the alphabet"),
        attempt: 1,
        part_no: 0,
        replay_no: 0,
        kind,
        lane,
        payload: Bytes::from(seq.to_string()),
        content_type: ContentType::default(),
        attributes: Attributes::new(),
        failure: None,
        event_offset: Offset(seq),
        produced: UnixMillis(1_700_000_000_000),
        edge_context: Bytes::new(),
    }
}

pub(super) fn answer(of: &Arc<Origin>, seq: u64) -> ResultRecord {
    record(of, seq, PartKind::Final, Lane::Ordered)
}
