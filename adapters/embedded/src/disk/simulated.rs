//! A disk in memory that behaves as badly as real ones may: it loses what was not synced when the power fails, sector by
//! sector; an fsync can fail once and take its data with it; it can be full.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{Disk, DiskFile, Entry, LockGuard, Space};
use crate::segment;

const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    Put { name: String, inode: usize },
    Rename { from: String, to: String, inode: usize },
    Remove { name: String },
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Put { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Inode {
    /// What readers see.
    current: Vec<u8>,
    /// What survives a power loss for sure.
    durable: Vec<u8>,
    /// On the way from the one to the other.
    pending: Vec<Change>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
    operations: u64,
    power_off_at: Option<u64>,
    fail_sync: bool,
    panic_at_sync: bool,
    fail_writes: bool,
    /// What the next reads of a segment find as it was before it was written, and how many of them do.
    early: Option<(Range<usize>, u64)>,
    capacity: Option<usize>,
}

/// A disk in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    locked: Arc<AtomicBool>,
    gate: Arc<Gate>,
}

/// Stops an fsync on its way.
#[derive(Debug, Default)]
struct Gate {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    closed: bool,
    waiting: bool,
}

impl Gate {
    fn pass(&self) {
        let mut held = self.held.lock().expect("no test panics in here");
        while held.closed {
            held.waiting = true;
            self.changed.notify_all();
            held = self.changed.wait(held).expect("no test panics in here");
        }
        held.waiting = false;
    }
}

fn apply(contents: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => {
            let end = at + bytes.len();
            if contents.len() < end {
                contents.resize(end, 0);
            }
            contents[*at..end].copy_from_slice(bytes);
        }
        Change::SetLen(length) => contents.resize(*length, 0),
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    /// Counts an operation; fails when the power is off.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.power_off_at {
            Some(at) if self.operations >= at => Err(no_power()),
            _ => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|inode| self.inodes[*inode].current.len()).sum()
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }
}

impl SimulatedDisk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the disk in its hand")
    }

    /// The power fails at the n-th operation from now.
    pub(crate) fn power_off_after(&self, operations: u64) {
        let mut state = self.lock();
        state.power_off_at = Some(state.operations + operations);
    }

    /// The next fsync of a segment fails; what it should have made durable never will be, though readers still see it.
    pub(crate) fn fail_next_sync(&self) {
        self.lock().fail_sync = true;
    }

    /// The next fsync of a segment panics: a stand-in for a fault of ours in the writer.
    pub(crate) fn panic_at_next_sync(&self) {
        self.lock().panic_at_sync = true;
    }

    /// Lets no fsync of a segment through until [`release_syncs`](Self::release_syncs).
    pub(crate) fn hold_syncs(&self) {
        self.gate.held.lock().expect("no test panics in here").closed = true;
    }

    /// Waits until an fsync is held.
    pub(crate) fn await_held_sync(&self) {
        let mut held = self.gate.held.lock().expect("no test panics in here");
        while !held.waiting {
            held = self.gate.changed.wait(held).expect("no test panics in here");
        }
    }

    pub(crate) fn release_syncs(&self) {
        self.gate.held.lock().expect("no test panics in here").closed = false;
        self.gate.changed.notify_all();
    }

    /// Every write fails from now on, or no longer.
    pub(crate) fn fail_writes(&self, fail: bool) {
        self.lock().fail_writes = fail;
    }

    /// The next reads of a segment, so many, find zeros in place of these bytes: as if they overtook the write of them.
    pub(crate) fn read_early(&self, bytes: Range<usize>, times: u64) {
        self.lock().early = Some((bytes, times));
    }

    /// How many bytes fit in all; `None`: any number.
    pub(crate) fn set_capacity(&self, capacity: Option<usize>) {
        self.lock().capacity = capacity;
    }

    pub(crate) fn used(&self) -> usize {
        self.lock().used()
    }

    /// What is on the disk when the power comes back: everything that was synced, and any part of what was not.
    pub(crate) fn after_power_loss(&self, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let state = self.lock();
        // A journalling file system loses the newest names first.
        let kept = random.random_range(0..=state.pending_names.len());
        let mut names = state.durable_names.clone();
        for naming in &state.pending_names[..kept] {
            naming.apply(&mut names);
        }
        let mut survivors = BTreeMap::new();
        let mut inodes = Vec::new();
        for (name, inode) in names {
            survivors.insert(name, inodes.len());
            let contents = survive(&state.inodes[inode], &mut random);
            inodes.push(Inode { current: contents.clone(), durable: contents, pending: Vec::new() });
        }
        let fresh = State { inodes, names: survivors.clone(), durable_names: survivors, ..State::default() };
        Self { state: Arc::new(Mutex::new(fresh)), ..Self::default() }
    }

    /// What is on the disk when the process is killed: everything that was written.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.lock();
        let names = state.names.clone();
        let inodes = state.inodes.clone();
        let fresh = State { inodes, durable_names: names.clone(), names, ..State::default() };
        Self { state: Arc::new(Mutex::new(fresh)), ..Self::default() }
    }

    /// Every file and its contents.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].current.clone())).collect()
    }

    /// A disk with these files, all durable.
    pub(crate) fn with_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::new();
        let mut state = disk.lock();
        for (name, contents) in files {
            let inode = state.inodes.len();
            state.inodes.push(Inode { current: contents.clone(), durable: contents.clone(), pending: Vec::new() });
            state.names.insert(name.clone(), inode);
            state.durable_names.insert(name.clone(), inode);
        }
        drop(state);
        disk
    }
}

/// Any part of the pending changes, in sectors, on top of the durable contents.
fn survive(inode: &Inode, random: &mut SmallRng) -> Vec<u8> {
    let mut contents = inode.durable.clone();
    let odds = [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)];
    for change in &inode.pending {
        match change {
            Change::SetLen(_) => {
                if random.random_bool(odds) {
                    apply(&mut contents, change);
                }
            }
            Change::Write { at, bytes } => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = ((at + from) / SECTOR + 1) * SECTOR - at;
                    let to = to.min(bytes.len());
                    if random.random_bool(odds) {
                        apply(&mut contents, &Change::Write { at: at + from, bytes: bytes[from..to].to_vec() });
                    }
                    from = to;
                }
            }
        }
    }
    contents
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.operate()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.name(Naming::Put { name: path.into(), inode });
        let is_segment = path.starts_with(segment::DIR);
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, is_segment }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.operate()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let is_segment = path.starts_with(segment::DIR);
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, is_segment }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let mut state = self.lock();
        state.operate()?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let within = state.names.iter().filter_map(|(name, inode)| {
            let name = name.strip_prefix(&prefix).filter(|name| !name.contains('/'))?;
            Some(Entry { name: name.into(), bytes: state.inodes[*inode].current.len() as u64 })
        });
        Ok(within.collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Rename { from: from.into(), to: to.into(), inode });
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Remove { name: path.into() });
        Ok(())
    }

    fn create_dir(&self, _dir: &str) -> io::Result<()> {
        self.lock().operate()
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        // One journal for all directories.
        state.pending_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.lock();
        let capacity = state.capacity.unwrap_or(1 << 40);
        Ok(Space { free: capacity.saturating_sub(state.used()) as u64, capacity: capacity as u64 })
    }

    fn lock(&self) -> io::Result<Option<Box<dyn LockGuard>>> {
        let taken = self.locked.swap(true, Ordering::SeqCst);
        Ok((!taken).then(|| Box::new(SimulatedLock(Arc::clone(&self.locked))) as Box<dyn LockGuard>))
    }
}

#[derive(Debug)]
struct SimulatedLock(Arc<AtomicBool>);

impl LockGuard for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    is_segment: bool,
}

impl SimulatedFile {
    fn change(&self, state: &mut State, change: Change) {
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.current, &change);
        inode.pending.push(change);
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.operate()?;
        let contents = &state.inodes[self.inode].current;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(contents.len());
        let length = buffer.len().min(contents.len() - from);
        buffer[..length].copy_from_slice(&contents[from..from + length]);
        if let Some((early, left @ 1..)) = state.early.as_mut().filter(|_| self.is_segment) {
            *left -= 1;
            let within = |at: usize| at.saturating_sub(from).min(length);
            buffer[within(early.start)..within(early.end)].fill(0);
        }
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let at = offset as usize;
        if let Err(error) = state.operate() {
            // The power fails within this write, unless it was off before.
            if state.power_off_at == Some(state.operations) {
                self.change(&mut state, Change::Write { at, bytes: bytes.to_vec() });
            }
            return Err(error);
        }
        if state.fail_writes {
            return Err(io::Error::other("the disk is broken"));
        }
        let grows = (at + bytes.len()).saturating_sub(state.inodes[self.inode].current.len());
        let room = state.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(state.used()));
        if grows > room {
            let part = bytes[..bytes.len() - (grows - room)].to_vec();
            self.change(&mut state, Change::Write { at, bytes: part });
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change(&mut state, Change::Write { at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_segment {
            self.disk.gate.pass();
        }
        let mut state = self.disk.lock();
        state.operate()?;
        if self.is_segment && std::mem::take(&mut state.panic_at_sync) {
            drop(state);
            panic!("as the test wants it");
        }
        let fail = self.is_segment && std::mem::take(&mut state.fail_sync);
        let inode = &mut state.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if fail {
            // The pages are clean now, and lost: a second fsync would succeed and prove nothing.
            return Err(io::Error::other("the disk lost a write"));
        }
        pending.iter().for_each(|change| apply(&mut inode.durable, change));
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.operate()?;
        self.change(&mut state, Change::SetLen(length as usize));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.inode].current.len() as u64)
    }
}
