//! How much waits for one client, and where it can be cut: the length and byte caps without a scan.
//!
//! The mailbox keeps the newest records of a client up to its limits, acknowledged or not. A stream's entries are chunks of
//! many records, so counting them says nothing; instead every quarter of the limit leaves a mark. Pure.
//!
//! At worst the marks were lost with Redis' tail: then the client keeps up to one limit more for a while.

use nimbus_core::{Position, mailbox::MailboxLimits};

use crate::codec::{Reader, Unreadable, Writer};

/// Most records of one chunk.
pub(crate) const CHUNK_RECORDS: usize = 256;
/// How many marks lie within a limit.
const MARKS: usize = 4;

/// Everything before `end` is so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    end: Position,
    records: u64,
    bytes: u64,
}

/// Totals since the client was first seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// What is trimmed.
    base: Mark,
    /// Everything.
    total: Mark,
    /// Places between, oldest first.
    marks: Vec<Mark>,
}

/// How large one chunk may become, so that a cut never takes away more than it must.
pub(crate) fn chunk_limits(limits: &MailboxLimits) -> (usize, usize) {
    ((limits.client_records / MARKS).clamp(1, CHUNK_RECORDS), (limits.client_bytes / MARKS).clamp(1, 256 << 10))
}

impl Backlog {
    /// Takes a chunk in.
    pub(crate) fn push(&mut self, end: Position, records: usize, bytes: usize, limits: &MailboxLimits) {
        self.total = Mark { end, records: self.total.records + records as u64, bytes: self.total.bytes + bytes as u64 };
        let last = self.marks.last().unwrap_or(&self.base);
        let far = self.total.records - last.records >= (limits.client_records / MARKS) as u64
            || self.total.bytes - last.bytes >= (limits.client_bytes / MARKS) as u64;
        if far {
            self.marks.push(self.total);
        }
    }

    /// Where to cut so that the limits hold; `None` when they do.
    pub(crate) fn trim(&mut self, limits: &MailboxLimits) -> Option<Position> {
        let mut through = None;
        while self.total.records - self.base.records > limits.client_records as u64
            || self.total.bytes - self.base.bytes > limits.client_bytes as u64
        {
            // Without a mark there is only one chunk, and it is larger than the limit: it goes.
            self.base = if self.marks.is_empty() { self.total } else { self.marks.remove(0) };
            through = Some(self.base.end);
        }
        through
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        for mark in [&self.base, &self.total] {
            encode(out, mark);
        }
        out.number(self.marks.len() as u64);
        self.marks.iter().for_each(|mark| encode(out, mark));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let (base, total) = (decode(reader)?, decode(reader)?);
        let count = reader.count()?;
        let marks = (0..count).map(|_| decode(reader)).collect::<Result<Vec<_>, _>>()?;
        let mut before = base;
        for mark in marks.iter().chain([&total]) {
            if mark.records < before.records || mark.bytes < before.bytes {
                return Err(reader.damaged("marks do not rise"));
            }
            before = *mark;
        }
        Ok(Self { base, total, marks })
    }
}

fn encode(out: &mut Writer, mark: &Mark) {
    out.position(mark.end);
    out.number(mark.records);
    out.number(mark.bytes);
}

fn decode(reader: &mut Reader<'_>) -> Result<Mark, Unreadable> {
    Ok(Mark { end: reader.position()?, records: reader.number()?, bytes: reader.number()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_at_most_the_limit_and_at_least_half_of_it() {
        let limits = MailboxLimits { client_records: 32, client_bytes: 10_000, ..MailboxLimits::default() };
        for size in 1..=8 {
            let (mut backlog, mut kept) = (Backlog::default(), Vec::new());
            for end in (1..=40 * size).filter(|end| end % size == 0) {
                kept.push(end);
                backlog.push(Position(end as u64), size, size, &limits);
                if let Some(through) = backlog.trim(&limits) {
                    kept.retain(|end| *end as u64 > through.0);
                }
                let records = kept.len() * size;
                assert!(records <= 32 && (records >= 16 || records == end), "{records} after {end}, {size} at a time");
                let mut out = Writer::default();
                backlog.encode(&mut out);
                assert!(out.0.len() < 100);
                let mut reader = Reader::body("test", &out.0);
                assert_eq!(Backlog::decode(&mut reader), Ok(backlog.clone()));
            }
        }
    }

    #[test]
    fn bytes_cut_as_well_and_a_chunk_that_is_too_large_does_not_stay() {
        let limits = MailboxLimits { client_records: 1_000, client_bytes: 100, ..MailboxLimits::default() };
        let mut backlog = Backlog::default();
        backlog.push(Position(1), 1, 60, &limits);
        assert_eq!(backlog.trim(&limits), None);
        backlog.push(Position(2), 1, 60, &limits);
        assert_eq!(backlog.trim(&limits), Some(Position(1)));
        backlog.push(Position(3), 1, 500, &limits);
        assert_eq!(backlog.trim(&limits), Some(Position(3)));
    }
}
