//! What the tests of both halves share: a log in memory that can be told to fail, a clock that follows the paused one of
//! tokio, and events by hand.

mod log;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nimbus_core::{
    Attributes, ClientId, ContentType, Event, EventName, Failure, Origin, OutboxId, PrincipalId, ResultRecord,
    clock::{Clock, UnixMillis},
};
use tokio::time::Instant;

pub(crate) use log::{Fate, MemoryLog, soon};

/// Wall-clock time that goes along with tokio's clock, paused or not.
#[derive(Debug)]
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    /// When it starts.
    pub(crate) const START: UnixMillis = UnixMillis(1_000_000);

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TokioClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(Self::START.0 + self.0.elapsed().as_millis() as u64)
    }
}

/// Makes the events of one client.
#[derive(Debug)]
pub(crate) struct Client {
    origin: Arc<Origin>,
    seq: u64,
}

impl Client {
    pub(crate) fn new(name: &str) -> Self {
        let origin = Origin {
            client: ClientId::try_new(name).unwrap(),
            principal: PrincipalId::try_new("tester").unwrap(),
            outbox: OutboxId::new([1; 16]),
        };
        Self { origin: Arc::new(origin), seq: 0 }
    }

    pub(crate) fn event_client(&self) -> ClientId {
        self.origin.client.clone()
    }

    pub(crate) fn event(&mut self, name: &str, payload: &str) -> Event {
        self.seq += 1;
        Event {
            origin: Arc::clone(&self.origin),
            seq: self.seq,
            name: EventName::try_new(name).unwrap(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            content_type: ContentType::default(),
            attributes: Attributes::new(),
            deadline: None,
            traceparent: String::new(),
            received: TokioClock::START,
            replay_no: 0,
            refused: None,
            edge_context: Bytes::from_static(b"edge"),
        }
    }

    pub(crate) fn refused(&mut self, reason: &str) -> Event {
        let failure = Failure { code: 3, reason: reason.to_owned(), message: "no".to_owned() };
        Event { refused: Some(Box::new(failure)), ..self.event("sq", "") }
    }

    pub(crate) fn with_deadline(&mut self, name: &str, payload: &str, after: Duration) -> Event {
        let deadline = UnixMillis(TokioClock::START.0 + after.as_millis() as u64);
        Event { deadline: Some(deadline), ..self.event(name, payload) }
    }
}

/// A result in a few letters: client, seq, kind, and its payload or reason.
pub(crate) fn brief(record: &ResultRecord) -> String {
    let body = match &record.failure {
        Some(failure) => failure.reason.clone(),
        None => String::from_utf8_lossy(&record.payload).into_owned(),
    };
    format!("{}/{} {:?} {body}", record.origin.client, record.seq, record.kind)
}
