//! One write: everything that waited, laid out as frames in one buffer.
//!
//! Records of one strand become one frame, whoever appended them, so that a write of a thousand single events is a few
//! frames and consumers get batches. An append is never split over two frames.
//!
//! Its events may be shown while it is not yet written; what is answered to them at once is laid out behind them, in the
//! same write.

use nimbus_core::{Position, ports::log::Fate};

use crate::{
    frame::{HEADER_BYTES, Header, Kind, Salt},
    item::{Item, RecordItem, Reply, StateItem, answer, show_events},
    segment::SegmentId,
    shared::Shelves,
    shelf::FrameAt,
    state::StateKind,
    topic::{Records, Strand},
};

/// A frame gets no further append once its body has this size: what a reader loads and checks at once.
const FRAME_BYTES: usize = 256 << 10;

/// Records of one frame, on their way to the readers.
#[derive(Debug)]
struct Laid {
    strand: Strand,
    base: u64,
    count: u32,
    /// In the buffer.
    at: usize,
    bytes: usize,
    weight: usize,
    records: Records,
}

/// One write. Reused for the next.
#[derive(Debug)]
pub(crate) struct Round {
    partitions: usize,
    buffer: Vec<u8>,
    by_strand: Vec<Vec<RecordItem>>,
    touched: Vec<usize>,
    state: Vec<StateItem>,
    laid: Vec<Laid>,
    replies: Vec<(Reply, Position)>,
    notes: Vec<Item>,
    barriers: Vec<Reply>,
}

/// What a round comes to, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) strand: Strand,
    pub(crate) count: u32,
    pub(crate) bytes: usize,
    pub(crate) weight: usize,
}

impl Round {
    pub(crate) fn new(partitions: usize, strands: usize) -> Self {
        Self {
            partitions,
            buffer: Vec::new(),
            by_strand: (0..strands).map(|_| Vec::new()).collect(),
            touched: Vec::new(),
            state: Vec::new(),
            laid: Vec::new(),
            replies: Vec::new(),
            notes: Vec::new(),
            barriers: Vec::new(),
        }
    }

    /// Sorts what waited by strand, keeping the order within each.
    pub(crate) fn gather(&mut self, items: impl Iterator<Item = Item>) {
        for item in items {
            match item {
                Item::Records(item) => {
                    let index = item.strand.index(self.partitions);
                    if self.by_strand[index].is_empty() {
                        self.touched.push(index);
                    }
                    self.by_strand[index].push(item);
                }
                Item::State(item) => self.state.push(item),
                Item::Barrier(reply) => self.barriers.push(reply),
            }
        }
    }

    /// Lays out everything that was gathered, behind what was laid out before: numbers the frames from `sequence` on and the
    /// records from `offsets` on, and moves both.
    pub(crate) fn lay_out(&mut self, sequence: &mut u64, offsets: &mut [u64], synced: u64, salt: Salt) {
        let mut layout = Layout { buffer: &mut self.buffer, sequence, synced, salt };
        self.touched.sort_unstable();
        for index in self.touched.drain(..) {
            let mut items = self.by_strand[index].drain(..);
            while let Some(first) = items.next() {
                let (strand, base, at) = (first.strand, offsets[index], layout.begin());
                // What was shown already has a frame of its own, where it was said to be.
                let shown = match &first.records {
                    Records::Shown(events) => events.first().map(|event| event.offset.0),
                    _ => None,
                };
                assert!(shown.is_none_or(|shown| shown == base), "an event was shown where it is not");
                layout.buffer.extend_from_slice(&first.body);
                let (mut count, mut weight, mut records) = (first.count, first.weight, first.records);
                self.replies.push((first.reply, Position(base + u64::from(count))));
                let fit = if shown.is_none() { fitting(first.body.len(), items.as_slice()) } else { &[] };
                records.reserve(fit.iter().map(|item| item.count as usize).sum());
                let fit = fit.len();
                for next in items.by_ref().take(fit) {
                    layout.buffer.extend_from_slice(&next.body);
                    count += next.count;
                    weight += next.weight;
                    records.extend(next.records);
                    self.replies.push((next.reply, Position(base + u64::from(count))));
                }
                offsets[index] = base + u64::from(count);
                let bytes = layout.end(at, Kind::Records(strand), count, base);
                self.laid.push(Laid { strand, base, count, at, bytes, weight, records });
            }
        }
        for kind in StateKind::ALL {
            let mut at = None;
            let mut count = 0;
            for item in self.state.iter().filter(|item| item.kind == kind) {
                at.get_or_insert_with(|| layout.begin());
                layout.buffer.extend_from_slice(&item.body);
                count += 1;
            }
            if let Some(at) = at {
                layout.end(at, Kind::State(kind), count, 0);
            }
        }
        for item in self.state.drain(..) {
            match item.reply {
                Some(reply) => self.replies.push((reply, Position::START)),
                None => self.notes.push(Item::State(item)),
            }
        }
    }

    /// The frames. Empty when there were barriers only.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Shows the events that are laid out to those who want them while they are being written; returns how many.
    pub(crate) fn show_events(&mut self, shelves: &Shelves, fate: &Fate) -> u64 {
        let mut shown = 0;
        for Laid { strand, base, count, records, .. } in &mut self.laid {
            if show_events(records, *strand, *base, shelves, fate) {
                shown += u64::from(*count);
            }
        }
        shown
    }

    /// It is durable: shows it to the readers, answers the callers, and forgets it. `at` is where in the file it lies.
    pub(crate) fn publish(
        &mut self,
        shelves: &Shelves,
        segment: SegmentId,
        at: u64,
        mut published: impl FnMut(Published),
    ) {
        for Laid { strand, base, count, at: within, bytes, weight, records } in self.laid.drain(..) {
            // Segments are far smaller than 4 GiB.
            let frame = FrameAt { base, segment, at: (at as usize + within) as u32, bytes: bytes as u32, count };
            shelves.publish(strand, frame, weight, records);
            published(Published { strand, count, bytes, weight });
        }
        for (reply, position) in self.replies.drain(..) {
            answer(reply, Ok(position));
        }
        for reply in self.barriers.drain(..) {
            answer(reply, Ok(Position::START));
        }
        self.notes.clear();
        self.buffer.clear();
    }

    /// It failed: hands out who must be told, and the notes, which can be written again.
    pub(crate) fn give_up(&mut self, shelves: &Shelves) -> (Vec<Reply>, Vec<Item>) {
        let shown = self.laid.iter().any(|laid| matches!(laid.records, Records::Shown(_)));
        if shown {
            shelves.take_back_events();
        }
        self.laid.clear();
        self.buffer.clear();
        let replies = self.replies.drain(..).map(|(reply, _)| reply).chain(self.barriers.drain(..)).collect();
        (replies, std::mem::take(&mut self.notes))
    }
}

/// Those of the next items that go into the same frame as a first one of so many bytes.
fn fitting(first: usize, next: &[RecordItem]) -> &[RecordItem] {
    let mut bytes = first;
    let fit = next.iter().take_while(|item| {
        bytes += item.body.len();
        bytes <= FRAME_BYTES
    });
    let fit = fit.count();
    &next[..fit]
}

/// The frames of a round as they are written one after the other.
#[derive(Debug)]
struct Layout<'a> {
    buffer: &'a mut Vec<u8>,
    sequence: &'a mut u64,
    synced: u64,
    salt: Salt,
}

impl Layout<'_> {
    /// Leaves room for a header; its body comes next.
    fn begin(&mut self) -> usize {
        let at = self.buffer.len();
        self.buffer.resize(at + HEADER_BYTES, 0);
        at
    }

    /// Fills in the header that was begun at `at`; returns the size of the frame.
    fn end(&mut self, at: usize, kind: Kind, count: u32, base: u64) -> usize {
        let body = &self.buffer[at + HEADER_BYTES..];
        let header = Header {
            kind,
            count,
            sequence: *self.sequence,
            base,
            synced: self.synced,
            body_bytes: body.len() as u32,
            body_crc: crc32fast::hash(body),
        };
        *self.sequence += 1;
        self.buffer[at..at + HEADER_BYTES].copy_from_slice(&header.encode(self.salt));
        self.buffer.len() - at
    }
}
