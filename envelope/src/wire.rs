//! Just enough of the protobuf wire format to write a message without building it first.
//!
//! A message is written by one function over a [`Sink`]; the same function with a counting sink gives its length, which
//! protobuf wants in front of nested messages. Fields with their default value are left out, as proto3 does.

/// Takes encoded bytes, or only counts them.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
    /// One of them. Most numbers are one byte, and a copy of a slice costs more than that.
    fn byte(&mut self, byte: u8);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }
}

/// Counts.
#[derive(Debug, Default)]
pub(crate) struct Measure(usize);

impl Sink for Measure {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn byte(&mut self, _byte: u8) {
        self.0 += 1;
    }
}

/// A message that can be written field by field.
pub(crate) trait Message {
    fn write<S: Sink>(&self, sink: &mut S);

    /// How many bytes [`write`](Self::write) puts.
    fn measure(&self) -> usize {
        let mut sink = Measure::default();
        self.write(&mut sink);
        sink.0
    }
}

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

fn varint(sink: &mut impl Sink, mut value: u64) {
    while value >= 0x80 {
        sink.byte(value as u8 | 0x80);
        value >>= 7;
    }
    sink.byte(value as u8);
}

fn key(sink: &mut impl Sink, field: u64, wire_type: u64) {
    varint(sink, field << 3 | wire_type);
}

pub(crate) fn number(sink: &mut impl Sink, field: u64, value: u64) {
    if value != 0 {
        key(sink, field, VARINT);
        varint(sink, value);
    }
}

/// An `int32` or an enum: negative numbers take ten bytes, as protobuf has it.
pub(crate) fn signed(sink: &mut impl Sink, field: u64, value: i32) {
    number(sink, field, i64::from(value) as u64);
}

pub(crate) fn bytes(sink: &mut impl Sink, field: u64, value: &[u8]) {
    if !value.is_empty() {
        key(sink, field, LENGTH_DELIMITED);
        varint(sink, value.len() as u64);
        sink.put(value);
    }
}

pub(crate) fn text(sink: &mut impl Sink, field: u64, value: &str) {
    bytes(sink, field, value.as_bytes());
}

/// A nested message, written even when empty: it is there.
pub(crate) fn message(sink: &mut impl Sink, field: u64, value: &impl Message) {
    key(sink, field, LENGTH_DELIMITED);
    varint(sink, value.measure() as u64);
    value.write(sink);
}
