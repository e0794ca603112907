//! The file `meta`: what a data directory is. Text, so that any version of Nimbus, and a person, can read it.
//!
//! ```text
//! nimbus-data-format = 1
//! log = 01JD0Z3K1V6S2X4C8R9T0WQ5EN
//! epoch = 01JD0Z3K1V6S2X4C8R9T0WQ5EN
//! partitions = 16
//! created = 1763700000000
//! crc32 = 89abcdef
//! ```
//! The first and the last line keep their meaning in every format version: the version, and the CRC-32 of everything
//! before the last line. `log` never changes and stands in every file; `epoch` changes when history changes (repair,
//! restore), so that clients learn of it.

use std::{io, num::NonZeroU32, str::FromStr};

use nimbus_core::{LogEpoch, PartitionCount, clock::UnixMillis};
use ulid::Ulid;

use crate::{
    config::MAX_PARTITIONS,
    disk::{Disk, read_file, replace_file},
};

/// What this build writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const META: &str = "meta";

/// What a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Tells segments of this log from those of any other.
    pub(crate) log: Ulid,
    pub(crate) epoch: LogEpoch,
    pub(crate) partitions: PartitionCount,
    pub(crate) created: UnixMillis,
}

/// Why `meta` cannot be used.
#[derive(Debug)]
pub(crate) enum MetaError {
    /// Credible, but of another version.
    Version(u32),
    /// Not what was written.
    Damaged {
        offset: u64,
        what: String,
    },
    Io(io::Error),
}

impl Meta {
    fn to_text(self) -> String {
        let Self { log, epoch, partitions, created } = self;
        let body = format!(
            "nimbus-data-format = {FORMAT_VERSION}\nlog = {log}\nepoch = {epoch}\npartitions = {}\ncreated = {}\n",
            partitions.0, created.0
        );
        let crc = crc32fast::hash(body.as_bytes());
        format!("{body}crc32 = {crc:08x}\n")
    }

    fn from_text(text: &[u8]) -> Result<Self, MetaError> {
        let damaged = |offset: usize, what: &str| MetaError::Damaged { offset: offset as u64, what: what.into() };
        let last_line = text.strip_suffix(b"\n").and_then(|rest| rest.iter().rposition(|byte| *byte == b'\n'));
        let Some(body_length) = last_line.map(|newline| newline + 1) else {
            return Err(damaged(0, "it has no checksum line"));
        };
        let (body, checksum) = text.split_at(body_length);
        if checksum != format!("crc32 = {:08x}\n", crc32fast::hash(body)).as_bytes() {
            return Err(damaged(0, "the checksum does not fit the text"));
        }
        // The checksum fits: from here on the text is what some version of Nimbus wrote.
        let body = str::from_utf8(body).map_err(|error| damaged(error.valid_up_to(), "it is not text"))?;
        let mut lines = body.lines();
        let version =
            value(lines.next(), "nimbus-data-format").ok_or_else(|| damaged(0, "it names no format version"))?;
        if version != FORMAT_VERSION {
            return Err(MetaError::Version(version));
        }
        let mut read = || {
            Some(Self {
                log: value(lines.next(), "log")?,
                epoch: LogEpoch(value(lines.next(), "epoch")?),
                partitions: PartitionCount(value::<NonZeroU32>(lines.next(), "partitions")?),
                created: UnixMillis(value(lines.next(), "created")?),
            })
        };
        let meta = read().ok_or_else(|| damaged(0, "a line is missing or unreadable"))?;
        if meta.partitions.0.get() > MAX_PARTITIONS {
            return Err(damaged(0, "it has more partitions than there can be"));
        }
        Ok(meta)
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, MetaError> {
        match read_file(disk, META) {
            Ok(text) => Self::from_text(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MetaError::Io(error)),
        }
    }

    /// Writes the file, durably.
    pub(crate) fn write(self, disk: &dyn Disk) -> io::Result<()> {
        replace_file(disk, "", META, self.to_text().as_bytes()).map(drop)
    }
}

fn value<T: FromStr>(line: Option<&str>, key: &str) -> Option<T> {
    line?.strip_prefix(key)?.strip_prefix(" = ")?.parse().ok()
}
