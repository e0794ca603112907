//! The outbox file: append, fsync, rewrite. Blocking; the connection task calls it on a thread of its own.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::format::{self, Damage, HEADER_BYTES, SLOT_OFFSETS};
use crate::{
    Error,
    machine::{Memory, Record},
};

/// A file smaller than this is never rewritten.
const COMPACTS_FROM_BYTES: u64 = 1024 * 1024;
/// Rewritten when it has grown to this many times what it held after the last time.
const COMPACTS_AT_FACTOR: u64 = 4;

/// An open outbox file. Dropping it frees it for others.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    outbox_id: [u8; 16],
    client_id: String,
    /// Whether the file says whose it is.
    is_named: bool,
    /// Where the next record goes.
    end: u64,
    next_slot: usize,
    compacts_at: u64,
    /// Held as long as the file is open. Beside the file, since a rewrite replaces the file itself.
    _lock: File,
}

impl Journal {
    /// Opens the file of this client or makes it, and reads what it holds. A torn tail is cut.
    pub(crate) fn open(path: &Path, client_id: &str) -> Result<(Self, Memory), Error> {
        let lock = take_lock(path)?;
        let fail = |error| io_error(path, error);
        // Left behind by a crash in the middle of a rewrite: the file itself is whole.
        match fs::remove_file(beside(path, ".tmp")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            Ok(()) | Err(_) => {}
        }
        if !path.try_exists().map_err(fail)? {
            create(path, rand::random(), client_id, &[]).map_err(fail)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let damaged =
            |damage: Damage| Error::OutboxDamaged { path: path.to_owned(), offset: damage.offset, what: damage.what };
        let header = format::decode_header(&bytes).map_err(damaged)?;
        let is_named = header.client_id.is_some();
        if let Some(owner) = header.client_id.filter(|owner| owner != client_id) {
            return Err(Error::OutboxForeign { path: path.to_owned(), owner, client_id: client_id.to_owned() });
        }
        let (memory, end) = replay(&bytes, header.bytes, header.kept).map_err(damaged)?;
        if end < bytes.len() as u64 {
            tracing::info!(path = %path.display(), end, cut = bytes.len() as u64 - end, "cutting a torn tail off the outbox");
            file.set_len(end).map_err(fail)?;
            file.sync_data().map_err(fail)?;
        }
        file.seek(SeekFrom::Start(end)).map_err(fail)?;
        let journal = Self {
            path: path.to_owned(),
            file,
            outbox_id: header.outbox_id,
            client_id: client_id.to_owned(),
            is_named,
            end,
            next_slot: header.next_slot,
            compacts_at: compacts_at(end),
            _lock: lock,
        };
        Ok((journal, memory))
    }

    pub(crate) const fn outbox_id(&self) -> [u8; 16] {
        self.outbox_id
    }

    /// Whether the file says whose it is. One of version 1 does so from its next rewrite on: to be asked for once a server
    /// has welcomed this client with it, and not before, since until then it may be somebody else's.
    pub(crate) const fn is_named(&self) -> bool {
        self.is_named
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes records. With `sync` they survive a power loss when this returns, otherwise only the end of the process.
    /// After an error nothing may be written any more.
    pub(crate) fn append(&mut self, records: &[Record], sync: bool) -> Result<(), Error> {
        self.try_append(records, sync).map_err(|error| io_error(&self.path, error))
    }

    fn try_append(&mut self, records: &[Record], sync: bool) -> io::Result<()> {
        let mut buffer = Vec::new();
        for record in records {
            format::encode_record(record, &mut buffer, self.end);
        }
        if !buffer.is_empty() {
            self.file.write_all(&buffer)?;
            self.end += buffer.len() as u64;
        }
        if sync {
            self.file.sync_data()?;
            // Only after the fsync: what a slot vouches for is on disk, whether the slot itself is or not.
            let offset = SLOT_OFFSETS[self.next_slot] as u64;
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.write_all(&format::encode_slot(self.next_slot, self.end))?;
            self.file.seek(SeekFrom::Start(self.end))?;
            self.next_slot = (self.next_slot + 1) % SLOT_OFFSETS.len();
        }
        Ok(())
    }

    /// Whether the file has grown enough to be rewritten.
    pub(crate) const fn wants_compaction(&self) -> bool {
        self.end >= self.compacts_at
    }

    /// Replaces the file by one that holds `records`. A crash at any instant leaves the old one or the new one.
    pub(crate) fn compact(&mut self, records: &[Record]) -> Result<(), Error> {
        self.try_compact(records).map_err(|error| io_error(&self.path, error))
    }

    fn try_compact(&mut self, records: &[Record]) -> io::Result<()> {
        self.end = create(&self.path, self.outbox_id, &self.client_id, records)?;
        self.file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.next_slot = 0;
        self.is_named = true;
        self.compacts_at = compacts_at(self.end);
        Ok(())
    }
}

fn compacts_at(end: u64) -> u64 {
    (end * COMPACTS_AT_FACTOR).max(COMPACTS_FROM_BYTES)
}

/// Makes a whole file in place of whatever is there, durably. Returns its length.
fn create(path: &Path, outbox_id: [u8; 16], client_id: &str, records: &[Record]) -> io::Result<u64> {
    let mut body = Vec::new();
    for record in records {
        format::encode_record(record, &mut body, HEADER_BYTES as u64);
    }
    let end = (HEADER_BYTES + body.len()) as u64;
    let temporary = beside(path, ".tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // It holds payloads and a resume token.
        options.mode(0o600);
    }
    let mut file = options.open(&temporary)?;
    file.write_all(&format::encode_header(outbox_id, client_id, end))?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    #[cfg(unix)]
    {
        // The new name must survive a power loss too.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(end)
}

/// Reads all records, from the end of the header on; returns where the last whole one ends.
fn replay(bytes: &[u8], begin: usize, kept: u64) -> Result<(Memory, u64), Damage> {
    let mut memory = Memory::default();
    let mut offset = begin;
    while offset < bytes.len() {
        match format::decode_record(bytes, offset) {
            Ok((record, next)) => {
                memory.apply(record).map_err(|what| Damage::new(offset, what))?;
                offset = next;
            }
            Err(damage) if (offset as u64) < kept => return Err(damage),
            // Written and never vouched for: the process or the machine died in the middle of it.
            Err(_) => break,
        }
    }
    if (offset as u64) < kept {
        return Err(Damage::new(offset, format!("the file ends here, {kept} bytes were kept")));
    }
    Ok((memory, offset as u64))
}

fn take_lock(path: &Path) -> Result<File, Error> {
    let fail = |error| io_error(path, error);
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(beside(path, ".lock"))
        .map_err(fail)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::OutboxInUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// The path with something added to its last name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn io_error(path: &Path, error: io::Error) -> Error {
    Error::OutboxIo { path: path.to_owned(), source: Arc::new(error) }
}
