//! What one session may do and for how long the server waits for it.

use std::time::Duration;

/// The largest payload that any configuration may allow, in bytes.
pub const MAX_PAYLOAD_CAP_BYTES: usize = 1024 * 1024;
/// The highest sequence number: what a signed 64-bit column can hold.
pub const MAX_SEQ: u64 = i64::MAX as u64;
/// How many attributes an event may have.
pub const MAX_ATTRIBUTES: usize = 32;
/// How long all keys and values of an event may be together, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 4 * 1024;
/// The longest trace context, in bytes.
pub const MAX_TRACEPARENT_BYTES: usize = 64;
/// The largest receive window a client may ask for. Bounds the memory of the unacknowledged positions.
pub const MAX_RECEIVE_WINDOW: u32 = 65_536;
/// How many answers beyond the contiguous ones a client may name when it resumes.
pub const MAX_ANSWERED_BEYOND: usize = 4_096;
/// How long a client waits after the disk was full, before it sends again.
pub const STORAGE_FULL_RETRY: Duration = Duration::from_secs(1);

/// The limits of a session. The defaults are those of the protocol's documentation.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest payload of an event, in bytes; at most [`MAX_PAYLOAD_CAP_BYTES`].
    pub max_payload_bytes: usize,
    /// Events received and not yet durable; at the limit the server stops reading the stream.
    pub max_in_flight: usize,
    /// Deliveries that may be unacknowledged when the client does not say.
    pub receive_window: u32,
    /// Frames that may wait in the outgoing queue.
    pub queue_messages: usize,
    /// Framed bytes that may wait in the outgoing queue.
    pub queue_bytes: usize,
    /// Within this the client must have said Hello.
    pub handshake: Duration,
    /// How often an open session is pinged.
    pub ping_interval: Duration,
    /// Within this something must come from the client after a ping.
    pub pong_timeout: Duration,
    /// How often acknowledgements go to the mailbox at most.
    pub ack_interval: Duration,
    /// Original protocol: what a client sent is taken to have come within this. What comes later than this after a result was written
    /// shows that the client was still there after it (rule 26). At least the HTTP/2 keepalive's timeout.
    pub original_flight: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload_bytes: 64 * 1024,
            max_in_flight: 1_024,
            receive_window: 128,
            queue_messages: 256,
            queue_bytes: 1024 * 1024,
            handshake: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            ack_interval: Duration::from_secs(1),
            original_flight: Duration::from_secs(10),
        }
    }
}
