//! What a crash, a power loss and a flipped bit leave of an outbox file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use nimbus_proto::v1;
use tempfile::TempDir;

use super::{
    format::{self, HEADER_BYTES, SLOT_BYTES, SLOT_OFFSETS, UNNAMED_HEADER_BYTES, UNNAMED_VERSION},
    journal::Journal,
};
use crate::{
    Error,
    machine::{Memory, Record},
};

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox");
    (directory, path)
}

fn open(path: &Path) -> Result<(Journal, Memory), Error> {
    Journal::open(path, "device-1")
}

fn event(seq: u64) -> Record {
    Record::Event(v1::Event { seq, name: "sq".to_owned(), payload: seq.to_string().into(), ..Default::default() })
}

/// One of each, in an order that makes sense.
fn records() -> Vec<Record> {
    let token = Bytes::from_static(b"token");
    vec![
        Record::Session { number: 1 },
        Record::Resume { token: token.clone(), position: 10 },
        event(1),
        event(2),
        event(3),
        Record::Accepted { through: 2 },
        Record::Answered { first: 1, last: 1 },
        Record::Position { position: 12 },
        Record::Gap { token, position: 40, suspects: 3 },
        Record::Answered { first: 3, last: 3 },
        event(4),
    ]
}

fn memory_of(records: &[Record]) -> Memory {
    let mut memory = Memory::default();
    records.iter().for_each(|record| memory.apply(record.clone()).unwrap());
    memory
}

fn write(path: &Path, records: &[Record]) {
    let (mut journal, memory) = open(path).unwrap();
    assert_eq!(memory, Memory::default());
    journal.append(records, true).unwrap();
}

fn reopen(path: &Path) -> Memory {
    open(path).unwrap().1
}

#[test]
fn what_was_written_is_read_again() {
    let (_directory, path) = scratch();
    let (mut journal, _) = open(&path).unwrap();
    let id = journal.outbox_id();
    for record in records() {
        journal.append(&[record], true).unwrap();
    }
    drop(journal);
    let (journal, memory) = open(&path).unwrap();
    assert_eq!((journal.outbox_id(), &memory), (id, &memory_of(&records())));
    assert_eq!((memory.accepted, memory.last_seq(), memory.place.position), (2, 4, 40));
    assert_eq!(memory_of(&memory.snapshot()), memory);
}

#[test]
fn a_write_that_was_torn_off_anywhere_is_cut() {
    let (_directory, path) = scratch();
    write(&path, &records()[..4]);
    let kept = fs::read(&path).unwrap();
    let (mut journal, _) = open(&path).unwrap();
    // Not vouched for: a kill in the middle of the write, before its fsync.
    journal.append(&records()[4..], false).unwrap();
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let mut lengths_seen = Vec::new();
    for end in kept.len()..=whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let memory = reopen(&path);
        let count = (4..=records().len()).rev().find(|count| memory_of(&records()[..*count]) == memory);
        lengths_seen.push(count.expect("a prefix of what was written"));
        // What follows is as good as ever.
        let cut = fs::metadata(&path).unwrap().len();
        assert!(cut <= end as u64);
        let (mut journal, memory) = open(&path).unwrap();
        journal.append(&[event(memory.last_seq() + 1)], true).unwrap();
        drop(journal);
        assert_eq!(reopen(&path).last_seq(), memory.last_seq() + 1);
    }
    assert!(lengths_seen.is_sorted());
    assert_eq!((lengths_seen[0], lengths_seen[lengths_seen.len() - 1]), (4, records().len()));
}

#[test]
fn garbage_behind_what_was_fsynced_is_cut() {
    let (_directory, path) = scratch();
    write(&path, &records());
    let kept = fs::read(&path).unwrap();
    // What a power loss may leave of blocks that were never fsynced.
    for garbage in [vec![0; 4096], vec![0xff; 100], kept[HEADER_BYTES..].to_vec()] {
        fs::write(&path, [&kept[..], &garbage].concat()).unwrap();
        assert_eq!(reopen(&path), memory_of(&records()));
        assert_eq!(fs::read(&path).unwrap().len(), kept.len());
    }
}

#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let (_directory, path) = scratch();
    write(&path, &records());
    let whole = fs::read(&path).unwrap();
    let slots = SLOT_OFFSETS[0]..SLOT_OFFSETS[1] + SLOT_BYTES;
    for bit in 0..whole.len() * 8 {
        let offset = bit / 8;
        let mut flipped = whole.clone();
        flipped[offset] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        match open(&path) {
            Err(Error::OutboxDamaged { offset: named, path: file, .. }) => {
                assert_eq!(file, path);
                assert!(named <= offset as u64, "bit {bit}: {named} named");
                assert_eq!(fs::read(&path).unwrap(), flipped, "nothing is changed");
            }
            // The other slot vouches for the same file, or for less of a file that is whole.
            Ok((_, memory)) => {
                assert!(slots.contains(&offset), "bit {bit} at {offset} went unnoticed");
                assert_eq!(memory, memory_of(&records()));
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn a_file_that_was_cut_short_is_found_out() {
    let (_directory, path) = scratch();
    write(&path, &records());
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(matches!(open(&path), Err(Error::OutboxDamaged { .. })), "{end} of {} bytes", whole.len());
    }
}

#[test]
fn another_format_and_another_kind_of_file_are_named() {
    let (_directory, path) = scratch();
    fs::write(&path, [b'x'; 200]).unwrap();
    let error = open(&path).unwrap_err().to_string();
    assert!(error.contains("no Nimbus outbox"), "{error}");

    let mut header = format::encode_header([1; 16], "device-1", HEADER_BYTES as u64);
    header[8] = 9;
    let crc = crc32fast::hash(&header[..28]);
    header[28..32].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, header).unwrap();
    let error = open(&path).unwrap_err().to_string();
    assert!(error.contains("format version 9"), "{error}");
}

/// A file as version 1 wrote it.
pub(crate) fn unnamed(records: &[Record]) -> Vec<u8> {
    let mut body = Vec::new();
    records.iter().for_each(|record| format::encode_record(record, &mut body, UNNAMED_HEADER_BYTES as u64));
    let kept = (UNNAMED_HEADER_BYTES + body.len()) as u64;
    let mut header = format::encode_header([1; 16], "", kept)[..UNNAMED_HEADER_BYTES].to_vec();
    header[8..12].copy_from_slice(&UNNAMED_VERSION.to_le_bytes());
    let crc = crc32fast::hash(&header[..28]);
    header[28..32].copy_from_slice(&crc.to_le_bytes());
    header[56..].fill(0);
    header.extend(body);
    header
}

#[test]
fn a_file_of_version_1_is_read_and_written_and_says_whose_it_is_from_its_rewrite_on() {
    let (_directory, path) = scratch();
    fs::write(&path, unnamed(&records())).unwrap();
    let (mut journal, memory) = open(&path).unwrap();
    assert_eq!((journal.outbox_id(), journal.is_named(), &memory), ([1; 16], false, &memory_of(&records())));
    journal.append(&[event(5)], true).unwrap();
    drop(journal);
    // Whoever it belongs to: it does not say yet.
    let (mut journal, memory) = Journal::open(&path, "device-2").unwrap();
    assert_eq!(memory.last_seq(), 5);
    journal.compact(&memory.snapshot()).unwrap();
    assert!(journal.is_named());
    journal.append(&[event(6)], true).unwrap();
    drop(journal);
    assert!(matches!(open(&path), Err(Error::OutboxForeign { .. })));
    let (journal, memory) = Journal::open(&path, "device-2").unwrap();
    assert_eq!((journal.outbox_id(), memory.last_seq()), ([1; 16], 6));
}

#[test]
fn a_file_of_another_client_is_refused_by_name_and_stays_as_it_is() {
    let (_directory, path) = scratch();
    write(&path, &records());
    let before = fs::read(&path).unwrap();
    match Journal::open(&path, "device-2") {
        Err(error @ Error::OutboxForeign { .. }) => {
            let text = error.to_string();
            assert!(text.contains("`device-1`") && text.contains("`device-2`"), "{text}");
            assert!(!error.is_retryable());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    open(&path).unwrap();

    let longest = "x".repeat(128);
    let path = path.with_file_name("longest");
    drop(Journal::open(&path, &longest).unwrap());
    Journal::open(&path, &longest).unwrap();
    assert!(matches!(Journal::open(&path, "x"), Err(Error::OutboxForeign { owner, .. }) if owner == longest));
}

#[test]
fn a_rewrite_keeps_everything_and_a_crash_in_it_changes_nothing() {
    let (_directory, path) = scratch();
    let (mut journal, _) = open(&path).unwrap();
    let id = journal.outbox_id();
    journal.append(&records(), true).unwrap();
    let memory = memory_of(&records());
    // What a crash in the middle of a rewrite leaves beside the file.
    fs::write(path.with_extension("tmp"), b"half").unwrap();
    journal.compact(&memory.snapshot()).unwrap();
    journal.append(&[event(5)], true).unwrap();
    drop(journal);
    fs::write(path.with_file_name("outbox.tmp"), b"half of the next").unwrap();
    let (journal, after) = open(&path).unwrap();
    assert_eq!(journal.outbox_id(), id);
    assert_eq!((after.last_seq(), after.accepted, &after.place), (5, 2, &memory.place));
    assert!(!path.with_file_name("outbox.tmp").exists());
}

#[test]
fn a_file_does_not_grow_without_bound() {
    let (_directory, path) = scratch();
    let (mut journal, _) = open(&path).unwrap();
    let mut memory = Memory::default();
    let mut rewrites = 0;
    for seq in 1..=20_000 {
        let records = [event(seq), Record::Accepted { through: seq }, Record::Answered { first: seq, last: seq }];
        journal.append(&records, false).unwrap();
        records.into_iter().for_each(|record| memory.apply(record).unwrap());
        if journal.wants_compaction() {
            journal.compact(&memory.snapshot()).unwrap();
            rewrites += 1;
        }
    }
    assert!(rewrites > 0);
    assert!(fs::metadata(&path).unwrap().len() < 2 * 1024 * 1024);
    drop(journal);
    assert_eq!(reopen(&path), memory);
}

#[test]
fn one_at_a_time() {
    let (_directory, path) = scratch();
    let first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(Error::OutboxInUse { .. })));
    drop(first);
    open(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = scratch();
    write(&path, &records());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_directory_that_is_not_there_is_an_io_error() {
    let (directory, _) = scratch();
    let error = open(&directory.path().join("no/such/outbox")).unwrap_err();
    assert!(matches!(error, Error::OutboxIo { .. }), "{error}");
    assert!(error.to_string().contains("no/such/outbox"));
}
