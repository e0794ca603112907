//! The executor runtime: how much at once, how often again, how long to wait for a name that nobody handles.

use std::{num::NonZeroUsize, time::Duration};

use super::raw_section;
use crate::{Setting, reading::Reading, value};

/// Enough to keep slow remote calls busy, few enough not to flood what they call.
pub(crate) const CONCURRENCY: Setting = Setting::new("NIMBUS_EXECUTOR_CONCURRENCY", "256");
/// With the backoff below: some 20 s of trying before an event becomes a dead letter.
pub(crate) const MAX_ATTEMPTS: Setting = Setting::new("NIMBUS_EXECUTOR_MAX_ATTEMPTS", "8");
/// A blip is over by then.
pub(crate) const BACKOFF_MIN: Setting = Setting::new("NIMBUS_EXECUTOR_BACKOFF_MIN", "100ms");
/// Longer would keep a client waiting for a thing that works again.
pub(crate) const BACKOFF_MAX: Setting = Setting::new("NIMBUS_EXECUTOR_BACKOFF_MAX", "10s");
/// A rolling deploy.
pub(crate) const UNKNOWN_GRACE: Setting = Setting::new("NIMBUS_EXECUTOR_UNKNOWN_GRACE", "30s");

raw_section!(RawExecutor, "NIMBUS_EXECUTOR_", {
    concurrency: CONCURRENCY,
    max_attempts: MAX_ATTEMPTS,
    backoff_min: BACKOFF_MIN,
    backoff_max: BACKOFF_MAX,
    unknown_grace: UNKNOWN_GRACE,
});

/// The executor runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutorConfig {
    /// How many attempts of a partition and lane are under way at once.
    pub concurrency: NonZeroUsize,
    /// How often an event is tried, the first time included.
    pub max_attempts: NonZeroUsize,
    /// The first pause before trying again; doubled each time, with jitter.
    pub backoff_min: Duration,
    /// The longest such pause.
    pub backoff_max: Duration,
    /// How long an event name that nobody handles is tried again before its ERROR.
    pub unknown_grace: Duration,
}

impl ExecutorConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawExecutor::read(reading.environment());
        let pause = || value::duration(Duration::from_millis(1)..=Duration::from_secs(3600));
        let grace = value::duration(Duration::ZERO..=Duration::from_secs(3600));
        let config = Self {
            concurrency: reading.value(&CONCURRENCY, raw.concurrency, count(1_000_000)),
            max_attempts: reading.value(&MAX_ATTEMPTS, raw.max_attempts, count(1000)),
            backoff_min: reading.value(&BACKOFF_MIN, raw.backoff_min, pause()),
            backoff_max: reading.value(&BACKOFF_MAX, raw.backoff_max, pause()),
            unknown_grace: reading.value(&UNKNOWN_GRACE, raw.unknown_grace, grace),
        };
        if config.backoff_min > config.backoff_max && reading.are_sound(&[&BACKOFF_MIN, &BACKOFF_MAX]) {
            let wrong = format!("is longer than {}", BACKOFF_MAX.name);
            let remedy = format!("lower it to at most {:?}", config.backoff_max);
            reading.problem_with_remedy(&BACKOFF_MIN, wrong, remedy);
        }
        config
    }
}

fn count(most: usize) -> impl Fn(&str) -> Result<NonZeroUsize, String> {
    move |text| {
        let count = value::integer(1..=most)(text)?;
        NonZeroUsize::new(count).ok_or_else(|| "is zero".to_owned())
    }
}
