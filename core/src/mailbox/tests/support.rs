//! Records and claims, made short.

use std::sync::Arc;

use bytes::Bytes;
use ulid::Ulid;

use crate::{
    Attributes, ClientId, ContentType, EventName, Lane, Offset, Origin, OutboxId, PartKind, Partition, Position,
    PrincipalId, ResultRecord, ServerId, SessionId,
    clock::UnixMillis,
    mailbox::{ApplyOutcome, Folded, MailboxLimits, PartitionMailbox},
    ports::{
        log::{Batch, Range, Stored},
        mailbox::{Claim, ClaimKind, Page},
    },
};

pub(super) const NOW: UnixMillis = UnixMillis(1_000_000);

pub(super) fn client(name: &str) -> ClientId {
    ClientId::try_new(name).unwrap()
}

pub(super) fn principal(name: &str) -> PrincipalId {
    PrincipalId::try_new(name).unwrap()
}

pub(super) fn server(name: &str) -> ServerId {
    ServerId::try_new(name).unwrap()
}

pub(super) fn outbox(number: u8) -> OutboxId {
    OutboxId::new([number; 16])
}

pub(super) fn session(number: u128) -> SessionId {
    SessionId(Ulid(number))
}

pub(super) fn origin(name: &str, owner: &str, number: u8) -> Arc<Origin> {
    Arc::new(Origin { client: client(name), principal: principal(owner), outbox: outbox(number) })
}

pub(super) fn record(origin: &Arc<Origin>, seq: u64, kind: PartKind, lane: Lane) -> ResultRecord {
    ResultRecord {
        origin: Arc::clone(origin),
        seq,
        event_name: EventName::try_new("sq").unwrap(),
        attempt: 1,
        part_no: 0,
        replay_no: 0,
        kind,
        lane,
        payload: Bytes::from_static(b"payload"),
        content_type: ContentType::default(),
        attributes: Attributes::new(),
        failure: None,
        event_offset: Offset(seq),
        produced: NOW,
        edge_context: Bytes::new(),
    }
}

pub(super) fn answer(origin: &Arc<Origin>, seq: u64) -> ResultRecord {
    record(origin, seq, PartKind::Final, Lane::Ordered)
}

pub(super) fn job_answer(origin: &Arc<Origin>, seq: u64) -> ResultRecord {
    record(origin, seq, PartKind::Final, Lane::Jobs)
}

/// A batch from `from` on, with dense offsets.
pub(super) fn batch(from: u64, records: Vec<ResultRecord>) -> Batch<ResultRecord> {
    let next = Position(from + records.len() as u64);
    let records = (from..).zip(records).map(|(offset, record)| Stored { offset: Offset(offset), record }).collect();
    Batch { partition: Partition(0), from: Position(from), records, next, provisional: None }
}

pub(super) fn mailbox(limits: MailboxLimits) -> PartitionMailbox {
    let mut mailbox = PartitionMailbox::new(Partition(0), limits);
    mailbox.open(Range { start: Position::START, end: Position::START });
    mailbox
}

/// Applies a batch that must fit.
pub(super) fn apply(mailbox: &mut PartitionMailbox, from: u64, records: Vec<ResultRecord>) -> Folded {
    match mailbox.apply(&batch(from, records), NOW) {
        ApplyOutcome::Folded(folded) => folded,
        ApplyOutcome::Hole { applied } => panic!("hole: applied is {applied}"),
    }
}

/// A claim by client `c`, principal `alice`, server `s1`.
pub(super) fn sdk(number: u8, session_no: u64, session_id: u128, log_end: u64) -> Claim {
    Claim {
        client: client("c"),
        principal: principal("alice"),
        server: server("s1"),
        session: session(session_id),
        kind: ClaimKind::Sdk { outbox: outbox(number), session_no, token: None },
        log_end: Position(log_end),
    }
}

pub(super) fn original(session_id: u128, log_end: u64) -> Claim {
    Claim { kind: ClaimKind::Original, ..sdk(0, 0, session_id, log_end) }
}

/// Offsets and `through` of a page, or the floor.
pub(super) fn page(mailbox: &PartitionMailbox, name: &str, from: u64) -> Result<(Vec<u64>, u64), u64> {
    match mailbox.read(&client(name), Position(from), usize::MAX, usize::MAX) {
        Page::Records { records, through, .. } => {
            Ok((records.iter().map(|stored| stored.offset.0).collect(), through.0))
        }
        Page::BelowFloor { floor } => Err(floor.0),
    }
}
