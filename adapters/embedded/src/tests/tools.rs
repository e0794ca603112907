//! The data tools: a check that misses nothing, a repair that keeps what is good and owns up to what is not, backups that
//! open, and an erased client that is nowhere.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use nimbus_core::{
    ClientId, GroupId, Offset, PrincipalId, ServerId, SessionId,
    ports::{
        log::{ConsumerEvent, LogError},
        mailbox::{Claim, ClaimKind},
    },
};
use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::damage::{Files, compacted_log, contents, logs, names, tiny};
use crate::{
    Embedded, OpenError,
    disk::simulated::SimulatedDisk,
    testing::{P0, TestClock, event, event_of, open_on, origin, read_all, read_dead_letters, small},
    tools::{ToolError, backup, check, check_on, erase, erase_on, repair, repair_on, restore},
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn dir() -> &'static Path {
    Path::new("in-memory")
}

#[tokio::test]
async fn a_good_log_checks_out_whether_killed_or_closed() {
    for files in logs().await {
        let disk = SimulatedDisk::with_files(&files);
        let report = check_on(&disk, dir()).unwrap();
        assert!(report.is_good(), "{:?}", report.findings);
        assert_eq!(report.topics[0].records, 7);
        assert_eq!(report.segments as usize, names(&files, "segments/").len());
        assert_eq!(disk.files(), files, "a check changes nothing");
        let report = repair_on(&disk, dir()).unwrap();
        assert!(report.findings.is_empty() && report.epoch.is_none());
        assert_eq!(disk.files(), files, "nor does a repair of what is good");
    }
}

#[tokio::test]
async fn whatever_refuses_to_open_is_found_by_the_check() {
    let [killed, closed] = logs().await;
    for files in [killed, closed] {
        for (name, bytes) in &files {
            for byte in (0..bytes.len()).step_by(3) {
                let mut flipped = files.clone();
                flipped.get_mut(name).unwrap()[byte] ^= 0x10;
                let disk = SimulatedDisk::with_files(&flipped);
                let report = check_on(&disk, dir()).unwrap();
                assert_eq!(disk.files(), flipped, "a check changes nothing");
                if let Err(error) = contents(&disk) {
                    let OpenError::Damaged { file, .. } = error else { panic!("{error}") };
                    assert!(report.findings.iter().any(|finding| finding.file == file), "{:?}", report.findings);
                }
            }
        }
    }
}

/// Something that happens to files.
#[derive(Debug, Clone)]
enum Harm {
    Flip { file: usize, at: usize },
    Zero { file: usize, at: usize, length: usize },
    Cut { file: usize, at: usize },
    Remove { file: usize },
}

fn harms() -> impl Strategy<Value = Vec<Harm>> {
    let (file, at) = (0..100usize, 0..10_000usize);
    let harm = prop_oneof![
        4 => (file.clone(), at.clone()).prop_map(|(file, at)| Harm::Flip { file, at }),
        2 => (file.clone(), at.clone(), 1..200usize).prop_map(|(file, at, length)| Harm::Zero { file, at, length }),
        1 => (file.clone(), at).prop_map(|(file, at)| Harm::Cut { file, at }),
        1 => file.prop_map(|file| Harm::Remove { file }),
    ];
    prop::collection::vec(harm, 1..4)
}

fn harm(files: &mut Files, harm: &Harm) {
    let (Harm::Flip { file, .. } | Harm::Zero { file, .. } | Harm::Cut { file, .. } | Harm::Remove { file }) = harm;
    let names: Vec<_> = files.keys().cloned().collect();
    let name = &names[file % names.len()];
    let bytes = files.get_mut(name).unwrap();
    let place = |at: usize| at % bytes.len().max(1);
    match *harm {
        _ if bytes.is_empty() => {}
        Harm::Flip { at, .. } => {
            let at = place(at);
            bytes[at] ^= 1 << (at % 8);
        }
        Harm::Zero { at, length, .. } => {
            let at = place(at);
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(0);
        }
        Harm::Cut { at, .. } => bytes.truncate(place(at)),
        Harm::Remove { .. } => drop(files.remove(name)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_repair_keeps_what_is_good_and_names_what_is_lost(harms in harms(), which in 0..3usize) {
        static LOGS: OnceLock<[Files; 3]> = OnceLock::new();
        let files = &LOGS.get_or_init(|| {
            let [killed, closed] = block_on(logs());
            [killed, closed, block_on(compacted_log())]
        })[which];
        let mut harmed = files.clone();
        harms.iter().for_each(|what| harm(&mut harmed, what));
        block_on(repair_and_compare(files, &harmed));
    }
}

/// Holes in the offsets must not stop a consumer, nor make it run in circles.
async fn consume_to_the_end(log: &Embedded) {
    let events = log.events();
    let mut consumer = events.consume(&GroupId::try_new("fresh").unwrap()).await.unwrap();
    let mut behind = Vec::new();
    for partition in events.partitions().all() {
        let range = events.range(partition).await.unwrap();
        if range.start < range.end {
            behind.push((partition, range.end));
        }
    }
    while !behind.is_empty() {
        if let ConsumerEvent::Records(batch) = consumer.next().await.unwrap() {
            assert!(batch.next > batch.from);
            behind.retain(|(partition, end)| *partition != batch.partition || batch.next < *end);
        }
    }
}

async fn repair_and_compare(files: &Files, harmed: &Files) {
    let intact = contents(&SimulatedDisk::with_files(files)).unwrap();
    let disk = SimulatedDisk::with_files(harmed);
    let report = match repair_on(&disk, dir()) {
        Ok(report) => report,
        // Neither `meta` nor a single segment header is left.
        Err(ToolError::NoLog { .. }) => return,
        Err(other) => panic!("{other}"),
    };
    let checked = check_on(&disk, dir()).unwrap();
    assert!(checked.is_good(), "after {:?}: {:?}", report.findings, checked.findings);
    assert!(repair_on(&disk, dir()).unwrap().findings.is_empty());

    let log = open_on(&disk, tiny()).unwrap();
    consume_to_the_end(&log).await;
    if let Some(epoch) = &report.epoch {
        assert_eq!(epoch, &log.epoch().to_string());
    }
    // Without its clean mark a log that was cut short at a frame looks like one that never was longer. Nobody can know.
    let end_is_known = files.contains_key("clean") && files.get("clean") == harmed.get("clean");
    for (partition, intact) in (0u32..).map(nimbus_core::Partition).zip(&intact.events) {
        let events = log.events();
        let found = read_all(&*events, partition).await.unwrap();
        let end_found = found.last().map_or(0, |(offset, _)| offset.0 + 1);
        let is_named = |offset: u64| {
            report.lost.iter().any(|lost| {
                let place = (lost.topic, lost.partition) == ("events", partition.0);
                place && lost.from <= offset && lost.to.is_none_or(|to| offset < to)
            })
        };
        let start = events.range(partition).await.unwrap().start;
        for (offset, seq) in intact {
            let there = found.contains(&(Offset(*offset), *seq));
            let unknowable = !end_is_known && *offset >= end_found;
            let excused = is_named(*offset) || start.covers(Offset(*offset)) || unknowable;
            assert!(there || excused, "{partition} {offset} is gone, lost: {:?}", report.lost);
        }
        assert!(found.iter().all(|(offset, seq)| intact.contains(&(offset.0, *seq))), "nothing is made up");
        assert!(found.iter().all(|(offset, _)| !is_named(offset.0)), "{:?} are not lost", report.lost);
        let position = events.append(partition, vec![event(1000)]).await.unwrap();
        let end = intact.last().map_or(0, |(offset, _)| offset + 1);
        assert!(!end_is_known || position.0 > end, "offset {position} was used before");
    }
    let found = read_dead_letters(&log).await.unwrap();
    let start = log.dead_letters().range(P0).await.unwrap().start;
    let end_found = found.last().map_or(0, |(offset, _)| offset + 1);
    for letter @ (offset, _) in &intact.dead_letters {
        let is_named = report.lost.iter().any(|lost| {
            let place = (lost.topic, lost.partition) == ("dead_letters", 0);
            place && lost.from <= *offset && lost.to.is_none_or(|to| *offset < to)
        });
        let unknowable = !end_is_known && *offset >= end_found;
        let excused = is_named || start.covers(Offset(*offset)) || unknowable;
        assert!(found.contains(letter) || excused, "{letter:?} is gone, lost: {:?}", report.lost);
    }
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_snapshot_costs_neither_records_nor_the_epoch() {
    let [killed, _] = logs().await;
    let mut harmed = killed.clone();
    let name = names(&killed, "snapshots/").pop().unwrap();
    harmed.get_mut(&name).unwrap()[20] ^= 1;
    let disk = SimulatedDisk::with_files(&harmed);
    let report = repair_on(&disk, dir()).unwrap();
    assert!(report.epoch.is_none() && report.lost.is_empty());
    assert_eq!(report.quarantined, [format!("quarantine/{}", name.replace('/', "-"))]);
    assert_eq!(contents(&disk).unwrap(), contents(&SimulatedDisk::with_files(&killed)).unwrap());
}

async fn open(dir: &Path) -> Embedded {
    let config = crate::EmbeddedConfig { data_dir: dir.to_path_buf(), ..small() };
    Embedded::open(config, Arc::new(TestClock::default()), &mut Registry::default()).await.unwrap()
}

#[tokio::test]
async fn a_backup_of_a_running_server_opens_and_a_restored_one_has_a_new_epoch() {
    let (source, target, restored) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(source.path()).await;
    let events = log.events();
    let mut acknowledged = Vec::new();
    for seq in 0..100 {
        events.append(P0, vec![event(seq)]).await.unwrap();
        acknowledged.push(seq);
    }
    let busy = events.append(P0, vec![event(100)]);
    let report = backup(source.path(), target.path()).unwrap();
    assert!(report.records >= 100, "{report:?}");
    busy.await.unwrap();
    assert!(matches!(backup(source.path(), target.path()), Err(ToolError::NotEmpty { .. })));

    let restore_report = restore(target.path(), restored.path()).unwrap();
    assert_eq!(restore_report.records, report.records);
    assert!(matches!(restore(target.path(), restored.path()), Err(ToolError::NotEmpty { .. })));
    assert!(check(restored.path()).unwrap().is_good());
    let copy = open(restored.path()).await;
    assert_ne!(copy.epoch(), log.epoch());
    assert_eq!(copy.epoch().to_string(), restore_report.epoch);
    let found: Vec<_> = read_all(&*copy.events(), P0).await.unwrap().into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(found[..100], acknowledged);
    copy.close().await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test]
async fn tools_that_change_a_log_want_it_for_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    let client = ClientId::try_new("c").unwrap();
    assert!(matches!(repair(dir.path()), Err(ToolError::Log(OpenError::InUse { .. }))));
    assert!(matches!(erase(dir.path(), &client), Err(ToolError::Log(OpenError::InUse { .. }))));
    assert!(check(dir.path()).unwrap().is_good(), "a check does not");
    log.close().await.unwrap();
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(check(empty.path()), Err(ToolError::NoLog { .. })));
    assert!(matches!(backup(empty.path(), &empty.path().join("b")), Err(ToolError::NoLog { .. })));
}

#[tokio::test]
async fn an_erased_client_is_nowhere_and_nobody_else_notices() {
    let disk = SimulatedDisk::new();
    let log = open_on(&disk, tiny()).unwrap();
    let (victim, other) = (origin("victim-of-erasure"), origin("somebody-else"));
    for seq in 0..10 {
        let events = vec![event_of(&victim, 100 + seq, 20), event_of(&other, seq, 20)];
        log.events().append(P0, events).await.unwrap();
    }
    for (client, origin) in [("victim-of-erasure", &victim), ("somebody-else", &other)] {
        let claim = Claim {
            client: origin.client.clone(),
            principal: PrincipalId::try_new("p").unwrap(),
            server: ServerId::try_new("s").unwrap(),
            session: SessionId(ulid::Ulid::generate()),
            kind: ClaimKind::Sdk { outbox: origin.outbox, session_no: 5, token: None },
            log_end: nimbus_core::Position(0),
        };
        log.mailbox().claim(claim).await.unwrap_or_else(|error| panic!("{client}: {error}"));
    }
    log.close().await.unwrap();
    let group = GroupId::try_new("g").unwrap();
    let holds = |files: &Files, text: &str| {
        let within = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        files.values().any(within)
    };
    assert!(holds(&disk.files(), "victim-of-erasure"));

    let report = erase_on(&disk, dir(), &victim.client).unwrap();
    assert_eq!(report.records, 10);
    assert!(!holds(&disk.files(), "victim-of-erasure"));
    assert!(holds(&disk.files(), "somebody-else"));
    let checked = check_on(&disk, dir()).unwrap();
    assert!(checked.is_good(), "{:?}", checked.findings);
    assert_eq!((checked.topics[0].records, checked.topics[0].erased), (10, 10));

    let log = open_on(&disk, tiny()).unwrap();
    let found = read_all(&*log.events(), P0).await.unwrap();
    assert_eq!(found, (0..10).map(|n| (Offset(2 * n + 1), n)).collect::<Vec<_>>(), "offsets are unchanged");
    let mut consumer = log.events().consume(&group).await.unwrap();
    let mut seqs = Vec::new();
    while seqs.len() < 10 {
        if let ConsumerEvent::Records(batch) = consumer.next().await.unwrap() {
            seqs.extend(batch.records.iter().map(|stored| stored.record.seq));
        }
    }
    assert_eq!(seqs, (0..10).collect::<Vec<_>>());
    drop(consumer);
    log.close().await.unwrap();

    let again = erase_on(&disk, dir(), &victim.client).unwrap();
    assert_eq!(again.records, 0);
}

#[tokio::test]
async fn a_record_that_goes_bad_while_the_log_is_open_is_reported_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    for seq in 0..100 {
        log.events().append(P0, vec![event(seq)]).await.unwrap();
    }
    log.close().await.unwrap();
    let log = open(dir.path()).await;
    let path = dir.path().join("segments/00000000000000000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = read_all(&*log.events(), P0).await.unwrap_err();
    assert!(matches!(&error, LogError::Damaged(what) if what.contains("00000000000000000001.log at byte")), "{error}");
    log.close().await.unwrap();
}
