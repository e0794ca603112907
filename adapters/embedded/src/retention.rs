//! Deletes whole segments, oldest first, when nobody needs them any more.
//!
//! A segment may go when
//! - it is not the one being written, and an older snapshot than the newest still covers everything after it;
//! - every consumer group is past all its records of that group's topic, and was so already when the oldest snapshot was
//!   taken (the mailbox folds results again from its snapshot on, so they must still be there);
//! - and it is too old, or the log is too large. Young dead letters keep it also when the log is too large.

use nimbus_core::Position;

use crate::{
    disk::read_file,
    groups::Groups,
    segment::{self, SegmentHeader, SegmentId},
    segments::Segment,
    shared::Shared,
    snapshot::{self, Snapshot},
    state::{StateKind, StateMachine as _},
    topic::Strand,
};

/// Deletes what can be deleted.
pub(crate) fn run(shared: &Shared) {
    let segments = shared.segments.all();
    let count = deletable(shared, &segments);
    if count == 0 {
        return;
    }
    // The positions that allow it must survive a crash, or a group would find itself before the log's start.
    if shared.queue.flush_blocking().is_err() {
        return;
    }
    for pair in segments.windows(2).take(count) {
        let (gone, next) = (&pair[0].header, &pair[1].header);
        for strand in Strand::all(shared.meta.partitions.0.get()) {
            let index = strand.index(shared.meta.partitions.len());
            shared.shelves.drop_segment(strand, gone.id, next.offsets[index]);
        }
        // One at a time and in order, so that a power loss leaves no hole.
        let path = segment::path(gone.id);
        if let Err(error) = shared.disk.remove(&path).and_then(|()| shared.disk.sync_dir(segment::DIR)) {
            tracing::warn!(error = %error, file = path, "a segment could not be deleted");
            return;
        }
        shared.segments.remove(gone.id);
        shared.metrics.deleted_segments.inc();
    }
}

/// How many of the oldest segments can go.
fn deletable(shared: &Shared, segments: &[std::sync::Arc<Segment>]) -> usize {
    let Ok(snapshots) = shared.disk.list(snapshot::DIR) else { return 0 };
    let Some(oldest_snapshot) = snapshot::ids(&snapshots).first().copied() else { return 0 };
    let mut then = None;
    let now = shared.clock.now();
    let slowest = shared.groups.slowest();
    let mut total: u64 = segments.iter().map(|segment| segment.bytes()).sum();
    let mut count = 0;
    for pair in segments.windows(2) {
        let (segment, next) = (&pair[0], &pair[1].header);
        // Sealed when the next one was begun: no record in it is younger.
        let is_old = now.since(next.created) > shared.config.retention;
        let is_too_much = total > shared.config.retention_bytes;
        let holds_dead_letters = || {
            let (_, dead_letters) = segment.header.offsets.split_at(2 * shared.meta.partitions.len());
            let (_, next) = next.offsets.split_at(2 * shared.meta.partitions.len());
            dead_letters != next
        };
        let due = is_old || (is_too_much && !holds_dead_letters());
        if segment.header.id >= oldest_snapshot || !due || !is_finished(&segment.header, next, &slowest) {
            break;
        }
        if then.is_none() {
            then = slowest_at(shared, oldest_snapshot);
        }
        // A snapshot that does not read holds everything, until newer ones have taken its place.
        if !then.as_ref().is_some_and(|then| is_finished(&segment.header, next, then)) {
            break;
        }
        total -= segment.bytes();
        count += 1;
    }
    count
}

/// How far the slowest groups were when a snapshot was taken.
fn slowest_at(shared: &Shared, snapshot: SegmentId) -> Option<Vec<Option<Position>>> {
    let bytes = read_file(&*shared.disk, &snapshot::path(snapshot)).ok()?;
    let snapshot = Snapshot::decode(&bytes, snapshot, shared.meta.log).ok()?;
    let groups = Groups::new(shared.meta.partitions.len());
    let part = snapshot.parts.iter().find(|(kind, _)| *kind == StateKind::Groups as u32)?;
    groups.restore(&part.1).ok()?;
    Some(groups.slowest())
}

/// Whether every group is past every record of a segment.
fn is_finished(segment: &SegmentHeader, next: &SegmentHeader, slowest: &[Option<Position>]) -> bool {
    segment.offsets.iter().zip(&next.offsets).zip(slowest).all(|((begin, end), slowest)| {
        let is_empty = begin == end;
        is_empty || slowest.is_none_or(|position| position.0 >= *end)
    })
}
