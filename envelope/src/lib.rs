//! Stored form of events and results: domain types to protobuf bytes (`nimbus.stored.v1`) and back.
//!
//! Encoding borrows from the record and writes straight into the caller's buffer: nothing is copied or allocated on the
//! way. Decoding checks everything that the domain types promise, so that a foreign producer's record is either a valid
//! domain value or an [`EnvelopeError`] that names the field.
//!
//! The .proto file is the contract; the hand-written encoder and the quick way to read (`quick`) are checked against the generated
//! types by property tests.

mod decode;
mod encode;
mod error;
mod quick;
mod wire;

use nimbus_core::{DeadLetter, Event, ResultRecord};

pub use error::EnvelopeError;
use wire::Message as _;

/// The version that this build writes, and the highest it reads.
pub const VERSION: u32 = 1;

/// A domain record that has a stored form.
pub trait Envelope: Sized {
    /// How many bytes [`encode`](Self::encode) will append.
    fn encoded_len(&self) -> usize;

    /// Appends the stored form to `out`. Never empty, and its first byte is never 0.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one stored record. Copies its payload: a record that shared the bytes it came in would keep a whole batch in
    /// memory for as long as it lives.
    ///
    /// # Errors
    /// [`EnvelopeError`]; never retryable.
    fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError>;
}

impl Envelope for Event {
    fn encoded_len(&self) -> usize {
        self.measure()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        decode::event(bytes)
    }
}

impl Envelope for ResultRecord {
    fn encoded_len(&self) -> usize {
        self.measure()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        decode::result(bytes)
    }
}

impl Envelope for DeadLetter {
    fn encoded_len(&self) -> usize {
        self.measure()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        decode::dead_letter(bytes)
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
