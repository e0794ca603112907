//! Writes damaged segments anew, with what is good in them, and goes on in a new one.

use std::io;

use nimbus_core::clock::{Clock as _, SystemClock};

use super::{LostRecords, RepairReport, quarantine};
use crate::{
    body::{self, RecordsOf},
    clean::CleanMark,
    disk::{Disk, read_file, replace_file},
    frame::{Header, Kind, Salt},
    machines::Machines,
    meta::Meta,
    segment::{self, Form, SegmentHeader, SegmentId},
    snapshot::{self, Snapshot},
    tools::{
        check::{chain, read_header},
        survey::{Frame, Survey, survey},
    },
    topic::{Strand, Topic},
};

/// How far offsets jump ahead when the end of the log is lost: no lost record's offset may be used again.
const JUMP: u64 = 1 << 32;

/// The walk over all segments, oldest first.
pub(super) struct Rewrite<'a> {
    disk: &'a dyn Disk,
    meta: Meta,
    salt: Salt,
    pub(super) report: RepairReport,
    machines: Machines,
    /// Sequence number of the next frame.
    sequence: u64,
    /// Next offset of each strand.
    offsets: Vec<u64>,
    /// Length of the segment before, as its successor's header must state it.
    previous_valid: u64,
    /// The snapshot that state begins with.
    replay_from: SegmentId,
    tail_is_lost: bool,
    /// Retention has taken everything else from the segment before this one.
    dead_letters_only: bool,
    /// The log is known to have reached this frame.
    reached: u64,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(disk: &'a dyn Disk, meta: Meta, report: RepairReport) -> Self {
        Self {
            disk,
            salt: Salt::of(meta.log),
            machines: Machines::new(meta.partitions),
            sequence: 0,
            offsets: Vec::new(),
            previous_valid: 0,
            replay_from: 0,
            tail_is_lost: false,
            dead_letters_only: false,
            reached: 0,
            meta,
            report,
        }
    }

    pub(super) fn run(&mut self) -> io::Result<()> {
        self.reached = self.snapshots()?;
        let ids = segment::ids(&self.disk.list(segment::DIR)?);
        let first = ids.first().copied().unwrap_or(1);
        // A snapshot tells of segments that are not there any more.
        let snapshots = snapshot::ids(&self.disk.list(snapshot::DIR)?);
        let last = ids.last().max(snapshots.last()).copied().unwrap_or(1);
        self.tail_is_lost = ids.last() != Some(&last);
        let chain = chain(self.disk, &self.meta, first, last)?;
        let first = chain[0];
        for id in chain {
            self.segment(id, id == first, id == last)?;
        }
        if first > 1 && self.replay_from < first {
            self.report.state_may_be_old = true;
        }
        self.go_on(last + 1)
    }

    /// Takes state from the newest snapshot that reads, sets those aside that do not, and says how far the log reached.
    fn snapshots(&mut self) -> io::Result<u64> {
        let clean = CleanMark::read(self.disk).ok().flatten();
        let mut reached = clean.map_or(0, |clean| clean.next_sequence);
        for id in snapshot::ids(&self.disk.list(snapshot::DIR)?).into_iter().rev() {
            let path = snapshot::path(id);
            // Those that do not read were set aside before.
            if let Ok(snapshot) = Snapshot::decode(&read_file(self.disk, &path)?, id, self.meta.log) {
                reached = reached.max(snapshot.sequence);
                if self.replay_from == 0 && restore(&snapshot, &self.machines) {
                    self.replay_from = id;
                }
            }
        }
        Ok(reached)
    }

    fn segment(&mut self, id: SegmentId, is_first: bool, is_last: bool) -> io::Result<()> {
        let next_header = read_header(self.disk, &self.meta, id + 1)?;
        let survey = survey(self.disk, &self.meta, id, next_header.as_ref(), is_last)?;
        let next = self.start_of(id + 1, is_last)?;
        let mut header = self.header(id, is_first, survey.as_ref(), next)?;
        if is_first {
            self.sequence = header.first_sequence;
            self.offsets.clone_from(&header.offsets);
        }
        let survey = survey.unwrap_or_else(|| Survey {
            header: None,
            frames: Vec::new(),
            bad: Vec::new(),
            torn: 0,
            bytes: 0,
            valid: 0,
        });
        self.tail_is_lost |= is_last && !survey.bad.is_empty();
        let mut rewritten = header.encode();
        let mut intact = survey.header.as_ref() == Some(&header) && survey.bad.is_empty();
        self.lost_before(&header.offsets);
        self.dead_letters_only = header.form.is_compact();
        for frame in &survey.frames {
            // A misplaced copy of what is there already, or something that the next segment fences off.
            let elsewhere =
                frame.header.sequence < self.sequence || next.is_some_and(|next| frame.header.sequence >= next);
            if elsewhere || !self.fits(frame) {
                intact = false;
                continue;
            }
            if frame.header.sequence > self.sequence {
                intact = false;
                self.skip(&mut rewritten, frame.header.sequence);
            }
            self.keep(&mut rewritten, frame, id);
        }
        // What is missing before a segment that has lost its header is skipped in that one.
        let begins = next_header.map(|next| next.first_sequence);
        if let Some(begins) = begins.filter(|begins| *begins > self.sequence) {
            intact = false;
            self.skip(&mut rewritten, begins);
        }
        if is_last {
            self.tail_is_lost |= self.sequence < self.reached;
            // Leave for offsets to jump ahead in the segment after it.
            intact = false;
            let state_may_be_old = self.report.state_may_be_old;
            self.skip(&mut rewritten, self.reached.max(self.sequence + 1));
            self.report.state_may_be_old = state_may_be_old;
        }
        if intact {
            self.previous_valid = survey.valid as u64;
            return Ok(());
        }
        let path = segment::path(id);
        if !survey.bad.is_empty() || survey.header.is_none() {
            quarantine(self.disk, &path, &mut self.report)?;
        }
        self.previous_valid = rewritten.len() as u64;
        header.form = Form::Rewritten { valid: self.previous_valid, dead_letters_only: self.dead_letters_only };
        let encoded = header.encode();
        rewritten[..encoded.len()].copy_from_slice(&encoded);
        replace_file(self.disk, segment::DIR, &path, &rewritten).map(drop)
    }

    /// The header a segment must have to go on where the one before it ends.
    fn header(
        &mut self,
        id: SegmentId,
        is_first: bool,
        survey: Option<&Survey>,
        next: Option<u64>,
    ) -> io::Result<SegmentHeader> {
        let own = survey.and_then(|survey| survey.header.clone());
        let (first_sequence, offsets) = if !is_first {
            // Anything missing in between was skipped at the end of the segment before.
            let offsets = own.as_ref().map_or(&self.offsets, |own| &own.offsets);
            let ahead = offsets.iter().zip(&self.offsets).map(|(own, ended)| *own.max(ended)).collect();
            (self.sequence, ahead)
        } else if let Some(own) = &own {
            (own.first_sequence, own.offsets.clone())
        } else if id == 1 {
            (1, vec![0; Strand::all(self.meta.partitions.0.get()).count()])
        } else {
            let first = survey.and_then(|survey| survey.frames.first()).map(|frame| frame.header.sequence);
            (first.or(next).unwrap_or(1), self.first_offsets(id, survey)?)
        };
        Ok(SegmentHeader {
            id,
            log: self.meta.log,
            previous_valid: own.as_ref().map_or(self.previous_valid, |own| own.previous_valid),
            form: own.as_ref().map_or(Form::Appended, |own| own.form),
            from: own.as_ref().map_or(id, |own| own.from),
            created: own.map_or_else(|| SystemClock.now(), |own| own.created),
            first_sequence,
            offsets,
        })
    }

    /// Where each strand begins in a first segment whose header is lost: at its first record, or where the next segment
    /// says. When neither tells, at 0, and offsets jump ahead at the end.
    fn first_offsets(&mut self, id: SegmentId, own: Option<&Survey>) -> io::Result<Vec<u64>> {
        let next = survey(self.disk, &self.meta, id + 1, None, false)?.and_then(|survey| survey.header);
        let mut offsets = Vec::new();
        for (index, strand) in Strand::all(self.meta.partitions.0.get()).enumerate() {
            let first = own.and_then(|survey| first_of(survey, strand));
            let known = first.or(next.as_ref().map(|next| next.offsets[index]));
            self.tail_is_lost |= known.is_none();
            offsets.push(known.unwrap_or(0));
        }
        Ok(offsets)
    }

    /// Whether the records of a frame can stand behind those before.
    fn fits(&self, frame: &Frame) -> bool {
        match frame.header.kind {
            Kind::Records(strand) => {
                strand.partition.0 < self.meta.partitions.0.get()
                    && frame.header.base >= self.offsets[strand.index(self.meta.partitions.len())]
            }
            Kind::State(_) | Kind::Skip | Kind::Mark => true,
        }
    }

    /// The first frame that belongs to a segment, as far as it says so itself.
    fn start_of(&self, id: SegmentId, is_none: bool) -> io::Result<Option<u64>> {
        if is_none {
            return Ok(None);
        }
        let found = survey(self.disk, &self.meta, id, None, false)?;
        Ok(found.and_then(|found| match found.header {
            Some(header) => Some(header.first_sequence),
            None => found.frames.first().map(|frame| frame.header.sequence),
        }))
    }

    fn skip(&mut self, rewritten: &mut Vec<u8>, to: u64) {
        rewritten.extend(Header::skip(self.sequence, to, rewritten.len() as u64).encode(self.salt));
        self.sequence = to;
        self.report.state_may_be_old = true;
    }

    fn keep(&mut self, rewritten: &mut Vec<u8>, frame: &Frame, segment: SegmentId) {
        match frame.header.kind {
            Kind::Records(strand) => {
                let index = strand.index(self.meta.partitions.len());
                self.lost_until(index, frame.header.base);
                self.offsets[index] = frame.header.base + u64::from(frame.header.count);
            }
            Kind::State(kind) if segment >= self.replay_from => {
                let machine = self.machines.all().into_iter().find(|machine| machine.kind() == kind);
                let mut records = RecordsOf(frame.body.clone()).flatten().filter(|record| !body::is_erased(record));
                let read = |record: bytes::Bytes| machine.is_some_and(|machine| machine.replay(&record).is_ok());
                self.report.state_may_be_old |= !records.all(read);
            }
            Kind::State(_) | Kind::Skip | Kind::Mark => {}
        }
        let header = Header { synced: rewritten.len() as u64, ..frame.header };
        self.sequence = header.next_sequence();
        rewritten.extend(header.encode(self.salt));
        rewritten.extend_from_slice(&frame.body);
    }

    fn lost_before(&mut self, offsets: &[u64]) {
        let kept = Topic::DeadLetters.index() * self.meta.partitions.len();
        for (index, offset) in offsets.iter().enumerate() {
            if self.dead_letters_only && index < kept {
                // Retention has taken it.
                self.offsets[index] = *offset;
            } else {
                self.lost_until(index, *offset);
            }
        }
    }

    /// Notes that everything of a strand between its end and `offset` is gone.
    fn lost_until(&mut self, index: usize, offset: u64) {
        let end = self.offsets[index];
        if offset > end {
            self.lose(index, end, Some(offset));
            self.offsets[index] = offset;
        }
    }

    fn lose(&mut self, index: usize, from: u64, to: Option<u64>) {
        let strand = Strand::all(self.meta.partitions.0.get()).nth(index);
        if let Some(Strand { topic, partition }) = strand {
            self.report.lost.push(LostRecords { topic: topic.label(), partition: partition.0, from, to });
        }
    }

    /// Begins the segment that the log goes on in, with a snapshot of its state.
    fn go_on(&mut self, id: SegmentId) -> io::Result<()> {
        if self.tail_is_lost {
            for index in 0..self.offsets.len() {
                self.lose(index, self.offsets[index], None);
                self.offsets[index] += JUMP;
            }
        }
        let header = SegmentHeader {
            id,
            log: self.meta.log,
            previous_valid: self.previous_valid,
            created: SystemClock.now(),
            first_sequence: self.sequence,
            form: Form::Appended,
            from: id,
            offsets: self.offsets.clone(),
        };
        header.create(self.disk)?;
        let parts = self.machines.all().map(|machine| (machine.kind() as u32, machine.snapshot()));
        Snapshot { segment: id, log: self.meta.log, sequence: self.sequence, parts: parts.to_vec() }.write(self.disk)
    }
}

/// The offset of the first record of a strand in a segment.
fn first_of(survey: &Survey, strand: Strand) -> Option<u64> {
    let first = survey.frames.iter().find(|frame| frame.header.kind == Kind::Records(strand));
    first.map(|frame| frame.header.base)
}

fn restore(snapshot: &Snapshot, machines: &Machines) -> bool {
    snapshot.parts.iter().all(|(number, part)| {
        let machine = machines.all().into_iter().find(|machine| machine.kind() as u32 == *number);
        machine.is_some_and(|machine| machine.restore(part).is_ok())
    })
}
