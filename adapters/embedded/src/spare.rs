//! Zeros ahead of the end of the active segment.
//!
//! An fsync of a file that has grown writes the file's new length as well: a second place of the disk, often after the
//! first. Where zeros were written and synced before, only the data has to go there. Databases do the same with their
//! write-ahead logs. They lie behind everything that counts, recovery takes them for the end of the log, and nothing
//! depends on their being there.

use crate::{disk::DiskFile, frame::HEADER_BYTES};

/// What was written ahead in the active segment.
#[derive(Debug)]
pub(crate) struct Spare {
    zeros: Vec<u8>,
    /// Where a segment is full: nothing is written ahead beyond that.
    full: u64,
    /// Up to here the file has been written.
    until: u64,
    /// Writing ahead has failed since the file began or was cut back.
    failed: bool,
}

impl Spare {
    /// Nothing is ahead of `end` yet; so many `bytes` shall be, but not beyond `full`. Zero: never.
    pub(crate) fn new(bytes: usize, full: u64, end: u64) -> Self {
        Self { zeros: vec![0; bytes], full, until: end, failed: false }
    }

    /// The file ends at `end` now: another one, or cut back.
    pub(crate) fn begin(&mut self, end: u64) {
        (self.until, self.failed) = (end, false);
    }

    /// After a write of `written` bytes that ends at `end`, before it is synced: writes ahead if that write and the mark
    /// behind it have used up what was there. Not after a large write, which pays for the file's growth by itself and
    /// would write most of its bytes twice. Nor when `room`, the bytes that the disk has left, does not cover the write and the
    /// zeros. Returns the number of zeros written: 0 after a failure, and nothing is tried again in this file before it is cut back.
    pub(crate) fn renew(&mut self, file: &dyn DiskFile, end: u64, written: usize, room: u64) -> u64 {
        if end + HEADER_BYTES as u64 <= self.until {
            return 0;
        }
        self.until = end;
        let ahead = self.zeros.len().min(usize::try_from(self.full.saturating_sub(end)).unwrap_or(usize::MAX));
        if ahead == 0 || self.failed || written > self.zeros.len() / 2 || room <= (written + ahead) as u64 {
            return 0;
        }
        match file.write_at(&self.zeros[..ahead], end) {
            Ok(()) => {
                self.until = end + ahead as u64;
                ahead as u64
            }
            Err(error) => {
                // The data itself was written, and whether it can be relied on is for the fsync to say.
                tracing::debug!(error = %error, "zeros ahead of the log were not written");
                self.failed = true;
                0
            }
        }
    }
}
