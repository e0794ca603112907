//! What the clients of a load measure together: a look every tenth of a second, and a line of the timeline every second.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::ledger::Books;

/// How often a load is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How many ticks the percentiles look back, and how many make a line of the timeline: a second.
const TICKS: usize = 10;
/// How many violations are told one by one; all are counted.
const TOLD: usize = 100;
/// Beyond this a latency counts as this.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// Latencies from the moment at which an event should have been sent until its answer was handed over, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// The worst.
    pub max_ms: f64,
}

/// One second of a load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its end, in seconds since the load began.
    pub at_s: f64,
    /// Events sent in it.
    pub sent: u64,
    /// Answers that came in it.
    pub answered: u64,
    /// Of those answers; nothing if there were none.
    pub latency: Option<Latency>,
    /// Events without an answer at its end.
    pub outstanding: u64,
}

/// One thing that must not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// When it was noticed, in seconds since the load began.
    pub at_s: f64,
    /// Whose it is.
    pub client: String,
    /// Which event, if it is about one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// How things are, at one look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    pub(crate) answered: u64,
    /// Answers in the last second.
    pub(crate) answers: u64,
    /// Of the answers of the last second.
    pub(crate) latency: Option<Latency>,
    pub(crate) outstanding: u64,
    /// When the oldest event without an answer should have been sent.
    pub(crate) oldest: Option<Instant>,
    pub(crate) books: Books,
}

/// Shared by all clients of one load.
#[derive(Debug)]
pub(crate) struct Meter {
    origin: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    sent: u64,
    answered: u64,
    /// Of this tick.
    tick: Histogram<u64>,
    /// Since it was asked for.
    marked: Histogram<u64>,
    /// The same, for parts of what is between two marks.
    lap: Histogram<u64>,
    /// The ticks of the last second.
    recent: VecDeque<(u64, Histogram<u64>)>,
    ticks: usize,
    /// When the second began: events sent and answered by then.
    second: (u64, u64),
    timeline: Vec<Sample>,
    violations: Vec<Violation>,
}

impl Meter {
    pub(crate) fn new(origin: Instant) -> Self {
        let inner = Inner {
            sent: 0,
            answered: 0,
            tick: histogram(),
            marked: histogram(),
            lap: histogram(),
            recent: VecDeque::new(),
            ticks: 0,
            second: (0, 0),
            timeline: Vec::new(),
            violations: Vec::new(),
        };
        Self { origin, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn since_origin(&self, at: Instant) -> f64 {
        seconds(at.saturating_duration_since(self.origin))
    }

    pub(crate) fn sent(&self) {
        self.lock().sent += 1;
    }

    /// An event got its answer.
    pub(crate) fn answered(&self, intended: Instant) {
        let micros = u64::try_from(intended.elapsed().as_micros()).unwrap_or(MAX_LATENCY_US);
        let mut inner = self.lock();
        inner.answered += 1;
        inner.tick.saturating_record(micros);
        inner.marked.saturating_record(micros);
        inner.lap.saturating_record(micros);
    }

    pub(crate) fn violation(&self, client: &str, seq: Option<u64>, what: String) {
        let at_s = self.since_origin(Instant::now());
        let mut inner = self.lock();
        if inner.violations.len() < TOLD {
            inner.violations.push(Violation { at_s, client: client.to_owned(), seq, what });
        }
    }

    /// What was measured since the mark before, and begins anew.
    pub(crate) fn mark(&self) -> Option<Latency> {
        let mut inner = self.lock();
        let latency = latency(&inner.marked);
        inner.marked.reset();
        latency
    }

    /// What was measured since the lap before. Marks leave it alone.
    pub(crate) fn lap(&self) -> Option<Latency> {
        let mut inner = self.lock();
        let latency = latency(&inner.lap);
        inner.lap.reset();
        latency
    }

    /// Ends a tick.
    pub(crate) fn look(&self, outstanding: u64, oldest: Option<Instant>, books: Books) -> Now {
        let at = Instant::now();
        let mut inner = self.lock();
        let tick = std::mem::replace(&mut inner.tick, histogram());
        inner.recent.push_back((tick.len(), tick));
        if inner.recent.len() > TICKS {
            inner.recent.pop_front();
        }
        let mut second = histogram();
        for (_, tick) in &inner.recent {
            second.add(tick).expect("all of them have the same bounds");
        }
        let answers = inner.recent.iter().map(|(answers, _)| answers).sum();
        let latency = latency(&second);
        let (sent, answered) = (inner.sent, inner.answered);
        inner.ticks += 1;
        if inner.ticks.is_multiple_of(TICKS) {
            let (sent_before, answered_before) = std::mem::replace(&mut inner.second, (sent, answered));
            inner.timeline.push(Sample {
                at_s: self.since_origin(at),
                sent: sent - sent_before,
                answered: answered - answered_before,
                latency,
                outstanding,
            });
        }
        Now { at, answered, answers, latency, outstanding, oldest, books }
    }

    pub(crate) fn timeline(&self) -> Vec<Sample> {
        self.lock().timeline.clone()
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 2).expect("the bounds are constants that are valid")
}

fn latency(histogram: &Histogram<u64>) -> Option<Latency> {
    let ms = |micros: u64| (micros as f64 / 10.0).round() / 100.0;
    (!histogram.is_empty()).then(|| Latency {
        p50_ms: ms(histogram.value_at_quantile(0.5)),
        p99_ms: ms(histogram.value_at_quantile(0.99)),
        max_ms: ms(histogram.max()),
    })
}

/// To the millisecond, as reports show it.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn percentiles_are_of_the_last_second_and_the_timeline_has_every_answer_once() {
        let meter = Meter::new(Instant::now());
        let mut last = None;
        for tick in 0..30 {
            for _ in 0..10 {
                meter.sent();
                let took = if tick < 10 { Duration::from_secs(1) } else { Duration::from_millis(10) };
                meter.answered(Instant::now().checked_sub(took).unwrap());
            }
            tokio::time::advance(TICK).await;
            last = Some(meter.look(0, None, Books::default()));
            let p99 = last.unwrap().latency.unwrap().p99_ms;
            assert_eq!(p99 > 900.0, tick < 19, "{p99} at tick {tick}");
        }
        assert_eq!((last.unwrap().answers, last.unwrap().answered), (100, 300));
        let timeline = meter.timeline();
        assert_eq!(timeline.iter().map(|sample| sample.answered).sum::<u64>(), 300);
        assert_eq!(timeline.iter().map(|sample| sample.at_s).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_without_answers_has_no_latency() {
        let meter = Meter::new(Instant::now());
        assert_eq!(meter.look(3, None, Books::default()).latency, None);
        assert_eq!(meter.mark(), None);
        meter.answered(Instant::now().checked_sub(Duration::from_millis(20)).unwrap_or_else(Instant::now));
        assert!(meter.mark().is_some_and(|latency| latency.max_ms >= 0.0));
        assert_eq!(meter.mark(), None, "a mark begins anew");
    }
}
