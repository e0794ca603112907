//! Segment files: their names and their headers.
//!
//! A header says which log the file belongs to, how much of the file before it is valid, and where every strand stands at
//! its beginning; so offsets survive when retention has deleted all records of a quiet partition. Little-endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `NbSg` |
//! | 4 | 4 | format version |
//! | 8 | 8 | id, the number in the file name |
//! | 16 | 16 | log, as in `meta` |
//! | 32 | 8 | valid length of the segment before it (0 for the first) |
//! | 40 | 8 | when it was begun, ms since 1970 UTC |
//! | 48 | 8 | sequence number of its first frame |
//! | 56 | 8 | 0: frames were appended one by one; else the file was written as a whole and has this valid length, whatever its successor says |
//! | 64 | 4 | 1: nothing but dead letters was kept; else 0 |
//! | 68 | 4 | partitions a topic, P |
//! | 72 | 8 | the first segment whose place it takes: its own number, or a lower one where retention has merged segments |
//! | 80 | 24 P | next offset of each strand: events 0..P, results 0..P, dead letters 0..P |
//! | 80 + 24 P | 4 | CRC-32 of everything before |
//!
//! A segment appears under its name only after its header is durable, so a header that does not read is damage, never a
//! torn write.

use std::{io, sync::Arc};

use nimbus_core::{PartitionCount, clock::UnixMillis};
use ulid::Ulid;

use crate::{
    disk::{Disk, DiskFile, Entry, replace_file},
    frame::{u32_at, u64_at},
    meta::FORMAT_VERSION,
    topic::Topic,
};

pub(crate) const DIR: &str = "segments";
const SUFFIX: &str = ".log";
const MAGIC: [u8; 4] = *b"NbSg";
const FIXED_BYTES: usize = 80;

/// Number of a segment, from 1, dense.
pub(crate) type SegmentId = u64;

/// `segments/00000000000000000001.log`
pub(crate) fn path(id: SegmentId) -> String {
    format!("{DIR}/{id:020}{SUFFIX}")
}

/// Which segments a listing shows, in order.
pub(crate) fn ids(entries: &[Entry]) -> Vec<SegmentId> {
    let mut ids: Vec<_> = entries.iter().filter_map(|entry| id_of(&entry.name)).collect();
    ids.sort_unstable();
    ids
}

fn id_of(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// How the file of a segment came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Frame by frame. Its successor says how long it is.
    Appended,
    /// At once, in place of what had been appended.
    Rewritten {
        valid: u64,
        /// Retention has taken everything else.
        dead_letters_only: bool,
    },
}

impl Form {
    /// Whether retention has left nothing but dead letters.
    pub(crate) fn is_compact(self) -> bool {
        matches!(self, Self::Rewritten { dead_letters_only: true, .. })
    }
}

/// The header of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: SegmentId,
    pub(crate) log: Ulid,
    /// Frames of the segment before this one that begin here or later do not count.
    pub(crate) previous_valid: u64,
    pub(crate) created: UnixMillis,
    pub(crate) first_sequence: u64,
    pub(crate) form: Form,
    /// The first segment whose place it takes.
    pub(crate) from: SegmentId,
    /// Next offset of each strand, by [`Strand::index`](crate::topic::Strand::index).
    pub(crate) offsets: Vec<u64>,
}

/// Why a file is not a segment of this log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotASegment {
    /// Credible, but of another format version.
    Version(u32),
    Damaged {
        offset: u64,
        what: String,
    },
}

impl SegmentHeader {
    /// How long the header of a segment is.
    pub(crate) fn bytes(partitions: PartitionCount) -> usize {
        FIXED_BYTES + Topic::ALL.len() * 8 * partitions.len() + 4
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let partitions = (self.offsets.len() / Topic::ALL.len()) as u32;
        let (valid, dead_letters_only) = match self.form {
            Form::Appended => (0, false),
            Form::Rewritten { valid, dead_letters_only } => (valid, dead_letters_only),
        };
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.offsets.len() * 8 + 4);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(self.id.to_le_bytes());
        bytes.extend(self.log.to_bytes());
        bytes.extend(self.previous_valid.to_le_bytes());
        bytes.extend(self.created.0.to_le_bytes());
        bytes.extend(self.first_sequence.to_le_bytes());
        bytes.extend(valid.to_le_bytes());
        bytes.extend(u32::from(dead_letters_only).to_le_bytes());
        bytes.extend(partitions.to_le_bytes());
        bytes.extend(self.from.to_le_bytes());
        for offset in &self.offsets {
            bytes.extend(offset.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the beginning of the segment `id`.
    pub(crate) fn decode(
        contents: &[u8],
        id: SegmentId,
        log: Ulid,
        partitions: PartitionCount,
    ) -> Result<Self, NotASegment> {
        let damaged = |offset: usize, what: String| NotASegment::Damaged { offset: offset as u64, what };
        let length = Self::bytes(partitions);
        let Some(bytes) = contents.get(..length) else {
            return Err(damaged(contents.len(), "the file ends within its header".into()));
        };
        if bytes[..4] != MAGIC {
            return Err(damaged(0, "it does not begin like a segment".into()));
        }
        if crc32fast::hash(&bytes[..length - 4]) != u32_at(bytes, length - 4) {
            return Err(damaged(0, "the checksum of the segment header does not fit".into()));
        }
        let version = u32_at(bytes, 4);
        if version != FORMAT_VERSION {
            return Err(NotASegment::Version(version));
        }
        if u64_at(bytes, 8) != id {
            return Err(damaged(8, format!("the file is segment {} under another name", u64_at(bytes, 8))));
        }
        if bytes[16..32] != log.to_bytes() {
            return Err(damaged(16, "the file belongs to another log".into()));
        }
        if u32_at(bytes, 68) as usize != partitions.len() {
            return Err(damaged(68, "the number of partitions is not that of `meta`".into()));
        }
        let form = match u64_at(bytes, 56) {
            0 => Form::Appended,
            valid => Form::Rewritten { valid, dead_letters_only: u32_at(bytes, 64) == 1 },
        };
        Ok(Self {
            id,
            log,
            previous_valid: u64_at(bytes, 32),
            created: UnixMillis(u64_at(bytes, 40)),
            first_sequence: u64_at(bytes, 48),
            form,
            from: u64_at(bytes, 72),
            offsets: bytes[FIXED_BYTES..length - 4].chunks_exact(8).map(|chunk| u64_at(chunk, 0)).collect(),
        })
    }

    /// How much of the file counts, given the header of the next segment. `None`: it is the last one; as far as its frames go.
    pub(crate) fn valid(&self, next: Option<&Self>) -> Option<u64> {
        match self.form {
            Form::Rewritten { valid, .. } => Some(valid),
            Form::Appended => next.map(|next| next.previous_valid),
        }
    }

    /// Which log a segment says it belongs to, and how many partitions it has. To be confirmed by [`decode`](Self::decode).
    pub(crate) fn claims(contents: &[u8]) -> Option<(Ulid, PartitionCount)> {
        let bytes: &[u8; FIXED_BYTES] = contents.first_chunk()?;
        let log = Ulid::from_bytes(bytes[16..32].try_into().expect("sixteen bytes"));
        Some((log, PartitionCount(u32_at(bytes, 68).try_into().ok()?)))
    }

    /// Makes the segment's file, durably, with nothing but this header in it.
    pub(crate) fn create(&self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        replace_file(disk, DIR, &path(self.id), &self.encode())
    }
}
