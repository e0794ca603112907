//! What the log needs of a disk, small enough that a test can play a disk that loses power, fails an fsync or fills up.
//!
//! Paths are relative to the data directory, with `/`. Nothing here retries.

mod real;
#[cfg(test)]
pub(crate) mod simulated;

use std::{fmt::Debug, io, sync::Arc};

pub(crate) use real::RealDisk;

/// One data directory.
pub(crate) trait Disk: Debug + Send + Sync {
    /// Makes an empty file; an existing one is emptied.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Files (not directories) in a directory, in no order. A directory that is not there has none.
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>>;

    /// Renames over whatever is there. Survives a power loss after [`sync_dir`](Self::sync_dir).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Survives a power loss after [`sync_dir`](Self::sync_dir).
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes a directory unless it is there.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes the names in a directory durable. "" is the data directory itself.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Room on the file system.
    fn space(&self) -> io::Result<Space>;

    /// Takes the directory for this process until the guard is dropped; `None` when another has it.
    fn lock(&self) -> io::Result<Option<Box<dyn LockGuard>>>;
}

/// One open file. Shared; positions are explicit.
pub(crate) trait DiskFile: Debug + Send + Sync {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`. On an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes contents and length durable. After an error the contents written since the last success are unknown, and
    /// trying again proves nothing.
    fn sync(&self) -> io::Result<()>;

    fn set_len(&self, length: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;
}

/// Holds the directory.
pub(crate) trait LockGuard: Debug + Send + Sync {}

/// One file in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without the directory.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) capacity: u64,
}

/// Whether the disk is full, rather than broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a whole file.
pub(crate) fn read_file(disk: &dyn Disk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut contents = vec![0; length];
    let read = file.read_at(&mut contents, 0)?;
    contents.truncate(read);
    Ok(contents)
}

/// Replaces a file so that, at any moment and after a power loss, either the old or the new contents are there.
pub(crate) fn replace_file(disk: &dyn Disk, dir: &str, path: &str, contents: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
    let temporary = format!("{path}{TEMPORARY}");
    let file = disk.create(&temporary)?;
    file.write_at(contents, 0)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)?;
    Ok(file)
}

/// Ends the names of files that are not finished. Removed at open.
pub(crate) const TEMPORARY: &str = ".tmp";
