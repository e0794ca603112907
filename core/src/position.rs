//! Offsets name records; positions lie between records.
//!
//! A [`Position`] is what the log's readers and clients remember: "everything before this is done". It is one more than
//! the offset of the last record done, so that 0 is "from the beginning" and no value is special.

use std::fmt;

/// The place of one record in one partition. Rises, is never reused, and is not dense: compare, never count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

impl Offset {
    /// The position just past this record.
    pub const fn position_after(self) -> Position {
        Position(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A place between records of one partition: every record with a lower offset lies before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

impl Position {
    /// Before the first record.
    pub const START: Self = Self(0);

    /// Whether the record at `offset` lies before this position.
    pub const fn covers(self, offset: Offset) -> bool {
        offset.0 < self.0
    }

    /// The first offset that this position does not cover.
    pub const fn next_offset(self) -> Offset {
        Offset(self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
