//! What an application sends.
//!
//! Sizes are checked here, before an event gets its number: an event that the server cannot even read would otherwise
//! sit at the head of the outbox forever. Everything else about an event is the server's to judge, and comes back as
//! that event's [`Outcome::Error`](crate::Outcome::Error).

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use nimbus_proto::v1;

use crate::Error;

/// Largest payload that any server takes, in bytes. A server may be configured to take less.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// Longest event name and longest content type, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Longest trace context, in bytes.
const MAX_TRACEPARENT_BYTES: usize = 64;
/// Most attributes of one event.
const MAX_ATTRIBUTES: usize = 32;
/// Keys and values of one event's attributes together, in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 4096;

/// The number of an event within its outbox: 1, 2, 3, … in the order of sending.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(u64);

impl Seq {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One event, before it is sent.
///
/// ```
/// use std::time::Duration;
/// use nimbus_client::Event;
///
/// let event = Event::new("sq", "12").content_type("application/json").expires_in(Duration::from_secs(30));
/// assert_eq!(event.name(), "sq");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Event(pub(crate) v1::Event);

impl Event {
    /// An event for the executor that handles `name`. The payload is opaque to Nimbus.
    pub fn new(name: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self(v1::Event { name: name.into(), payload: payload.into(), ..v1::Event::default() })
    }

    /// Says what the payload is. Without it, it is `application/octet-stream`.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.0.content_type = content_type.into();
        self
    }

    /// Adds a key and a value for the executor. At most 32 of them, 4 KiB together; keys that begin with `nimbus.` are
    /// reserved.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.attributes.insert(key.into(), value.into());
        self
    }

    /// Past this moment, by the server's clock, the event is answered `DEADLINE_EXCEEDED` instead of being executed.
    #[must_use]
    pub fn deadline(mut self, at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::from_millis(1));
        // 0 would mean "no deadline", and this one has passed.
        self.0.deadline_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// [`deadline`](Self::deadline), counted from now.
    #[must_use]
    pub fn expires_in(self, time: Duration) -> Self {
        self.deadline(SystemTime::now() + time)
    }

    /// W3C trace context, handed on to the executor.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.0.traceparent = traceparent.into();
        self
    }

    /// Which executor handles it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its payload.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// Checks what would make the event unreadable for the server.
    pub(crate) fn check(&self, max_payload_bytes: usize) -> Result<(), Error> {
        let event = &self.0;
        let invalid = |what: String| Err(Error::Invalid { what });
        if event.name.is_empty() || event.name.len() > MAX_NAME_BYTES {
            return invalid(format!("event name has {} bytes; give 1 to {MAX_NAME_BYTES}", event.name.len()));
        }
        if event.payload.len() > max_payload_bytes {
            return invalid(format!("payload has {} bytes; at most {max_payload_bytes}", event.payload.len()));
        }
        if event.content_type.len() > MAX_NAME_BYTES {
            return invalid(format!("content type has {} bytes; at most {MAX_NAME_BYTES}", event.content_type.len()));
        }
        if event.traceparent.len() > MAX_TRACEPARENT_BYTES {
            return invalid(format!(
                "traceparent has {} bytes; at most {MAX_TRACEPARENT_BYTES}",
                event.traceparent.len()
            ));
        }
        let attribute_bytes: usize = attribute_bytes(&event.attributes);
        if event.attributes.len() > MAX_ATTRIBUTES || attribute_bytes > MAX_ATTRIBUTE_BYTES {
            return invalid(format!(
                "{} attributes of {attribute_bytes} bytes together; at most {MAX_ATTRIBUTES} of {MAX_ATTRIBUTE_BYTES} bytes",
                event.attributes.len()
            ));
        }
        Ok(())
    }
}

fn attribute_bytes(attributes: &HashMap<String, String>) -> usize {
    attributes.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_could_not_read_is_refused_here() {
        assert!(Event::new("sq", "1").check(10).is_ok());
        assert!(Event::new("", "1").check(10).is_err());
        assert!(Event::new("n".repeat(129), "1").check(10).is_err());
        assert!(Event::new("sq", vec![0; 11]).check(10).is_err());
        assert!(Event::new("sq", "1").attribute("k", "v".repeat(4096)).check(10).is_err());
        assert!(Event::new("sq", "1").traceparent("t".repeat(65)).check(10).is_err());
        assert!(Event::new("sq", "1").content_type("t".repeat(129)).check(10).is_err());
    }

    #[test]
    fn a_deadline_before_1970_is_still_a_deadline() {
        let event = Event::new("sq", "1").deadline(UNIX_EPOCH - Duration::from_secs(5));
        assert_eq!(event.0.deadline_unix_ms, 1);
    }
}
