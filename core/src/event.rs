//! One event, from the edge to the executor.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    clock::UnixMillis,
    id::{ClientId, EventName, OutboxId, PrincipalId},
    result::Failure,
};

/// Who sent an event, and so who gets its results. Shared by all events of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client.
    pub client: ClientId,
    /// The principal that the client id belonged to.
    pub principal: PrincipalId,
    /// The outbox in which sequence numbers count.
    pub outbox: OutboxId,
}

/// A media type. Empty means `application/octet-stream`. A copy of JSON's, which nearly everything has, counts no references: all
/// cores would write to that one counter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentType(MediaType);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum MediaType {
    #[default]
    Unsaid,
    Json,
    /// A thin pointer: records are copied a lot.
    Other(Arc<String>),
}

const JSON: &str = "application/json";

impl ContentType {
    /// Longest media type, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Takes over a media type; empty text is "not said".
    pub fn new(text: &str) -> Self {
        Self(match text {
            "" => MediaType::Unsaid,
            JSON => MediaType::Json,
            other => MediaType::Other(Arc::new(other.to_owned())),
        })
    }

    /// The media type, or empty.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            MediaType::Unsaid => "",
            MediaType::Json => JSON,
            MediaType::Other(text) => text,
        }
    }
}

/// Free key-value pairs. No allocation while there are none.
pub type Attributes = Vec<(String, String)>;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who sent it.
    pub origin: Arc<Origin>,
    /// Its sequence number in the outbox, from 1.
    pub seq: u64,
    /// Which executor handles it.
    pub name: EventName,
    /// Opaque.
    pub payload: Bytes,
    /// Media type of the payload.
    pub content_type: ContentType,
    /// Free for the application.
    pub attributes: Attributes,
    /// Past this moment it is answered, not executed.
    pub deadline: Option<UnixMillis>,
    /// W3C trace context, or empty.
    pub traceparent: String,
    /// When the server took it.
    pub received: UnixMillis,
    /// Above 0 when a dead letter is replayed.
    pub replay_no: u32,
    /// The server refused it for good: it is not executed, its ERROR is this. Keeping a refusal in the log gives it a
    /// place in the order of answers and makes it as durable as any other.
    pub refused: Option<Box<Failure>>,
    /// Opaque to everything but the edge that wrote it; returned with each result.
    pub edge_context: Bytes,
}

impl Event {
    /// The same event, refused for good: nothing is kept of it but what its answer needs.
    #[must_use]
    pub fn refuse(self, failure: Failure) -> Self {
        Self {
            payload: Bytes::new(),
            content_type: ContentType::default(),
            attributes: Attributes::default(),
            deadline: None,
            traceparent: String::new(),
            refused: Some(Box::new(failure)),
            ..self
        }
    }
}
