//! Limits of a session: what one client may take of a server's time and memory.

use std::{num::NonZeroU32, time::Duration};

use super::raw_section;
use crate::{Setting, reading::Reading, value};

/// A phone on a bad line needs seconds; a caller that says nothing gets no more.
pub(crate) const HANDSHAKE_TIMEOUT: Setting = Setting::new("NIMBUS_SESSION_HANDSHAKE_TIMEOUT", "10s");
/// Below the 30 s after which mobile networks drop an idle connection.
pub(crate) const PING_INTERVAL: Setting = Setting::new("NIMBUS_SESSION_PING_INTERVAL", "25s");
/// A round trip, a wake-up and a retransmission.
pub(crate) const PONG_TIMEOUT: Setting = Setting::new("NIMBUS_SESSION_PONG_TIMEOUT", "10s");
/// Used when Hello does not ask for a window.
pub(crate) const RECEIVE_WINDOW: Setting = Setting::new("NIMBUS_SESSION_RECEIVE_WINDOW", "128");
/// Bounds what a client that does not read costs, by count …
pub(crate) const QUEUE_MESSAGES: Setting = Setting::new("NIMBUS_SESSION_QUEUE_MESSAGES", "256");
/// … and by framed bytes.
pub(crate) const QUEUE_BYTES: Setting = Setting::new("NIMBUS_SESSION_QUEUE_BYTES", "1MiB");
/// Events are messages, not files.
pub(crate) const MAX_PAYLOAD_BYTES: Setting = Setting::new("NIMBUS_SESSION_MAX_PAYLOAD_BYTES", "64KiB");
/// Also how many events a client resends at most when it lost an Accepted.
pub(crate) const MAX_IN_FLIGHT: Setting = Setting::new("NIMBUS_SESSION_MAX_IN_FLIGHT", "1024");
/// At the idle memory of a stream this is some 4 GiB.
pub(crate) const MAX_STREAMS: Setting = Setting::new("NIMBUS_SESSION_MAX_STREAMS", "100000");
/// Enough for a backend that multiplexes; a bound on what one connection can cost.
pub(crate) const STREAMS_PER_CONNECTION: Setting = Setting::new("NIMBUS_SESSION_STREAMS_PER_CONNECTION", "1024");
/// Off: what a device may send is the application's to say.
pub(crate) const RATE_LIMIT: Setting = Setting::new("NIMBUS_SESSION_RATE_LIMIT", "off").example("100");
/// More than any device sends, and a fraction of what one core carries: one client leaves the others most of it.
pub(crate) const FAIR_RATE: Setting = Setting::new("NIMBUS_SESSION_FAIR_RATE", "2000");
raw_section!(RawSession, "NIMBUS_SESSION_", {
    handshake_timeout: HANDSHAKE_TIMEOUT,
    ping_interval: PING_INTERVAL,
    pong_timeout: PONG_TIMEOUT,
    receive_window: RECEIVE_WINDOW,
    queue_messages: QUEUE_MESSAGES,
    queue_bytes: QUEUE_BYTES,
    max_payload_bytes: MAX_PAYLOAD_BYTES,
    max_in_flight: MAX_IN_FLIGHT,
    max_streams: MAX_STREAMS,
    streams_per_connection: STREAMS_PER_CONNECTION,
    rate_limit: RATE_LIMIT,
    fair_rate: FAIR_RATE,
});

/// The protocol's cap on a payload.
const PAYLOAD_CAP: u64 = 1024 * 1024;
/// What a message has besides its payload, at most: attributes, names, framing.
const MESSAGE_OVERHEAD: u64 = 16 * 1024;

/// Limits of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// A stream that has said no Hello by then ends.
    pub handshake_timeout: Duration,
    /// How often an idle client is pinged.
    pub ping_interval: Duration,
    /// A client that has not answered a ping by then is gone. Not above `ping_interval`.
    pub pong_timeout: Duration,
    /// How many deliveries may be unacknowledged.
    pub receive_window: u32,
    /// How many messages may wait to be written.
    pub queue_messages: usize,
    /// How many framed bytes may wait to be written. Holds at least one message of the largest size.
    pub queue_bytes: usize,
    /// Largest payload of an event, at most 1 MiB.
    pub max_payload_bytes: usize,
    /// How many events of a client may be sent and not yet accepted.
    pub max_in_flight: usize,
    /// How many streams may be open at once.
    pub max_streams: usize,
    /// How many streams one connection may have open at once.
    pub streams_per_connection: u32,
    /// Events a second and client, and at once after a pause; `None` is no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// Events a second that a client may always send; one that sends more, and more than twice as much as all others of its
    /// server together, is read more slowly. `None`: nobody is.
    pub fair_rate: Option<NonZeroU32>,
}

impl SessionConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawSession::read(reading.environment());
        let time = || value::duration(Duration::from_millis(100)..=Duration::from_secs(600));
        let config = Self {
            handshake_timeout: reading.value(&HANDSHAKE_TIMEOUT, raw.handshake_timeout, time()),
            ping_interval: reading.value(&PING_INTERVAL, raw.ping_interval, time()),
            pong_timeout: reading.value(&PONG_TIMEOUT, raw.pong_timeout, time()),
            receive_window: reading.value(&RECEIVE_WINDOW, raw.receive_window, value::integer(1..=65_536)),
            queue_messages: reading.value(&QUEUE_MESSAGES, raw.queue_messages, value::integer(8..=65_536)),
            queue_bytes: reading.value(&QUEUE_BYTES, raw.queue_bytes, value::memory(32 * 1024..=64 * PAYLOAD_CAP)),
            max_payload_bytes: reading.value(
                &MAX_PAYLOAD_BYTES,
                raw.max_payload_bytes,
                value::memory(64..=PAYLOAD_CAP),
            ),
            max_in_flight: reading.value(&MAX_IN_FLIGHT, raw.max_in_flight, value::integer(1..=65_536)),
            max_streams: reading.value(&MAX_STREAMS, raw.max_streams, value::integer(1..=10_000_000)),
            streams_per_connection: reading.value(
                &STREAMS_PER_CONNECTION,
                raw.streams_per_connection,
                value::integer(1..=1_000_000),
            ),
            rate_limit: reading.value(&RATE_LIMIT, raw.rate_limit, rate),
            fair_rate: reading.value(&FAIR_RATE, raw.fair_rate, rate),
        };
        if config.pong_timeout > config.ping_interval && reading.are_sound(&[&PING_INTERVAL, &PONG_TIMEOUT]) {
            let wrong = format!("is longer than {}, so that pings would pile up", PING_INTERVAL.name);
            let remedy = format!("lower it to at most {:?}", config.ping_interval);
            reading.problem_with_remedy(&PONG_TIMEOUT, wrong, remedy);
        }
        let needed = config.max_payload_bytes as u64 + MESSAGE_OVERHEAD;
        if (config.queue_bytes as u64) < needed && reading.are_sound(&[&QUEUE_BYTES, &MAX_PAYLOAD_BYTES]) {
            let wrong = format!("does not hold one message of {}", MAX_PAYLOAD_BYTES.name);
            reading.problem_with_remedy(&QUEUE_BYTES, wrong, format!("raise it to at least {}", value::size(needed)));
        }
        config
    }
}

fn rate(text: &str) -> Result<Option<NonZeroU32>, String> {
    if text == "off" {
        return Ok(None);
    }
    value::integer(1..=1_000_000_u32)(text).map(NonZeroU32::new)
}
