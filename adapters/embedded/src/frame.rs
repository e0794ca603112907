//! Frames: what a segment consists of after its header.
//!
//! One frame holds the records that one write brought for one strand (or for one kind of state). Its header is 52 bytes,
//! little-endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `NbFr` |
//! | 4 | 1 | kind: 1 events, 2 results, 3 dead letters, 16 state, 32 sync mark, 33 skip |
//! | 5 | 3 | 0 |
//! | 8 | 4 | partition (state: whose) |
//! | 12 | 4 | count of records |
//! | 16 | 8 | sequence: dense over all frames but marks; a mark has that of the frame after it |
//! | 24 | 8 | offset of the first record (skip: the next sequence; mark: 0) |
//! | 32 | 8 | synced: everything before this byte of the file was known to be synced when this was written |
//! | 40 | 4 | length of the body |
//! | 44 | 4 | CRC-32 of the body |
//! | 48 | 4 | CRC-32 of the 48 bytes before, begun with the log's [`Salt`] |
//!
//! `synced` is what tells a torn tail from damage: a bad frame that any later frame or mark vouches for was once good.
//! A *mark* is a header only, written after an fsync and before its appends are acknowledged: when the process is
//! killed, it vouches for the last of them. A *skip* says that sequence numbers are missing on purpose.

use nimbus_core::Partition;
use ulid::Ulid;

use crate::{
    state::StateKind,
    topic::{Strand, Topic},
};

pub(crate) const HEADER_BYTES: usize = 52;
pub(crate) const MAGIC: [u8; 4] = *b"NbFr";

const STATE: u8 = 16;
const MARK: u8 = 32;
const SKIP: u8 = 33;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Records(Strand),
    State(StateKind),
    Mark,
    Skip,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) count: u32,
    pub(crate) sequence: u64,
    pub(crate) base: u64,
    pub(crate) synced: u64,
    pub(crate) body_bytes: u32,
    pub(crate) body_crc: u32,
}

/// What the checksums of headers begin with, different in each log: bytes that a client chose cannot pass for a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(u32);

impl Salt {
    pub(crate) fn of(log: Ulid) -> Self {
        Self(crc32fast::hash(&log.to_bytes()))
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// Why bytes are not a frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAHeader {
    #[error("the file ends within a frame header")]
    Short,
    #[error("no frame begins here")]
    Magic,
    #[error("the checksum of the frame header does not fit")]
    Checksum,
    #[error("the frame is of kind {0}, which this build does not know")]
    Kind(u8),
}

impl Header {
    /// A sync mark: vouches for everything before `at`.
    pub(crate) fn mark(next_sequence: u64, at: u64) -> Self {
        Self {
            kind: Kind::Mark,
            count: 0,
            sequence: next_sequence,
            base: 0,
            synced: at,
            body_bytes: 0,
            body_crc: crc32fast::hash(&[]),
        }
    }

    /// A skip: the frames `from..to` are missing on purpose.
    pub(crate) fn skip(from: u64, to: u64, synced: u64) -> Self {
        Self { kind: Kind::Skip, base: to, ..Self::mark(from, synced) }
    }

    pub(crate) fn encode(&self, salt: Salt) -> [u8; HEADER_BYTES] {
        let (kind, partition) = match self.kind {
            Kind::Records(strand) => (strand.topic as u8, strand.partition.0),
            Kind::State(kind) => (STATE, kind as u32),
            Kind::Mark => (MARK, 0),
            Kind::Skip => (SKIP, 0),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = kind;
        bytes[8..12].copy_from_slice(&partition.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.synced.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = salt.checksum(&bytes[..48]);
        bytes[48..52].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the beginning of `bytes`.
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Result<Self, NotAHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(NotAHeader::Short)?;
        if bytes[0..4] != MAGIC {
            return Err(NotAHeader::Magic);
        }
        if salt.checksum(&bytes[..48]) != u32_at(bytes, 48) {
            return Err(NotAHeader::Checksum);
        }
        let partition = u32_at(bytes, 8);
        let kind = match bytes[4] {
            STATE => StateKind::from_number(partition).map(Kind::State),
            MARK => Some(Kind::Mark),
            SKIP => Some(Kind::Skip),
            number => {
                Topic::from_number(number).map(|topic| Kind::Records(Strand { topic, partition: Partition(partition) }))
            }
        };
        Ok(Self {
            kind: kind.ok_or(NotAHeader::Kind(bytes[4]))?,
            count: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            base: u64_at(bytes, 24),
            synced: u64_at(bytes, 32),
            body_bytes: u32_at(bytes, 40),
            body_crc: u32_at(bytes, 44),
        })
    }

    /// Header and body, in bytes.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes as usize
    }

    /// The sequence number of the next frame, if nothing is missing.
    pub(crate) fn next_sequence(&self) -> u64 {
        match self.kind {
            Kind::Mark => self.sequence,
            Kind::Skip => self.base,
            Kind::Records(_) | Kind::State(_) => self.sequence + 1,
        }
    }

    /// Whether the body that belongs to this header is what was written.
    pub(crate) fn vouches_for(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && crc32fast::hash(body) == self.body_crc
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
