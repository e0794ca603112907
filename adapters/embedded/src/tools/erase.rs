//! `nimbus data erase`: forgets one client for good.
//!
//! Its records are overwritten by zeros of the same length, with valid checksums, so that no offset changes. Its state is
//! taken out of a new snapshot, and all older snapshots and state records, which may name it, are erased as well. Can be
//! begun again when it was interrupted. Backups, quarantined files and the blocks that the file system has freed are the
//! operator's business; the report says if there are quarantined files.

use std::{io, path::Path};

use bytes::Bytes;
use nimbus_core::{
    ClientId, DeadLetter, Event, ResultRecord,
    clock::{Clock as _, SystemClock},
    ports::log::LogRecord as _,
};
use serde::Serialize;

use super::{
    ToolError,
    check::{identify, read_header},
    disk_of, lock,
};
use crate::{
    body::{self, RecordsOf},
    clean::CleanMark,
    disk::{Disk, read_file, replace_file},
    error::OpenError,
    frame::{HEADER_BYTES, Header, Kind, Salt},
    machines::Machines,
    meta::Meta,
    recovery,
    scan::{Scanner, Step},
    segment::{self, Form, SegmentHeader, SegmentId},
    snapshot::{self, Snapshot},
    topic::{Topic, TopicRecord},
};

/// What was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EraseReport {
    /// Records of the client, of all topics.
    pub records: u64,
    /// Segments that were written anew.
    pub segments: u64,
    /// Files in `quarantine/`, which were not looked into and may hold data of the client.
    pub quarantined: u64,
}

/// Erases everything of one client from a data directory that nobody uses.
///
/// # Errors
/// [`ToolError::NoLog`]; [`ToolError::Log`] with [`OpenError::Damaged`]: repair it first. It can be begun again.
pub fn erase(dir: &Path, client: &ClientId) -> Result<EraseReport, ToolError> {
    let disk = disk_of(dir)?;
    let _lock = lock(&disk, dir)?;
    erase_on(&disk, dir, client)
}

pub(crate) fn erase_on(disk: &dyn Disk, dir: &Path, client: &ClientId) -> Result<EraseReport, ToolError> {
    let (meta, finding) = identify(disk, dir)?;
    if let Some(finding) = finding {
        return Err(OpenError::damaged(finding.file, finding.offset, finding.what).into());
    }
    let machines = Machines::new(meta.partitions);
    let recovered = recovery::examine(disk, &meta, &machines.all())?;
    recovered.settle(disk)?;
    let failed = || ToolError::io(format!("erase {client} in {}", dir.display()));
    CleanMark::remove(disk).map_err(failed())?;
    let start = recovered.start;
    let state_from = start.segment.header.id + 1;
    let header = SegmentHeader {
        id: state_from,
        log: meta.log,
        previous_valid: start.synced,
        created: SystemClock.now(),
        first_sequence: start.next_sequence,
        form: Form::Appended,
        from: state_from,
        offsets: start.offsets,
    };
    header.create(disk).map_err(failed())?;
    snapshot_without(disk, &header, &machines, client).map_err(failed())?;
    // From here on older state is not needed any more.
    let mut report = EraseReport::default();
    for segment in recovered.segments.all() {
        erase_segment(disk, &meta, segment.header.id, client, &mut report).map_err(failed())?;
    }
    report.quarantined = disk.list("quarantine").map_err(failed())?.len() as u64;
    Ok(report)
}

fn snapshot_without(disk: &dyn Disk, header: &SegmentHeader, machines: &Machines, client: &ClientId) -> io::Result<()> {
    let parts = machines.all().map(|machine| {
        machine.erase(client);
        (machine.kind() as u32, machine.snapshot())
    });
    let (segment, log, sequence) = (header.id, header.log, header.first_sequence);
    Snapshot { segment, log, sequence, parts: parts.to_vec() }.write(disk)?;
    for id in snapshot::ids(&disk.list(snapshot::DIR)?) {
        if id < segment {
            disk.remove(&snapshot::path(id))?;
        }
    }
    disk.sync_dir(snapshot::DIR)
}

fn erase_segment(
    disk: &dyn Disk,
    meta: &Meta,
    id: SegmentId,
    client: &ClientId,
    report: &mut EraseReport,
) -> io::Result<()> {
    let path = segment::path(id);
    let mut contents = read_file(disk, &path)?;
    let own = SegmentHeader::decode(&contents, id, meta.log, meta.partitions).ok();
    let valid = own.and_then(|own| own.valid(read_header(disk, meta, id + 1).ok().flatten().as_ref()));
    let valid = valid.and_then(|valid| usize::try_from(valid).ok()).unwrap_or(contents.len()).min(contents.len());
    // What lies behind was fenced off and is nobody's, but may hold anything.
    let fenced = contents[valid..].chunks(HEADER_BYTES).any(|chunk| !is_mark(chunk, Salt::of(meta.log)));
    contents.truncate(valid);
    let contents = Bytes::from(contents);
    let salt = Salt::of(meta.log);
    let mut scanner = Scanner::new(&contents, SegmentHeader::bytes(meta.partitions), salt);
    let mut changed = if fenced { contents.to_vec() } else { Vec::new() };
    while let Step::Frame { at, header, body } = scanner.step() {
        let mut body_erased = body.to_vec();
        let erased = match header.kind {
            Kind::Records(strand) => {
                let erased = erase_records(&contents.slice_ref(body), &mut body_erased, |record| {
                    is_of(strand.topic, record, client)
                });
                report.records += erased;
                erased
            }
            Kind::State(_) => erase_records(&contents.slice_ref(body), &mut body_erased, |_| true),
            Kind::Mark | Kind::Skip => 0,
        };
        if erased > 0 {
            if changed.is_empty() {
                changed = contents.to_vec();
            }
            let header = Header { body_crc: crc32fast::hash(&body_erased), ..header };
            changed[at..at + HEADER_BYTES].copy_from_slice(&header.encode(salt));
            changed[at + HEADER_BYTES..at + header.frame_bytes()].copy_from_slice(&body_erased);
        }
    }
    if !changed.is_empty() {
        report.segments += 1;
        replace_file(disk, segment::DIR, &path, &changed)?;
    }
    Ok(())
}

fn is_mark(bytes: &[u8], salt: Salt) -> bool {
    Header::decode(bytes, salt).is_ok_and(|header| header.kind == Kind::Mark)
}

/// Overwrites those records of a body that `which` says; returns how many.
fn erase_records(body: &Bytes, into: &mut [u8], which: impl Fn(&Bytes) -> bool) -> u64 {
    let mut erased = 0;
    for record in RecordsOf(body.clone()).flatten() {
        if !body::is_erased(&record) && which(&record) {
            // The record is a part of the body, so it tells where it lies.
            let at = record.as_ptr() as usize - body.as_ptr() as usize;
            into[at..at + record.len()].fill(0);
            erased += 1;
        }
    }
    erased
}

/// Whether a record is a client's. One that cannot be decoded is nobody's; the check reports it.
fn is_of(topic: Topic, record: &Bytes, client: &ClientId) -> bool {
    match topic {
        Topic::Events => <Event as TopicRecord>::decode(record).is_ok_and(|event| event.origin().client == *client),
        Topic::Results => {
            <ResultRecord as TopicRecord>::decode(record).is_ok_and(|result| result.origin().client == *client)
        }
        Topic::DeadLetters => {
            <DeadLetter as TopicRecord>::decode(record).is_ok_and(|letter| letter.origin().client == *client)
        }
    }
}
