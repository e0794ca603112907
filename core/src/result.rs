//! One result, or one part of it, from the executor to the client.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    clock::UnixMillis,
    event::{Attributes, ContentType, Event, Origin},
    id::EventName,
    position::Offset,
};

/// How the events of an executor relate to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// One event of a client at a time; answers in the order of the events.
    Ordered,
    /// Long work: answers of different events may overtake one another.
    Jobs,
}

/// Which part of a result a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// A piece of the result.
    Part,
    /// A log line.
    Log,
    /// Progress.
    Progress,
    /// The result; terminal.
    Final,
    /// The event failed for good; terminal.
    Error,
}

impl PartKind {
    /// Whether this ends the event: there is exactly one such record per event at the client.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Final | Self::Error)
    }
}

/// Why an event failed for good, as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Canonical gRPC code (1 to 16).
    pub code: i32,
    /// Stable reason in upper snake case: one of `docs/errors.md`, or the executor's own.
    pub reason: String,
    /// For people; safe to show to the client.
    pub message: String,
}

/// One record of the results log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultRecord {
    /// Whose event it answers. Stamped by the runtime: an executor cannot address anyone else.
    pub origin: Arc<Origin>,
    /// Which event.
    pub seq: u64,
    /// The event's name.
    pub event_name: EventName,
    /// Which attempt, from 1. A higher attempt discards the parts of lower ones.
    pub attempt: u32,
    /// Numbers the parts of one attempt, from 0.
    pub part_no: u32,
    /// Above 0 for the answer to a replayed dead letter: an extra.
    pub replay_no: u32,
    /// Which part.
    pub kind: PartKind,
    /// Decides how duplicates are recognised.
    pub lane: Lane,
    /// Opaque.
    pub payload: Bytes,
    /// Media type of the payload.
    pub content_type: ContentType,
    /// Set by the executor.
    pub attributes: Attributes,
    /// Set when `kind` is [`PartKind::Error`].
    pub failure: Option<Box<Failure>>,
    /// Where the event lies in the events partition of the same number.
    pub event_offset: Offset,
    /// When it was produced.
    pub produced: UnixMillis,
    /// The event's `edge_context`.
    pub edge_context: Bytes,
}

impl ResultRecord {
    /// A record that answers `event`, with an empty body.
    pub fn answering(event: &Event, event_offset: Offset, lane: Lane, kind: PartKind, produced: UnixMillis) -> Self {
        Self {
            origin: Arc::clone(&event.origin),
            seq: event.seq,
            event_name: event.name.clone(),
            attempt: 1,
            part_no: 0,
            replay_no: event.replay_no,
            kind,
            lane,
            payload: Bytes::new(),
            content_type: ContentType::default(),
            attributes: Attributes::new(),
            failure: None,
            event_offset,
            produced,
            edge_context: event.edge_context.clone(),
        }
    }
}

/// What an operator did about a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkKind {
    /// Its event was appended to the events log again.
    Replayed {
        /// The `replay_no` that it got there, from 1.
        replay_no: u32,
    },
    /// Nobody wants it any more. Stands, whatever else is marked before or after.
    Purged,
}

/// A note on a dead letter: logs are append-only, so what happens to a letter is appended behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// What was done.
    pub kind: MarkKind,
    /// When.
    pub at: UnixMillis,
}

/// An event that failed for good, kept for inspection and replay; or, with a mark, a note on such a letter.
///
/// Which letter a mark is about is said by its event: same origin, `seq` and `replay_no`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event as it was.
    pub event: Event,
    /// Why it failed.
    pub failure: Failure,
    /// How many attempts were made.
    pub attempts: u32,
    /// Where the event lies in the events partition of the same number.
    pub event_offset: Offset,
    /// When it was given up.
    pub failed: UnixMillis,
    /// Set on a note: then this record is no letter of its own, and holds nothing but the identity of the one it is about.
    pub mark: Option<Mark>,
}

impl DeadLetter {
    /// The record that notes something on this letter: its identity and no content.
    #[must_use]
    pub fn marked(&self, mark: Mark) -> Self {
        let event = Event {
            payload: Bytes::new(),
            content_type: ContentType::default(),
            attributes: Attributes::new(),
            deadline: None,
            traceparent: String::new(),
            refused: None,
            edge_context: Bytes::new(),
            ..self.event.clone()
        };
        let failure = Failure { message: String::new(), ..self.failure.clone() };
        Self { event, failure, mark: Some(mark), ..*self }
    }
}
