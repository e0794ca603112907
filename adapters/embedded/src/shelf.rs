//! What readers see of one strand: how far it reaches, where its frames lie, and its newest records in memory.
//!
//! The writer publishes here after the fsync, never before: readers see durable records only. (Consumers that ask for it are
//! shown records while they are written, apart from all others and marked as such.) The newest batches are kept
//! as the very records that were appended, so consumers that keep up cost no decoding. One entry of 32 bytes a frame is
//! kept for all the rest; a frame holds everything that one write brought for the strand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nimbus_core::{
    Offset, Partition, Position,
    ports::log::{Batch, Fate, LogRecord, Range, Stored},
};

use crate::{members::Member, segment::SegmentId};

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameAt {
    /// Offset of its first record.
    pub(crate) base: u64,
    pub(crate) segment: SegmentId,
    /// Byte of the file.
    pub(crate) at: u32,
    /// Header and body.
    pub(crate) bytes: u32,
    pub(crate) count: u32,
}

impl FrameAt {
    fn end(&self) -> u64 {
        self.base + u64::from(self.count)
    }
}

/// Records in memory.
#[derive(Debug, Clone)]
pub(crate) struct Recent<R> {
    base: u64,
    weight: usize,
    records: Arc<[Stored<R>]>,
}

/// Where a read finds its records.
#[derive(Debug)]
pub(crate) enum Found<R> {
    /// Nothing is there yet.
    AtEnd,
    /// Before the start.
    Expired(Position),
    /// In memory.
    Recent { records: Arc<[Stored<R>]>, next: Position },
    /// On disk, in consecutive frames.
    OnDisk(Vec<FrameAt>),
}

/// Records that are being written.
#[derive(Debug)]
struct Early<R> {
    records: Arc<[Stored<R>]>,
    fate: Fate,
}

impl<R> Early<R> {
    fn end(&self) -> Position {
        self.records.last().map_or(Position::START, |last| last.offset.position_after())
    }
}

/// Who is told of records to come.
#[derive(Debug)]
struct Watcher {
    member: Arc<Member>,
    /// It has everything before this.
    from: Position,
    /// Also of those that are being written.
    early: bool,
}

#[derive(Debug)]
struct Inner<R> {
    start: u64,
    end: u64,
    frames: VecDeque<FrameAt>,
    recent: VecDeque<Recent<R>>,
    early: Vec<Early<R>>,
    watchers: Vec<Watcher>,
}

/// What readers see of one strand.
#[derive(Debug)]
pub(crate) struct Shelf<R> {
    partition: Partition,
    inner: Mutex<Inner<R>>,
}

impl<R: LogRecord> Shelf<R> {
    pub(crate) fn new(partition: Partition, start: u64, end: u64, frames: VecDeque<FrameAt>) -> Self {
        let inner = Inner { start, end, frames, recent: VecDeque::new(), early: Vec::new(), watchers: Vec::new() };
        Self { partition, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn range(&self) -> Range {
        let inner = self.lock();
        Range { start: Position(inner.start), end: Position(inner.end) }
    }

    /// Shows records that are durable now.
    pub(crate) fn publish(&self, frame: FrameAt, weight: usize, records: Arc<[Stored<R>]>) {
        let mut inner = self.lock();
        inner.end = frame.end();
        inner.frames.push_back(frame);
        inner.recent.push_back(Recent { base: frame.base, weight, records });
        inner.early.clear();
        // Who has had them early needs no wake-up.
        for watcher in inner.watchers.iter().filter(|watcher| watcher.from.0 < inner.end) {
            watcher.member.has_records(self.partition);
        }
    }

    /// Whether somebody who has read everything wants to see what is being written at `base`. No hole is shown: what lies behind
    /// something that is not shown is not shown either.
    pub(crate) fn wants_early(&self, base: u64) -> bool {
        let inner = self.lock();
        let seen = inner.early.last().map_or(inner.end, |last| last.end().0);
        base == seen && inner.watchers.iter().any(|watcher| watcher.early && watcher.from.0 >= inner.end)
    }

    /// Shows records that are being written, to those who want that.
    pub(crate) fn show_early(&self, records: Arc<[Stored<R>]>, fate: Fate) {
        let mut inner = self.lock();
        inner.early.push(Early { records, fate });
        for watcher in inner.watchers.iter().filter(|watcher| watcher.early) {
            watcher.member.has_records(self.partition);
        }
    }

    /// Takes back what was shown early.
    pub(crate) fn take_back(&self) {
        self.lock().early.clear();
    }

    /// What is being written from `from` on, which is the end of what is durable or lies behind it.
    pub(crate) fn early(&self, from: Position) -> Option<Batch<R>> {
        let inner = self.lock();
        if from.0 < inner.end {
            return None;
        }
        let early = inner.early.iter().find(|early| from < early.end())?;
        let skip = early.records.partition_point(|stored| from.covers(stored.offset));
        let records = if skip == 0 { Arc::clone(&early.records) } else { early.records[skip..].into() };
        let provisional = Some(early.fate.clone());
        Some(Batch { partition: self.partition, from, records, next: early.end(), provisional })
    }

    /// Forgets the oldest records in memory.
    pub(crate) fn evict(&self) {
        self.lock().recent.pop_front();
    }

    /// Forgets what lies in a segment that is about to be deleted; `start` is where the next one begins.
    pub(crate) fn drop_segment(&self, segment: SegmentId, start: u64) {
        let mut inner = self.lock();
        while inner.frames.front().is_some_and(|frame| frame.segment <= segment) {
            inner.frames.pop_front();
        }
        inner.start = inner.start.max(start);
    }

    /// A frame lies in another place of its segment now.
    pub(crate) fn refile(&self, moved: FrameAt) {
        let mut inner = self.lock();
        if let Ok(index) = inner.frames.binary_search_by_key(&moved.base, |frame| frame.base) {
            inner.frames[index] = moved;
        }
    }

    /// Finds the records from `from` on, up to about `max_bytes`.
    pub(crate) fn find(&self, from: Position, max_bytes: usize) -> Found<R> {
        let inner = self.lock();
        if from.0 < inner.start {
            return Found::Expired(Position(inner.start));
        }
        if from.0 >= inner.end {
            return Found::AtEnd;
        }
        if inner.recent.front().is_some_and(|oldest| oldest.base <= from.0) {
            let index = inner.recent.partition_point(|batch| batch.base <= from.0) - 1;
            // Between two batches there may be a hole, but only of offsets that were never used: then the next one.
            let batch = inner.recent.range(index..).find(|batch| from.0 < batch.base + batch.records.len() as u64);
            if let Some(batch) = batch {
                return batch.from(from, max_bytes);
            }
        }
        let first = inner.frames.partition_point(|frame| frame.end() <= from.0);
        if first == inner.frames.len() {
            // Offsets have jumped ahead: the end of the log was lost, and repaired.
            return Found::Recent { records: Arc::new([]), next: Position(inner.end) };
        }
        let mut bytes = 0;
        let frames = inner.frames.range(first..).take_while(|frame| {
            let fits = bytes < max_bytes;
            bytes += frame.bytes as usize;
            fits
        });
        Found::OnDisk(frames.copied().collect())
    }

    /// Tells `member` of records to come, and of those that are there from `position` on; if it wants to see them `early`,
    /// also of those that are being written.
    pub(crate) fn watch(&self, member: &Arc<Member>, position: Position, early: bool) {
        let mut inner = self.lock();
        match inner.watchers.iter_mut().find(|watcher| Arc::ptr_eq(&watcher.member, member)) {
            Some(watcher) => (watcher.from, watcher.early) = (position, early),
            None => inner.watchers.push(Watcher { member: Arc::clone(member), from: position, early }),
        }
        if position.0 < inner.end || early && inner.early.iter().any(|early| position < early.end()) {
            member.has_records(self.partition);
        }
    }

    pub(crate) fn unwatch(&self, member: &Arc<Member>) {
        self.lock().watchers.retain(|watcher| !Arc::ptr_eq(&watcher.member, member));
    }
}

impl<R: LogRecord> Recent<R> {
    fn from(&self, from: Position, max_bytes: usize) -> Found<R> {
        let skip = from.0.saturating_sub(self.base) as usize;
        let next = Position(self.base + self.records.len() as u64);
        if skip == 0 && self.weight <= max_bytes {
            return Found::Recent { records: Arc::clone(&self.records), next };
        }
        let records = within(&self.records[skip..], max_bytes);
        let next = records.last().map_or(next, |last| last.offset.position_after());
        Found::Recent { records: records.into(), next }
    }
}

/// Records with their offsets.
pub(crate) fn numbered<R>(base: u64, records: Vec<R>) -> Arc<[Stored<R>]> {
    (base..).map(Offset).zip(records).map(|(offset, record)| Stored { offset, record }).collect()
}

/// The first of `records`, up to about `max_bytes`; at least one if there is any.
pub(crate) fn within<R: LogRecord>(records: &[Stored<R>], max_bytes: usize) -> &[Stored<R>] {
    let mut bytes = 0;
    let fit = records.iter().take_while(|stored| {
        let fits = bytes < max_bytes;
        bytes += stored.record.weight();
        fits
    });
    let count = fit.count().max(1).min(records.len());
    &records[..count]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{P0, event};

    #[test]
    fn what_lies_behind_something_that_is_not_shown_is_not_shown_either() {
        let shelf = Shelf::new(P0, 0, 10, VecDeque::new());
        let member = Arc::new(Member::new(1, 1));
        shelf.watch(&member, Position(10), false);
        assert!(!shelf.wants_early(10), "nobody wants it");
        shelf.watch(&member, Position(9), true);
        assert!(!shelf.wants_early(10), "it has something else to read");
        shelf.watch(&member, Position(10), true);
        assert!(!shelf.wants_early(12));
        assert!(shelf.wants_early(10));
        let (_decision, fate) = Fate::undecided();
        shelf.show_early(numbered(10, vec![event(1), event(2)]), fate);
        assert!(shelf.wants_early(12) && !shelf.wants_early(10) && !shelf.wants_early(13));
        assert_eq!(shelf.early(Position(11)).map(|batch| (batch.records.len(), batch.next)), Some((1, Position(12))));
        shelf.take_back();
        assert!(shelf.early(Position(11)).is_none() && shelf.wants_early(10));
    }
}
