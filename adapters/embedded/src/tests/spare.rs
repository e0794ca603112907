//! Zeros that are written ahead: small writes do not make the file grow, and nothing depends on the zeros.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    EmbeddedConfig, OpenError,
    disk::{Disk, DiskFile, Entry, LockGuard, Space, simulated::SimulatedDisk},
    frame::HEADER_BYTES,
    testing::{P0, end_of_frames as end, event, event_of, open_on, origin, read_all, small},
    tools::{ToolError, copy},
};

const FIRST: &str = "segments/00000000000000000001.log";

fn ahead(spare_bytes: usize) -> EmbeddedConfig {
    EmbeddedConfig { spare_bytes, ..small() }
}

#[tokio::test]
async fn small_writes_do_not_make_the_file_grow() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(2000)).unwrap();
    let mut lengths = Vec::new();
    for seq in 0..20 {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
        lengths.push(disk.files()[FIRST].len());
    }
    lengths.dedup();
    assert!((1..4).contains(&lengths.len()), "{lengths:?}");
    assert!(lengths.is_sorted());
}

#[tokio::test]
async fn a_large_write_pays_for_itself() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    log.events().append(P0, vec![event_of(&origin("client"), 1, 1500)]).await.unwrap();
    let contents = &disk.files()[FIRST];
    assert_eq!(contents.len(), end(contents));
}

#[tokio::test]
async fn what_was_ahead_of_a_killed_log_is_cut_off_and_is_no_torn_tail() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    log.events().append(P0, vec![event(1)]).await.unwrap();
    let killed = disk.after_kill();
    let written = killed.files()[FIRST].clone();
    assert!(written.len() > end(&written));
    let report = crate::tools::check_on(&killed, "in-memory".as_ref()).unwrap();
    assert!(report.is_good(), "{:?}", report.findings);
    assert_eq!((report.torn_bytes, report.bytes as usize), (0, end(&written)));

    let log = open_on(&killed, ahead(0)).unwrap();
    assert_eq!(killed.files()[FIRST], written[..end(&written)]);
    assert_eq!(read_all(&*log.events(), P0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_is_ahead_in_a_file_that_is_finished() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    for seq in 0..60 {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
    }
    log.close().await.unwrap();
    let files = disk.files();
    let segments: Vec<_> = files.iter().filter(|(name, _)| name.starts_with("segments/")).collect();
    assert!(segments.len() > 1);
    for (name, contents) in segments {
        assert_eq!(contents.len(), end(contents), "{name}");
    }
}

#[tokio::test]
async fn a_disk_without_room_for_zeros_has_room_for_events() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    disk.set_capacity(Some(disk.used() + 900));
    for seq in 0..3 {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
    }
    assert_eq!(read_all(&*log.events(), P0).await.unwrap().len(), 3);
}

#[tokio::test]
async fn zeros_where_a_frame_should_be_are_damage() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    for seq in 0..60 {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
    }
    let files = disk.after_kill().files();
    let mut segments: Vec<_> = files.keys().filter(|name| name.starts_with("segments/")).collect();
    let last = segments.pop().unwrap();
    let sealed = segments.pop().unwrap();
    let refused = |name: &str, from: usize, to: usize| {
        let mut damaged = files.clone();
        damaged.get_mut(name).unwrap()[from..to].fill(0);
        match open_on(&SimulatedDisk::with_files(&damaged), ahead(1000)) {
            Err(OpenError::Damaged { file, .. }) => assert_eq!(file, name),
            other => panic!("{name}: {other:?}"),
        }
    };
    // The end of a sealed segment, and a frame that a mark vouches for.
    let length = files[sealed].len();
    refused(sealed, length - 3 * HEADER_BYTES, length);
    let mark = end(&files[last]) - HEADER_BYTES;
    refused(last, mark - 60, mark);
    // Its end without the mark, on the other hand, looks like one that never was longer.
    let mut cut = files.clone();
    cut.get_mut(last).unwrap()[mark..].fill(0);
    let disk = SimulatedDisk::with_files(&cut);
    assert!(open_on(&disk, ahead(0)).is_ok());
    assert!(disk.list("segments").unwrap().iter().all(|entry| entry.bytes > 0));
}

/// A disk whose first segment is written while it is read: this many times some bytes are read as they were before.
#[derive(Debug)]
struct Busy {
    disk: SimulatedDisk,
    early: std::ops::Range<usize>,
    times: Arc<AtomicU64>,
}

#[derive(Debug)]
struct BusyFile {
    file: Arc<dyn DiskFile>,
    early: std::ops::Range<usize>,
    times: Arc<AtomicU64>,
}

impl DiskFile for BusyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        let left = self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            buffer[self.early.clone()].fill(0);
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Disk for Busy {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path)?;
        if path == FIRST {
            let (early, times) = (self.early.clone(), Arc::clone(&self.times));
            return Ok(Arc::new(BusyFile { file, early, times }));
        }
        Ok(file)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.disk.lock()
    }
}

#[tokio::test]
async fn a_backup_looks_again_at_what_was_written_while_it_was_read() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    for seq in 0..3 {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
    }
    let end = end(&disk.files()[FIRST]);
    let backup = |times| {
        // A frame that was not there yet, before a mark that was.
        let early = end - 2 * HEADER_BYTES..end - HEADER_BYTES;
        let busy = Busy { disk: disk.clone(), early, times: Arc::new(AtomicU64::new(times)) };
        copy(&busy, &SimulatedDisk::new(), Path::new("from"), Path::new("to"))
    };
    assert_eq!(backup(1).unwrap().records, 3);
    assert!(matches!(backup(u64::MAX), Err(ToolError::BadCopy { .. })), "what stays is damage");
}
