//! What a record looks like in both topics and on the channel: 64 bytes, so that nobody in between has to take it apart.

use bytes::Bytes;

/// As much as the records of the other baseline.
pub(crate) const BYTES: usize = 64;

const LINE: usize = 0;
const SEQ: usize = 8;
const NUMBER: usize = 16;
const SQUARE: usize = 24;
/// Whether there is a number, and whether there is a square.
const HAS: usize = 32;
const NAME_LENGTH: usize = 33;
const TYPE_LENGTH: usize = 34;
/// The name of the event and its content type.
const TEXT: usize = 35;

const HAS_NUMBER: u8 = 1;
const HAS_SQUARE: u8 = 2;

/// One event; and, with its square, one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record([u8; BYTES]);

/// What a client has sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) seq: u64,
    pub(crate) name: &'a [u8],
    pub(crate) content_type: &'a [u8],
    /// Nothing: the payload is none.
    pub(crate) number: Option<i64>,
}

impl Record {
    /// Nothing: the names are too long. No load has such.
    pub(crate) fn try_new(line: u64, sent: Sent<'_>) -> Option<Self> {
        let (name, content_type) = (sent.name, sent.content_type);
        let mut record = [0x5a; BYTES];
        record[HAS] = 0;
        record[NAME_LENGTH] = u8::try_from(name.len()).ok()?;
        record[TYPE_LENGTH] = u8::try_from(content_type.len()).ok()?;
        let (end_of_name, end) = (TEXT + name.len(), TEXT + name.len() + content_type.len());
        record.get_mut(TEXT..end_of_name)?.copy_from_slice(name);
        record.get_mut(end_of_name..end)?.copy_from_slice(content_type);
        let mut record = Self(record);
        record.set(LINE, line.to_le_bytes());
        record.set(SEQ, sent.seq.to_le_bytes());
        if let Some(number) = sent.number {
            record.set(NUMBER, number.to_le_bytes());
            record.0[HAS] |= HAS_NUMBER;
        }
        Some(record)
    }

    /// One record, as Kafka has kept it.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Many, as they came over the channel.
    pub(crate) fn read_all(bytes: &Bytes) -> Vec<Self> {
        bytes.as_chunks().0.iter().copied().map(Self).collect()
    }

    pub(crate) const fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Does the work.
    pub(crate) fn square(&mut self) {
        if let Some(square) = self.number().and_then(|number| number.checked_mul(number)) {
            self.set(SQUARE, square.to_le_bytes());
            self.0[HAS] |= HAS_SQUARE;
        }
    }

    /// Whose it is.
    pub(crate) fn line(&self) -> u64 {
        u64::from_le_bytes(self.get(LINE))
    }

    pub(crate) fn seq(&self) -> u64 {
        u64::from_le_bytes(self.get(SEQ))
    }

    pub(crate) fn number(&self) -> Option<i64> {
        (self.0[HAS] & HAS_NUMBER != 0).then(|| i64::from_le_bytes(self.get(NUMBER)))
    }

    /// The result, once there is one.
    pub(crate) fn result(&self) -> Option<i64> {
        (self.0[HAS] & HAS_SQUARE != 0).then(|| i64::from_le_bytes(self.get(SQUARE)))
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.text(TEXT, self.0[NAME_LENGTH])
    }

    pub(crate) fn content_type(&self) -> &[u8] {
        self.text(TEXT + usize::from(self.0[NAME_LENGTH]), self.0[TYPE_LENGTH])
    }

    fn text(&self, from: usize, length: u8) -> &[u8] {
        self.0.get(from..from + usize::from(length)).unwrap_or_default()
    }

    fn get(&self, at: usize) -> [u8; 8] {
        std::array::from_fn(|index| self.0[at + index])
    }

    fn set(&mut self, at: usize, bytes: [u8; 8]) {
        self.0[at..at + bytes.len()].copy_from_slice(&bytes);
    }
}
