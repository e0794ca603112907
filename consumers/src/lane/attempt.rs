//! One attempt, fenced in: a panic stays in here, and so does an executor that takes too long.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use nimbus_core::{
    Failure, Reason,
    ports::{
        executor::{ExecutorError, Job, Outcome, Output, Run},
        log::TooLarge,
    },
};

use super::{
    fence::{Within, place, within},
    parts::fits,
};
use crate::{catalogue::Entry, metrics};

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The executor answered.
    Outcome(Outcome),
    /// The executor panicked, saying this.
    Panicked(String),
    /// It took longer than it may.
    TimedOut,
}

/// An attempt that was begun.
pub(super) enum Begun<'a> {
    /// It ended at once.
    Ended(Ended),
    /// It is on its way.
    Later(BoxFuture<'a, Outcome>),
}

/// Begins an attempt.
pub(super) fn begin<'a>(entry: &'a Entry, job: Job<'a>) -> Begun<'a> {
    // Unwind safety: nothing that the executor was lent is used again after a panic except the part sink, which a panic
    // cannot leave half changed.
    match catch_unwind(AssertUnwindSafe(|| within(|| entry.executor.run(job)))) {
        Ok(Run::Now(outcome)) => Begun::Ended(Ended::Outcome(outcome)),
        Ok(Run::Later(work)) => Begun::Later(work),
        Err(panic) => Begun::Ended(Ended::Panicked(words(panic))),
    }
}

/// Waits for an attempt that is on its way, as long as it may take.
pub(super) async fn finish(entry: &Entry, work: BoxFuture<'_, Outcome>) -> Ended {
    let mut work = AssertUnwindSafe(Within(work)).catch_unwind();
    let ended = match tokio::time::timeout(entry.time_limit, &mut work).await {
        Ok(Ok(outcome)) => Ended::Outcome(outcome),
        Ok(Err(panic)) => Ended::Panicked(words(panic)),
        Err(_) => Ended::TimedOut,
    };
    // Dropping half-done work runs the executor's code once more.
    match catch_unwind(AssertUnwindSafe(|| within(|| drop(work)))) {
        Ok(()) => ended,
        Err(panic) => Ended::Panicked(words(panic)),
    }
}

fn words(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
    place().map_or_else(|| text.clone(), |place| format!("{text} (at {place})"))
}

/// What follows from an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The event is answered with this.
    Answer(Result<Output, Failure>),
    /// It is tried again.
    Retry {
        /// For the log and the dead letter.
        why: String,
    },
    /// It is kept as a dead letter and answered with an error.
    Dead(Death),
}

/// Why an event becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) outcome: metrics::Outcome,
    /// For the client.
    pub(super) failure: Failure,
    /// For the operator: kept with the dead letter, not shown to the client.
    pub(super) detail: String,
}

/// Decides what follows from attempt number `attempt` of `attempts`.
pub(super) fn decide(ended: Ended, attempt: u32, attempts: u32, max_bytes: usize, part_too_large: bool) -> Decision {
    let why = match ended {
        Ended::Panicked(detail) => {
            let outcome = metrics::Outcome::Panicked;
            return dead(outcome, Reason::ExecutorPanicked, "the executor panicked", format!("panicked: {detail}"));
        }
        _ if part_too_large => return too_large("a part", max_bytes),
        Ended::Outcome(Ok(output)) if fits(&output, max_bytes) => return Decision::Answer(Ok(output)),
        Ended::Outcome(Ok(_)) => return too_large("the result", max_bytes),
        Ended::Outcome(Err(ExecutorError::Rejected(failure))) => return Decision::Answer(Err(failure)),
        Ended::Outcome(Err(ExecutorError::Poison(detail))) => {
            let outcome = metrics::Outcome::Poison;
            return dead(outcome, Reason::ExecutorGaveUp, "the executor cannot handle this event", detail);
        }
        Ended::Outcome(Err(ExecutorError::Transient(why))) => why,
        Ended::TimedOut => "the attempt ran out of time".to_owned(),
    };
    if attempt < attempts {
        return Decision::Retry { why };
    }
    let message = format!("{attempt} attempts failed");
    dead(metrics::Outcome::AttemptsExhausted, Reason::AttemptsExhausted, &message, why)
}

fn too_large(what: &str, max_bytes: usize) -> Decision {
    let message =
        format!("{what} is larger than can be delivered ({max_bytes} bytes), or than the log of results takes");
    dead(metrics::Outcome::ResultTooLarge, Reason::ResultTooLarge, &message, message.clone())
}

/// What follows from an answer that the log of results does not take.
pub(super) fn not_stored(too_large: TooLarge) -> Death {
    let message = format!("the result cannot be stored: {too_large}");
    let failure = failure(Reason::ResultTooLarge, &message);
    Death { outcome: metrics::Outcome::ResultTooLarge, failure, detail: message }
}

fn dead(outcome: metrics::Outcome, reason: Reason, message: &str, detail: String) -> Decision {
    Decision::Dead(Death { outcome, failure: failure(reason, message), detail })
}

/// A failure as the client sees it.
pub(super) fn failure(reason: Reason, message: &str) -> Failure {
    Failure { code: reason.class().code(), reason: reason.as_str().to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use nimbus_core::ContentType;

    use super::*;

    fn output(bytes: usize) -> Output {
        Output::new(vec![0; bytes], ContentType::default())
    }

    fn after(ended: Ended, attempt: u32) -> Decision {
        decide(ended, attempt, 3, 10, false)
    }

    fn reason(decision: &Decision) -> &str {
        match decision {
            Decision::Dead(death) => &death.failure.reason,
            other => panic!("expected a dead letter, got {other:?}"),
        }
    }

    #[test]
    fn what_follows_from_an_attempt() {
        assert_eq!(after(Ended::Outcome(Ok(output(10))), 1), Decision::Answer(Ok(output(10))));
        let refusal = failure(Reason::InvalidPayload, "no");
        let rejected = Ended::Outcome(Err(ExecutorError::Rejected(refusal.clone())));
        assert_eq!(after(rejected, 1), Decision::Answer(Err(refusal)));
        for attempt in [1, 2] {
            let transient = Ended::Outcome(Err(ExecutorError::Transient("later".into())));
            assert_eq!(after(transient, attempt), Decision::Retry { why: "later".into() });
            assert!(matches!(after(Ended::TimedOut, attempt), Decision::Retry { .. }));
        }
        assert_eq!(reason(&after(Ended::TimedOut, 3)), "ATTEMPTS_EXHAUSTED");
        assert_eq!(reason(&after(Ended::Outcome(Err(ExecutorError::Poison("p".into()))), 1)), "EXECUTOR_GAVE_UP");
        assert_eq!(reason(&after(Ended::Panicked("p".into()), 1)), "EXECUTOR_PANICKED");
        assert_eq!(reason(&after(Ended::Outcome(Ok(output(11))), 1)), "RESULT_TOO_LARGE");
        assert_eq!(reason(&decide(Ended::Outcome(Ok(output(1))), 1, 3, 10, true)), "RESULT_TOO_LARGE");
    }

    #[test]
    fn the_client_is_not_shown_what_the_executor_said() {
        for ended in [
            Ended::Panicked("secret".into()),
            Ended::Outcome(Err(ExecutorError::Poison("secret".into()))),
            Ended::Outcome(Err(ExecutorError::Transient("secret".into()))),
        ] {
            match after(ended, 3) {
                Decision::Dead(death) => {
                    assert!(death.detail.contains("secret"));
                    assert!(!death.failure.message.contains("secret"));
                }
                other => panic!("expected a dead letter, got {other:?}"),
            }
        }
    }
}
