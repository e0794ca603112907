//! When a load has recovered from a fault, and how long that took.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::{
    load::Load,
    meter::{Latency, seconds},
};

/// How much worse than steady the p99 of a second may be that counts as recovered.
pub(crate) const WORSE: f64 = 3.0;
/// Below this a p99 is good in any case: on a machine that does other work as well, less is noise.
pub(crate) const GOOD_MS: f64 = 50.0;
/// After this it is said not to have recovered.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The definition, as reports state it.
pub const DEFINITION: &str = "Recovered is the first moment, looked at every 100 ms, at which (1) every event has its answer that was outstanding \
when the fault began or was due before it ended, and (2) the p99 of the last second is within 3 times that of the steady \
load (or below 50 ms), latency being counted from when an event should have been sent. Recovery is counted from the beginning of \
the fault, so it has in it the time for which the harm was held on purpose; the part after its end stands beside it. A second that \
was bad at all is looked back at for a second.";

/// How one fault went, in seconds since the load began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// When the harm began.
    pub began_s: f64,
    /// When everything that was harmed was back.
    pub ended_s: f64,
    /// When every event had its answer that was outstanding at the beginning or was due before the end; nothing if they never had.
    pub answered_s: Option<f64>,
    /// When it had recovered; nothing if it did not within two minutes.
    pub recovered_s: Option<f64>,
    /// Events without an answer when it began.
    pub outstanding: u64,
    /// Of the answers from its beginning until recovery.
    pub latency: Option<Latency>,
}

impl Course {
    /// From the beginning of the harm until recovery, in seconds.
    pub fn recovery_s(&self) -> Option<f64> {
        self.recovered_s.map(|at| round(at - self.began_s))
    }

    /// The same, on a clock that began so many seconds earlier.
    pub(crate) fn later(&self, by: f64) -> Self {
        Self {
            began_s: round(self.began_s + by),
            ended_s: round(self.ended_s + by),
            answered_s: self.answered_s.map(|at| round(at + by)),
            recovered_s: self.recovered_s.map(|at| round(at + by)),
            ..*self
        }
    }

    /// From the end of the harm until recovery, in seconds.
    pub fn after_s(&self) -> Option<f64> {
        self.recovered_s.map(|at| round(at - self.ended_s))
    }
}

/// The worst p99 of a second that counts as good.
pub(crate) fn good_ms(steady: Latency) -> f64 {
    (WORSE * steady.p99_ms).max(GOOD_MS)
}

/// Waits for recovery from a fault that is over. What was measured is marked anew.
pub(crate) async fn recover(
    load: &Load,
    began: Instant,
    ended: Instant,
    outstanding: u64,
    good_ms: f64,
) -> anyhow::Result<Course> {
    let deadline = ended + LIMIT;
    let left = || deadline.saturating_duration_since(Instant::now());
    let answered = timeout(left(), load.until(|now| now.oldest.is_none_or(|oldest| oldest > ended)));
    let answered = answered.await.ok().transpose()?;
    // Both at the same look: what is old may be bad again by the time that it is good.
    let recovered = timeout(
        left(),
        load.until(|now| {
            now.at > ended
                && now.oldest.is_none_or(|oldest| oldest > ended)
                && now.latency.is_some_and(|latency| latency.p99_ms <= good_ms)
        }),
    );
    let recovered = recovered.await.ok().transpose()?;
    Ok(Course {
        began_s: load.since_origin(began),
        ended_s: load.since_origin(ended),
        answered_s: answered.map(|now| load.since_origin(now.at)),
        recovered_s: recovered.map(|now| load.since_origin(now.at)),
        outstanding,
        latency: load.mark(),
    })
}

/// Median and worst of some recoveries.
pub(crate) fn median_and_worst(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let worst = *values.last()?;
    Some((values[(values.len() - 1) / 2], worst))
}

/// Rounded for a report.
pub(crate) fn round(value: f64) -> f64 {
    seconds(Duration::from_secs_f64(value.max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_three_times_steady_but_never_within_the_noise() {
        let steady = |p99_ms| Latency { p99_ms, ..Latency::default() };
        assert_eq!(good_ms(steady(100.0)), 300.0);
        assert_eq!(good_ms(steady(2.0)), GOOD_MS);
    }

    #[test]
    fn a_median_is_one_of_the_values() {
        assert_eq!(median_and_worst(vec![]), None);
        assert_eq!(median_and_worst(vec![3.0]), Some((3.0, 3.0)));
        assert_eq!(median_and_worst(vec![4.0, 1.0, 2.0, 3.0]), Some((2.0, 4.0)));
    }
}
