//! What an application receives.

use std::collections::HashMap;

use bytes::Bytes;
use nimbus_proto::v1;

use crate::Seq;

/// One thing that arrived, in the order of the client's results log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Incoming {
    /// An event of this outbox has its outcome. Exactly once for each accepted event; in the order of the numbers, except
    /// for events of the jobs lane and for [`Outcome::Unknown`].
    Answer(Answer),
    /// A part of a result, ahead of its answer. At least once: an attempt that is repeated sends its parts again.
    Part(Part),
    /// A message that a backend pushed to this client.
    Push(Push),
    /// Deliveries may have been missed and cannot be had again.
    Gap(Gap),
    /// An answer that settles nothing of this outbox, see [`ExtraKind`].
    Extra(Extra),
}

/// A payload and what it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    /// Opaque to Nimbus.
    pub payload: Bytes,
    /// Media type; empty means `application/octet-stream`.
    pub content_type: String,
    /// Set by the executor.
    pub attributes: HashMap<String, String>,
}

/// Why an event failed for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// Canonical gRPC code.
    pub code: i32,
    /// Stable reason, as in docs/errors.md, or the executor's own.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// How an event ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The result.
    Final(Body),
    /// The event failed for good.
    Error(Failure),
    /// The event was accepted, and its answer may have lain in a [`Gap`]: it may or may not have been executed.
    ///
    /// Settled so only for an event that was sent before a gap was heard of, and only
    /// - when the client was connected for the builder's `unknown_after`, all connections since then taken together,
    ///   without its answer coming: since the gap or since the server accepted it, whichever is later (since it started,
    ///   for a client that was restarted); each connection allows 5 s at least, and while the application leaves the inbox
    ///   full nothing is given up; or
    /// - when the server ends the stream with OK after this client's goodbye ([`finish`](crate::Client::finish)). After a
    ///   gap the server does not wait for what was accepted before it, so a job may still run then.
    ///
    /// The answer to another event decides nothing: this one may be a job that was overtaken and still runs, and the
    /// lane of an event is not known before it is answered. So this outcome may come after answers to higher numbers,
    /// whatever lane the event is in. Should its answer come after all, it comes as [`Incoming::Extra`]
    /// ([`ExtraKind::Late`]).
    Unknown,
}

/// The outcome of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Which event.
    pub seq: Seq,
    /// Its name; empty when the outcome is [`Outcome::Unknown`].
    pub event_name: String,
    /// Which attempt of the executor answered, from 1; 0 when the outcome is [`Outcome::Unknown`].
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// What kind of part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A piece of the result, or an intermediate result.
    Part,
    /// A log line of the executor.
    Log,
    /// Progress, in a form that the executor chose.
    Progress,
}

/// A part of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which event it belongs to.
    pub seq: Seq,
    /// The event's name.
    pub event_name: String,
    /// Which attempt it comes from. Parts of lower attempts are void once a higher one shows up; the client hands none
    /// of a lower attempt over after that.
    pub attempt: u32,
    /// Numbers the parts of one attempt, from 0.
    pub part_no: u32,
    /// What it is.
    pub kind: PartKind,
    /// What it carries.
    pub body: Body,
}

/// A pushed message.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The sender's request id.
    pub request_id: String,
    /// What it carries.
    pub body: Body,
}

/// Positions of the results log that cannot be served any more: `from` inclusive, `to` exclusive.
///
/// Positions are not dense and are shared with other clients, so a gap says that something *may* have been missed. The
/// accepted events that may be concerned end as [`Outcome::Unknown`] unless their answer turns out to lie after the gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where this client left off.
    pub from: u64,
    /// The first position that can be served.
    pub to: u64,
}

/// Why an answer settles nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraKind {
    /// The event was replayed from the dead letters; its first answer stands.
    Replay,
    /// It answers an event of an earlier outbox of this client id, whose memory is gone.
    OtherOutbox,
    /// It came after the event had been settled as [`Outcome::Unknown`].
    Late,
}

/// An answer, or a part of one, that settles nothing of this outbox. At least once.
#[derive(Debug, Clone, PartialEq)]
pub struct Extra {
    /// Why it is an extra.
    pub kind: ExtraKind,
    /// The outbox that the event was sent from.
    pub outbox_id: Bytes,
    /// The event's number there.
    pub seq: Seq,
    /// The event's name.
    pub event_name: String,
    /// What it says.
    pub outcome: Outcome,
}

impl From<v1::Error> for Failure {
    fn from(error: v1::Error) -> Self {
        Self { code: error.code, reason: error.reason, message: error.message }
    }
}

impl Answer {
    /// The result, or why there is none.
    ///
    /// # Errors
    /// The event's [`Failure`]; an unknown outcome is one with the reason `OUTCOME_UNKNOWN`.
    pub fn into_result(self) -> Result<Body, Failure> {
        match self.outcome {
            Outcome::Final(body) => Ok(body),
            Outcome::Error(failure) => Err(failure),
            Outcome::Unknown => Err(Failure {
                code: 15,
                reason: "OUTCOME_UNKNOWN".to_owned(),
                message: "the answer may have lain in a gap; the event may or may not have been executed".to_owned(),
            }),
        }
    }
}
