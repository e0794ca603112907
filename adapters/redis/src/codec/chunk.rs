//! Records of one client from one batch: an entry of its stream, and the very same bytes in the notification.
//!
//! A version and a length in front, so that chunks can stand one behind the other.

use bytes::Bytes;
use nimbus_core::{Offset, ResultRecord, ports::log::Stored};
use nimbus_envelope::Envelope as _;

use super::{Reader, Unreadable};

const VERSION: u8 = 1;
const WHAT: &str = "a chunk of results";

/// The version, and the length of what follows.
const HEADER: usize = 5;

/// Gathers records. Empty until the first.
#[derive(Debug, Default)]
pub(crate) struct ChunkWriter(Vec<u8>);

impl ChunkWriter {
    pub(crate) fn push(&mut self, stored: &Stored<ResultRecord>) {
        if self.0.is_empty() {
            self.0.reserve(HEADER + 12 + stored.record.encoded_len());
            self.0.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
        }
        self.0.extend_from_slice(&stored.offset.0.to_le_bytes());
        self.0.extend_from_slice(&(stored.record.encoded_len() as u32).to_le_bytes());
        stored.record.encode(&mut self.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(mut self) -> Bytes {
        if let Some(body) = self.0.len().checked_sub(HEADER) {
            self.0[1..HEADER].copy_from_slice(&(body as u32).to_le_bytes());
        }
        self.0.into()
    }
}

/// Reads one chunk off the front; offsets must rise.
pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Vec<Stored<ResultRecord>>, Unreadable> {
    let found = reader.u8()?;
    if found != VERSION {
        return Err(Unreadable::Newer { what: WHAT, found, known: VERSION });
    }
    let len = reader.u32()? as usize;
    let mut body = Reader::body(WHAT, reader.take(len)?);
    let mut records: Vec<Stored<ResultRecord>> = Vec::new();
    while !body.is_empty() {
        let offset = Offset(body.u64()?);
        if records.last().is_some_and(|last| last.offset >= offset) {
            return Err(body.damaged("offsets do not rise"));
        }
        let len = body.u32()? as usize;
        let record = ResultRecord::decode(body.take(len)?).map_err(|error| body.damaged(error.to_string()))?;
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
