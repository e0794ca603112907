//! `nimbus data repair`: sets damaged files aside and keeps every frame that is as it was written.
//!
//! A damaged segment is copied to `quarantine/` and written anew under its name: its valid frames, and a skip where some
//! are missing. What was lost is reported, the log gets a new epoch (clients learn of it as a GAP), and it goes on in a
//! new segment, with a new snapshot of what state could be recovered. The order of the steps is such that a repair that
//! was interrupted can simply be begun again: the new epoch comes first.
//!
//! A damaged snapshot or clean mark alone costs nothing: it is set aside, and the segments give the same state.

mod rewrite;

use std::{io, path::Path};

use nimbus_core::LogEpoch;
use serde::Serialize;
use ulid::Ulid;

use super::{
    ToolError,
    check::{Finding, check_on, identify},
    disk_of, lock,
};
use crate::{
    clean::CleanMark,
    disk::{Disk, read_file, replace_file},
    error::OpenError,
    machines::Machines,
    meta::{META, Meta},
    recovery,
    snapshot::{self, Snapshot},
};
use rewrite::Rewrite;

const QUARANTINE: &str = "quarantine";

/// Records that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostRecords {
    /// `events`, `results` or `dead_letters`.
    pub topic: &'static str,
    /// Which partition.
    pub partition: u32,
    /// The first offset that is gone.
    pub from: u64,
    /// The first offset behind that is not; `None`: the end of the log is lost, and nobody knows how much that was.
    pub to: Option<u64>,
}

/// What a repair has done.
#[derive(Debug, Clone, Serialize)]
pub struct RepairReport {
    /// Why it was needed. Empty: it was not, and nothing was changed.
    pub findings: Vec<Finding>,
    /// Copies of the damaged files, relative to the data directory.
    pub quarantined: Vec<String>,
    /// What is lost for good, unless the quarantined files or a backup have it.
    pub lost: Vec<LostRecords>,
    /// State of consumer groups and mailboxes may be older than it was: some work is done again.
    pub state_may_be_old: bool,
    /// The new epoch.
    pub epoch: Option<String>,
}

/// Repairs a data directory that nobody uses.
///
/// # Errors
/// [`ToolError::NoLog`], or what kept it from working; it can be begun again then.
pub fn repair(dir: &Path) -> Result<RepairReport, ToolError> {
    let disk = disk_of(dir)?;
    let _lock = lock(&disk, dir)?;
    repair_on(&disk, dir)
}

pub(crate) fn repair_on(disk: &dyn Disk, dir: &Path) -> Result<RepairReport, ToolError> {
    let findings = check_on(disk, dir)?.findings;
    let mut report =
        RepairReport { findings, quarantined: Vec::new(), lost: Vec::new(), state_may_be_old: false, epoch: None };
    if report.findings.is_empty() {
        return Ok(report);
    }
    let failed = || ToolError::io(format!("repair {}", dir.display()));
    let (meta, unreadable) = identify(disk, dir)?;
    disk.create_dir(QUARANTINE).map_err(failed())?;
    set_side_files_aside(disk, &meta, &mut report).map_err(failed())?;
    if unreadable.is_none() && recovery::examine(disk, &meta, &Machines::new(meta.partitions).all()).is_ok() {
        return Ok(report);
    }
    if unreadable.is_some() {
        quarantine(disk, META, &mut report).map_err(failed())?;
    }
    let meta = Meta { epoch: LogEpoch(Ulid::generate()), ..meta };
    report.epoch = Some(meta.epoch.to_string());
    meta.write(disk).map_err(failed())?;
    let mut repair = Rewrite::new(disk, meta, report);
    repair.run().map_err(failed())?;
    CleanMark::remove(disk).map_err(failed())?;
    Ok(repair.report)
}

/// Damaged files that nothing is lost without.
fn set_side_files_aside(disk: &dyn Disk, meta: &Meta, report: &mut RepairReport) -> io::Result<()> {
    let mut aside = Vec::new();
    for id in snapshot::ids(&disk.list(snapshot::DIR)?) {
        let path = snapshot::path(id);
        if Snapshot::decode(&read_file(disk, &path)?, id, meta.log).is_err() {
            aside.push(path);
        }
    }
    if let Err(OpenError::Damaged { file, .. }) = CleanMark::read(disk) {
        aside.push(file);
    }
    for path in aside {
        quarantine(disk, &path, report)?;
        disk.remove(&path)?;
    }
    disk.sync_dir(snapshot::DIR)?;
    disk.sync_dir("")
}

/// Copies a file aside, durably. A file that is not there has no copy.
fn quarantine(disk: &dyn Disk, path: &str, report: &mut RepairReport) -> io::Result<()> {
    let contents = match read_file(disk, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        contents => contents?,
    };
    let taken = disk.list(QUARANTINE)?;
    let name = path.replace('/', "-");
    // An earlier repair may have been interrupted after it had copied the original.
    let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}.{n}")));
    let free = names.into_iter().find(|name| taken.iter().all(|entry| entry.name != *name));
    let copy = format!("{QUARANTINE}/{}", free.unwrap_or(name));
    replace_file(disk, QUARANTINE, &copy, &contents)?;
    report.quarantined.push(copy);
    Ok(())
}
