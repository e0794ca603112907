//! The file `clean`: written when the log is closed in good order, removed when it is opened.
//!
//! It states how far the log reached. A log that ends earlier has lost something, even if all that is left of it reads
//! well. Text, with a checksum, like `meta`.

use std::io;

use crate::{
    disk::{Disk, read_file, replace_file},
    error::OpenError,
};

const CLEAN: &str = "clean";

/// How far the log reached when it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CleanMark {
    pub(crate) next_sequence: u64,
}

impl CleanMark {
    fn to_text(self) -> String {
        let body = format!("next-frame = {}\n", self.next_sequence);
        format!("{body}crc32 = {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let text = match read_file(disk, CLEAN) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("read clean")(error)),
        };
        let parse = || {
            let number = str::from_utf8(&text).ok()?.strip_prefix("next-frame = ")?.lines().next()?;
            let mark = Self { next_sequence: number.parse().ok()? };
            (mark.to_text().as_bytes() == text).then_some(mark)
        };
        parse().map(Some).ok_or_else(|| OpenError::damaged(CLEAN, 0, "the checksum does not fit"))
    }

    pub(crate) fn write(self, disk: &dyn Disk) -> io::Result<()> {
        replace_file(disk, "", CLEAN, self.to_text().as_bytes()).map(drop)
    }

    /// The log is open from now on.
    pub(crate) fn remove(disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(CLEAN) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(()) => disk.sync_dir(""),
            Err(error) => Err(error),
        }
    }
}
