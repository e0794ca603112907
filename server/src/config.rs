//! What the edge can be told.

use std::{num::NonZeroU32, time::Duration};

use nimbus_core::{ServerId, session::Limits};

/// Streams that may be open at once on one server, in both protocols together.
pub const DEFAULT_MAX_STREAMS: usize = 100_000;
/// Streams that one connection may have open at once. Enough for a backend that multiplexes; a bound on what one
/// connection can cost.
pub const DEFAULT_STREAMS_PER_CONNECTION: u32 = 1_024;
/// More than any device sends, and a fraction of what one core carries: one client leaves the others most of it.
pub const DEFAULT_FAIR_RATE: Option<NonZeroU32> = NonZeroU32::new(2_000);
/// How often HTTP/2 asks a silent connection whether it is there. Longer than a session waits between its own pings, whose answers
/// show it just as well: two kinds of pings would cost an idle stream twice.
pub const DEFAULT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it waits for the answer.
pub const DEFAULT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the edge compares what it was notified of with the mailbox (rule 20).
pub const DEFAULT_REPAIR_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of the edge.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Which server this is; unique among those alive.
    pub server: ServerId,
    /// The limits of each session. `original_flight` is raised to the keepalive's timeout.
    pub limits: Limits,
    /// Streams open at once; more are refused with `TOO_MANY_STREAMS`.
    pub max_streams: usize,
    /// Streams open at once on one connection; HTTP/2 makes the client wait for more.
    pub streams_per_connection: u32,
    /// Events a second per client id, with a burst of the same size; `None` = no limit.
    pub events_per_second: Option<NonZeroU32>,
    /// Events a second that a client may send whatever the others send; one that sends more, and more than twice as much as all
    /// others together, is read more slowly. An event counts once more for each 4 KiB of its payload. `None`: nobody is.
    pub fair_rate: Option<NonZeroU32>,
    /// HTTP/2 keepalive interval.
    pub keepalive_interval: Duration,
    /// HTTP/2 keepalive timeout.
    pub keepalive_timeout: Duration,
    /// Interval of the repair check.
    pub repair_interval: Duration,
}

impl EdgeConfig {
    /// The defaults, for a server of this name.
    pub fn new(server: ServerId) -> Self {
        Self {
            server,
            limits: Limits::default(),
            max_streams: DEFAULT_MAX_STREAMS,
            streams_per_connection: DEFAULT_STREAMS_PER_CONNECTION,
            events_per_second: None,
            fair_rate: DEFAULT_FAIR_RATE,
            keepalive_interval: DEFAULT_KEEPALIVE_INTERVAL,
            keepalive_timeout: DEFAULT_KEEPALIVE_TIMEOUT,
            repair_interval: DEFAULT_REPAIR_INTERVAL,
        }
    }

    /// The same, with what follows from other fields put right.
    pub(crate) fn settled(mut self) -> Self {
        self.limits.original_flight = self.limits.original_flight.max(self.keepalive_timeout);
        self
    }
}
