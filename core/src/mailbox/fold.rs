//! The fold: of all terminal answers to one event, the first one in the log stands.
//!
//! A later copy is the duplicate, and its writer cannot know that it is one: a zombie executor, an event that was appended
//! twice by an old server, an execution repeated after a crash. So everyone who turns the results log into deliveries
//! runs this same code: the mailbox when it applies a batch, and a server that reads the log directly.

use std::collections::BTreeSet;

use crate::{Lane, Offset, OutboxId, Position, PrincipalId, ResultRecord, clock::UnixMillis, ports::log::Stored};

/// How many answered events the jobs lane remembers per outbox. A jobs runtime must not settle more events than this
/// beyond its oldest open one; then an event that was evicted here can have no open predecessor, and the floor that rises
/// with the eviction never takes an open event for answered.
pub const JOBS_WINDOW: usize = 4_096;

/// How many outboxes of one client are remembered; the one whose last result lies furthest back is forgotten first. Without
/// a bound a client that makes a new outbox for every event would grow its state for the whole retention.
pub const FOLD_OUTBOXES: usize = 256;

/// What the fold says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// To be delivered.
    Fresh,
    /// Its event was answered before: to be dropped.
    Duplicate,
}

/// The answered events of one client, by outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fold {
    /// Sorted by outbox. Nearly always one; a sorted vector keeps an idle client small.
    outboxes: Vec<(OutboxId, OutboxFold)>,
    seed: Option<Box<Seed>>,
}

/// What the client itself says is answered. Kept apart from the jobs window, which may evict: these count in both lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seed {
    outbox: OutboxId,
    beyond: BTreeSet<u64>,
}

/// The answered events of one outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxFold {
    /// Ordered lane: every event up to this one is answered.
    pub answered: u64,
    /// Jobs lane: every event up to this one is answered.
    pub jobs_floor: u64,
    /// Jobs lane: answered events above `jobs_floor`; at most [`JOBS_WINDOW`].
    pub jobs: Option<Box<BTreeSet<u64>>>,
    /// Past the last result of this outbox.
    pub last_result: Position,
    /// Past the newest event of this outbox that has a result.
    pub last_event: Position,
    /// When the last result came.
    pub last_seen: UnixMillis,
}

impl OutboxFold {
    fn has_job(&self, seq: u64) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.contains(&seq))
    }

    fn is_answered(&self, lane: Lane, seq: u64) -> bool {
        match lane {
            // An event whose executor changed lanes between two executions: the first answer stands all the same.
            Lane::Ordered => seq <= self.answered || self.has_job(seq),
            Lane::Jobs => seq <= self.jobs_floor || self.has_job(seq),
        }
    }

    fn settle(&mut self, lane: Lane, seq: u64) {
        match lane {
            Lane::Ordered => self.answered = seq,
            Lane::Jobs => {
                let jobs = self.jobs.get_or_insert_default();
                jobs.insert(seq);
                if jobs.len() > JOBS_WINDOW
                    && let Some(evicted) = jobs.pop_first()
                {
                    self.jobs_floor = evicted;
                }
            }
        }
    }
}

/// What becomes of a record that arrives at a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It belongs to a principal that does not hold the client: delivered to nobody, and it answers nothing.
    Foreign,
    /// Its event was answered before.
    Duplicate,
    /// New, but it lies before the client's floor (a change of hands): it counts, and is not served from the mailbox.
    Buried,
    /// New: to wait for its client, and to be told.
    Fresh,
}

/// Judges one record on its way into a client's mailbox. `principal` holds the client (nobody before the first claim: then
/// everything waits, and the claim decides); `floor` is the client's own. Records must come in offset order, each once.
pub fn judge(
    stored: &Stored<ResultRecord>,
    principal: Option<&PrincipalId>,
    floor: Position,
    fold: &mut Fold,
    now: UnixMillis,
) -> Judgement {
    if principal.is_some_and(|principal| *principal != stored.record.origin.principal) {
        return Judgement::Foreign;
    }
    match fold.admit(stored.offset, &stored.record, now) {
        Verdict::Duplicate => Judgement::Duplicate,
        Verdict::Fresh if floor.covers(stored.offset) => Judgement::Buried,
        Verdict::Fresh => Judgement::Fresh,
    }
}

impl Fold {
    /// A fold that begins with what a client says of its outbox at a resume: every event up to `answered`, and those in
    /// `beyond`, have been handed over. For a scan of the log from that client's position.
    pub fn seeded(outbox: OutboxId, answered: u64, beyond: impl IntoIterator<Item = u64>) -> Self {
        let known = OutboxFold { answered, jobs_floor: answered, ..OutboxFold::default() };
        let seed = Seed { outbox, beyond: beyond.into_iter().collect() };
        Self { outboxes: vec![(outbox, known)], seed: (!seed.beyond.is_empty()).then(|| Box::new(seed)) }
    }

    /// Judges one record and remembers it. Records must come in offset order, each once.
    ///
    /// The answer to a replayed dead letter passes and does not count; parts pass until their event is answered, and may
    /// repeat (a higher attempt discards them).
    pub fn admit(&mut self, offset: Offset, record: &ResultRecord, now: UnixMillis) -> Verdict {
        let outbox = record.origin.outbox;
        if let Some(seed) = &self.seed
            && record.replay_no == 0
            && seed.outbox == outbox
            && seed.beyond.contains(&record.seq)
        {
            return Verdict::Duplicate;
        }
        let known = self.entry(outbox);
        known.last_result = known.last_result.max(offset.position_after());
        known.last_event = known.last_event.max(record.event_offset.position_after());
        known.last_seen = known.last_seen.max(now);
        if record.replay_no > 0 {
            return Verdict::Fresh;
        }
        if known.is_answered(record.lane, record.seq) {
            return Verdict::Duplicate;
        }
        if record.kind.is_terminal() {
            known.settle(record.lane, record.seq);
        }
        Verdict::Fresh
    }

    /// The highest answered event of the ordered lane, 0 when there is none.
    pub fn answered(&self, outbox: OutboxId) -> u64 {
        self.find(outbox).map_or(0, |at| self.outboxes[at].1.answered)
    }

    /// Whether a result of this outbox was seen.
    pub(super) fn knows(&self, outbox: OutboxId) -> bool {
        self.find(outbox).is_some()
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.outboxes.is_empty()
    }

    /// What is remembered, by outbox.
    pub fn outboxes(&self) -> &[(OutboxId, OutboxFold)] {
        &self.outboxes
    }

    /// Takes back what [`outboxes`](Self::outboxes) gave.
    pub fn restore(mut outboxes: Vec<(OutboxId, OutboxFold)>) -> Self {
        outboxes.sort_by_key(|(outbox, _)| *outbox);
        Self { outboxes, seed: None }
    }

    /// Forgets every outbox that `keep` turns down.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(OutboxId, &OutboxFold) -> bool) {
        self.outboxes.retain(|(outbox, fold)| keep(*outbox, fold));
    }

    fn find(&self, outbox: OutboxId) -> Option<usize> {
        self.outboxes.binary_search_by_key(&outbox, |(id, _)| *id).ok()
    }

    fn entry(&mut self, outbox: OutboxId) -> &mut OutboxFold {
        let at = match self.outboxes.binary_search_by_key(&outbox, |(id, _)| *id) {
            Ok(at) => at,
            Err(_) => self.insert(outbox),
        };
        &mut self.outboxes[at].1
    }

    fn insert(&mut self, outbox: OutboxId) -> usize {
        if self.outboxes.len() >= FOLD_OUTBOXES {
            let oldest = self.outboxes.iter().enumerate().min_by_key(|(_, (_, known))| known.last_result);
            if let Some((oldest, _)) = oldest {
                self.outboxes.remove(oldest);
            }
        } else if self.outboxes.len() < 4 {
            // One or two outboxes are the rule: no room for more before there are more.
            self.outboxes.reserve_exact(1);
        }
        let at = self.outboxes.partition_point(|(id, _)| *id < outbox);
        self.outboxes.insert(at, (outbox, OutboxFold::default()));
        at
    }
}
