//! The records that wait for one client: one chunk per applied batch, trimmed from the front only.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    Position, ResultRecord,
    clock::UnixMillis,
    ports::log::{LogRecord, Stored},
};

/// Records of one client from one batch. Shared with the notification that carried them.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Unique within the partition, rising.
    pub(super) no: u64,
    /// When it was applied.
    pub(super) at: UnixMillis,
    records: Arc<[Stored<ResultRecord>]>,
    /// How many of `records` are trimmed already.
    skip: usize,
    /// Of what is left.
    bytes: usize,
}

impl Chunk {
    pub(super) fn new(no: u64, at: UnixMillis, records: Arc<[Stored<ResultRecord>]>) -> Self {
        let bytes = records.iter().map(|stored| stored.record.weight()).sum();
        Self { no, at, records, skip: 0, bytes }
    }

    fn left(&self) -> &[Stored<ResultRecord>] {
        &self.records[self.skip..]
    }

    fn end(&self) -> Position {
        self.records.last().map_or(Position::START, |stored| stored.offset.position_after())
    }
}

/// What a trim took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trimmed {
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) chunks: usize,
    /// Past the last record taken away; [`Position::START`] when nothing was.
    pub(super) through: Position,
}

impl Trimmed {
    fn chunk(&mut self, chunk: &Chunk) {
        self.records += chunk.left().len();
        self.bytes += chunk.bytes;
        self.chunks += 1;
        self.through = self.through.max(chunk.end());
    }
}

/// Waiting records, in offset order.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    chunks: VecDeque<Chunk>,
    records: usize,
    bytes: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(super) fn oldest(&self) -> Option<&Chunk> {
        self.chunks.front()
    }

    /// Takes in a chunk that lies past all others; returns its bytes.
    pub(super) fn push(&mut self, chunk: Chunk) -> usize {
        let bytes = chunk.bytes;
        self.records += chunk.left().len();
        self.bytes += bytes;
        self.chunks.push_back(chunk);
        bytes
    }

    /// Takes away the oldest chunk.
    pub(super) fn pop(&mut self) -> Trimmed {
        let mut trimmed = Trimmed::default();
        if let Some(chunk) = self.chunks.pop_front() {
            trimmed.chunk(&chunk);
        }
        self.settle(trimmed)
    }

    /// Takes away everything.
    pub(super) fn clear(&mut self) -> Trimmed {
        let mut trimmed = Trimmed::default();
        for chunk in std::mem::take(&mut self.chunks) {
            trimmed.chunk(&chunk);
        }
        self.settle(trimmed)
    }

    /// Takes away what lies before `position`.
    pub(super) fn trim_before(&mut self, position: Position) -> Trimmed {
        self.trim_while(|_, _, stored| position.covers(stored.offset))
    }

    /// Takes away the oldest records until the limits hold.
    pub(super) fn trim_to(&mut self, records: usize, bytes: usize) -> Trimmed {
        if self.records <= records && self.bytes <= bytes {
            // Nearly always, and without a look at the oldest record, which is in nobody's cache any more.
            return Trimmed::default();
        }
        self.trim_while(|left_records, left_bytes, _| left_records > records || left_bytes > bytes)
    }

    /// Takes away what `unwanted` turns down, wherever it lies. No floor follows from it: these are nobody's records.
    pub(super) fn reject(&mut self, mut unwanted: impl FnMut(&Stored<ResultRecord>) -> bool) -> Trimmed {
        let mut trimmed = Trimmed::default();
        for mut chunk in std::mem::take(&mut self.chunks) {
            if !chunk.left().iter().any(&mut unwanted) {
                self.chunks.push_back(chunk);
                continue;
            }
            let kept: Arc<[_]> = chunk.left().iter().filter(|stored| !unwanted(stored)).cloned().collect();
            trimmed.records += chunk.left().len() - kept.len();
            trimmed.bytes += chunk.bytes;
            if kept.is_empty() {
                trimmed.chunks += 1;
            } else {
                chunk = Chunk::new(chunk.no, chunk.at, kept);
                trimmed.bytes -= chunk.bytes;
                self.chunks.push_back(chunk);
            }
        }
        self.settle(trimmed)
    }

    /// Copies records from `from` on, up to the limits but at least one; and whether these are all.
    pub(super) fn read(
        &self,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> (Vec<Stored<ResultRecord>>, bool) {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let mut records = Vec::new();
        let mut bytes = 0;
        for chunk in self.chunks.range(first..) {
            let left = chunk.left();
            let skip = left.partition_point(|stored| from.covers(stored.offset));
            for stored in &left[skip..] {
                bytes += stored.record.weight();
                if !records.is_empty() && (records.len() >= max_records || bytes > max_bytes) {
                    return (records, false);
                }
                records.push(stored.clone());
            }
        }
        (records, true)
    }

    /// `unwanted` is shown how many records and bytes are left, and the oldest record.
    fn trim_while(&mut self, mut unwanted: impl FnMut(usize, usize, &Stored<ResultRecord>) -> bool) -> Trimmed {
        let mut trimmed = Trimmed::default();
        'chunks: while let Some(chunk) = self.chunks.front_mut() {
            while let Some(stored) = chunk.records.get(chunk.skip) {
                if !unwanted(self.records - trimmed.records, self.bytes - trimmed.bytes, stored) {
                    break 'chunks;
                }
                let weight = stored.record.weight();
                trimmed.records += 1;
                trimmed.bytes += weight;
                trimmed.through = stored.offset.position_after();
                chunk.bytes -= weight;
                chunk.skip += 1;
            }
            self.chunks.pop_front();
            trimmed.chunks += 1;
        }
        self.settle(trimmed)
    }

    fn settle(&mut self, trimmed: Trimmed) -> Trimmed {
        self.records -= trimmed.records;
        self.bytes -= trimmed.bytes;
        if self.chunks.is_empty() {
            // An idle client keeps no buffer.
            self.chunks = VecDeque::new();
        }
        trimmed
    }
}
