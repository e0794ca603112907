//! How long the end may take.

use std::time::Duration;

use super::raw_section;
use crate::{Setting, reading::Reading, value};

/// Below Kubernetes' 30 s, so that the process ends itself before it is killed.
pub(crate) const TIMEOUT_SEC: Setting = Setting::new("NIMBUS_SHUTDOWN_TIMEOUT_SEC", "20");
/// Empty: a quarter of the limit, so that lowering the limit alone is enough.
pub(crate) const DRAIN_WINDOW: Setting = Setting::new("NIMBUS_SHUTDOWN_DRAIN_WINDOW", "").example("5s");

raw_section!(RawShutdown, "NIMBUS_SHUTDOWN_", { timeout_sec: TIMEOUT_SEC, drain_window: DRAIN_WINDOW });

/// How the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// The hard limit for everything.
    pub timeout: Duration,
    /// Over how long clients are told to go elsewhere. Less than half of `timeout`.
    pub drain_window: Duration,
}

impl ShutdownConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawShutdown::read(reading.environment());
        let seconds = reading.value(&TIMEOUT_SEC, raw.timeout_sec, value::integer(1..=3600_u64));
        let timeout = Duration::from_secs(seconds);
        let range = value::duration(Duration::ZERO..=Duration::from_secs(1800));
        let drain_window = reading.optional(&DRAIN_WINDOW, raw.drain_window, range);
        let config = Self { timeout, drain_window: drain_window.unwrap_or(timeout / 4) };
        if config.drain_window > config.timeout / 2 && reading.are_sound(&[&TIMEOUT_SEC, &DRAIN_WINDOW]) {
            let wrong = format!(
                "{:?} is more than half of {} ({seconds} s), so that too little would be left to settle and flush",
                config.drain_window, TIMEOUT_SEC.name
            );
            let remedy = format!("lower it, or raise {}", TIMEOUT_SEC.name);
            reading.problem_with_remedy(&DRAIN_WINDOW, wrong, remedy);
        }
        config
    }
}
