//! What everyone at work in one partition shares, and what they put out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use nimbus_core::{
    Event, Failure, Lane, Offset, PartKind, Partition, ResultRecord,
    clock::UnixMillis,
    ports::{
        executor::Output,
        log::{Fate, LogError, LogRecord, Stored, TooLarge},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Runtime, run::Halt};
use crate::{
    catalogue::Entry,
    metrics::{ExecutorMeters, LaneMeters},
};

/// One partition of one lane.
#[derive(Debug)]
pub(super) struct PartitionCx {
    pub(super) runtime: Arc<Runtime>,
    pub(super) lane: Lane,
    pub(super) meters: LaneMeters,
    pub(super) partition: Partition,
    /// Cancelled when the partition is to be left: end the attempts under way, begin nothing.
    pub(super) stop: CancellationToken,
    /// One permit per attempt under way.
    pub(super) attempts: Arc<Semaphore>,
    /// What was put out since the last append.
    out: Mutex<Outgoing>,
    /// What becomes of the events that were taken before they were durable, if there were any.
    newest: Mutex<Option<Fate>>,
}

/// Payloads up to this many bytes are packed: see [`Outgoing::pack`].
const PACKED_BYTES: usize = 64;
/// How long a piece of memory for packed payloads is. It lives as long as any of them does, so it is not long.
const ARENA_BYTES: usize = 1024;

/// Records on their way to the log, and what is finished once they are durable.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) records: Vec<ResultRecord>,
    pub(super) settles: Vec<Settle>,
    /// Given back when the parts they stand for are durable.
    pub(super) permits: Vec<OwnedSemaphorePermit>,
    pub(super) bytes: usize,
    arena: BytesMut,
}

impl Outgoing {
    fn push(&mut self, mut record: ResultRecord) {
        self.pack(&mut record);
        self.bytes += record.weight();
        self.records.push(record);
    }

    /// Gives a small payload a place beside others: one allocation for many of them, also when they are shared later.
    fn pack(&mut self, record: &mut ResultRecord) {
        let bytes = record.payload.len();
        if bytes == 0 || bytes > PACKED_BYTES {
            return;
        }
        if self.arena.capacity() < bytes {
            self.arena = BytesMut::with_capacity(ARENA_BYTES);
        }
        self.arena.extend_from_slice(&record.payload);
        record.payload = self.arena.split().freeze();
    }
}

/// An event that is finished once its answer is durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settle {
    pub(super) offset: Offset,
    pub(super) received: UnixMillis,
    pub(super) weight: usize,
}

impl PartitionCx {
    pub(super) fn new(
        runtime: Arc<Runtime>,
        lane: Lane,
        meters: LaneMeters,
        partition: Partition,
        stop: CancellationToken,
    ) -> Self {
        let attempts = Arc::new(Semaphore::new(runtime.config.concurrency.get().min(Semaphore::MAX_PERMITS)));
        Self { runtime, lane, meters, partition, stop, attempts, out: Mutex::default(), newest: Mutex::default() }
    }

    pub(super) fn entry(&self, index: usize) -> &Entry {
        self.runtime.catalogue.entry(index)
    }

    pub(super) fn meters_of(&self, entry: &Entry) -> &ExecutorMeters {
        &self.runtime.executors[entry.index]
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.runtime.ports.clock.now()
    }

    /// A panic while it is held leaves nothing half done: every change is a push or a swap.
    fn out(&self) -> MutexGuard<'_, Outgoing> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`out`](Self::out): every change is one assignment.
    fn newest(&self) -> MutexGuard<'_, Option<Fate>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on events are taken whose fate this is.
    pub(super) fn take_early(&self, fate: Fate) {
        *self.newest() = Some(fate);
    }

    /// Whether events that were taken early are gone.
    pub(super) fn is_taken_back(&self) -> bool {
        self.newest().as_ref().is_some_and(|fate| fate.decided() == Some(false))
    }

    /// Waits until every event that was taken is durable. For what cannot be taken back.
    pub(super) async fn certain(&self) -> Result<(), Halt> {
        let newest = self.newest().clone();
        let Some(fate) = newest else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Halt::Stopped),
            durable = fate.is_durable() => if durable { Ok(()) } else { Err(Halt::Broken(taken_back())) },
        }
    }

    /// How many records, and bytes, wait to be appended.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let out = self.out();
        (out.records.len(), out.bytes)
    }

    /// Takes everything that waits to be appended; `room` is about how much will follow.
    pub(super) fn take_out(&self, room: usize) -> Outgoing {
        let next =
            Outgoing { records: Vec::with_capacity(room), settles: Vec::with_capacity(room), ..Outgoing::default() };
        let mut out = self.out();
        let mut taken = std::mem::replace(&mut *out, next);
        out.arena = std::mem::take(&mut taken.arena);
        taken
    }

    /// Puts out the one terminal answer to an event.
    pub(super) fn answer(&self, stored: &Stored<Event>, numbers: Numbers, answer: Result<Output, Failure>) {
        self.put_out(stored, self.answering(stored, numbers, answer));
    }

    /// The same, unless it is larger than the log of results takes.
    ///
    /// # Errors
    /// By how much. Nothing was put out.
    pub(super) fn try_answer(
        &self,
        stored: &Stored<Event>,
        numbers: Numbers,
        answer: Result<Output, Failure>,
    ) -> Result<(), TooLarge> {
        let record = self.answering(stored, numbers, answer);
        self.runtime.ports.results.fits(&record)?;
        self.put_out(stored, record);
        Ok(())
    }

    /// Whether the log of results takes a part like that.
    pub(super) fn fits(&self, stored: &Stored<Event>, numbers: Numbers, output: &Output) -> bool {
        let record = self.answering(stored, numbers, Ok(output.clone()));
        self.runtime.ports.results.fits(&record).is_ok()
    }

    fn answering(&self, stored: &Stored<Event>, numbers: Numbers, answer: Result<Output, Failure>) -> ResultRecord {
        let kind = if answer.is_ok() { PartKind::Final } else { PartKind::Error };
        let event = &stored.record;
        let mut record = ResultRecord::answering(event, stored.offset, self.lane, kind, numbers.now);
        (record.attempt, record.part_no) = (numbers.attempt, numbers.part_no);
        match answer {
            Ok(output) => fill(&mut record, output),
            Err(failure) => record.failure = Some(Box::new(failure)),
        }
        record
    }

    fn put_out(&self, stored: &Stored<Event>, record: ResultRecord) {
        let event = &stored.record;
        let settle = Settle { offset: stored.offset, received: event.received, weight: event.weight() };
        let mut out = self.out();
        out.push(record);
        out.settles.push(settle);
    }

    /// Puts out a part; `permit` comes back when it is durable.
    pub(super) fn part(
        &self,
        stored: &Stored<Event>,
        numbers: Numbers,
        kind: PartKind,
        output: Output,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let mut record = ResultRecord::answering(&stored.record, stored.offset, self.lane, kind, numbers.now);
        (record.attempt, record.part_no) = (numbers.attempt, numbers.part_no);
        fill(&mut record, output);
        self.meters.parts.inc();
        let mut out = self.out();
        out.push(record);
        out.permits.extend(permit);
    }
}

/// Events were taken that did not become durable. Read again, there are others in their place.
pub(super) fn taken_back() -> LogError {
    LogError::Unavailable("events that were being written were taken back".to_owned())
}

fn fill(record: &mut ResultRecord, output: Output) {
    record.payload = output.payload;
    record.content_type = output.content_type;
    record.attributes = output.attributes;
}

/// What numbers a record within its event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) attempt: u32,
    pub(super) part_no: u32,
    pub(super) now: UnixMillis,
}
