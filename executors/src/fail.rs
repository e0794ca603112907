//! `fail`: fails as told, to try out retries, dead letters and errors.

use nimbus_core::{
    ContentType, Reason,
    ports::executor::{Executor, ExecutorError, Job, Outcome, Run},
};
use serde::{Deserialize, Serialize};

use crate::json;

const EXAMPLE: &str = r#"{"kind":"transient","times":2} (kinds: transient, poison, reject, panic)"#;

/// Fails the first `times` attempts (all of them if `times` is left out) in the way that `kind` says, then answers
/// `{"attempt":…}`. Takes `{"kind":"transient|poison|reject|panic","times":2}`.
///
/// Only a transient failure is tried again, so `times` matters for it alone; 0 means success at once for every kind.
#[derive(Debug)]
pub struct Fail {
    media_type: ContentType,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    kind: Kind,
    #[serde(default = "always")]
    times: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Transient,
    Poison,
    Reject,
    Panic,
}

const fn always() -> u32 {
    u32::MAX
}

#[derive(Debug, Serialize)]
struct Answer {
    attempt: u32,
}

impl Fail {
    /// The executor.
    pub fn new() -> Self {
        Self { media_type: json::media_type() }
    }

    fn fail(&self, job: Job<'_>) -> Outcome {
        let wanted: Wanted = json::parse(job.event, EXAMPLE)?;
        if job.attempt > wanted.times {
            return json::output(&Answer { attempt: job.attempt }, &self.media_type);
        }
        let what = format!("asked to fail, attempt {}", job.attempt);
        match wanted.kind {
            Kind::Transient => Err(ExecutorError::Transient(what)),
            Kind::Poison => Err(ExecutorError::Poison(what)),
            Kind::Reject => Err(ExecutorError::rejected(Reason::InvalidPayload, what)),
            Kind::Panic => panic!("{what}"),
        }
    }
}

impl Default for Fail {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor for Fail {
    fn name(&self) -> &str {
        "fail"
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        Run::Now(self.fail(job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{event, now, now_at, refused};

    #[test]
    fn fails_as_often_as_told_then_succeeds() {
        let event = event("fail", r#"{"kind":"transient","times":2}"#, "");
        for attempt in [1, 2] {
            assert!(matches!(now_at(&Fail::new(), &event, attempt), Err(ExecutorError::Transient(_))));
        }
        assert_eq!(now_at(&Fail::new(), &event, 3).unwrap().payload, r#"{"attempt":3}"#);
    }

    #[test]
    fn fails_in_the_way_it_is_told() {
        let poison = now(&Fail::new(), &event("fail", r#"{"kind":"poison"}"#, ""));
        assert!(matches!(poison, Err(ExecutorError::Poison(_))));
        assert_eq!(refused(now(&Fail::new(), &event("fail", r#"{"kind":"reject"}"#, ""))).0, "INVALID_PAYLOAD");
        assert_eq!(refused(now(&Fail::new(), &event("fail", "nonsense", ""))).0, "INVALID_PAYLOAD");
    }

    #[test]
    #[should_panic(expected = "asked to fail")]
    fn panics_when_told() {
        drop(now(&Fail::new(), &event("fail", r#"{"kind":"panic"}"#, "")));
    }
}
