//! Zeros that are written ahead: small writes do not make the file grow, and nothing depends on the zeros.

use std::path::Path;

use crate::{
    Embedded, EmbeddedConfig, OpenError,
    disk::{Disk as _, simulated::SimulatedDisk},
    frame::HEADER_BYTES,
    testing::{P0, end_of_frames as end, event, event_of, open_on, origin, read_all, small},
    tools::{ToolError, copy},
};

const FIRST: &str = "segments/00000000000000000001.log";

fn ahead(spare_bytes: usize) -> EmbeddedConfig {
    EmbeddedConfig { spare_bytes, ..small() }
}

/// Writes so many events, one at a time.
async fn write(log: &Embedded, events: u64) {
    for seq in 0..events {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
    }
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
    write(&log, 60).await;
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
    write(&log, 3).await;
    assert_eq!(read_all(&*log.events(), P0).await.unwrap().len(), 3);
}

#[tokio::test]
async fn zeros_where_a_frame_should_be_are_damage() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    write(&log, 60).await;
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

#[tokio::test]
async fn a_backup_looks_again_at_what_was_written_while_it_was_read() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, ahead(1000)).unwrap();
    write(&log, 3).await;
    let end = end(&disk.files()[FIRST]);
    let backup = |times| {
        // A frame that was not there yet, before a mark that was.
        disk.read_early(end - 2 * HEADER_BYTES..end - HEADER_BYTES, times);
        copy(&disk, &SimulatedDisk::new(), Path::new("from"), Path::new("to"))
    };
    assert_eq!(backup(1).unwrap().records, 3);
    assert!(matches!(backup(u64::MAX), Err(ToolError::BadCopy { .. })), "what stays is damage");
}
