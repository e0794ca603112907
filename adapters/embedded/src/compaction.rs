//! Writes a sealed segment anew with nothing but its dead letters.
//!
//! Frames keep their sequence numbers and offsets; skips stand where frames were. The new file replaces the old one in one
//! step, and its header says how long it is and whose place it takes, so its neighbours need no change.

use std::io;

use nimbus_core::Partition;

use crate::{
    disk::{read_file, replace_file},
    frame::{Header, Kind},
    scan::{Scanner, Step},
    segment::{self, Form, SegmentHeader, SegmentId},
    segments::Segment,
    shared::Shared,
    shelf::FrameAt,
    topic::{Strand, Topic},
};

/// Frees everything of a segment but its dead letters, and takes in those of the one `before` it, if that is given.
pub(crate) fn compact(
    shared: &Shared,
    before: Option<&Segment>,
    segment: &Segment,
    next: &SegmentHeader,
) -> io::Result<()> {
    let id = segment.header.id;
    let begins = &before.unwrap_or(segment).header;
    let mut compact = Compact { shared, id, bytes: begins.encode(), sequence: begins.first_sequence, kept: Vec::new() };
    if let Some(before) = before {
        compact.take_in(&before.header, &segment.header)?;
    }
    compact.take_in(&segment.header, next)?;
    compact.skip_to(next.first_sequence);
    let Compact { mut bytes, kept, .. } = compact;
    let form = Form::Rewritten { valid: bytes.len() as u64, dead_letters_only: true };
    let header = SegmentHeader { id, form, ..begins.clone() };
    let encoded = header.encode();
    bytes[..encoded.len()].copy_from_slice(&encoded);

    let file = replace_file(&*shared.disk, segment::DIR, &segment::path(id), &bytes)?;
    let compacted = Segment::new(header, file, bytes.len() as u64);
    let merged = before.map(|before| before.header.id);
    // A reader that had found its frames in the old file meets the new one, or none, and looks again.
    shared.segments.replace(compacted, merged, || refile(shared, id, next, &kept));
    shared.metrics.compacted_segments.inc();
    match merged {
        // Should it come back after a power loss, the new one says that it has taken its place.
        Some(merged) => shared.disk.remove(&segment::path(merged)),
        None => Ok(()),
    }
}

/// Tells the readers what is gone, and where the rest lies now.
fn refile(shared: &Shared, id: SegmentId, next: &SegmentHeader, frames: &[(Partition, FrameAt)]) {
    for strand in Strand::all(shared.meta.partitions.0.get()).filter(|strand| strand.topic != Topic::DeadLetters) {
        let begins = next.offsets[strand.index(shared.meta.partitions.len())];
        shared.shelves.drop_segment(strand, id, begins);
    }
    for (partition, frame) in frames {
        shared.shelves.dead_letters[partition.0 as usize].refile(*frame);
    }
}

struct Compact<'a> {
    shared: &'a Shared,
    id: SegmentId,
    bytes: Vec<u8>,
    sequence: u64,
    kept: Vec<(Partition, FrameAt)>,
}

impl Compact<'_> {
    fn take_in(&mut self, segment: &SegmentHeader, next: &SegmentHeader) -> io::Result<()> {
        let mut contents = read_file(&*self.shared.disk, &segment::path(segment.id))?;
        let valid = segment.valid(Some(next)).and_then(|valid| usize::try_from(valid).ok());
        contents.truncate(valid.unwrap_or(contents.len()));
        let mut scanner = Scanner::new(&contents, SegmentHeader::bytes(self.shared.meta.partitions), self.shared.salt);
        loop {
            match scanner.step() {
                Step::Frame { header, body, .. } => {
                    if let Kind::Records(Strand { topic: Topic::DeadLetters, partition }) = header.kind {
                        self.keep(partition, &header, body);
                    }
                }
                // It was good when the log was opened, and nothing may be lost by tidying up.
                Step::Bad { at, what } => return Err(io::Error::other(format!("{what}, at byte {at}"))),
                Step::End => return Ok(()),
            }
        }
    }

    fn keep(&mut self, partition: Partition, header: &Header, body: &[u8]) {
        self.skip_to(header.sequence);
        let at = self.bytes.len();
        let moved = Header { synced: at as u64, ..*header };
        self.bytes.extend(moved.encode(self.shared.salt));
        self.bytes.extend_from_slice(body);
        self.sequence = header.next_sequence();
        // Parts of two segments at most: positions have 32 bits.
        let (bytes, count) = (header.frame_bytes() as u32, header.count);
        self.kept.push((partition, FrameAt { base: header.base, segment: self.id, at: at as u32, bytes, count }));
    }

    fn skip_to(&mut self, sequence: u64) {
        if sequence > self.sequence {
            let skip = Header::skip(self.sequence, sequence, self.bytes.len() as u64);
            self.bytes.extend(skip.encode(self.shared.salt));
            self.sequence = sequence;
        }
    }
}
