//! `delay`: takes its time, and says how far it is.

use std::time::Duration;

use nimbus_core::{
    ContentType, Event,
    ports::executor::{Executor, ExecutorError, InterimKind, Job, Outcome, Run},
};
use serde::{Deserialize, Serialize};

use crate::json;

/// The longest delay that is taken. Long enough to try out reconnects, short enough not to hold up a partition's commit.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// How many progress reports are taken at most.
const MAX_STEPS: u32 = 100;
const DEFAULT_STEPS: u32 = 4;
const EXAMPLE: &str = r#"250 or {"ms":250,"steps":4}"#;

/// Waits `ms` milliseconds (at most [`MAX_DELAY`]), reporting progress `steps` times (at most 100, default 4), and then
/// answers `{"ms":…}`. Takes `250` or `{"ms":250,"steps":4}`.
///
/// It runs in the ordered lane: a client's next event waits behind it, nobody else's does.
#[derive(Debug)]
pub struct Delay {
    media_type: ContentType,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Wanted {
    Bare(u64),
    Full(Steps),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    ms: u64,
    #[serde(default = "default_steps")]
    steps: u32,
}

const fn default_steps() -> u32 {
    DEFAULT_STEPS
}

#[derive(Debug, Serialize)]
struct Progress {
    step: u32,
    of: u32,
}

#[derive(Debug, Serialize)]
struct Answer {
    ms: u64,
}

impl Delay {
    /// The executor.
    pub fn new() -> Self {
        Self { media_type: json::media_type() }
    }

    async fn wait(&self, job: Job<'_>, wanted: Steps) -> Outcome {
        let started = tokio::time::Instant::now();
        let whole = Duration::from_millis(wanted.ms);
        for step in 1..=wanted.steps {
            tokio::time::sleep_until(started + whole * step / wanted.steps).await;
            let progress = Progress { step, of: wanted.steps };
            job.parts.emit(InterimKind::Progress, json::output(&progress, &self.media_type)?).await;
        }
        tokio::time::sleep_until(started + whole).await;
        json::output(&Answer { ms: wanted.ms }, &self.media_type)
    }
}

impl Default for Delay {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor for Delay {
    fn name(&self) -> &str {
        "delay"
    }

    fn time_limit(&self) -> Duration {
        MAX_DELAY + Duration::from_secs(5)
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        match wanted(job.event) {
            Ok(wanted) => Run::later(self.wait(job, wanted)),
            Err(refusal) => Run::Now(Err(refusal)),
        }
    }
}

fn wanted(event: &Event) -> Result<Steps, ExecutorError> {
    let steps = match json::parse(event, EXAMPLE)? {
        Wanted::Bare(ms) => Steps { ms, steps: DEFAULT_STEPS },
        Wanted::Full(steps) => steps,
    };
    if Duration::from_millis(steps.ms) > MAX_DELAY || steps.steps > MAX_STEPS {
        let limits = format!("waits at most {} ms and reports at most {MAX_STEPS} steps", MAX_DELAY.as_millis());
        return Err(json::refusal(event, &limits));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Parts, event, later, refused};

    #[tokio::test(start_paused = true)]
    async fn waits_as_long_as_it_was_told_and_reports_progress() {
        let started = tokio::time::Instant::now();
        let parts = Parts::default();
        let output = later(&Delay::new(), &event("delay", r#"{"ms":1000,"steps":2}"#, ""), 1, &parts).await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_secs(1));
        assert_eq!(output.payload, r#"{"ms":1000}"#);
        assert_eq!(parts.texts(), [r#"{"step":1,"of":2}"#, r#"{"step":2,"of":2}"#]);
    }

    #[tokio::test(start_paused = true)]
    async fn takes_a_bare_number_and_may_report_nothing() {
        let started = tokio::time::Instant::now();
        let parts = Parts::default();
        later(&Delay::new(), &event("delay", "20", ""), 1, &parts).await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_millis(20));
        assert_eq!(parts.texts().len(), 4);
        let silent = Parts::default();
        later(&Delay::new(), &event("delay", r#"{"ms":5,"steps":0}"#, ""), 1, &silent).await.unwrap();
        assert!(silent.texts().is_empty());
    }

    #[tokio::test]
    async fn refuses_what_it_cannot_do() {
        for payload in ["", "soon", "-1", r#"{"ms":60001}"#, r#"{"ms":1,"steps":101}"#, r#"{"mss":1}"#] {
            let outcome = later(&Delay::new(), &event("delay", payload, ""), 1, &Parts::default()).await;
            assert_eq!(refused(outcome).0, "INVALID_PAYLOAD", "{payload}");
        }
    }
}
