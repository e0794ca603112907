//! Writes a sealed segment anew with nothing but its dead letters.
//!
//! Frames keep their sequence numbers and offsets; skips stand where frames were. The new file replaces the old one in one
//! step, and its header says how long it is, so its neighbours need no change.

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

/// Frees everything of a segment but its dead letters.
pub(crate) fn compact(shared: &Shared, segment: &Segment, next: &SegmentHeader) -> io::Result<()> {
    let id = segment.header.id;
    let path = segment::path(id);
    let mut contents = read_file(&*shared.disk, &path)?;
    let valid = segment.header.valid(Some(next)).and_then(|valid| usize::try_from(valid).ok());
    contents.truncate(valid.unwrap_or(contents.len()));

    let mut compact = Compact { shared, bytes: segment.header.encode(), sequence: segment.header.first_sequence };
    let mut frames = Vec::new();
    let mut scanner = Scanner::new(&contents, SegmentHeader::bytes(shared.meta.partitions), shared.salt);
    loop {
        match scanner.step() {
            Step::Frame { header, body, .. } => {
                if let Kind::Records(Strand { topic: Topic::DeadLetters, partition }) = header.kind {
                    frames.push((partition, compact.keep(id, &header, body)));
                }
            }
            // It was good when the log was opened, and nothing may be lost by tidying up.
            Step::Bad { at, what } => return Err(io::Error::other(format!("{what}, at byte {at}"))),
            Step::End => break,
        }
    }
    compact.skip_to(next.first_sequence);
    let mut bytes = compact.bytes;
    let form = Form::Rewritten { valid: bytes.len() as u64, dead_letters_only: true };
    let header = SegmentHeader { form, ..segment.header.clone() };
    let encoded = header.encode();
    bytes[..encoded.len()].copy_from_slice(&encoded);

    let file = replace_file(&*shared.disk, segment::DIR, &path, &bytes)?;
    let compacted = Segment::new(header, file, bytes.len() as u64);
    // A reader that had found its frames in the old file meets the new one, and looks again.
    shared.segments.replace(compacted, || refile(shared, id, next, &frames));
    shared.metrics.compacted_segments.inc();
    Ok(())
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
    bytes: Vec<u8>,
    sequence: u64,
}

impl Compact<'_> {
    fn keep(&mut self, segment: u64, header: &Header, body: &[u8]) -> FrameAt {
        self.skip_to(header.sequence);
        let at = self.bytes.len();
        let moved = Header { synced: at as u64, ..*header };
        self.bytes.extend(moved.encode(self.shared.salt));
        self.bytes.extend_from_slice(body);
        self.sequence = header.next_sequence();
        // A part of the old file, where positions had 32 bits.
        FrameAt { base: header.base, segment, at: at as u32, bytes: header.frame_bytes() as u32, count: header.count }
    }

    fn skip_to(&mut self, sequence: u64) {
        if sequence > self.sequence {
            let skip = Header::skip(self.sequence, sequence, self.bytes.len() as u64);
            self.bytes.extend(skip.encode(self.shared.salt));
            self.sequence = sequence;
        }
    }
}
