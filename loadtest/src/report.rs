//! What a load found out.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Cost, Protocol, stream::schedule::Lateness};

/// Latency from the moment an event was handed to the transport, or in an open loop was to be handed to it, until its answer
/// was read, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// The worst.
    pub max_us: f64,
}

/// How an open loop kept its schedule, in the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct OpenLoop {
    /// Events a second that had their turns, all streams together.
    pub rate: f64,
    /// Events that waited for their stream's window, or for the server's credit: the server did not keep up.
    pub held: u64,
    /// Events that still waited for it at the end, and were never sent.
    pub unsent: u64,
    /// Events for which the window was open at their turn.
    #[serde(default)]
    pub free: u64,
    /// Those of them that left more than a millisecond after their turn: this process, or the transport,
    /// did not keep up.
    pub late: u64,
    /// How long after their turn these left on average, in microseconds. All latencies contain it.
    pub mean_lateness_us: f64,
    /// The largest of these.
    pub max_lateness_us: f64,
}

impl OpenLoop {
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn new(rate: f64, unsent: u64, lateness: Lateness) -> Self {
        let Lateness { held, free, late, total, largest } = lateness;
        let mean_lateness_us = total as f64 / free.max(1) as f64 / 1000.0;
        Self { rate, held, unsent, free, late, mean_lateness_us, max_lateness_us: largest as f64 / 1000.0 }
    }
}

impl fmt::Display for OpenLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "open loop at {} events/s: held by the server {}, never sent {}; late by this process {}, on average {:.0} us, at most {:.0} us",
            self.rate, self.held, self.unsent, self.late, self.mean_lateness_us, self.max_lateness_us
        )
    }
}

/// What a load found out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LoadReport {
    /// Which protocol.
    pub protocol: Protocol,
    /// It was told to stop before its time: what is below is what it had by then.
    #[serde(default)]
    pub interrupted: bool,
    /// How many streams.
    pub streams: usize,
    /// Over how many connections.
    pub connections: usize,
    /// Events outstanding per stream.
    pub window: usize,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Events sent, warm-up included.
    pub sent: u64,
    /// Events answered, warm-up included.
    pub answered: u64,
    /// Events answered in the measured time.
    #[serde(default)]
    pub measured: u64,
    /// The same, per second.
    pub events_per_second: f64,
    /// Of the events sent and answered in the measured time. In an open loop, of all that had their turns in it: one that is
    /// answered later counts, and one that could not be sent to the end, with the wait that it had by then.
    pub latency: Latency,
    /// How an open loop kept its schedule.
    #[serde(default)]
    pub open_loop: Option<OpenLoop>,
    /// Sent and never answered.
    pub lost: u64,
    /// Answered more than once.
    pub duplicates: u64,
    /// Answered after an event that was sent later.
    pub out_of_order: u64,
    /// Answered with something that is not the right answer, or answers to nothing.
    pub wrong: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Refused for a while and sent again.
    pub rejected: u64,
    /// Streams beside these that said nothing.
    #[serde(default)]
    pub idle: usize,
    /// How many of the streams read slowly; their latencies are not measured.
    #[serde(default)]
    pub slow_readers: usize,
    /// Sessions that were closed and opened anew.
    #[serde(default)]
    pub reconnects: u64,
    /// The longest time from the closing of one to the welcome of the next, in microseconds.
    #[serde(default)]
    pub longest_reconnect_us: f64,
    /// What went wrong with streams, and how often.
    pub errors: BTreeMap<String, u64>,
    /// What it cost.
    #[serde(default)]
    pub cost: Cost,
}

/// A look at a load that runs: its last second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadProgress {
    /// Since the first event.
    pub elapsed: Duration,
    /// Answers so far.
    pub answered: u64,
    /// Answers per second since the last look.
    pub events_per_second: f64,
    /// Of those; nothing in the warm-up, and if there were none.
    pub latency: Option<Latency>,
    /// Answers so far that were wrong, an error, repeated or out of order.
    pub errors: u64,
    /// Streams that have ended early.
    pub broken_streams: u64,
}

impl LoadReport {
    /// Whether nothing was lost, repeated, reordered, wrong, failed or broken.
    pub fn is_clean(&self) -> bool {
        let counts = [self.lost, self.duplicates, self.out_of_order, self.wrong, self.failed];
        counts.into_iter().all(|count| count == 0) && self.errors.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency;
        if self.interrupted {
            writeln!(f, "interrupted; this is what there was by then:")?;
        }
        writeln!(
            f,
            "{} x {} over {} connections: {:.0} events/s, {} answered of {} sent in {:.1} s measured",
            self.streams, self.window, self.connections, self.events_per_second, self.answered, self.sent, self.seconds
        )?;
        writeln!(
            f,
            "latency us: p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}",
            latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us
        )?;
        if let Some(open_loop) = &self.open_loop {
            writeln!(f, "{open_loop}")?;
        }
        write!(
            f,
            "lost {}, duplicates {}, out of order {}, wrong {}, failed {}, rejected {}",
            self.lost, self.duplicates, self.out_of_order, self.wrong, self.failed, self.rejected
        )?;
        if self.idle > 0 || self.slow_readers > 0 {
            write!(f, "\nidle streams {}, slow readers {}", self.idle, self.slow_readers)?;
        }
        if self.reconnects > 0 {
            write!(f, "\nreconnects {}, the longest took {:.0} us", self.reconnects, self.longest_reconnect_us)?;
        }
        for (error, count) in &self.errors {
            write!(f, "\n{count} x {error}")?;
        }
        self.cost.servers.iter().try_for_each(|server| write!(f, "\n{server}"))?;
        self.cost.machines.iter().try_for_each(|machine| write!(f, "\n{machine}"))
    }
}
