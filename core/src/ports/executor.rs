//! An executor handles one kind of event.
//!
//! Executors are at-least-once: after a crash an event may be handled again, with the same [`IdempotencyKey`]. Their
//! results are exactly once.

use std::{fmt, fmt::Debug, time::Duration};

use bytes::Bytes;
use futures_core::future::BoxFuture;

use crate::{Attributes, ContentType, Event, Failure, Lane, OutboxId, PartKind, Reason, id::ClientId};

/// How long one attempt may take unless the executor says otherwise.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(30);

/// Names an event for ever: the same in every attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Whose event.
    pub client: ClientId,
    /// In which outbox.
    pub outbox: OutboxId,
    /// Which one.
    pub seq: u64,
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.client, self.outbox, self.seq)
    }
}

/// One attempt at one event.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The event.
    pub event: &'a Event,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Where parts go before the final result. Waits while the runtime cannot take more.
    pub parts: &'a dyn PartSink,
}

impl Job<'_> {
    /// The key under which side effects can be made idempotent.
    pub fn idempotency_key(&self) -> IdempotencyKey {
        let origin = &self.event.origin;
        IdempotencyKey { client: origin.client.clone(), outbox: origin.outbox, seq: self.event.seq }
    }
}

/// Takes the parts of a result as they come.
pub trait PartSink: Debug + Send + Sync {
    /// Hands over one part. Waits while the runtime's budget for this event's parts is used up. Delivered in order,
    /// before the terminal answer; at-least-once (a later attempt begins anew).
    fn emit(&self, kind: InterimKind, output: Output) -> BoxFuture<'_, ()>;
}

/// The parts an executor may emit before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterimKind {
    /// A piece of the result.
    Part,
    /// A log line.
    Log,
    /// Progress.
    Progress,
}

impl From<InterimKind> for PartKind {
    fn from(kind: InterimKind) -> Self {
        match kind {
            InterimKind::Part => Self::Part,
            InterimKind::Log => Self::Log,
            InterimKind::Progress => Self::Progress,
        }
    }
}

/// What an executor puts out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Opaque to Nimbus.
    pub payload: Bytes,
    /// Its media type.
    pub content_type: ContentType,
    /// Free for the application.
    pub attributes: Attributes,
}

impl Output {
    /// Output of a media type.
    pub fn new(payload: impl Into<Bytes>, content_type: ContentType) -> Self {
        Self { payload: payload.into(), content_type, attributes: Attributes::new() }
    }
}

/// Why an attempt did not produce a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    /// It may work later: it is tried again with jittered backoff, and only this client waits.
    #[error("transient failure: {0}")]
    Transient(String),
    /// The event itself can never work (bad payload): answered as ERROR at once, no dead letter.
    #[error("{}: {}", .0.reason, .0.message)]
    Rejected(Failure),
    /// The event is poison for the executor: dead letter and ERROR at once.
    #[error("poison: {0}")]
    Poison(String),
}

impl ExecutorError {
    /// A rejection with one of the well-known reasons.
    pub fn rejected(reason: Reason, message: impl Into<String>) -> Self {
        Self::Rejected(Failure {
            code: reason.class().code(),
            reason: reason.as_str().to_owned(),
            message: message.into(),
        })
    }
}

/// How one attempt ended.
pub type Outcome = Result<Output, ExecutorError>;

/// One attempt: done already, or on its way. `Now` spares quick executors an allocation per event.
pub enum Run<'a> {
    /// Done. For work of microseconds: it holds up the thread, and a run of such answers looks at the clock once for 16 of them, so
    /// that each says it was produced up to 16 executions too early.
    Now(Outcome),
    /// On its way. Must not block the thread; dropped when the attempt's time is over or the server stops.
    Later(BoxFuture<'a, Outcome>),
}

impl Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(outcome) => f.debug_tuple("Now").field(outcome).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

impl<'a> Run<'a> {
    /// An attempt that runs as a future.
    pub fn later(work: impl Future<Output = Outcome> + Send + 'a) -> Self {
        Self::Later(Box::pin(work))
    }
}

/// Handles the events of one name.
pub trait Executor: Debug + Send + Sync {
    /// The event name it handles.
    fn name(&self) -> &str;

    /// Which lane its events run in.
    fn lane(&self) -> Lane {
        Lane::Ordered
    }

    /// How long one attempt may take; running past it is a transient failure.
    fn time_limit(&self) -> Duration {
        DEFAULT_TIME_LIMIT
    }

    /// Whether an attempt has no effect at all but its outcome and its parts. Then, where the log can do that, it is made while
    /// its event is still being written, and both become durable together; should the event not become durable after all,
    /// the outcome is dropped. An executor that touches anything else must not say so: it would have done that for an
    /// event that was never accepted.
    fn is_pure(&self) -> bool {
        false
    }

    /// Makes one attempt. A panic is caught and treated as poison.
    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a>;
}
