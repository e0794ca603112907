//! Snapshot files: the state of every state machine at the beginning of a segment, so that older segments can go.
//!
//! `snapshots/<segment>.snap`, little-endian: magic `NbSn`, format version (u32), segment (u64), log (16 bytes), sequence
//! number of the segment's first frame (u64), number of parts (u32), for each part its kind (u32), length (u64) and
//! bytes, and the CRC-32 of everything before. The two newest are kept: should one be damaged, the other one and the
//! segments since give the same state.

use std::io;

use ulid::Ulid;

use crate::{
    disk::{Disk, Entry, replace_file},
    frame::{u32_at, u64_at},
    meta::FORMAT_VERSION,
    segment::SegmentId,
};

pub(crate) const DIR: &str = "snapshots";
const SUFFIX: &str = ".snap";
const MAGIC: [u8; 4] = *b"NbSn";
const FIXED_BYTES: usize = 44;

/// `snapshots/00000000000000000002.snap`
pub(crate) fn path(segment: SegmentId) -> String {
    format!("{DIR}/{segment:020}{SUFFIX}")
}

/// Which snapshots a listing shows, oldest first.
pub(crate) fn ids(entries: &[Entry]) -> Vec<SegmentId> {
    let id = |entry: &Entry| entry.name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?.parse().ok();
    let mut ids: Vec<_> = entries.iter().filter_map(id).collect();
    ids.sort_unstable();
    ids
}

/// The contents of a snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// State records of this segment and later ones come on top.
    pub(crate) segment: SegmentId,
    pub(crate) log: Ulid,
    /// The log reaches at least up to this frame: a shorter one has lost something.
    pub(crate) sequence: u64,
    /// By number of their kind.
    pub(crate) parts: Vec<(u32, Vec<u8>)>,
}

/// Why a file is not a snapshot of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct NotASnapshot {
    pub(crate) offset: u64,
    pub(crate) what: &'static str,
}

impl Snapshot {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(self.segment.to_le_bytes());
        bytes.extend(self.log.to_bytes());
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend((self.parts.len() as u32).to_le_bytes());
        for (kind, part) in &self.parts {
            bytes.extend(kind.to_le_bytes());
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], segment: SegmentId, log: Ulid) -> Result<Self, NotASnapshot> {
        let wrong = |offset: usize, what| NotASnapshot { offset: offset as u64, what };
        let Some(body) = bytes.len().checked_sub(4).filter(|length| *length >= FIXED_BYTES) else {
            return Err(wrong(bytes.len(), "the file ends too early"));
        };
        if crc32fast::hash(&bytes[..body]) != u32_at(bytes, body) {
            return Err(wrong(0, "the checksum does not fit"));
        }
        if bytes[..4] != MAGIC || u32_at(bytes, 4) != FORMAT_VERSION {
            return Err(wrong(0, "it is not a snapshot of this format version"));
        }
        if u64_at(bytes, 8) != segment || bytes[16..32] != log.to_bytes() {
            return Err(wrong(8, "it belongs to another segment or another log"));
        }
        let mut parts = Vec::new();
        let mut at = FIXED_BYTES;
        for _ in 0..u32_at(bytes, 40) {
            let within = |end: usize| (end <= body).then_some(end).ok_or(wrong(at, "the lengths do not add up"));
            let head = within(at + 12)?;
            let length = usize::try_from(u64_at(bytes, at + 4)).map_err(|_| wrong(at, "the lengths do not add up"))?;
            let end = within(head.saturating_add(length))?;
            parts.push((u32_at(bytes, at), bytes[head..end].to_vec()));
            at = end;
        }
        Ok(Self { segment, log, sequence: u64_at(bytes, 32), parts })
    }

    /// Writes the file, durably; an existing one is replaced.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        replace_file(disk, DIR, &path(self.segment), &self.encode()).map(drop)
    }
}
