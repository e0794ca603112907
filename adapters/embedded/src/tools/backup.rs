//! `nimbus data backup`: a copy that opens, also of a directory that a server is using.
//!
//! Snapshots are copied before segments, so that the log in the copy reaches at least as far as they say. The active
//! segment is copied as far as it goes; what was only half written then is a torn tail of the copy. When retention
//! deletes a file before it is copied, or the copy does not check out, it is begun anew.

use std::{io, path::Path};

use serde::Serialize;

use super::{ToolError, check::check_on, disk_of};
use crate::{
    disk::{Disk, RealDisk, read_file, replace_file},
    meta::META,
    segment, snapshot,
};

/// How often a copy is begun anew.
const ATTEMPTS: u32 = 5;
/// Everything a log consists of. Snapshots first, `meta` last: a copy without it is not finished.
const DIRS: [&str; 2] = [snapshot::DIR, segment::DIR];

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// Number of files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Records in the copy, of all topics.
    pub records: u64,
}

/// Copies the log in `from` into `to`, which must be empty or not exist, and checks the copy.
///
/// # Errors
/// [`ToolError`]; what is in `to` then is not a backup.
pub fn backup(from: &Path, to: &Path) -> Result<BackupReport, ToolError> {
    let source = disk_of(from)?;
    let target = empty(to)?;
    if read_file(&source, META).is_err() {
        return Err(ToolError::NoLog { dir: from.to_path_buf() });
    }
    copy(&source, &target, from, to)
}

/// The directory `to`, made if need be.
pub(super) fn empty(to: &Path) -> Result<RealDisk, ToolError> {
    let making = || ToolError::io(format!("make {}", to.display()));
    std::fs::create_dir_all(to).map_err(making())?;
    if std::fs::read_dir(to).map_err(making())?.next().is_some() {
        return Err(ToolError::NotEmpty { dir: to.to_path_buf() });
    }
    Ok(RealDisk::new(to))
}

/// Copies until it succeeds without a file vanishing, and checks the copy. `from` and `to` are what the disks are called.
pub(crate) fn copy(source: &dyn Disk, target: &dyn Disk, from: &Path, to: &Path) -> Result<BackupReport, ToolError> {
    let mut seen = None;
    for _ in 0..ATTEMPTS {
        let (files, bytes) = match copy_once(source, target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            copied => copied.map_err(ToolError::io(format!("copy {} to {}", from.display(), to.display())))?,
        };
        match verify(target, to) {
            // A server writes over what it has written ahead, also while that is read; so a place that was read early may lack
            // what lies behind it already. Damage is still there when one looks again.
            Err(ToolError::BadCopy { first, .. }) if seen.as_ref() != Some(&first) => seen = Some(first),
            verified => return verified.map(|records| BackupReport { files, bytes, records }),
        }
    }
    Err(ToolError::TooBusy)
}

fn copy_once(source: &dyn Disk, target: &dyn Disk) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for dir in DIRS {
        target.create_dir(dir)?;
        // What an earlier attempt left behind.
        for entry in target.list(dir)? {
            target.remove(&format!("{dir}/{}", entry.name))?;
        }
        let ids: Vec<String> = if dir == segment::DIR {
            segment::ids(&source.list(dir)?).into_iter().map(segment::path).collect()
        } else {
            snapshot::ids(&source.list(dir)?).into_iter().map(snapshot::path).collect()
        };
        for path in ids {
            let contents = read_file(source, &path)?;
            replace_file(target, dir, &path, &contents)?;
            files += 1;
            bytes += contents.len() as u64;
        }
    }
    let meta = read_file(source, META)?;
    replace_file(target, "", META, &meta)?;
    Ok((files + 1, bytes + meta.len() as u64))
}

/// Checks a copy; says how many records it holds.
fn verify(target: &dyn Disk, dir: &Path) -> Result<u64, ToolError> {
    let report = check_on(target, dir)?;
    match report.findings.first() {
        Some(first) => Err(ToolError::BadCopy { dir: dir.to_path_buf(), first: first.to_string() }),
        None => Ok(report.topics.iter().map(|topic| topic.records).sum()),
    }
}
