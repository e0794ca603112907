//! `nimbus data restore`: makes a data directory of a backup, with a new epoch: what happened since the backup is gone,
//! and clients must learn of that.

use std::path::Path;

use nimbus_core::LogEpoch;
use serde::Serialize;
use ulid::Ulid;

use super::{
    ToolError,
    backup::{copy, empty},
    disk_of,
};
use crate::{
    error::OpenError,
    meta::{Meta, MetaError},
};

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Records in the log, of all topics.
    pub records: u64,
    /// The new epoch.
    pub epoch: String,
}

/// Copies the backup `from` into `to`, which must be empty or not exist.
///
/// # Errors
/// [`ToolError`]; what is in `to` then does not open.
pub fn restore(from: &Path, to: &Path) -> Result<RestoreReport, ToolError> {
    let source = disk_of(from)?;
    let meta = match Meta::read(&source) {
        Ok(Some(meta)) => meta,
        Ok(None) => return Err(ToolError::NoLog { dir: from.to_path_buf() }),
        Err(MetaError::Version(found)) if found > crate::meta::FORMAT_VERSION => {
            return Err(OpenError::NewerFormat { dir: from.to_path_buf(), found }.into());
        }
        Err(MetaError::Version(found)) => return Err(OpenError::OlderFormat { dir: from.to_path_buf(), found }.into()),
        Err(MetaError::Damaged { offset, what }) => {
            return Err(OpenError::damaged(crate::meta::META, offset, what).into());
        }
        Err(MetaError::Io(error)) => return Err(ToolError::io("read meta")(error)),
    };
    let target = empty(to)?;
    let failed = || ToolError::io(format!("copy {} to {}", from.display(), to.display()));
    let records = copy(&source, &target, from, to)?.records;
    let epoch = LogEpoch(Ulid::generate());
    Meta { epoch, ..meta }.write(&target).map_err(failed())?;
    Ok(RestoreReport { records, epoch: epoch.to_string() })
}
