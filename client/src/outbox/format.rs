//! The bytes of an outbox file.
//!
//! ```text
//! header   0  magic "NIMBUSOB"   8  version u32   12  outbox id 16 bytes   28  crc u32 of bytes 0..28
//!         32  slot A: kept length u64, crc u32    44  slot B: the same
//!         56  length of the client id u32         60  crc u32 of (that length, bytes 64..192)
//!         64  client id, zeros to 192
//! record   0  length of the body u32   4  crc u32 of (offset in the file u64, length, body)   8  body: kind u8, fields
//! ```
//! All numbers are little endian. The slots say, in turn, up to where the file was fsynced: damage before that is damage,
//! behind it may be a torn write. A checksum covers the record's place, so that no record passes for another one.
//!
//! That is version 2. Version 1 is read as well: zeros from 56 to 64, where its records begin; it does not say whose it is.

use bytes::Bytes;
use nimbus_proto::v1;
use prost::Message;

use crate::{builder::MAX_CLIENT_ID_BYTES, machine::Record};

pub(super) const MAGIC: &[u8; 8] = b"NIMBUSOB";
pub(super) const VERSION: u32 = 2;
/// Files that do not say whose they are.
pub(super) const UNNAMED_VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = CLIENT_ID + MAX_CLIENT_ID_BYTES;
pub(super) const UNNAMED_HEADER_BYTES: usize = 64;
pub(super) const SLOT_BYTES: usize = 12;
pub(super) const SLOT_OFFSETS: [usize; 2] = [32, 44];
const SLOTS_END: usize = 56;
const NAME_CRC: usize = 60;
const CLIENT_ID: usize = 64;
const FRAME_BYTES: usize = 8;
/// An event has at most 1 MiB of payload and some KiB beside it.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// What does not fit, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) what: String,
}

impl Damage {
    pub(super) fn new(offset: usize, what: impl Into<String>) -> Self {
        Self { offset: offset as u64, what: what.into() }
    }
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) outbox_id: [u8; 16],
    /// Whose it is, if it says so.
    pub(super) client_id: Option<String>,
    /// Where the records begin.
    pub(super) bytes: usize,
    /// Up to where the file was fsynced.
    pub(super) kept: u64,
    /// Which slot comes next.
    pub(super) next_slot: usize,
}

/// The caller has checked that the client id is no longer than one may be.
pub(super) fn encode_header(outbox_id: [u8; 16], client_id: &str, kept: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..28].copy_from_slice(&outbox_id);
    let crc = crc32fast::hash(&header[..28]);
    header[28..32].copy_from_slice(&crc.to_le_bytes());
    for (slot, offset) in SLOT_OFFSETS.into_iter().enumerate() {
        header[offset..offset + SLOT_BYTES].copy_from_slice(&encode_slot(slot, kept));
    }
    let length = u32::try_from(client_id.len()).expect("a client id has at most 128 bytes");
    header[SLOTS_END..NAME_CRC].copy_from_slice(&length.to_le_bytes());
    header[CLIENT_ID..CLIENT_ID + client_id.len()].copy_from_slice(client_id.as_bytes());
    let crc = name_crc(&header);
    header[NAME_CRC..CLIENT_ID].copy_from_slice(&crc.to_le_bytes());
    header
}

pub(super) fn encode_slot(slot: usize, kept: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&kept.to_le_bytes());
    bytes[8..].copy_from_slice(&slot_crc(slot, kept).to_le_bytes());
    bytes
}

fn slot_crc(slot: usize, kept: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(slot as u64).to_le_bytes());
    hasher.update(&kept.to_le_bytes());
    hasher.finalize()
}

/// The caller has checked the length.
fn name_crc(file: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file[SLOTS_END..NAME_CRC]);
    hasher.update(&file[CLIENT_ID..HEADER_BYTES]);
    hasher.finalize()
}

fn decode_client_id(file: &[u8]) -> Result<String, Damage> {
    if file.len() < HEADER_BYTES {
        return Err(Damage::new(0, format!("{} bytes are less than a header", file.len())));
    }
    let damage = |what| Damage::new(SLOTS_END, what);
    if u32_at(file, NAME_CRC) != name_crc(file) {
        return Err(damage("the checksum of the client id does not match"));
    }
    let length = u32_at(file, SLOTS_END) as usize;
    let name = file[CLIENT_ID..HEADER_BYTES].get(..length);
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.map(str::to_owned).ok_or_else(|| damage("the client id cannot be read"))
}

pub(super) fn decode_header(file: &[u8]) -> Result<Header, Damage> {
    if file.len() < UNNAMED_HEADER_BYTES {
        return Err(Damage::new(0, format!("{} bytes are less than a header", file.len())));
    }
    if &file[..8] != MAGIC {
        return Err(Damage::new(0, "this is no Nimbus outbox"));
    }
    if u32_at(file, 28) != crc32fast::hash(&file[..28]) {
        return Err(Damage::new(0, "the header's checksum does not match"));
    }
    let (bytes, client_id) = match u32_at(file, 8) {
        VERSION => (HEADER_BYTES, Some(decode_client_id(file)?)),
        UNNAMED_VERSION if file[SLOTS_END..UNNAMED_HEADER_BYTES].iter().all(|b| *b == 0) => {
            (UNNAMED_HEADER_BYTES, None)
        }
        UNNAMED_VERSION => return Err(Damage::new(SLOTS_END, "bytes that must be zero are not")),
        version => {
            let what = format!("format version {version}; this SDK reads versions {UNNAMED_VERSION} and {VERSION}");
            return Err(Damage::new(8, what));
        }
    };
    let slots = SLOT_OFFSETS.into_iter().enumerate().filter_map(|(slot, offset)| {
        let kept = u64_at(file, offset);
        (u32_at(file, offset + 8) == slot_crc(slot, kept)).then_some((kept, slot))
    });
    let (kept, slot) = slots.max().ok_or_else(|| Damage::new(SLOT_OFFSETS[0], "neither length slot is whole"))?;
    if kept < bytes as u64 || kept > file.len() as u64 {
        let what = format!("the file has {} bytes, {kept} were kept", file.len());
        return Err(Damage::new(file.len(), what));
    }
    let mut outbox_id = [0; 16];
    outbox_id.copy_from_slice(&file[12..28]);
    Ok(Header { outbox_id, client_id, bytes, kept, next_slot: (slot + 1) % SLOT_OFFSETS.len() })
}

/// Appends one record to `buffer`, whose first byte will lie at `base` in the file.
pub(super) fn encode_record(record: &Record, buffer: &mut Vec<u8>, base: u64) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_BYTES]);
    encode_body(record, buffer);
    let body = start + FRAME_BYTES;
    let length = u32::try_from(buffer.len() - body).expect("an event's size was checked when it was sent");
    let crc = record_crc(base + start as u64, length, &buffer[body..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

fn record_crc(offset: u64, length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Reads the record at `offset`; also returns where the next one begins.
pub(super) fn decode_record(file: &[u8], offset: usize) -> Result<(Record, usize), Damage> {
    let damage = |what: &str| Damage::new(offset, what);
    let rest = &file[offset..];
    if rest.len() < FRAME_BYTES {
        return Err(damage("the file ends within a record"));
    }
    let length = u32_at(rest, 0);
    let body_bytes = length as usize;
    if body_bytes == 0 || body_bytes > MAX_BODY_BYTES {
        return Err(Damage::new(offset, format!("a record of {length} bytes")));
    }
    let end = FRAME_BYTES + body_bytes;
    let Some(body) = rest.get(FRAME_BYTES..end) else {
        return Err(damage("the file ends within a record"));
    };
    if u32_at(rest, 4) != record_crc(offset as u64, length, body) {
        return Err(damage("the record's checksum does not match"));
    }
    let record = decode_body(body).ok_or_else(|| damage("the record cannot be read"))?;
    Ok((record, offset + end))
}

fn encode_body(record: &Record, buffer: &mut Vec<u8>) {
    let mut put = |kind: u8, numbers: &[u64], rest: &[u8]| {
        buffer.push(kind);
        for number in numbers {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(rest);
    };
    match record {
        Record::Session { number } => put(1, &[*number], &[]),
        Record::Event(event) => put(2, &[], &event.encode_to_vec()),
        Record::Accepted { through } => put(3, &[*through], &[]),
        Record::Resume { token, position } => put(4, &[*position], token),
        Record::Position { position } => put(5, &[*position], &[]),
        Record::Answered { first, last } => put(6, &[*first, *last], &[]),
        Record::Gap { token, position, suspects } => put(7, &[*position, *suspects], token),
    }
}

fn decode_body(body: &[u8]) -> Option<Record> {
    let (kind, rest) = body.split_first()?;
    let number = |index: usize| rest.get(index * 8..index * 8 + 8).map(|bytes| u64_at(bytes, 0));
    let tail = |index: usize| rest.get(index * 8..).map(Bytes::copy_from_slice);
    let record = match kind {
        1 => Record::Session { number: number(0)? },
        2 => Record::Event(v1::Event::decode(rest).ok()?),
        3 => Record::Accepted { through: number(0)? },
        4 => Record::Resume { position: number(0)?, token: tail(1)? },
        5 => Record::Position { position: number(0)? },
        6 => Record::Answered { first: number(0)?, last: number(1)? },
        7 => Record::Gap { position: number(0)?, suspects: number(1)?, token: tail(2)? },
        _ => return None,
    };
    Some(record)
}

/// The caller has checked the length.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}

/// The caller has checked the length.
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}
