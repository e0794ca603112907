//! Frees the space of records that nobody needs any more, by whole segments, oldest first.
//!
//! A segment is done with when
//! - it is not the one being written, and the oldest snapshot covers everything after it;
//! - every consumer group is past all its records of that group's topic, and was so already when that snapshot was taken
//!   (the mailbox folds results again from its snapshot on, so they must still be there).
//!
//! It is then deleted when it is too old. When the log is too large it goes before its time, but its dead letters stay:
//! then it is written anew with nothing else in it, together with the one before it if that was treated likewise not long
//! ago. So a few dead letters hold neither gigabytes nor thousands of files.

use std::sync::Arc;

use nimbus_core::Position;

use crate::{
    compaction,
    disk::read_file,
    groups::Groups,
    keeper::{SEGMENTS_PER_RETENTION, SNAPSHOTS},
    segment::{self, SegmentHeader, SegmentId},
    segments::Segment,
    shared::Shared,
    snapshot::{self, Snapshot},
    state::{StateKind, StateMachine as _},
    topic::{Strand, Topic},
};

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Delete,
    /// Only its dead letters stay.
    Compact,
}

/// What retention came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// There is more to free as soon as the snapshots are as new as the commits.
    OldSnapshots,
}

/// Frees what can be freed.
pub(crate) fn run(shared: &Shared) -> Outcome {
    let segments = shared.segments.all();
    let (fates, outcome) = fates(shared, &segments);
    if fates.iter().all(|fate| *fate == Fate::Keep) {
        return outcome;
    }
    // The positions that allow it must survive a crash, or a group would find itself before the log's start.
    if shared.queue.flush_blocking().is_err() {
        return Outcome::Done;
    }
    let mut before: Option<SegmentId> = None;
    for (pair, fate) in segments.windows(2).zip(fates) {
        let (segment, next) = (&*pair[0], &pair[1].header);
        let freed = match fate {
            Fate::Keep => Ok(()),
            Fate::Delete => delete(shared, &segment.header, next),
            Fate::Compact => {
                let before = before.and_then(|id| shared.segments.get(id));
                let merged = before.filter(|before| can_merge(shared, before, next));
                compaction::compact(shared, merged.as_deref(), segment, next)
            }
        };
        before = (fate != Fate::Delete).then_some(segment.header.id);
        if let Err(error) = freed {
            // The next ones wait, so that segments are always numbered without a hole.
            let file = segment::path(segment.header.id);
            tracing::warn!(error = %error, file, "the space of a segment could not be freed; it will be tried again");
            return Outcome::Done;
        }
    }
    outcome
}

/// Whether a segment is compact, small and young enough to be merged with the one after it, which ends where `next` begins.
fn can_merge(shared: &Shared, before: &Segment, next: &SegmentHeader) -> bool {
    before.header.form.is_compact()
        && before.bytes() < shared.config.segment_bytes
        && next.created.since(before.header.created) <= shared.config.retention / SEGMENTS_PER_RETENTION
}

fn delete(shared: &Shared, gone: &SegmentHeader, next: &SegmentHeader) -> std::io::Result<()> {
    for strand in Strand::all(shared.meta.partitions.0.get()) {
        let begins = next.offsets[strand.index(shared.meta.partitions.len())];
        shared.shelves.drop_segment(strand, gone.id, begins);
    }
    // Durably, one at a time and in order: a power loss leaves no hole.
    shared.disk.remove(&segment::path(gone.id))?;
    shared.disk.sync_dir(segment::DIR)?;
    shared.segments.remove(gone.id);
    shared.metrics.deleted_segments.inc();
    Ok(())
}

/// What becomes of each segment, oldest first; those that are not named stay.
fn fates(shared: &Shared, segments: &[Arc<Segment>]) -> (Vec<Fate>, Outcome) {
    let none = (Vec::new(), Outcome::Done);
    let Ok(snapshots) = shared.disk.list(snapshot::DIR) else { return none };
    let Some(oldest_snapshot) = snapshot::ids(&snapshots).first().copied() else { return none };
    let (now, config) = (shared.clock.now(), &shared.config);
    let slowest = shared.groups.slowest();
    let mut slowest_then = None;
    let mut total: u64 = segments.iter().map(|segment| segment.bytes()).sum();
    let mut fates = Vec::new();
    for pair in segments.windows(2) {
        let (segment, next) = (&pair[0], &pair[1].header);
        // Sealed when the next one was begun: no record in it is younger.
        let is_old = now.since(next.created) > config.retention;
        let is_compact = segment.header.form.is_compact();
        let may_be_deleted = fates.iter().all(|fate| *fate == Fate::Delete);
        let fate = if is_old && may_be_deleted {
            Fate::Delete
        } else if is_compact {
            Fate::Keep
        } else if is_old || total > config.retention_bytes {
            let is_empty = !holds_dead_letters(&segment.header, next);
            if is_empty && may_be_deleted { Fate::Delete } else { Fate::Compact }
        } else {
            break;
        };
        if fate != Fate::Keep {
            let is_finished = |slowest: &[Option<Position>]| is_finished(&segment.header, next, slowest);
            if !is_finished(&slowest) {
                break;
            }
            if slowest_then.is_none() {
                slowest_then = slowest_at(shared, oldest_snapshot);
            }
            // A snapshot that does not read holds everything until it is written anew.
            let was_finished = slowest_then.as_ref().is_some_and(|then| is_finished(then));
            if segment.header.id >= oldest_snapshot || !was_finished {
                let needed = segments.len().saturating_sub(SNAPSHOTS);
                let can_be_newer = segments.get(needed).is_some_and(|oldest| segment.header.id < oldest.header.id);
                return (fates, if can_be_newer { Outcome::OldSnapshots } else { Outcome::Done });
            }
            total -= segment.bytes();
        }
        fates.push(fate);
    }
    (fates, Outcome::Done)
}

/// How far the slowest groups were when a snapshot was taken.
fn slowest_at(shared: &Shared, snapshot: SegmentId) -> Option<Vec<Option<Position>>> {
    let bytes = read_file(&*shared.disk, &snapshot::path(snapshot)).ok()?;
    let snapshot = Snapshot::decode(&bytes, snapshot, shared.meta.log).ok()?;
    let groups = Groups::new(shared.meta.partitions.len());
    let (_, part) = snapshot.parts.iter().find(|(kind, _)| *kind == StateKind::Groups as u32)?;
    groups.restore(part).ok()?;
    Some(groups.slowest())
}

/// Whether every group is past every record of a segment.
fn is_finished(segment: &SegmentHeader, next: &SegmentHeader, slowest: &[Option<Position>]) -> bool {
    segment.offsets.iter().zip(&next.offsets).zip(slowest).all(|((begin, end), slowest)| {
        let is_empty = begin == end;
        is_empty || slowest.is_none_or(|position| position.0 >= *end)
    })
}

fn holds_dead_letters(segment: &SegmentHeader, next: &SegmentHeader) -> bool {
    let first = Topic::DeadLetters.index() * (segment.offsets.len() / Topic::ALL.len());
    segment.offsets[first..] != next.offsets[first..]
}
