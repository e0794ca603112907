//! The walk over all segments, frame by frame: rules 1 and 2, and the replay of rule 3.

use std::collections::VecDeque;

use bytes::Bytes;

use super::RecoveredStrand;
use crate::{
    body::{self, RecordsOf},
    error::OpenError,
    frame::{Header, Kind, Salt},
    meta::Meta,
    scan::{Scanner, Step},
    segment::{Form, SegmentHeader, SegmentId},
    shelf::FrameAt,
    state::{StateKind, StateMachine},
    topic::Topic,
};

/// How far one segment is good.
#[derive(Debug)]
pub(super) struct Read {
    /// Behind the last frame.
    pub(super) synced: u64,
    /// Behind the last mark.
    pub(super) end: u64,
    /// Before this everything is known to have been synced.
    pub(super) vouched: u64,
    /// Bytes of a torn tail behind `end`, which is more than zeros.
    pub(super) torn: Option<u64>,
}

/// The state of the walk over all segments.
pub(super) struct Reading<'a> {
    salt: Salt,
    header_bytes: usize,
    machines: &'a [&'a dyn StateMachine],
    pub(super) sequence: u64,
    /// The segment was written anew without all of its frames: offsets may jump ahead, up to the beginning of the next.
    skipped: bool,
    /// The segment before this one has lost everything else to retention.
    dead_letters_only: bool,
    /// State records are repeated from here on.
    pub(super) replay: bool,
    pub(super) strands: Vec<RecoveredStrand>,
    partitions: usize,
}

impl<'a> Reading<'a> {
    pub(super) fn new(meta: &Meta, first: &SegmentHeader, machines: &'a [&'a dyn StateMachine]) -> Self {
        let strand = |offset: &u64| RecoveredStrand { start: *offset, end: *offset, frames: VecDeque::new() };
        Self {
            salt: Salt::of(meta.log),
            header_bytes: SegmentHeader::bytes(meta.partitions),
            machines,
            sequence: first.first_sequence,
            skipped: false,
            dead_letters_only: false,
            replay: false,
            strands: first.offsets.iter().map(strand).collect(),
            partitions: meta.partitions.len(),
        }
    }

    /// A segment must go on where the one before it ended.
    pub(super) fn begin(&mut self, header: &SegmentHeader, path: &str) -> Result<(), OpenError> {
        let offsets = || self.strands.iter().map(|strand| strand.end);
        let continues = if self.skipped {
            header.offsets.iter().zip(offsets()).all(|(begins, ended)| *begins >= ended)
        } else {
            header.offsets.iter().copied().eq(offsets())
        };
        if header.first_sequence != self.sequence || !continues {
            let what = format!(
                "it begins at frame {}, the segment before it ends at frame {}; frames are missing",
                header.first_sequence, self.sequence
            );
            return Err(OpenError::damaged(path, 0, what));
        }
        let kept = Topic::DeadLetters.index() * self.partitions;
        for (index, (strand, begins)) in self.strands.iter_mut().zip(&header.offsets).enumerate() {
            strand.end = *begins;
            if self.dead_letters_only && index < kept {
                strand.start = *begins;
            }
        }
        self.skipped = matches!(header.form, Form::Rewritten { .. });
        self.dead_letters_only = header.form.is_compact();
        Ok(())
    }

    pub(super) fn segment(
        &mut self,
        header: &SegmentHeader,
        path: &str,
        contents: Vec<u8>,
        is_last: bool,
    ) -> Result<Read, OpenError> {
        let contents = Bytes::from(contents);
        let mut scanner = Scanner::new(&contents, self.header_bytes, self.salt);
        let mut synced = self.header_bytes as u64;
        let (mut end, mut vouched) = (synced, synced);
        loop {
            match scanner.step() {
                Step::Frame { at, header: frame, body } => {
                    self.frame(header.id, &frame, at, || contents.slice_ref(body))
                        .map_err(|what| OpenError::damaged(path, at as u64, what))?;
                    end = (at + frame.frame_bytes()) as u64;
                    vouched = vouched.max(frame.synced);
                    if frame.kind != Kind::Mark {
                        synced = end;
                    }
                }
                Step::Bad { .. } if is_last && !scanner.is_vouched_for() => {
                    let torn = Some(scanner.torn() as u64).filter(|torn| *torn > 0);
                    return Ok(Read { synced, end, vouched, torn });
                }
                Step::Bad { at, what } => return Err(OpenError::damaged(path, at as u64, what)),
                Step::End => return Ok(Read { synced, end, vouched, torn: None }),
            }
        }
    }

    fn frame(
        &mut self,
        segment: SegmentId,
        header: &Header,
        at: usize,
        body: impl FnOnce() -> Bytes,
    ) -> Result<(), String> {
        if header.sequence != self.sequence {
            return Err(format!("frame {} stands where frame {} should be", header.sequence, self.sequence));
        }
        match header.kind {
            Kind::Mark => {}
            Kind::Skip => {
                if header.base <= header.sequence {
                    return Err("a skip leads backwards".into());
                }
                self.skipped = true;
            }
            Kind::State(kind) if self.replay => self.replay(kind, body())?,
            Kind::State(_) => {}
            Kind::Records(strand) => {
                let known = (strand.partition.0 as usize) < self.partitions;
                let Some(found) = known.then(|| &mut self.strands[strand.index(self.partitions)]) else {
                    return Err(format!("it is of partition {}, which does not exist", strand.partition));
                };
                if header.base < found.end || (header.base > found.end && !self.skipped) {
                    return Err(format!(
                        "its first {} offset is {}, it should be {}",
                        strand.topic.label(),
                        header.base,
                        found.end
                    ));
                }
                found.end = header.base + u64::from(header.count);
                found.frames.push_back(FrameAt {
                    base: header.base,
                    segment,
                    at: at as u32,
                    bytes: header.frame_bytes() as u32,
                    count: header.count,
                });
            }
        }
        self.sequence = header.next_sequence();
        Ok(())
    }

    fn replay(&self, kind: StateKind, body: Bytes) -> Result<(), String> {
        let Some(machine) = self.machines.iter().find(|machine| machine.kind() == kind) else { return Ok(()) };
        for record in RecordsOf(body) {
            let record = record.map_err(|_| "the lengths of its records do not add up".to_string())?;
            if body::is_erased(&record) {
                // Erasing a client leaves the state in a snapshot only, and no replay begins before it.
                return Err("its state was erased here and stands in a snapshot only, which is missing".into());
            }
            machine.replay(&record).map_err(|why| format!("its state cannot be read: {why}"))?;
        }
        Ok(())
    }
}
