//! What each stream of a load counts for itself, added up at the end.

use std::{collections::BTreeMap, time::Duration};

use crate::{Cost, LoadConfig, LoadReport, OpenLoop, meter, meter::Measured, stream::schedule::Lateness};

/// Most different errors that are kept; the rest is counted under one name.
const MAX_ERRORS: usize = 10;

/// Of one stream, or of several.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// Events of an open loop that never left.
    pub(crate) unsent: u64,
    pub(crate) lateness: Lateness,
    pub(crate) reconnects: u64,
    pub(crate) longest_reconnect: Duration,
    pub(crate) interrupted: bool,
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn error(&mut self, error: String) {
        self.errors(error, 1);
    }

    fn errors(&mut self, error: String, count: u64) {
        let full = self.errors.len() >= MAX_ERRORS && !self.errors.contains_key(&error);
        let name = if full { "other errors".to_owned() } else { error };
        *self.errors.entry(name).or_default() += count;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.unsent += other.unsent;
        self.lateness += other.lateness;
        self.reconnects += other.reconnects;
        self.longest_reconnect = self.longest_reconnect.max(other.longest_reconnect);
        self.interrupted |= other.interrupted;
        for (error, count) in other.errors {
            self.errors(error, count);
        }
    }

    /// Together with what was measured.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn report(self, config: &LoadConfig, measured: &Measured, time: Duration, cost: Cost) -> LoadReport {
        let seconds = time.as_secs_f64();
        let counts = measured.counts;
        LoadReport {
            protocol: config.protocol,
            interrupted: self.interrupted,
            streams: config.streams,
            connections: config.connections.min(config.streams),
            window: config.window,
            seconds,
            sent: self.sent,
            answered: counts.answered,
            measured: counts.measured,
            events_per_second: if seconds > 0.0 { counts.measured as f64 / seconds } else { 0.0 },
            latency: meter::latency(&measured.latencies).unwrap_or_default(),
            open_loop: config.rate.map(|rate| OpenLoop::new(rate, self.unsent, self.lateness)),
            lost: self.lost,
            duplicates: counts.duplicates,
            out_of_order: counts.out_of_order,
            wrong: counts.wrong,
            failed: counts.failed,
            rejected: counts.rejected,
            idle: config.idle,
            slow_readers: config.slow_readers,
            reconnects: self.reconnects,
            longest_reconnect_us: self.longest_reconnect.as_secs_f64() * 1e6,
            errors: self.errors,
            cost,
        }
    }
}
