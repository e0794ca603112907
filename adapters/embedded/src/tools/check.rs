//! `nimbus data check`: reads everything, decodes every record, changes nothing, and lists all it finds.

use std::{collections::VecDeque, fmt, io, path::Path};

use nimbus_core::{DeadLetter, Event, ResultRecord, clock::UnixMillis};
use serde::Serialize;

use super::{
    ToolError, disk_of,
    survey::{Frame, Survey, survey},
};
use crate::{
    body::{self, RecordsOf},
    disk::{Disk, read_file},
    error::OpenError,
    frame::Kind,
    machines::Machines,
    meta::{META, Meta, MetaError},
    recovery,
    segment::{self, SegmentHeader, SegmentId},
    snapshot::{self, Snapshot},
    topic::{Topic, TopicRecord},
};

/// How often a check begins anew because the server deleted a segment meanwhile.
const ATTEMPTS: u32 = 5;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, relative to the data directory.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.what)
    }
}

/// What one topic holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicSummary {
    /// `events`, `results` or `dead_letters`.
    pub topic: &'static str,
    /// Records that can be read.
    pub records: u64,
    /// Places of records that were erased.
    pub erased: u64,
}

/// What a data directory holds, and what is wrong with it.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The epoch, unless `meta` is damaged.
    pub epoch: Option<String>,
    /// Partitions of each topic.
    pub partitions: u32,
    /// When the log was begun, ms since 1970 UTC.
    pub created_unix_ms: u64,
    /// Number of segments.
    pub segments: u64,
    /// Size of all segments.
    pub bytes: u64,
    /// What each topic holds.
    pub topics: Vec<TopicSummary>,
    /// Bytes of an unfinished write at the end. No damage: nothing of it was acknowledged, and the next start removes it.
    pub torn_bytes: u64,
    /// Damage. Empty: all is well.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether the log can be opened with everything that was acknowledged.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks a data directory, also while a server uses it.
///
/// # Errors
/// [`ToolError::NoLog`], [`ToolError::TooBusy`], or what kept it from reading. Damage is no error but in the report.
pub fn check(dir: &Path) -> Result<CheckReport, ToolError> {
    check_on(&disk_of(dir)?, dir)
}

pub(crate) fn check_on(disk: &dyn Disk, dir: &Path) -> Result<CheckReport, ToolError> {
    let mut before = None;
    for _ in 0..ATTEMPTS {
        let (meta, finding) = identify(disk, dir)?;
        let mut check = Check::new(disk, meta, finding);
        match check.run() {
            // What a running server does meanwhile may look like damage. Damage looks the same when one looks again.
            Ok(()) if check.report.is_good() || before.as_ref() == Some(&check.report.findings) => {
                return Ok(check.report);
            }
            Ok(()) => before = Some(check.report.findings),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ToolError::io("read the log")(error)),
        }
    }
    Err(ToolError::TooBusy)
}

/// Reads `meta`. When it is damaged, a segment tells what is needed to go on.
pub(super) fn identify(disk: &dyn Disk, dir: &Path) -> Result<(Meta, Option<Finding>), ToolError> {
    let dir = || dir.to_path_buf();
    let finding = match Meta::read(disk) {
        Ok(Some(meta)) => return Ok((meta, None)),
        Ok(None) => Finding { file: META.into(), offset: 0, what: "the file is missing".into() },
        Err(MetaError::Damaged { offset, what }) => Finding { file: META.into(), offset, what },
        Err(MetaError::Version(found)) if found > crate::meta::FORMAT_VERSION => {
            return Err(OpenError::NewerFormat { dir: dir(), found }.into());
        }
        Err(MetaError::Version(found)) => return Err(OpenError::OlderFormat { dir: dir(), found }.into()),
        Err(MetaError::Io(error)) => return Err(ToolError::io("read meta")(error)),
    };
    let entries = disk.list(segment::DIR).map_err(ToolError::io("list segments/"))?;
    for id in segment::ids(&entries) {
        let contents = read_file(disk, &segment::path(id)).map_err(ToolError::io("read the log"))?;
        if let Some(meta) = meta_of(&contents, id) {
            return Ok((meta, Some(finding)));
        }
    }
    Err(ToolError::NoLog { dir: dir() })
}

fn meta_of(contents: &[u8], id: SegmentId) -> Option<Meta> {
    let (log, partitions) = SegmentHeader::claims(contents)?;
    let header = SegmentHeader::decode(contents, id, log, partitions).ok()?;
    Some(Meta { log, epoch: nimbus_core::LogEpoch(ulid::Ulid::nil()), partitions, created: header.created })
}

struct Check<'a> {
    disk: &'a dyn Disk,
    meta: Meta,
    report: CheckReport,
    /// Of the frame that should come next.
    sequence: Option<u64>,
}

impl<'a> Check<'a> {
    fn new(disk: &'a dyn Disk, meta: Meta, finding: Option<Finding>) -> Self {
        let topics = Topic::ALL.map(|topic| TopicSummary { topic: topic.label(), records: 0, erased: 0 });
        let UnixMillis(created_unix_ms) = meta.created;
        let report = CheckReport {
            epoch: finding.is_none().then(|| meta.epoch.to_string()),
            partitions: meta.partitions.0.get(),
            created_unix_ms,
            segments: 0,
            bytes: 0,
            topics: topics.to_vec(),
            torn_bytes: 0,
            findings: finding.into_iter().collect(),
        };
        Self { disk, meta, report, sequence: None }
    }

    fn find(&mut self, file: String, offset: u64, what: String) {
        self.report.findings.push(Finding { file, offset, what });
    }

    fn run(&mut self) -> io::Result<()> {
        let ids = segment::ids(&self.disk.list(segment::DIR)?);
        let Some((first, last)) = ids.first().zip(ids.last()) else {
            self.find(segment::DIR.into(), 0, "there is no segment".into());
            return Ok(());
        };
        for id in chain(self.disk, &self.meta, *first, *last)? {
            let is_last = id == *last;
            let next = read_header(self.disk, &self.meta, id + 1)?;
            match survey(self.disk, &self.meta, id, next.as_ref(), is_last)? {
                Some(survey) => self.segment(id, survey),
                // Deleted by retention since it was listed: begin anew.
                None if ids.contains(&id) => return Err(io::ErrorKind::NotFound.into()),
                None => self.find(segment::path(id), 0, "the file is missing".into()),
            }
        }
        self.snapshots()?;
        if self.report.findings.is_empty() {
            self.verdict()?;
        }
        Ok(())
    }

    fn segment(&mut self, id: SegmentId, survey: Survey) {
        let path = segment::path(id);
        self.report.segments += 1;
        self.report.bytes += survey.bytes as u64;
        self.report.torn_bytes += survey.torn as u64;
        for bad in survey.bad {
            self.find(path.clone(), bad.at as u64, bad.what);
        }
        let mut expected = self.sequence.or(survey.header.map(|header| header.first_sequence));
        for frame in &survey.frames {
            if let Some(expected) = expected.filter(|expected| *expected != frame.header.sequence) {
                let what = format!("frame {} stands where frame {expected} should be", frame.header.sequence);
                self.find(path.clone(), frame.at as u64, what);
            }
            expected = Some(frame.header.next_sequence());
            if let Err(what) = self.records(frame) {
                self.find(path.clone(), frame.at as u64, what);
            }
        }
        self.sequence = expected;
    }

    fn records(&mut self, frame: &Frame) -> Result<(), String> {
        let Kind::Records(strand) = frame.header.kind else { return Ok(()) };
        if strand.partition.0 >= self.meta.partitions.0.get() {
            return Err(format!("it is of partition {}, which does not exist", strand.partition));
        }
        let summary = &mut self.report.topics[strand.topic.index()];
        let mut count = 0;
        for record in RecordsOf(frame.body.clone()) {
            let record = record.map_err(|_| "the lengths of its records do not add up".to_string())?;
            count += 1;
            if body::is_erased(&record) {
                summary.erased += 1;
                continue;
            }
            decode(strand.topic, &record).map_err(|why| format!("record {}: {why}", frame.header.base + count - 1))?;
            summary.records += 1;
        }
        if count == u64::from(frame.header.count) {
            Ok(())
        } else {
            Err(format!("it holds {count} records instead of {}", frame.header.count))
        }
    }

    fn snapshots(&mut self) -> io::Result<()> {
        for id in snapshot::ids(&self.disk.list(snapshot::DIR)?) {
            let path = snapshot::path(id);
            match Snapshot::decode(&read_file(self.disk, &path)?, id, self.meta.log) {
                Ok(_) => {}
                Err(why) => self.find(path, why.offset, why.what.into()),
            }
        }
        Ok(())
    }

    /// What opening it would say, which looks at the whole as well.
    fn verdict(&mut self) -> io::Result<()> {
        let machines = Machines::new(self.meta.partitions);
        match recovery::examine(self.disk, &self.meta, &machines.all()) {
            Ok(_) => Ok(()),
            Err(OpenError::Damaged { file, offset, what }) => {
                self.find(file, offset, what);
                Ok(())
            }
            Err(OpenError::Io { source, .. }) => Err(source),
            Err(other) => Err(io::Error::other(other)),
        }
    }
}

fn decode(topic: Topic, record: &[u8]) -> Result<(), String> {
    let decoded = match topic {
        Topic::Events => <Event as TopicRecord>::decode(record).map(drop),
        Topic::Results => <ResultRecord as TopicRecord>::decode(record).map(drop),
        Topic::DeadLetters => <DeadLetter as TopicRecord>::decode(record).map(drop),
    };
    decoded.map_err(|why| why.to_string())
}

/// The segments that make up the log, oldest first: also those that should be there and are not, but not those in whose
/// place others have come.
pub(super) fn chain(
    disk: &dyn Disk,
    meta: &Meta,
    first: SegmentId,
    last: SegmentId,
) -> io::Result<VecDeque<SegmentId>> {
    let mut chain = VecDeque::from([last]);
    let mut id = last;
    loop {
        let from = read_header(disk, meta, id)?.map_or(id, |header| header.from);
        if from <= first {
            return Ok(chain);
        }
        id = from - 1;
        chain.push_front(id);
    }
}

/// The header of a segment, if there is one that can be read.
pub(super) fn read_header(disk: &dyn Disk, meta: &Meta, id: SegmentId) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = vec![0; SegmentHeader::bytes(meta.partitions)];
    let read = match disk.open(&segment::path(id)) {
        Ok(file) => file.read_at(&mut bytes, 0)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(SegmentHeader::decode(&bytes[..read], id, meta.log, meta.partitions).ok())
}
