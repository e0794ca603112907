//! The body of a frame: records one after the other, each with its length (a varint) in front.
//!
//! A record that was erased keeps its place and its length; its bytes are all 0. No stored record begins with a 0, so the
//! first byte tells.

use bytes::{Buf, Bytes};

use crate::topic::TopicRecord;

/// The records of one append, encoded by the caller's thread.
pub(crate) fn encode<R: TopicRecord>(records: &[R]) -> Vec<u8> {
    let mut body = Vec::with_capacity(records.iter().map(R::weight).sum());
    for record in records {
        put_length(&mut body, record.encoded_len());
        record.encode(&mut body);
    }
    body
}

/// One state record.
pub(crate) fn encode_state(record: &[u8]) -> Vec<u8> {
    debug_assert!(!is_erased(record), "a state record begins with something other than 0");
    let mut body = Vec::with_capacity(record.len() + 5);
    put_length(&mut body, record.len());
    body.extend_from_slice(record);
    body
}

fn put_length(body: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        body.push(length as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
}

/// Walks over the records of a body. Stops with `Err` where the lengths do not add up, which a valid checksum excludes.
#[derive(Debug)]
pub(crate) struct RecordsOf(pub(crate) Bytes);

/// The lengths in a body do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLength;

impl Iterator for RecordsOf {
    type Item = Result<Bytes, BadLength>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record =
            take_length(&mut self.0).filter(|length| *length <= self.0.len()).map(|length| self.0.split_to(length));
        if record.is_none() {
            self.0.clear();
        }
        Some(record.ok_or(BadLength))
    }
}

fn take_length(body: &mut Bytes) -> Option<usize> {
    let mut length = 0usize;
    for shift in (0..35).step_by(7) {
        if body.is_empty() {
            return None;
        }
        let byte = body.get_u8();
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

/// Whether a record was erased.
pub(crate) fn is_erased(record: &[u8]) -> bool {
    record.first().is_none_or(|byte| *byte == 0)
}
