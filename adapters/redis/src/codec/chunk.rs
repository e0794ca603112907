//! Records of one client from one batch: an entry of its stream, and the very same bytes in the notification.
//!
//! A version and a length in front, so that chunks can stand one behind the other. What follows has as its version says:
//!
//! 1. the records, each with its offset and its length;
//! 2. how long that is, and the same as a block of LZ4. Records of one client have most of their bytes in common, and Redis pays
//!    for every byte several times: it copies and hashes what a script touches.

use std::cell::RefCell;

use bytes::Bytes;
use lz4_flex::block;
use nimbus_core::{Offset, ResultRecord, ports::log::Stored};
use nimbus_envelope::Envelope as _;

use super::{Reader, Unreadable};
use crate::backlog::CHUNK_RECORDS;

const PLAIN: u8 = 1;
const PACKED: u8 = 2;
const WHAT: &str = "a chunk of results";

/// The version, and the length of what follows.
const HEADER: usize = 5;
/// Of a packed one: how long it is unpacked comes before it.
const PACKED_HEADER: usize = HEADER + 4;
/// What is shorter is not packed: a record by itself has little that it could be shortened by.
const PACKED_FROM: usize = 512;
/// No chunk is longer, unpacked: one holds 256 KiB and one record more. A length beyond that is damage, and nothing is allocated for it.
const MOST: usize = 64 << 20;
/// How much memory a thread keeps to pack and unpack in.
const KEPT: usize = 512 << 10;

/// Gathers records. Empty until the first.
#[derive(Debug, Default)]
pub(crate) struct ChunkWriter(Vec<u8>);

impl ChunkWriter {
    pub(crate) fn push(&mut self, stored: &Stored<ResultRecord>) {
        if self.0.is_empty() {
            self.0.reserve(HEADER + 12 + stored.record.encoded_len());
            self.0.extend_from_slice(&[PLAIN, 0, 0, 0, 0]);
        }
        self.0.extend_from_slice(&stored.offset.0.to_le_bytes());
        self.0.extend_from_slice(&(stored.record.encoded_len() as u32).to_le_bytes());
        stored.record.encode(&mut self.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(mut self) -> Bytes {
        let Some(body) = self.0.get(HEADER..) else { return Bytes::new() };
        if let Some(packed) = pack(body) {
            return packed;
        }
        let len = body.len() as u32;
        self.0[1..HEADER].copy_from_slice(&len.to_le_bytes());
        self.0.into()
    }
}

/// A chunk of these. Empty if there are none.
pub(crate) fn encode(records: &[Stored<ResultRecord>]) -> Bytes {
    let mut writer = ChunkWriter::default();
    records.iter().for_each(|stored| writer.push(stored));
    writer.finish()
}

/// A packed chunk of this body, if it is shorter.
fn pack(body: &[u8]) -> Option<Bytes> {
    if body.len() < PACKED_FROM {
        return None;
    }
    with_scratch(block::get_maximum_output_size(body.len()), |scratch| {
        let packed = block::compress_into(body, scratch).ok()?;
        let len = PACKED_HEADER - HEADER + packed;
        if len >= body.len() {
            return None;
        }
        let mut chunk = Vec::with_capacity(HEADER + len);
        chunk.push(PACKED);
        chunk.extend_from_slice(&(len as u32).to_le_bytes());
        chunk.extend_from_slice(&(body.len() as u32).to_le_bytes());
        chunk.extend_from_slice(&scratch[..packed]);
        Some(chunk.into())
    })
}

fn unpack(mut body: Reader<'_>) -> Result<Vec<Stored<ResultRecord>>, Unreadable> {
    let len = body.u32()? as usize;
    if len > MOST {
        return Err(body.damaged(format!("{len} bytes are more than a chunk can have")));
    }
    with_scratch(len, |scratch| {
        let unpacked = block::decompress_into(body.rest(), scratch).map_err(|error| body.damaged(error.to_string()))?;
        if unpacked < len {
            return Err(body.damaged(format!("{unpacked} bytes where {len} should be")));
        }
        records(Reader::body(WHAT, scratch))
    })
}

/// Work on so many bytes, with anything in them. Most of what is packed is so large that new memory for it would come from the system
/// each time, and be cleared; what is not too large is kept by the thread.
fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if len > KEPT {
        return work(&mut vec![0; len]);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        work(&mut scratch[..len])
    })
}

/// Reads one chunk off the front; offsets must rise.
pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Vec<Stored<ResultRecord>>, Unreadable> {
    let found = reader.u8()?;
    if found != PLAIN && found != PACKED {
        return Err(Unreadable::Newer { what: WHAT, found, known: PACKED });
    }
    let len = reader.u32()? as usize;
    let body = Reader::body(WHAT, reader.take(len)?);
    if found == PLAIN { records(body) } else { unpack(body) }
}

fn records(mut body: Reader<'_>) -> Result<Vec<Stored<ResultRecord>>, Unreadable> {
    let mut records: Vec<Stored<ResultRecord>> = Vec::new();
    while !body.is_empty() {
        let offset = Offset(body.u64()?);
        if records.last().is_some_and(|last| last.offset >= offset) {
            return Err(body.damaged("offsets do not rise"));
        }
        let len = body.u32()? as usize;
        let record = ResultRecord::decode(body.take(len)?).map_err(|error| body.damaged(error.to_string()))?;
        if records.is_empty() {
            // Most are as long as the first, and a chunk has no more.
            records.reserve((1 + body.rest().len() / (12 + len)).min(CHUNK_RECORDS));
        }
        records.push(Stored { offset, record });
    }
    Ok(records)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Stored<ResultRecord>>, Unreadable> {
    let mut reader = Reader::body(WHAT, bytes);
    let records = read(&mut reader)?;
    reader.end()?;
    Ok(records)
}
