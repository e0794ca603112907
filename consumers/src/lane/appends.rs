//! Answers on their way into the results log, in order.
//!
//! Appends are pipelined: the next one does not wait for the one before to be durable. When one fails nobody knows what of
//! it landed, or the ones behind it failed too, so the partition is given up and executed again from its commit; the fold
//! drops what was appended twice. A partition that comes back from that goes on *cautiously* until its first success: one
//! append at a time, with a copy kept, so that a log that is full for an hour does not make executors run all hour.

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use nimbus_core::{
    Partition, ResultRecord,
    ports::log::{Appender, Appending, LogError, ResultLog},
};
use tokio::{sync::OwnedSemaphorePermit, time::Sleep};
use tracing::warn;

use super::cx::{Outgoing, Settle};
use crate::{Backoff, metrics::LaneMeters};

/// How many appends may be on their way; then no more events are taken.
const IN_FLIGHT: usize = 64;

pub(super) struct Appends {
    log: Arc<ResultLog>,
    /// Ends with its first failure: nothing lands behind a lost answer, also when that is looked at only later.
    appender: Box<dyn Appender<ResultRecord>>,
    partition: Partition,
    meters: LaneMeters,
    backoff: Backoff,
    in_flight: VecDeque<InFlight>,
    cautious: bool,
    /// Some of what is appended may follow from events that are not durable.
    early: bool,
    failures: u32,
    /// Until the first append in flight, which stored nothing, is tried again.
    pause: Option<Pin<Box<Sleep>>>,
}

struct InFlight {
    appending: Appending,
    settles: Vec<Settle>,
    _permits: Vec<OwnedSemaphorePermit>,
    kept: Option<Vec<ResultRecord>>,
}

impl Appends {
    pub(super) fn new(
        log: Arc<ResultLog>,
        partition: Partition,
        meters: LaneMeters,
        backoff: Backoff,
        cautious: bool,
        early: bool,
    ) -> Self {
        let appender = appender(&*log, early);
        Self {
            log,
            appender,
            partition,
            meters,
            backoff,
            in_flight: VecDeque::new(),
            cautious,
            early,
            failures: 0,
            pause: None,
        }
    }

    /// Whether answers may be appended again that nobody has stored: then they must not follow from events that may be taken
    /// back.
    pub(super) fn is_cautious(&self) -> bool {
        self.cautious
    }

    /// Whether an append may be made now.
    pub(super) fn may_append(&self) -> bool {
        !self.cautious || self.in_flight.is_empty()
    }

    /// Whether more events may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.may_append() && self.in_flight.len() < IN_FLIGHT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Enqueues an append. Returns at once.
    pub(super) fn append(&mut self, out: Outgoing) {
        let kept = self.cautious.then(|| out.records.clone());
        let appending = self.appender.append(self.partition, out.records);
        self.in_flight.push_back(InFlight { appending, settles: out.settles, _permits: out.permits, kept });
    }

    /// The events whose answers became durable next. Never ready while nothing is in flight.
    pub(super) fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Settle>, LogError>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
                if let Some(InFlight { appending, kept: Some(records), .. }) = self.in_flight.front_mut() {
                    // None of them follows from an event that may be taken back: a cautious worker takes none of those, and
                    // nobody begins with one that was taken back before this.
                    self.appender = appender(&*self.log, self.early);
                    *appending = self.appender.append(self.partition, records.clone());
                }
            }
            let Some(first) = self.in_flight.front_mut() else { return Poll::Pending };
            match ready!(first.appending.as_mut().poll(cx)) {
                Ok(_) => {
                    (self.cautious, self.failures) = (false, 0);
                    let settles = self.in_flight.pop_front().map(|done| done.settles);
                    return Poll::Ready(Ok(settles.unwrap_or_default()));
                }
                // Nothing was stored and nothing is behind it: the one case in which it may be appended again.
                Err(error @ (LogError::Full(_) | LogError::Unavailable(_))) if first.kept.is_some() => {
                    self.meters.append_failures.inc();
                    self.failures += 1;
                    warn!(partition = %self.partition, %error, failures = self.failures, "results cannot be stored yet");
                    self.pause = Some(Box::pin(tokio::time::sleep(self.backoff.jittered(self.failures))));
                }
                Err(error) => {
                    self.meters.append_failures.inc();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

fn appender(log: &ResultLog, early: bool) -> Box<dyn Appender<ResultRecord>> {
    if early { log.appender_of_answers() } else { log.appender() }
}
