//! What an operator can do with a data directory: check, repair, backup, restore, and erase one client.
//!
//! These are blocking functions for a command line, not for a runtime thread. Checking and backing up also work while a
//! server runs; everything else takes the directory for itself.

mod backup;
mod check;
mod erase;
mod repair;
mod restore;
mod survey;

use std::{
    io,
    path::{Path, PathBuf},
};

use nimbus_core::PartitionCount;

use crate::{
    disk::{Disk, LockGuard, RealDisk},
    error::OpenError,
};

pub use backup::{BackupReport, backup};
pub use check::{CheckReport, Finding, TopicSummary, check};
pub use erase::{EraseReport, erase};
#[cfg(test)]
pub(crate) use {backup::copy, check::check_on, erase::erase_on, repair::repair_on};

pub use repair::{LostRecords, RepairReport, repair};
pub use restore::{RestoreReport, restore};

/// Why a data tool could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// There is no log in the directory.
    #[error("{} holds no nimbus log", dir.display())]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory must be empty, or not exist.
    #[error("{} is not empty; give a directory that is empty or does not exist", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// What was written does not pass the check; do not use it.
    #[error("the copy in {} does not pass `nimbus data check`: {first}", dir.display())]
    BadCopy {
        /// The directory.
        dir: PathBuf,
        /// The first finding.
        first: String,
    },
    /// The server deleted files faster than they could be copied.
    #[error("the log changed too fast to be copied; try again when there is less load, or raise the retention")]
    TooBusy,
    /// The log cannot be worked on; says why and what to do.
    #[error(transparent)]
    Log(#[from] OpenError),
}

impl ToolError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let to_open_error = OpenError::io(doing);
        move |error| Self::Log(to_open_error(error))
    }
}

/// How many partitions the log in a directory has. Looks and changes nothing; works while a server runs.
///
/// # Errors
/// [`ToolError::NoLog`]; [`ToolError::Log`] when the directory does not say what it is.
pub fn partitions(dir: &Path) -> Result<PartitionCount, ToolError> {
    let disk = disk_of(dir)?;
    match check::identify(&disk, dir)? {
        (meta, None) => Ok(meta.partitions),
        (_, Some(finding)) => Err(OpenError::damaged(finding.file, finding.offset, finding.what).into()),
    }
}

/// The directory's disk, if there is such a directory.
fn disk_of(dir: &Path) -> Result<RealDisk, ToolError> {
    if dir.is_dir() { Ok(RealDisk::new(dir)) } else { Err(ToolError::NoLog { dir: dir.to_path_buf() }) }
}

/// Takes the directory for this process.
fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn LockGuard>, ToolError> {
    match disk.lock() {
        Ok(Some(guard)) => Ok(guard),
        Ok(None) => Err(OpenError::InUse { dir: dir.to_path_buf() }.into()),
        Err(error) => Err(ToolError::io(format!("lock {}", dir.display()))(error)),
    }
}
