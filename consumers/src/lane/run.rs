//! One run: some events of one client, one after the other (ordered lane), or one job.
//!
//! An event goes in here and comes out as one terminal record in the outgoing batch, whatever happens to its executor. Only
//! a stop, or a dead letter that cannot be kept, ends a run early; then its remaining events are open and are executed
//! again by whoever reads the partition next.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use nimbus_core::{
    ClientId, Event, Failure, Reason,
    clock::UnixMillis,
    ports::{
        executor::{Job, Output},
        log::{LogError, Stored},
    },
    result::DeadLetter,
};
use tokio::{sync::Semaphore, time::Instant};
use tracing::{debug, warn};

use super::{
    attempt::{Begun, Death, Decision, Ended, begin, decide, failure, finish, not_stored},
    cx::{Numbers, PartitionCx},
    parts::Parts,
    work::{Route, Work},
};
use crate::{catalogue::Entry, metrics::Outcome};

/// A run that is over.
#[derive(Debug)]
pub(super) struct RunEnd {
    /// Whose run it was; nobody's for a job.
    pub(super) client: Option<ClientId>,
    /// How many events it was given.
    pub(super) events: usize,
    /// Its queue, to be used again.
    pub(super) queue: VecDeque<Work>,
    /// Why the partition cannot go on, if so.
    pub(super) broken: Option<LogError>,
}

/// Why an event was not answered.
#[derive(Debug)]
pub(super) enum Halt {
    /// The partition is to be left.
    Stopped,
    /// The partition has to be given up.
    Broken(LogError),
}

/// How long a run may go on without letting the others have a turn. Executors that answer at once take far less each.
const TURN: Duration = Duration::from_millis(1);

/// How much is kept of what an executor said, in a letter that is too large.
const KEPT_CHARACTERS: usize = 256;

/// How many events lie between two looks at the clock.
const LOOK_EVERY: usize = 16;

/// Executes `queue` in order.
pub(super) async fn run(cx: Arc<PartitionCx>, client: Option<ClientId>, mut queue: VecDeque<Work>) -> RunEnd {
    let events = queue.len();
    let mut broken = None;
    let mut turn = Instant::now();
    let mut done = 0_usize;
    let mut now = cx.now();
    while let Some(work) = queue.pop_front() {
        if cx.stop.is_cancelled() {
            break;
        }
        // Several events share a look at the clock: executors that answer at once take microseconds. A deadline is a promise.
        if (done > 0 && done.is_multiple_of(LOOK_EVERY)) || work.stored().record.deadline.is_some() {
            now = cx.now();
        }
        match execute(&cx, work, &mut queue, now).await {
            Ok(latest) => now = latest,
            Err(Halt::Stopped) => break,
            Err(Halt::Broken(error)) => {
                broken = Some(error);
                break;
            }
        }
        done += 1;
        if done.is_multiple_of(LOOK_EVERY) && turn.elapsed() > TURN {
            tokio::task::yield_now().await;
            turn = Instant::now();
        }
    }
    RunEnd { client, events, queue, broken }
}

/// Sees to one event until its answer is put out; returns the time of its last look at the clock. Does not suspend for an executor that
/// answers at once.
async fn execute(
    cx: &PartitionCx,
    mut work: Work,
    behind: &mut VecDeque<Work>,
    now: UnixMillis,
) -> Result<UnixMillis, Halt> {
    let first = Numbers { attempt: 1, part_no: 0, now };
    match work.route {
        Route::Executor(index) => {
            let entry = cx.entry(index);
            if entry.slow.load(Ordering::Relaxed) {
                work.detach();
            }
            Execution { cx, entry, stored: work.stored(), budget: OnceLock::new() }.run(now, behind).await
        }
        Route::Refused => {
            let stored = work.stored();
            let refusal = stored.record.refused.clone();
            cx.meters.refused.inc();
            let refusal = refusal.map_or_else(|| failure(Reason::InvalidEvent, "refused"), |refusal| *refusal);
            cx.answer(stored, first, Err(refusal));
            Ok(now)
        }
        Route::Unknown => {
            let delay = until_deadline(cx, work.stored(), grace(cx, work.stored(), now));
            if !delay.is_zero() {
                work.detach();
                behind.iter_mut().for_each(Work::detach);
                sleep(cx, delay).await?;
            }
            cx.meters.unknown.inc();
            let stored = work.stored();
            let numbers = Numbers { now: cx.now(), ..first };
            let why = if deadline_passed(stored, numbers.now) {
                too_late()
            } else {
                failure(Reason::UnknownEvent, &format!("nobody handles events named {}", stored.record.name))
            };
            cx.answer(stored, numbers, Err(why));
            Ok(numbers.now)
        }
    }
}

/// How long an event that nobody handles still waits for someone who does: since it was received, or since this runtime
/// started if that was later (a restart may be part of the very deploy that brings the executor).
fn grace(cx: &PartitionCx, stored: &Stored<Event>, now: UnixMillis) -> Duration {
    let since = stored.record.received.max(cx.runtime.started);
    cx.runtime.config.unknown_grace.saturating_sub(now.since(since))
}

fn deadline_passed(stored: &Stored<Event>, now: UnixMillis) -> bool {
    stored.record.deadline.is_some_and(|deadline| deadline <= now)
}

/// No wait goes past the deadline: its answer is due then.
fn until_deadline(cx: &PartitionCx, stored: &Stored<Event>, delay: Duration) -> Duration {
    stored.record.deadline.map_or(delay, |deadline| delay.min(deadline.since(cx.now())))
}

fn too_late() -> Failure {
    failure(Reason::DeadlineExceeded, "the deadline passed before the event was executed")
}

/// Waits, unless the partition is left meanwhile.
pub(super) async fn sleep(cx: &PartitionCx, delay: Duration) -> Result<(), Halt> {
    tokio::select! {
        biased;
        () = cx.stop.cancelled() => Err(Halt::Stopped),
        () = tokio::time::sleep(delay) => Ok(()),
    }
}

/// One event and its executor.
struct Execution<'a> {
    cx: &'a PartitionCx,
    entry: &'a Entry,
    stored: &'a Stored<Event>,
    /// For the parts, shared by all attempts.
    budget: OnceLock<Arc<Semaphore>>,
}

impl Execution<'_> {
    /// Returns the time of the last look at the clock.
    async fn run(&self, mut now: UnixMillis, behind: &mut VecDeque<Work>) -> Result<UnixMillis, Halt> {
        let config = &self.cx.runtime.config;
        let attempts = u32::try_from(config.attempts.get()).unwrap_or(u32::MAX);
        let mut attempt = 1;
        loop {
            if deadline_passed(self.stored, now) {
                self.answer(Numbers { attempt, part_no: 0, now }, Err(too_late()), Outcome::DeadlineExceeded);
                return Ok(now);
            }
            let parts = Parts::new(self.cx, self.stored, attempt, &self.budget);
            let Some(ended) = self.attempt(attempt, &parts, behind).await? else {
                now = self.cx.now();
                continue;
            };
            // Unless it took no time at all.
            let slow = self.entry.slow.load(Ordering::Relaxed) || parts.emitted() > 0 || attempt > 1;
            now = if slow { self.cx.now() } else { now };
            let numbers = Numbers { attempt, part_no: parts.emitted(), now };
            match decide(ended, attempt, attempts, config.max_result_bytes, parts.too_large()) {
                Decision::Answer(answer) => {
                    let outcome = if answer.is_ok() { Outcome::Final } else { Outcome::Rejected };
                    // Appended, it would fail each time, and everything behind it would wait for ever.
                    match self.cx.try_answer(self.stored, numbers, answer) {
                        Ok(()) => self.cx.meters_of(self.entry).ended(outcome),
                        Err(too_large) => return self.bury(numbers, not_stored(too_large), behind).await,
                    }
                    return Ok(now);
                }
                Decision::Dead(death) => return self.bury(numbers, death, behind).await,
                Decision::Retry { why } => {
                    let delay = config.retry.jittered(attempt);
                    let event = &self.stored.record;
                    debug!(executor = %self.entry.name, client = %event.origin.client, seq = event.seq, attempt, ?delay, why, "to be tried again");
                    behind.iter_mut().for_each(Work::detach);
                    sleep(self.cx, until_deadline(self.cx, self.stored, delay)).await?;
                    now = self.cx.now();
                    attempt += 1;
                    self.cx.meters_of(self.entry).retries.inc();
                }
            }
        }
    }

    /// Makes one attempt; `None` when its turn came only after the deadline.
    async fn attempt(
        &self,
        attempt: u32,
        parts: &Parts<'_>,
        behind: &mut VecDeque<Work>,
    ) -> Result<Option<Ended>, Halt> {
        let work = match begin(self.entry, Job { event: &self.stored.record, attempt, parts }) {
            Begun::Ended(ended) => {
                self.cx.meters_of(self.entry).attempts.inc();
                return Ok(Some(ended));
            }
            Begun::Later(work) => work,
        };
        // Nobody knows how long this takes: what waits behind it must not keep whole batches in memory.
        self.entry.slow.store(true, Ordering::Relaxed);
        behind.iter_mut().for_each(Work::detach);
        let permit = tokio::select! {
            biased;
            () = self.cx.stop.cancelled() => return Err(Halt::Stopped),
            permit = self.cx.attempts.acquire() => permit,
        };
        if deadline_passed(self.stored, self.cx.now()) {
            return Ok(None);
        }
        self.cx.meters_of(self.entry).attempts.inc();
        let ended = finish(self.entry, work).await;
        drop(permit);
        Ok(Some(ended))
    }

    fn answer(&self, numbers: Numbers, answer: Result<Output, Failure>, outcome: Outcome) {
        self.cx.meters_of(self.entry).ended(outcome);
        self.cx.answer(self.stored, numbers, answer);
    }

    /// Keeps the event as a dead letter, and only then answers it: an answer without its dead letter would be a loss.
    async fn bury(&self, numbers: Numbers, death: Death, behind: &mut VecDeque<Work>) -> Result<UnixMillis, Halt> {
        let event = &self.stored.record;
        // Counted, and kept for `nimbus dlq`: a storm of them is no storm in the log, where payloads have no place either.
        debug!(
            executor = %self.entry.name, client = %event.origin.client, outbox = %event.origin.outbox, seq = event.seq,
            attempts = numbers.attempt, reason = death.failure.reason, "dead letter"
        );
        behind.iter_mut().for_each(Work::detach);
        let kept = Failure { message: death.detail, ..death.failure.clone() };
        let letter = DeadLetter {
            event: event.clone(),
            failure: kept,
            attempts: numbers.attempt,
            event_offset: self.stored.offset,
            failed: numbers.now,
            mark: None,
        };
        self.keep(self.fitting(letter)).await?;
        let now = self.cx.now();
        self.answer(Numbers { now, ..numbers }, Err(death.failure), death.outcome);
        Ok(now)
    }

    /// A letter that its log does not take is kept without what the client sent, rather than not at all.
    fn fitting(&self, mut letter: DeadLetter) -> DeadLetter {
        if let Err(too_large) = self.cx.runtime.ports.dead_letters.fits(&letter) {
            let bytes = letter.event.payload.len();
            letter.event.payload = Bytes::new();
            let words: String = letter.failure.message.chars().take(KEPT_CHARACTERS).collect();
            letter.failure.message = format!("{words} (without its payload of {bytes} bytes: {too_large})");
            warn!(partition = %self.cx.partition, %too_large, bytes, "a dead letter is kept without its payload");
        }
        letter
    }

    async fn keep(&self, letter: DeadLetter) -> Result<(), Halt> {
        self.cx.certain().await?;
        let runtime = &self.cx.runtime;
        let mut failures = 0;
        loop {
            match runtime.ports.dead_letters.append(self.cx.partition, vec![letter.clone()]).await {
                Ok(_) => return Ok(()),
                // Nothing was stored, so that it may be appended again; only this client waits.
                Err(error @ (LogError::Full(_) | LogError::Unavailable(_))) => {
                    failures += 1;
                    self.cx.meters.append_failures.inc();
                    warn!(partition = %self.cx.partition, %error, failures, "a dead letter cannot be kept yet");
                    sleep(self.cx, runtime.config.log_backoff.jittered(failures)).await?;
                }
                Err(error) => {
                    self.cx.meters.append_failures.inc();
                    return Err(Halt::Broken(error));
                }
            }
        }
    }
}
