//! One append on its way: shared by its records, resolved when the broker has spoken about each of them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use nimbus_core::{
    Position,
    ports::log::{Appending, LogError},
};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;

use crate::{
    appender::Fence,
    fault::{self, Trace},
    parcel::Parcel,
    reports::{Accounts, Reply},
    topic::Topic,
};

/// Why an append that has a failed record has it.
#[derive(Debug, Clone)]
struct Fault {
    error: LogError,
    trace: Trace,
}

/// One append on its way.
#[derive(Debug)]
pub(crate) struct Append {
    topic: Topic,
    records: usize,
    bytes: usize,
    weight: usize,
    begun: Instant,
    /// Records that the broker has not spoken about.
    open: AtomicUsize,
    /// Records that were stored.
    stored: AtomicUsize,
    /// Past the last of them.
    next: AtomicU64,
    /// The first one.
    fault: Mutex<Option<Fault>>,
    reply: Mutex<Option<Reply>>,
    accounts: Arc<Accounts>,
}

/// The future of an append whose answer comes.
pub(crate) fn pending(answer_rx: oneshot::Receiver<Result<Position, LogError>>) -> Appending {
    let lost = || LogError::Ambiguous("the log was closed before the broker answered".to_owned());
    Box::pin(async move { answer_rx.await.unwrap_or_else(|_| Err(lost())) })
}

/// The future of an append of which nothing was stored.
pub(crate) fn refused(error: LogError) -> Appending {
    Box::pin(async { Err(error) })
}

impl Append {
    /// Takes room for the records.
    pub(crate) fn new(parcel: &Parcel, accounts: &Arc<Accounts>, fence: Option<Arc<Fence>>) -> (Arc<Self>, Appending) {
        let (answer_tx, answer_rx) = oneshot::channel();
        let append = Self {
            topic: parcel.topic,
            records: parcel.len(),
            bytes: parcel.bytes(),
            weight: parcel.weight(),
            begun: Instant::now(),
            open: AtomicUsize::new(parcel.len()),
            stored: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            fault: Mutex::default(),
            reply: Mutex::new(Some(Reply { answer_tx, fence })),
            accounts: Arc::clone(accounts),
        };
        accounts.budget.take(append.weight);
        (Arc::new(append), pending(answer_rx))
    }

    /// The broker stored one record.
    pub(crate) fn record_stored(&self, offset: i64) {
        self.stored.fetch_add(1, Ordering::Relaxed);
        match u64::try_from(offset) {
            Ok(offset) => drop(self.next.fetch_max(offset + 1, Ordering::Relaxed)),
            // A duplicate so old that the broker does not remember where it put it.
            Err(_) => self.note(LogError::Ambiguous("stored, but nobody knows where".to_owned()), Trace::Perhaps),
        }
        self.settle(1);
    }

    /// One record failed for good.
    pub(crate) fn record_failed(&self, code: RDKafkaErrorCode) {
        self.note(fault::refused(code), fault::trace(code));
        self.settle(1);
    }

    /// The last `records` of it never went out.
    pub(crate) fn cut_off(&self, records: usize, error: LogError) {
        let trace = if records == self.records { Trace::None } else { Trace::Perhaps };
        self.note(error, trace);
        self.settle(records);
    }

    fn note(&self, error: LogError, trace: Trace) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *fault {
            Some(first) => {
                if trace == Trace::Perhaps {
                    first.trace = trace;
                }
            }
            None => *fault = Some(Fault { error, trace }),
        }
    }

    fn settle(&self, records: usize) {
        // AcqRel: whoever settles the last one sees what the others stored and noted.
        if self.open.fetch_sub(records, Ordering::AcqRel) == records {
            self.resolve();
        }
    }

    fn outcome(&self) -> Result<Position, LogError> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Fault { error, trace }) = fault else {
            return Ok(Position(self.next.load(Ordering::Relaxed)));
        };
        let stored = self.stored.load(Ordering::Relaxed);
        if trace == Trace::None && stored == 0 {
            return Err(error);
        }
        let known = self.records;
        Err(LogError::Ambiguous(format!("{stored} of {known} records are known to be stored: {error}")))
    }

    fn resolve(&self) {
        self.accounts.budget.give_back(self.weight);
        let metrics = &self.accounts.metrics;
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(reply) = reply else { return };
        let outcome = self.outcome();
        // The fence falls before the failure is told.
        if let Some(fence) = &reply.fence {
            fence.settled(outcome.is_ok());
        }
        match outcome {
            Ok(position) => {
                metrics.appended_records[self.topic.index()].inc_by(self.records as u64);
                metrics.appended_bytes[self.topic.index()].inc_by(self.bytes as u64);
                metrics.append_seconds.observe(self.begun.elapsed().as_secs_f64());
                reply.tell(Ok(position));
            }
            Err(error) => {
                metrics.append_failed(&error);
                self.accounts.tell_later(reply, error);
            }
        }
    }
}
