//! Every single bit of a small log flipped, its last segment cut at every byte, files missing or mixed up: what opens is
//! what was acknowledged, and anything else is refused by name, with nothing changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use nimbus_core::{
    DeadLetter, Event, GroupId, Position,
    clock::SystemClock,
    ports::log::{Committed, ConsumerEvent},
};

use crate::{
    EmbeddedConfig, OpenError,
    body::{self, RecordsOf},
    creation::read_or_create,
    disk::{Disk as _, simulated::SimulatedDisk},
    frame::{HEADER_BYTES, u64_at},
    machines::Machines,
    recovery::examine,
    segment::{Form, SegmentHeader},
    testing::{P0, P1, dead_letter, end_of_frames, event, open_on, small},
    topic::{Strand, Topic, TopicRecord as _},
};

pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Small, so that flipping every bit is quick.
pub(super) fn tiny() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 500, spare_bytes: 300, ..small() }
}

/// What a reader would find.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// Offset and number of each event, by partition.
    pub(super) events: [Vec<(u64, u64)>; 2],
    /// The same of the dead letters of the first partition.
    pub(super) dead_letters: Vec<(u64, u64)>,
    pub(super) committed: Vec<(GroupId, Position)>,
}

/// Opens the log as far as recovery goes, and reads everything in it.
pub(super) fn contents(disk: &SimulatedDisk) -> Result<Contents, OpenError> {
    let meta = read_or_create(disk, &tiny(), &SystemClock)?;
    let machines = Machines::new(meta.partitions);
    let recovered = examine(disk, &meta, &machines.all())?;
    recovered.settle(disk)?;
    let read = |topic, partition, seq: fn(&[u8]) -> u64| {
        let strand = Strand { topic, partition };
        let mut found = Vec::new();
        for frame in &recovered.strands[strand.index(2)].frames {
            let segment = recovered.segments.get(frame.segment).unwrap();
            let mut bytes = vec![0; frame.bytes as usize];
            assert_eq!(segment.file.read_at(&mut bytes, frame.at.into()).unwrap(), bytes.len());
            for (offset, record) in (frame.base..).zip(RecordsOf(Bytes::from(bytes).slice(HEADER_BYTES..))) {
                let record = record.unwrap();
                if body::is_erased(&record) {
                    continue;
                }
                found.push((offset, seq(&record)));
            }
        }
        found
    };
    let event = |record: &[u8]| Event::decode(record).unwrap().seq;
    let dead_letter = |record: &[u8]| DeadLetter::decode(record).unwrap().event.seq;
    Ok(Contents {
        events: [read(Topic::Events, P0, event), read(Topic::Events, P1, event)],
        dead_letters: read(Topic::DeadLetters, P0, dead_letter),
        committed: machines.groups.committed(Topic::Events, P0),
    })
}

/// A log of several segments with a snapshot, as it is after a kill, and after it was closed.
pub(super) async fn logs() -> [Files; 2] {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, tiny()).unwrap();
    let events = log.events();
    let mut consumer = events.consume(&GroupId::try_new("g").unwrap()).await.unwrap();
    for seq in 0..6 {
        events.append(if seq % 3 == 0 { P1 } else { P0 }, vec![event(seq)]).await.unwrap();
        let batch = loop {
            if let ConsumerEvent::Records(batch) = consumer.next().await.unwrap() {
                break batch;
            }
        };
        consumer.commit(batch.partition, Committed { position: batch.next, ..Committed::default() });
        consumer.flush().await.unwrap();
    }
    log.look_around_and_wait();
    assert!(!disk.list("snapshots").unwrap().is_empty());
    // So that the last segment has a record, whatever was written in between.
    events.append(P0, vec![event(100)]).await.unwrap();
    let killed = disk.files();
    assert!(names(&killed, "segments/").len() > 3, "{:?}", killed.keys());
    log.close().await.unwrap();
    [killed, disk.files()]
}

/// A log of which retention has left some dead letters and the newest events, after a kill.
pub(super) async fn compacted_log() -> Files {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, EmbeddedConfig { retention_bytes: 1500, ..tiny() }).unwrap();
    for seq in 0..12 {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
        if seq % 3 == 0 {
            log.dead_letters().append(P0, vec![dead_letter(seq)]).await.unwrap();
        }
        log.events().append(P1, vec![event(seq)]).await.unwrap();
    }
    log.look_around_and_wait();
    assert!(log.events().range(P0).await.unwrap().start > Position::START);
    disk.files()
}

pub(super) fn names(files: &Files, dir: &str) -> Vec<String> {
    files.keys().filter(|name| name.starts_with(dir)).cloned().collect()
}

#[tokio::test]
async fn no_flipped_bit_goes_unnoticed_after_a_kill() {
    let [killed, _] = logs().await;
    flip_every_bit(&killed);
}

#[tokio::test]
async fn no_flipped_bit_goes_unnoticed_where_retention_has_been() {
    flip_every_bit(&compacted_log().await);
}

#[tokio::test]
async fn no_flipped_bit_goes_unnoticed_after_a_clean_end() {
    let [_, closed] = logs().await;
    flip_every_bit(&closed);
}

fn flip_every_bit(files: &Files) {
    let intact = contents(&SimulatedDisk::with_files(files)).unwrap();
    let (mut refused, mut harmless) = (0, 0);
    let mut flipped = files.clone();
    for (name, bytes) in files {
        for bit in 0..bytes.len() * 8 {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            flipped.get_mut(name).unwrap()[byte] ^= mask;
            let disk = SimulatedDisk::with_files(&flipped);
            match contents(&disk) {
                Ok(found) => {
                    assert_eq!(found, intact, "{name}, bit {bit}");
                    harmless += 1;
                }
                Err(OpenError::Damaged { file, offset, .. }) => {
                    assert_eq!(&file, name, "bit {bit}");
                    assert!(offset as usize <= byte, "{name}: byte {byte} is reported at {offset}");
                    assert_eq!(disk.files(), flipped, "a refusal changes nothing");
                    refused += 1;
                }
                Err(other) => panic!("{name}, bit {bit}: {other}"),
            }
            flipped.get_mut(name).unwrap()[byte] ^= mask;
        }
    }
    // Harmless are flips in a mark at the end of a segment, and in a snapshot that can be done without.
    assert!(refused > harmless, "{refused} refused, {harmless} harmless");
}

#[tokio::test]
async fn a_log_cut_short_opens_with_a_prefix_or_not_at_all() {
    let [killed, closed] = logs().await;
    for (files, was_closed) in [(killed, false), (closed, true)] {
        let intact = contents(&SimulatedDisk::with_files(&files)).unwrap();
        let last = names(&files, "segments/").pop().unwrap();
        for length in 0..files[&last].len() {
            let mut cut = files.clone();
            cut.get_mut(&last).unwrap().truncate(length);
            match contents(&SimulatedDisk::with_files(&cut)) {
                Ok(found) => {
                    for (found, intact) in found.events.iter().zip(&intact.events) {
                        assert!(intact.starts_with(found), "cut at {length}: {found:?}");
                        assert!(!was_closed || found == intact, "a log that was closed has lost something unnoticed");
                    }
                }
                Err(OpenError::Damaged { file, .. }) => assert_eq!(file, last, "cut at {length}"),
                Err(other) => panic!("cut at {length}: {other}"),
            }
        }
        for name in names(&files, "segments/").iter().rev().skip(1) {
            for length in (0..files[name].len() - HEADER_BYTES).step_by(7) {
                let mut cut = files.clone();
                cut.get_mut(name).unwrap().truncate(length);
                let error = contents(&SimulatedDisk::with_files(&cut)).unwrap_err();
                assert!(matches!(&error, OpenError::Damaged { file, .. } if file == name), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn garbage_behind_the_end_is_a_torn_tail() {
    let [killed, _] = logs().await;
    let intact = contents(&SimulatedDisk::with_files(&killed)).unwrap();
    let last = names(&killed, "segments/").pop().unwrap();
    // What had been written ahead goes as well.
    let end = end_of_frames(&killed[&last]);
    let frame = killed[&last][end - 2 * HEADER_BYTES..end].to_vec();
    for garbage in [vec![0; 4096], vec![0xff; 10], frame[..HEADER_BYTES + 10].to_vec()] {
        let mut torn = killed.clone();
        torn.get_mut(&last).unwrap().extend(&garbage);
        let disk = SimulatedDisk::with_files(&torn);
        assert_eq!(contents(&disk).unwrap(), intact);
        assert_eq!(disk.files()[&last], killed[&last][..end], "it was cut off");
    }
}

#[tokio::test]
async fn missing_and_mixed_up_files_are_named() {
    let [killed, closed] = logs().await;
    let refused = |files: &Files| {
        let disk = SimulatedDisk::with_files(files);
        match contents(&disk) {
            Err(OpenError::Damaged { file, what, .. }) => {
                assert_eq!(&disk.files(), files, "a refusal changes nothing");
                format!("{file}: {what}")
            }
            other => panic!("{other:?}"),
        }
    };
    let segments = names(&killed, "segments/");
    let without = |name: &str| {
        let mut files = closed.clone();
        files.remove(name).unwrap();
        files
    };

    assert!(refused(&without("meta")).starts_with("meta: the file is missing"));
    let middle = &segments[segments.len() - 2];
    assert!(refused(&without(middle)).starts_with(&format!("{middle}: the file is missing")));
    let last = &segments[segments.len() - 1];
    let message = refused(&without(last));
    assert!(message.contains("missing") || message.contains("known to have reached"), "{message}");

    let mut swapped = killed.clone();
    let (a, b) = (swapped[&segments[1]].clone(), swapped[&segments[2]].clone());
    swapped.insert(segments[1].clone(), b);
    swapped.insert(segments[2].clone(), a);
    assert!(refused(&swapped).contains("under another name"));

    let [foreign, _] = logs().await;
    let mut mixed = killed.clone();
    mixed.insert(middle.clone(), foreign[middle].clone());
    assert!(refused(&mixed).contains("another log"));

    let mut gone = killed.clone();
    segments.iter().for_each(|name| drop(gone.remove(name)));
    assert!(refused(&gone).contains("there is no segment"));

    // With the first segment gone, the snapshots are all there is of the state up to them.
    let mut no_snapshots = killed.clone();
    no_snapshots.remove(&segments[0]);
    names(&killed, "snapshots/").iter().for_each(|name| drop(no_snapshots.remove(name)));
    assert!(refused(&no_snapshots).contains("there is no snapshot"));
}

#[tokio::test]
async fn other_format_versions_are_refused_with_advice() {
    let [_, closed] = logs().await;
    let with_version = |version: u32| {
        let text = String::from_utf8(closed["meta"].clone()).unwrap();
        let body = text.replace("format = 1", &format!("format = {version}"));
        let body = body.split_inclusive("crc32").next().unwrap().strip_suffix("crc32").unwrap();
        let mut files = closed.clone();
        files.insert("meta".into(), format!("{body}crc32 = {:08x}\n", crc32fast::hash(body.as_bytes())).into_bytes());
        contents(&SimulatedDisk::with_files(&files)).unwrap_err()
    };
    let newer = with_version(2);
    assert!(matches!(newer, OpenError::NewerFormat { found: 2, .. }), "{newer}");
    assert!(newer.to_string().contains("newer build"));
    let older = with_version(0);
    assert!(matches!(older, OpenError::OlderFormat { found: 0, .. }), "{older}");
    assert!(older.to_string().contains("the release that wrote it"));
}

#[tokio::test]
async fn a_client_cannot_forge_a_frame_that_makes_a_torn_tail_pass_for_damage() {
    use crate::frame::{Header, Salt};
    let [killed, _] = logs().await;
    let last = names(&killed, "segments/").pop().unwrap();
    // Half a frame, and in its payload a mark that vouches for everything, made without knowing the log's identity.
    let mut torn = killed.clone();
    let bytes = torn.get_mut(&last).unwrap();
    bytes.extend([0; 100]);
    bytes.extend(Header::mark(1, u64::MAX).encode(Salt::of(ulid::Ulid::nil())));
    assert!(contents(&SimulatedDisk::with_files(&torn)).is_ok());
}

#[tokio::test]
async fn a_segment_that_was_written_as_a_whole_is_not_written_to_any_more() {
    // As a repair leaves it that was interrupted before it had begun the segment behind.
    let mut files = compacted_log().await;
    let last = names(&files, "segments/").pop().unwrap();
    let contents = files.get_mut(&last).unwrap();
    contents.truncate(end_of_frames(contents));
    let (log, partitions) = SegmentHeader::claims(contents).unwrap();
    let header = SegmentHeader::decode(contents, u64_at(contents, 8), log, partitions).unwrap();
    let form = Form::Rewritten { valid: contents.len() as u64, dead_letters_only: false };
    let header = SegmentHeader { form, ..header }.encode();
    contents[..header.len()].copy_from_slice(&header);

    let disk = SimulatedDisk::with_files(&files);
    let before = open_on(&disk, tiny()).unwrap();
    let position = before.events().append(P0, vec![event(100)]).await.unwrap();
    let after = open_on(&disk.after_kill(), tiny()).unwrap();
    assert_eq!(after.events().range(P0).await.unwrap().end, position);
}
