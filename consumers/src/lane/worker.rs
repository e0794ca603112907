//! One partition of one lane, at work: takes events, drives runs, appends answers, notes what is finished.
//!
//! Everything happens in one task, so that nothing here needs a lock between two steps. The order of preference when
//! several things can be done: end what runs, append what came out, note what is durable, and only then take more.

mod passing;
mod taking;

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream as _, future::BoxFuture};
use nimbus_core::{
    Event, Lane,
    ports::log::{Batch, Committed, LogError},
};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::warn;

use super::{
    appends::Appends,
    cx::{PartitionCx, Settle, taken_back},
    gauges::Gauges,
    lanes::{Inherited, Lanes, Noted},
    run::{Halt, RunEnd, run},
    schedule::{Cursor, Schedule},
};
use crate::group::{Desk, GroupConfig, Start, WorkerEnd};

/// An append is made at the latest when this much came out.
const APPEND_RECORDS: usize = 4_096;
const APPEND_BYTES: usize = 1 << 20;

/// How many steps are made without letting other tasks of the thread have a turn: some milliseconds of quick executors.
const STEPS: u32 = 32;

/// A round of events counts as so many.
const STEPS_OF_A_ROUND: u32 = 8;

pub(super) struct Worker<S> {
    cx: Arc<PartitionCx>,
    schedule: S,
    lanes: Lanes,
    /// The names of the jobs lane are not those that the predecessor noted.
    changed: Option<Noted>,
    desk: Desk<Event>,
    failures: u32,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    runs: FuturesUnordered<BoxFuture<'static, RunEnd>>,
    appends: Appends,
    /// The append queue has room again when this is done.
    ready: Option<BoxFuture<'static, ()>>,
    /// What is being taken.
    current: Option<Cursor>,
    /// What becomes of the batch that was begun last, while it is not known to be durable.
    fate: Option<BoxFuture<'static, bool>>,
    /// The event at the cursor is taken only then.
    waits_for_fate: bool,
    /// The window refused the event at the cursor; nothing is taken until something settles.
    full: bool,
    scan: Option<BoxFuture<'static, Result<Batch<Event>, LogError>>>,
    in_hand_bytes: usize,
    gauges: Gauges,
}

/// What can be done next.
enum Step {
    Stop,
    Ended(RunEnd),
    Append,
    Durable(Result<Vec<Settle>, LogError>),
    Take,
    TakenBack,
    Scanned(Result<Batch<Event>, LogError>),
    Batch(Option<Batch<Event>>),
}

impl<S: Schedule> Worker<S> {
    pub(super) fn new(cx: Arc<PartitionCx>, start: Start<Event>) -> Self {
        let config = &cx.runtime.config;
        let ports = &cx.runtime.ports;
        let (results, meters) = (Arc::clone(&ports.results), cx.meters.clone());
        let (cautious, early) = (start.failures > 0, cx.runtime.begins_early(cx.lane));
        let Committed { position: committed, metadata } = start.committed;
        let today = Lanes::new(cx.runtime.catalogue.names_of(Lane::Jobs));
        let inherited = today.clone().inherit(&metadata).unwrap_or_else(|error| {
            warn!(%error, partition = %start.partition, "the names that were jobs are taken to be today's");
            Inherited { lanes: today, noted: None, rest: &[] }
        });
        Self {
            schedule: S::begin(committed.max(start.log_start), committed, inherited.rest, config),
            lanes: inherited.lanes,
            changed: inherited.noted,
            desk: start.desk,
            failures: start.failures,
            stopped: Box::pin(start.stop.cancelled_owned()),
            runs: FuturesUnordered::new(),
            appends: Appends::new(results, start.partition, meters, config.log_backoff, cautious, early),
            ready: None,
            current: None,
            fate: None,
            waits_for_fate: false,
            full: false,
            scan: None,
            in_hand_bytes: 0,
            gauges: Gauges::new(cx.meters.clone()),
            cx,
        }
    }

    /// Works until the partition is left or has to be given up.
    pub(super) async fn work(mut self) -> WorkerEnd {
        if self.failures > 0 {
            let delay = self.cx.runtime.config.log_backoff.jittered(self.failures);
            tokio::select! {
                biased;
                () = &mut self.stopped => return WorkerEnd::Stopped,
                () = tokio::time::sleep(delay) => {}
            }
        }
        if let Err(halt) = self.look_at_change().await {
            return halted(halt);
        }
        // Also with nothing done: a successor is to know today's names.
        self.note();
        if self.has_nothing_to_read() {
            return self.pass_over().await;
        }
        self.desk.read_from(self.schedule.read());
        let mut steps = 0;
        loop {
            let step = poll_fn(|cx| self.poll_step(cx)).await;
            match step {
                Step::Stop => return self.drain().await,
                Step::Batch(None) => return WorkerEnd::Stopped,
                Step::Batch(Some(batch)) => {
                    if let Err(error) = self.begin(batch) {
                        return ended(error);
                    }
                }
                Step::Take => {
                    self.take_round();
                    steps += STEPS_OF_A_ROUND;
                }
                Step::Scanned(Ok(batch)) => self.take_again(&batch),
                Step::Scanned(Err(error)) => return ended(error),
                other => {
                    if let Err(error) = self.advance(other) {
                        return ended(error);
                    }
                }
            }
            self.start_runs();
            self.gauges.set(self.schedule.in_hand(), self.schedule.parked());
            // The last event that concerned the names of before is answered.
            if self.has_nothing_to_read() {
                return self.pass_over().await;
            }
            steps += 1;
            if steps >= STEPS {
                steps = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// What does not take anything new.
    fn advance(&mut self, step: Step) -> Result<(), LogError> {
        match step {
            Step::Ended(end) => {
                if let Some(error) = end.broken {
                    return Err(error);
                }
                self.schedule.ended(end.client.as_ref(), end.events, end.queue);
            }
            Step::Append => self.append(),
            Step::Durable(settles) => self.settle(&settles?),
            Step::TakenBack => return Err(taken_back()),
            Step::Stop | Step::Take | Step::Scanned(_) | Step::Batch(_) => {}
        }
        Ok(())
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Step::Stop);
        }
        if let Poll::Ready(step) = self.poll_progress(cx) {
            return Poll::Ready(step);
        }
        if let Some(scan) = &mut self.scan
            && let Poll::Ready(read) = scan.as_mut().poll(cx)
        {
            self.scan = None;
            return Poll::Ready(Step::Scanned(read));
        }
        if !self.may_take() {
            return Poll::Pending;
        }
        if let Some(ready) = &mut self.ready {
            std::task::ready!(ready.as_mut().poll(cx));
            self.ready = None;
        }
        if self.waits_for_fate {
            return Poll::Pending;
        }
        if self.current.is_some() {
            return Poll::Ready(Step::Take);
        }
        self.desk.poll_batch(cx).map(Step::Batch)
    }

    /// Runs, appends, durability: everything that a drain does as well.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        // Also while nothing waits for it: an event that was taken back must not occupy the place of another.
        if let Some(fate) = &mut self.fate
            && let Poll::Ready(durable) = fate.as_mut().poll(cx)
        {
            self.fate = None;
            if !durable {
                return Poll::Ready(Step::TakenBack);
            }
            self.waits_for_fate = false;
            if let Some(cursor) = &mut self.current {
                cursor.batch.provisional = None;
            }
        }
        let (records, bytes) = self.cx.waiting();
        let overflowing = records >= APPEND_RECORDS || bytes >= APPEND_BYTES;
        if overflowing && self.appends.may_append() {
            return Poll::Ready(Step::Append);
        }
        if let Poll::Ready(Some(end)) = Pin::new(&mut self.runs).poll_next(cx) {
            return Poll::Ready(Step::Ended(end));
        }
        if self.appends.may_append() && self.cx.waiting().0 > 0 {
            return Poll::Ready(Step::Append);
        }
        self.appends.poll_durable(cx).map(Step::Durable)
    }

    fn start_runs(&mut self) {
        while let Some((client, queue)) = self.schedule.start() {
            self.runs.push(Box::pin(run(Arc::clone(&self.cx), client, queue)));
        }
        // Without room the reading would find nothing that may be taken, and begin anew, for ever.
        if self.scan.is_none()
            && self.has_room()
            && let Some(position) = self.schedule.begin_scan()
        {
            self.scan_from(position);
        }
    }

    fn append(&mut self) {
        let (records, _) = self.cx.waiting();
        self.appends.append(self.cx.take_out(records));
        let results = Arc::clone(&self.cx.runtime.ports.results);
        self.ready = Some(Box::pin(async move { results.ready().await }));
    }

    fn settle(&mut self, settles: &[Settle]) {
        let now = self.cx.now();
        for settle in settles {
            self.schedule.settle(settle.offset);
            self.in_hand_bytes = self.in_hand_bytes.saturating_sub(settle.weight);
            self.cx.meters.latency.observe(now.since(settle.received).as_secs_f64());
        }
        self.full = false;
        self.note();
    }

    fn note(&mut self) {
        let position = self.schedule.finished();
        self.lanes.finished(position);
        let mut metadata = self.lanes.notes();
        metadata.extend(self.schedule.notes());
        self.desk.finished(Committed { position, metadata: metadata.into() });
    }

    /// Takes nothing more; lets the attempts under way end and their answers become durable, within the limit. What is
    /// open then stays so: nothing of it is appended any more, and the next owner executes it again.
    async fn drain(mut self) -> WorkerEnd {
        let limit = GroupConfig::worker_limit(self.cx.runtime.config.drain_limit);
        let mut limit = pin!(tokio::time::sleep_until(Instant::now() + limit));
        loop {
            if self.runs.is_empty() && self.appends.is_empty() && self.cx.waiting().0 == 0 {
                return WorkerEnd::Stopped;
            }
            let step = poll_fn(|cx| match self.poll_progress(cx) {
                Poll::Ready(step) => Poll::Ready(Some(step)),
                Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
            });
            let Some(step) = step.await else { return WorkerEnd::Stopped };
            if let Err(error) = self.advance(step) {
                return ended(error);
            }
        }
    }
}

fn halted(halt: Halt) -> WorkerEnd {
    match halt {
        Halt::Stopped => WorkerEnd::Stopped,
        Halt::Broken(error) => ended(error),
    }
}

fn ended(error: LogError) -> WorkerEnd {
    match error {
        LogError::Damaged(_) | LogError::Replaced(_) | LogError::Closed => WorkerEnd::Broken(error),
        LogError::Full(_) | LogError::Ambiguous(_) | LogError::Unavailable(_) | LogError::Expired { .. } => {
            WorkerEnd::GaveUp(error)
        }
    }
}
