//! The way up: which events are taken, in which order, and what is known to be durable.
//!
//! Rules 1–4 of the delivery rules. Events are taken strictly in sequence. A permanent refusal takes its place in the log
//! like any event, so that its ERROR comes in order and survives a crash; a transient refusal makes the client go back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    limits::{Limits, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES, MAX_SEQ, MAX_TRACEPARENT_BYTES, STORAGE_FULL_RETRY},
    protocol::{Close, NewEvent, Now, Rejected},
};
use crate::{ContentType, Event, Failure, InvalidId, Origin, Reason, id::EventName, ports::log::LogError};

/// What became of an event.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// It is in the batch, or was taken before.
    Yes,
    /// It is thrown away: the client was told to go back to an earlier one.
    Discarded,
    /// The client is to go back to this one.
    Rejected(Rejected),
    /// The client broke the protocol.
    Violation(Close),
}

/// Decides whether one more event may be taken now, or when.
pub trait Admission {
    /// Takes one event into account.
    ///
    /// # Errors
    /// How long to wait when there have been too many.
    fn admit(&mut self) -> Result<(), Duration>;
}

/// No limit on the rate.
#[derive(Debug, Clone, Copy)]
pub struct Unlimited;

impl Admission for Unlimited {
    fn admit(&mut self) -> Result<(), Duration> {
        Ok(())
    }
}

/// What the end of an append means to the client.
#[derive(Debug, PartialEq)]
pub(super) enum Settled {
    /// Everything up to this is durable.
    Accepted(u64),
    /// The log is full: go back.
    Rejected(Rejected),
    /// The client knows already.
    Nothing,
}

/// The upstream half of a session.
#[derive(Debug)]
pub(super) struct Upstream {
    origin: Arc<Origin>,
    /// The next sequence number to take.
    expected: u64,
    /// Everything up to this is durable.
    accepted: u64,
    /// The client was told to go back to `expected`; what else comes is thrown away.
    going_back: bool,
    /// A repeat came: tell the client once more what is accepted.
    repeat_seen: bool,
    batch: Vec<Event>,
    /// How many events a batch has lately: as many as the largest of the last ones, roughly.
    usual_batch: usize,
    /// Appends on their way, in order.
    appends: VecDeque<OutstandingAppend>,
    closed: bool,
}

#[derive(Debug)]
struct OutstandingAppend {
    first_seq: u64,
    last_seq: u64,
    /// An append before it met a full log, so this one was not stored either, and its events will come again.
    void: bool,
}

impl Upstream {
    pub(super) fn new(origin: Arc<Origin>, accepted: u64) -> Self {
        Self {
            origin,
            expected: accepted + 1,
            accepted,
            going_back: false,
            repeat_seen: false,
            batch: Vec::new(),
            usual_batch: 0,
            appends: VecDeque::new(),
            closed: false,
        }
    }

    /// Takes one event, or says why not.
    pub(super) fn take(&mut self, event: NewEvent, limits: &Limits, admission: &mut dyn Admission, now: Now) -> Taken {
        let seq = event.seq;
        if self.closed {
            return violation(Reason::EventAfterGoodbye, format!("event {seq} came after Goodbye"));
        }
        if seq == 0 {
            return violation(Reason::SeqZero, "field seq is 0; sequence numbers begin at 1".to_owned());
        }
        if seq > MAX_SEQ {
            return violation(Reason::SeqOverflow, format!("field seq is {seq}; the highest is {MAX_SEQ}"));
        }
        if seq < self.expected {
            self.repeat_seen = true;
            return Taken::Yes;
        }
        if seq > self.expected {
            if self.going_back {
                return Taken::Discarded;
            }
            let expected = self.expected;
            return violation(Reason::SeqGap, format!("field seq is {seq} where {expected} was expected"));
        }
        if let Err(retry_after) = admission.admit() {
            self.going_back = true;
            return Taken::Rejected(Rejected {
                seq,
                reason: Reason::RateLimited,
                message: "the client sends more events a second than it may".to_owned(),
                retry_after,
            });
        }
        self.going_back = false;
        self.expected += 1;
        if self.batch.is_empty() {
            self.batch.reserve_exact(self.usual_batch.max(1));
        }
        self.batch.push(self.checked(event, limits, now));
        Taken::Yes
    }

    /// The sequence number that an event of a protocol without sequence numbers gets.
    pub(super) fn next_seq(&self) -> u64 {
        self.expected
    }

    fn checked(&self, event: NewEvent, limits: &Limits, now: Now) -> Event {
        let refused = refusal(&event, limits);
        let name = event.name.unwrap_or_else(|_| nameless());
        if refused.is_some() {
            // Nothing of what was wrong is kept, except what the edge needs to answer.
            return Event {
                origin: Arc::clone(&self.origin),
                seq: event.seq,
                name,
                payload: Bytes::new(),
                content_type: ContentType::default(),
                attributes: Vec::new(),
                deadline: None,
                traceparent: String::new(),
                received: now.unix,
                replay_no: 0,
                refused: refused.map(Box::new),
                edge_context: event.edge_context,
            };
        }
        Event {
            origin: Arc::clone(&self.origin),
            seq: event.seq,
            name,
            payload: event.payload,
            content_type: event.content_type,
            attributes: event.attributes,
            deadline: event.deadline,
            traceparent: event.traceparent,
            received: now.unix,
            replay_no: 0,
            refused: None,
            edge_context: event.edge_context,
        }
    }

    /// The events taken since the last call, if any. The caller appends them, in this order.
    pub(super) fn take_batch(&mut self) -> Option<Vec<Event>> {
        let (first, last) = (self.batch.first()?, self.batch.last()?);
        self.appends.push_back(OutstandingAppend { first_seq: first.seq, last_seq: last.seq, void: false });
        self.usual_batch = self.batch.len().max(self.usual_batch - self.usual_batch.div_ceil(8));
        Some(std::mem::take(&mut self.batch))
    }

    /// Says once more what is accepted, when a repeat asked for it.
    pub(super) fn take_repeat(&mut self) -> Option<u64> {
        std::mem::take(&mut self.repeat_seen).then_some(self.accepted)
    }

    /// The oldest outstanding append is over.
    ///
    /// # Errors
    /// The session cannot go on: whether the events are stored is unknown.
    pub(super) fn settled(&mut self, outcome: Result<(), LogError>) -> Result<Settled, Close> {
        let Some(append) = self.appends.pop_front() else {
            debug_assert!(false, "an append settled that was never made");
            return Err(Close::because(Reason::Internal, "an append settled twice"));
        };
        match outcome {
            Ok(()) if append.void => Err(Close::because(Reason::AppendFailed, "an event was stored out of order")),
            Ok(()) => {
                self.accepted = append.last_seq;
                Ok(Settled::Accepted(self.accepted))
            }
            Err(LogError::Full(_) | LogError::Unavailable(_)) if append.void => Ok(Settled::Nothing),
            Err(LogError::Full(message)) => {
                self.expected = append.first_seq;
                self.going_back = true;
                self.batch.clear();
                self.appends.iter_mut().for_each(|later| later.void = true);
                Ok(Settled::Rejected(Rejected {
                    seq: append.first_seq,
                    reason: Reason::StorageFull,
                    message,
                    retry_after: STORAGE_FULL_RETRY,
                }))
            }
            Err(error) => Err(Close::because(error.reason(), "the event could not be made durable")),
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Events taken and not yet durable.
    pub(super) fn in_flight(&self) -> usize {
        usize::try_from(self.expected - 1 - self.accepted).unwrap_or(usize::MAX)
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }
}

/// Stands in for a name that broke the rules; the refusal's message says what was wrong.
fn nameless() -> EventName {
    EventName::try_new("_").expect("one underscore is a valid name")
}

fn violation(reason: Reason, message: String) -> Taken {
    Taken::Violation(Close::because(reason, message))
}

fn refusal(event: &NewEvent, limits: &Limits) -> Option<Failure> {
    let (reason, message) = problem(event, limits)?;
    Some(Failure { code: reason.class().code(), reason: reason.as_str().to_owned(), message })
}

fn problem(event: &NewEvent, limits: &Limits) -> Option<(Reason, String)> {
    if let Err(invalid) = &event.name {
        let invalid: &InvalidId = invalid;
        return Some((Reason::InvalidEvent, invalid.to_string()));
    }
    let too_large = |field: &str, bytes: usize, limit: usize| {
        (Reason::EventTooLarge, format!("field {field} has {bytes} bytes; at most {limit} are allowed"))
    };
    if event.payload.len() > limits.max_payload_bytes {
        return Some(too_large("payload", event.payload.len(), limits.max_payload_bytes));
    }
    let content_type = event.content_type.as_str().len();
    if content_type > ContentType::MAX_BYTES {
        return Some(too_large("content_type", content_type, ContentType::MAX_BYTES));
    }
    if event.traceparent.len() > MAX_TRACEPARENT_BYTES {
        return Some(too_large("traceparent", event.traceparent.len(), MAX_TRACEPARENT_BYTES));
    }
    if event.attributes.len() > MAX_ATTRIBUTES {
        let count = event.attributes.len();
        let message = format!("field attributes has {count} entries; at most {MAX_ATTRIBUTES} are allowed");
        return Some((Reason::EventTooLarge, message));
    }
    let bytes: usize = event.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_ATTRIBUTE_BYTES {
        return Some(too_large("attributes", bytes, MAX_ATTRIBUTE_BYTES));
    }
    if event.attributes.iter().any(|(key, _)| key.starts_with("nimbus.")) {
        let message = "field attributes has a key that begins with `nimbus.`, which is reserved".to_owned();
        return Some((Reason::InvalidEvent, message));
    }
    None
}
