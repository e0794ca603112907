//! Folding the records of one piece, on what the cache knows of their clients.

use bytes::Bytes;
use nimbus_core::{
    ClientId, Position, ResultRecord,
    chance::{HashMap, HashSet},
    clock::UnixMillis,
    mailbox::{Judgement, MailboxLimits, judge},
    ports::log::{LogRecord as _, Stored},
};

use super::cache::Route;
use crate::{
    backlog::chunk_limits,
    codec::{chunk::ChunkWriter, seen::Seen},
};

/// Bounds of one piece, and so of the work of one call: Redis serves nobody else meanwhile.
const PIECE_RECORDS: usize = 1_024;
const PIECE_CLIENTS: usize = 512;
const PIECE_BYTES: usize = 2 << 20;

/// What became of the records so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) fresh: usize,
    pub(super) duplicates: usize,
    pub(super) foreign: usize,
}

/// One client's share of a piece.
pub(super) struct Group {
    pub(super) client: ClientId,
    /// Chunks with the positions past their last records.
    pub(super) chunks: Vec<(Position, Bytes)>,
    open: ChunkWriter,
    open_records: usize,
    open_weight: usize,
    open_end: Position,
}

/// How many of these records make a piece: at least one, if there is any.
pub(super) fn piece_len(records: &[Stored<ResultRecord>]) -> usize {
    let (mut bytes, mut clients) = (0, HashSet::default());
    let fits = records.iter().take(PIECE_RECORDS).take_while(|stored| {
        bytes += stored.record.weight();
        clients.insert(&stored.record.origin.client);
        bytes <= PIECE_BYTES && clients.len() <= PIECE_CLIENTS
    });
    fits.count().max(1).min(records.len())
}

/// Folds the records into what is known of their clients; the groups hold what is to be written.
pub(super) fn fold(
    route: &mut Route,
    records: &[Stored<ResultRecord>],
    now: UnixMillis,
    limits: &MailboxLimits,
    tally: &mut Tally,
) -> Vec<Group> {
    let (chunk_records, chunk_bytes) = chunk_limits(limits);
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<&ClientId, usize> = HashMap::default();
    for stored in records {
        let client = &stored.record.origin.client;
        let Some(known) = route.clients.get_mut(client) else { continue };
        // Also without a record to be written: that it was judged under these hands has to be checked, and what was seen of
        // it may have changed.
        let place = *places.entry(client).or_insert_with(|| {
            groups.push(Group::new(client.clone()));
            groups.len() - 1
        });
        let judgement = judge(stored, known.principal.as_ref(), known.floor, &mut known.seen.fold, now);
        match judgement {
            Judgement::Foreign => {
                tally.foreign += 1;
                continue;
            }
            Judgement::Duplicate => tally.duplicates += 1,
            Judgement::Buried | Judgement::Fresh => tally.fresh += 1,
        }
        known.seen.last = known.seen.last.max(stored.offset.position_after());
        if judgement == Judgement::Fresh {
            let group = &mut groups[place];
            group.push(stored);
            if group.open_records >= chunk_records || group.open.len() >= chunk_bytes {
                group.close(&mut known.seen, limits);
            }
        }
    }
    for group in &mut groups {
        if let Some(known) = route.clients.get_mut(&group.client) {
            group.close(&mut known.seen, limits);
        }
    }
    groups
}

impl Group {
    fn new(client: ClientId) -> Self {
        Self {
            client,
            chunks: Vec::new(),
            open: ChunkWriter::default(),
            open_records: 0,
            open_weight: 0,
            open_end: Position::START,
        }
    }

    fn push(&mut self, stored: &Stored<ResultRecord>) {
        self.open.push(stored);
        self.open_records += 1;
        self.open_weight += stored.record.weight();
        self.open_end = stored.offset.position_after();
    }

    fn close(&mut self, seen: &mut Seen, limits: &MailboxLimits) {
        if self.open_records > 0 {
            seen.backlog.push(self.open_end, self.open_records, self.open_weight, limits);
            self.chunks.push((self.open_end, std::mem::take(&mut self.open).finish()));
            (self.open_records, self.open_weight) = (0, 0);
        }
    }
}
