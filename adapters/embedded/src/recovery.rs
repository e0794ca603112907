//! What a data directory holds, worked out at open: every frame is read and its checksum compared.
//!
//! The rules, in the order in which they apply:
//! 1. Segments are numbered without a hole, belong to this log, and each begins at the frame where the one before it
//!    ends. A segment ends at the valid length that its successor's header states; the last one at the end of its file, or
//!    where nothing but zeros follow.
//! 2. A bad frame in the last segment that nothing behind it vouches for is a torn tail: its write was never
//!    acknowledged. It is cut off, as are zeros that were written ahead. Any other bad frame is damage, and the directory is
//!    refused.
//! 3. State is the newest snapshot that reads, and the state records of its segment and all later ones.
//! 4. The log reaches at least as far as the clean mark and every snapshot say.

mod reading;

use std::collections::VecDeque;

use crate::{
    clean::CleanMark,
    disk::{Disk, TEMPORARY, read_file},
    error::OpenError,
    meta::Meta,
    segment::{self, NotASegment, SegmentHeader, SegmentId},
    segments::{Segment, Segments},
    shelf::FrameAt,
    snapshot::{self, NotASnapshot, Snapshot},
    state::StateMachine,
    writer::Start,
};
use reading::Reading;

/// What was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) segments: Segments,
    /// By [`Strand::index`](crate::topic::Strand::index).
    pub(crate) strands: Vec<RecoveredStrand>,
    pub(crate) start: Start,
    /// Bytes of a torn tail that were cut off.
    pub(crate) torn: Option<u64>,
    /// Before this byte the last segment is known to have been synced.
    vouched: u64,
    /// Files in whose place others have come.
    superseded: Vec<SegmentId>,
    /// The newest snapshot that reads.
    pub(crate) snapshot: Option<SegmentId>,
}

/// What was found of one strand.
#[derive(Debug, Default)]
pub(crate) struct RecoveredStrand {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) frames: VecDeque<FrameAt>,
}

impl Recovered {
    /// Brings the directory in order: cuts off a torn tail and what was written ahead, and makes durable what a killed process
    /// left behind.
    pub(crate) fn settle(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        let (last, path) = (&self.start.segment, segment::path(self.start.segment.header.id));
        last.file.set_len(self.start.end).map_err(OpenError::io(format!("cut the tail off {path}")))?;
        // The rest may be in the page cache only, and becomes visible now, so it must become durable now. If an fsync failed
        // before the process was killed, the cache takes it for clean: only writing it anew makes the next fsync mean it.
        let rewrite = || {
            let mut unsure = vec![0; (self.start.end - self.vouched) as usize];
            let read = last.file.read_at(&mut unsure, self.vouched)?;
            last.file.write_at(&unsure[..read], self.vouched)?;
            last.file.sync()
        };
        rewrite().map_err(OpenError::io(format!("sync {path}")))?;
        for id in &self.superseded {
            let path = segment::path(*id);
            disk.remove(&path).map_err(OpenError::io(format!("remove {path}")))?;
        }
        remove_unfinished(disk)
    }
}

/// Reads and checks everything, and hands their state to `machines`. Changes nothing.
pub(crate) fn examine(disk: &dyn Disk, meta: &Meta, machines: &[&dyn StateMachine]) -> Result<Recovered, OpenError> {
    let snapshots = read_snapshots(disk, meta)?;
    let (headers, superseded) = read_headers(disk, meta)?;
    let snapshot = newest_snapshot(snapshots, &headers)?;
    if let Some(snapshot) = &snapshot {
        restore(snapshot, machines)?;
    }
    let replay_from = snapshot.as_ref().map_or(0, |snapshot| snapshot.segment);
    let mut reading = Reading::new(meta, &headers[0], machines);
    let segments = Segments::default();
    let (mut synced, mut end, mut vouched, mut torn) = (0, 0, 0, None);
    for (index, header) in headers.iter().enumerate() {
        let path = segment::path(header.id);
        let file = disk.open(&path).map_err(OpenError::io(format!("open {path}")))?;
        let mut contents = read_file(disk, &path).map_err(OpenError::io(format!("read {path}")))?;
        let next = headers.get(index + 1);
        // A running server may have written the segment anew since the headers were read.
        let header = &decode_header(&contents, meta, header.id)?;
        if let Some(valid) = header.valid(next) {
            let valid = usize::try_from(valid).unwrap_or(usize::MAX);
            if contents.len() < valid {
                let what = format!("the file ends here; it should have {valid} bytes");
                return Err(OpenError::damaged(path, contents.len() as u64, what));
            }
            contents.truncate(valid);
        }
        reading.begin(header, &path)?;
        reading.replay = header.id >= replay_from;
        let read = reading.segment(header, &path, contents, next.is_none())?;
        (synced, end, vouched, torn) = (read.synced, read.end, read.vouched.min(read.end), read.torn);
        segments.insert(Segment::new(header.clone(), file, end));
    }
    let last = segments.all().pop().expect("there is a header for each segment, and at least one");
    let path = segment::path(last.header.id);
    check_reach(disk, &snapshot, reading.sequence, &path, end)?;
    let start = Start {
        segment: last,
        end,
        synced,
        next_sequence: reading.sequence,
        offsets: reading.strands.iter().map(|strand| strand.end).collect(),
    };
    Ok(Recovered {
        segments,
        strands: reading.strands,
        start,
        torn,
        vouched,
        superseded,
        snapshot: snapshot.map(|s| s.segment),
    })
}

/// Files whose writing was interrupted before they got their name.
fn remove_unfinished(disk: &dyn Disk) -> Result<(), OpenError> {
    for dir in ["", segment::DIR, snapshot::DIR] {
        let entries = disk.list(dir).map_err(OpenError::io(format!("list {dir}/")))?;
        for entry in entries.iter().filter(|entry| entry.name.ends_with(TEMPORARY)) {
            let path = if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
            disk.remove(&path).map_err(OpenError::io(format!("remove {path}")))?;
        }
    }
    Ok(())
}

/// The headers of all segments, oldest first, and files in whose place others have come.
fn read_headers(disk: &dyn Disk, meta: &Meta) -> Result<(Vec<SegmentHeader>, Vec<SegmentId>), OpenError> {
    let entries = disk.list(segment::DIR).map_err(OpenError::io("list segments/"))?;
    let ids = segment::ids(&entries);
    let Some(mut expected) = ids.last().copied() else {
        return Err(OpenError::damaged(segment::DIR, 0, "there is no segment, although `meta` is there"));
    };
    let (mut headers, mut superseded) = (Vec::new(), Vec::new());
    for id in ids.into_iter().rev() {
        if id > expected {
            superseded.push(id);
        } else if id < expected {
            return Err(OpenError::damaged(segment::path(expected), 0, "the file is missing"));
        } else {
            let header = read_header(disk, meta, id)?;
            expected = header.from.saturating_sub(1);
            headers.push(header);
        }
    }
    headers.reverse();
    Ok((headers, superseded))
}

fn read_header(disk: &dyn Disk, meta: &Meta, id: SegmentId) -> Result<SegmentHeader, OpenError> {
    let path = segment::path(id);
    let mut bytes = vec![0; SegmentHeader::bytes(meta.partitions)];
    let read = disk.open(&path).and_then(|file| file.read_at(&mut bytes, 0));
    bytes.truncate(read.map_err(OpenError::io(format!("read {path}")))?);
    decode_header(&bytes, meta, id)
}

fn decode_header(contents: &[u8], meta: &Meta, id: SegmentId) -> Result<SegmentHeader, OpenError> {
    let path = segment::path(id);
    SegmentHeader::decode(contents, id, meta.log, meta.partitions).map_err(|why| match why {
        NotASegment::Version(found) => {
            OpenError::damaged(path, 4, format!("the segment has format version {found}, unlike `meta`"))
        }
        NotASegment::Damaged { offset, what } => OpenError::damaged(path, offset, what),
    })
}

/// Snapshots, newest first, those that do not read included. Read before the segments: a running server may take more.
fn read_snapshots(disk: &dyn Disk, meta: &Meta) -> Result<Vec<ReadSnapshot>, OpenError> {
    let entries = disk.list(snapshot::DIR).map_err(OpenError::io("list snapshots/"))?;
    let read = |id| {
        let path = snapshot::path(id);
        let bytes = read_file(disk, &path).map_err(OpenError::io(format!("read {path}")))?;
        Ok((id, Snapshot::decode(&bytes, id, meta.log)))
    };
    snapshot::ids(&entries).into_iter().rev().map(read).collect()
}

type ReadSnapshot = (SegmentId, Result<Snapshot, NotASnapshot>);

/// The newest snapshot that reads and whose segments are there. A damaged one is passed over as long as the state can be
/// rebuilt without it.
fn newest_snapshot(snapshots: Vec<ReadSnapshot>, headers: &[SegmentHeader]) -> Result<Option<Snapshot>, OpenError> {
    let (first, last) = (headers[0].id, headers[headers.len() - 1].id);
    let mut damaged = None;
    for (id, snapshot) in snapshots {
        let path = snapshot::path(id);
        match snapshot {
            Ok(_) if id > last => {
                let what = format!("the file is missing; {path} was taken after it had been begun");
                return Err(OpenError::damaged(segment::path(last + 1), 0, what));
            }
            Ok(snapshot) if id >= first => return Ok(Some(snapshot)),
            Ok(_) => {}
            Err(why) => {
                tracing::warn!(file = path, offset = why.offset, what = why.what, "a snapshot is damaged and not used");
                damaged.get_or_insert(OpenError::damaged(path, why.offset, why.what));
            }
        }
    }
    if first == 1 {
        return Ok(None);
    }
    let missing = || OpenError::damaged(snapshot::DIR, 0, "there is no snapshot, although the first segments are gone");
    Err(damaged.unwrap_or_else(missing))
}

fn restore(snapshot: &Snapshot, machines: &[&dyn StateMachine]) -> Result<(), OpenError> {
    for (number, part) in &snapshot.parts {
        let Some(machine) = machines.iter().find(|machine| machine.kind() as u32 == *number) else {
            let what = format!("it holds state of kind {number}, which this build does not know");
            return Err(OpenError::damaged(snapshot::path(snapshot.segment), 0, what));
        };
        machine
            .restore(part)
            .map_err(|why| OpenError::damaged(snapshot::path(snapshot.segment), 0, format!("cannot be read: {why}")))?;
    }
    Ok(())
}

/// Rule 4.
fn check_reach(
    disk: &dyn Disk,
    snapshot: &Option<Snapshot>,
    sequence: u64,
    last: &str,
    end: u64,
) -> Result<(), OpenError> {
    let clean = CleanMark::read(disk)?;
    let expected = [snapshot.as_ref().map(|snapshot| snapshot.sequence), clean.map(|clean| clean.next_sequence)];
    match expected.into_iter().flatten().max() {
        Some(expected) if expected > sequence => {
            let what = format!("the log ends at frame {sequence}; it is known to have reached frame {expected}");
            Err(OpenError::damaged(last, end, what))
        }
        Some(_) | None => Ok(()),
    }
}
