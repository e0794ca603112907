//! What the streams of a load measure, together: taken once a second for progress and samples, and added up for the report.

use std::{
    ops::AddAssign,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hdrhistogram::Histogram;

use crate::Latency;

/// Streams share a shard with every sixteenth other: a histogram for each would be a quarter of a MiB a stream, one for all a
/// lock that all of them want.
const SHARDS: usize = 16;
/// Longest latency that is told apart, in nanoseconds: ten minutes.
const LONGEST: u64 = 600_000_000_000;

/// What answers were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    /// Those of them that came in the measured time.
    pub(crate) measured: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    pub(crate) rejected: u64,
}

impl Counts {
    pub(crate) const fn errors(&self) -> u64 {
        self.duplicates + self.out_of_order + self.wrong + self.failed
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.answered += more.answered;
        self.measured += more.measured;
        self.duplicates += more.duplicates;
        self.out_of_order += more.out_of_order;
        self.wrong += more.wrong;
        self.failed += more.failed;
        self.rejected += more.rejected;
    }
}

/// What was measured in some time.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) counts: Counts,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants that fit");
        Self { counts: Counts::default(), latencies }
    }

    pub(crate) fn latency(&mut self, nanos: u64) {
        self.latencies.saturating_record(nanos.max(1));
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.counts += more.counts;
        self.latencies.add(&more.latencies).expect("all of them have the same bounds");
    }

    pub(crate) fn reset(&mut self) {
        self.counts = Counts::default();
        self.latencies.reset();
    }
}

/// Shared by all streams.
#[derive(Debug)]
pub(crate) struct Meter {
    shards: Box<[Mutex<Measured>]>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Measured::new())).collect() }
    }

    /// Where this stream writes. To be held for a batch of answers and not across an await.
    pub(crate) fn shard(&self, number: usize) -> MutexGuard<'_, Measured> {
        self.shards[number % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what was measured since the last time into `measured`, in place of what was there.
    pub(crate) fn take(&self, measured: &mut Measured) {
        measured.reset();
        for number in 0..SHARDS {
            let mut shard = self.shard(number);
            measured.add(&shard);
            shard.reset();
        }
    }
}

/// Percentiles of a histogram of nanoseconds; nothing if it is empty.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn latency(histogram: &Histogram<u64>) -> Option<Latency> {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    (!histogram.is_empty()).then(|| Latency {
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: histogram.max() as f64 / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_taken_once_whoever_measured_it() {
        let (meter, mut measured) = (Meter::new(), Measured::new());
        for number in 0..100 {
            let mut shard = meter.shard(number);
            shard.counts += Counts { answered: 2, measured: 1, wrong: 1, ..Counts::default() };
            shard.latency(1000 * (number as u64 + 1));
        }
        meter.take(&mut measured);
        let expected = Counts { answered: 200, measured: 100, wrong: 100, ..Counts::default() };
        assert_eq!((measured.counts, measured.latencies.len()), (expected, 100));
        let latency = latency(&measured.latencies).unwrap();
        assert!((latency.p50_us - 50.0).abs() < 0.1 && (latency.max_us - 100.0).abs() < 0.1, "{latency:?}");
        meter.take(&mut measured);
        assert_eq!((measured.counts, measured.latencies.len()), (Counts::default(), 0));
        assert_eq!(super::latency(&measured.latencies), None);
    }

    #[test]
    fn a_latency_beyond_all_bounds_counts_as_the_longest() {
        let mut measured = Measured::new();
        measured.latency(u64::MAX);
        measured.latency(0);
        assert_eq!(measured.latencies.len(), 2);
        assert!(latency(&measured.latencies).unwrap().max_us >= 6e8);
    }
}
