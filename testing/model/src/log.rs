//! The results log: one partition, the truth. Records are terminal answers of the ordered lane.

use crate::ids::{Client, Position};

/// One terminal answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// Whose event it answers.
    pub client: Client,
    /// Which event.
    pub seq: u8,
}

/// A set of records, by offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Offsets(u16);

impl Offsets {
    /// Adds one.
    pub const fn insert(&mut self, offset: u8) {
        self.0 |= 1 << offset;
    }

    /// Takes away everything before `position`.
    pub const fn trim_before(&mut self, position: Position) {
        self.0 &= u16::MAX << position;
    }

    /// What lies at `position` or behind it.
    pub const fn from(self, position: Position) -> Self {
        Self(self.0 & (u16::MAX << position))
    }

    /// What is not in `others`.
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there is nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether one is there.
    pub const fn contains(self, offset: u8) -> bool {
        self.0 & (1 << offset) != 0
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..u16::BITS as u8).filter(move |offset| self.contains(*offset))
    }

    /// Past the last one; 0 when there is none.
    pub const fn end(self) -> Position {
        (u16::BITS - self.0.leading_zeros()) as u8
    }
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Log {
    /// By offset, from the beginning of time.
    pub records: Vec<Record>,
    /// Retention has taken what lies before.
    pub start: Position,
}

impl Log {
    /// Past the last record.
    pub fn end(&self) -> Position {
        self.records.len() as u8
    }

    /// The record at an offset.
    pub fn at(&self, offset: u8) -> Record {
        self.records[offset as usize]
    }

    /// The highest event of a client that has an answer; 0 when there is none.
    pub fn answered(&self, client: Client) -> u8 {
        self.of(client).map(|(_, record)| record.seq).max().unwrap_or(0)
    }

    /// A client's records, with their offsets.
    pub fn of(&self, client: Client) -> impl Iterator<Item = (u8, Record)> {
        (0..).zip(self.records.iter().copied()).filter(move |(_, record)| record.client == client)
    }

    /// A scan for one client: the same fold as the mailbox', seeded with what the client has.
    pub fn scan(&self, client: Client, from: Position, mut answered: u8) -> Offsets {
        let mut found = Offsets::default();
        for (offset, record) in self.of(client).filter(|(offset, _)| *offset >= from) {
            if record.seq > answered {
                answered = record.seq;
                found.insert(offset);
            }
        }
        found
    }
}
