//! The one thread that writes: takes everything that waits, writes it at once, syncs once, and only then shows it.
//!
//! Consumers that can begin with events which are not yet durable see them before the write, and what they answer at once goes
//! into the same write: one fsync for an event and its answer. When that write fails, everything that follows from these
//! events fails with it, also what is still to be enqueued.
//!
//! After a failed write or fsync the file is never trusted again beyond what was synced before: the writer goes on in a
//! new segment whose header fences the old one. A full disk is no such failure as long as nothing was synced: the file is
//! cut back, and the appends are refused as full.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use nimbus_core::ports::log::{Decision, Fate, LogError};

use crate::{
    config::MAX_SEGMENT_BYTES,
    disk::is_full,
    frame::{HEADER_BYTES, Header},
    item::Item,
    keeper::{Bell, Duty},
    patience::Patience,
    round::Round,
    segment::{self, Form, SegmentHeader},
    segments::Segment,
    shared::Shared,
    spare::Spare,
    topic::Strand,
};

/// How often the free space of the file system is asked for, while there are writes.
const SPACE_INTERVAL: Duration = Duration::from_millis(200);
/// First wait before a broken log is tried again, doubled up to [`REOPEN_MAX`].
const REOPEN_MIN: Duration = Duration::from_millis(100);
const REOPEN_MAX: Duration = Duration::from_secs(5);

/// Beyond this a segment does not grow, also when no new one can be made: positions in it have 32 bits.
const LARGEST_SEGMENT: u64 = 2 * MAX_SEGMENT_BYTES;

/// The segment that is written.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    /// Where the next write goes.
    end: u64,
    /// Frames before this are durable. A mark may lie between here and `end`.
    synced: u64,
}

/// What the file system has left.
#[derive(Debug, Default)]
struct Room {
    checked: Option<Instant>,
    /// Until it must be asked again, above the reserve.
    left: u64,
    /// Why there is too little.
    low: Option<String>,
}

/// Where the writer begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: u64,
    pub(crate) synced: u64,
    pub(crate) next_sequence: u64,
    /// By [`Strand::index`].
    pub(crate) offsets: Vec<u64>,
}

/// Where the writer ended, for the clean mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) segment: u64,
    pub(crate) synced: u64,
    pub(crate) next_sequence: u64,
}

/// Nothing can be written until a new segment could be made.
#[derive(Debug)]
struct Broken {
    why: String,
    wait: Duration,
    retry: Instant,
}

impl Broken {
    fn new(why: String) -> Self {
        Self { why, wait: REOPEN_MIN, retry: Instant::now() }
    }
}

/// The thread's own state.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    keeper: Bell,
    active: Active,
    spare: Spare,
    next_sequence: u64,
    offsets: Vec<u64>,
    /// What `next_sequence` and `offsets` become when the round is durable.
    ahead: (u64, Vec<u64>),
    round: Round,
    /// Of the events of this round that were shown already: when they were enqueued, and when they were taken.
    shown: Vec<Decision>,
    /// The last write went well, so that this one probably will: otherwise nothing is shown before it is durable.
    well: bool,
    patience: Patience,
    /// What the tail cache holds, oldest first.
    cached: VecDeque<(Strand, usize)>,
    cached_bytes: usize,
    broken: Option<Broken>,
    room: Room,
    roll_retry: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, keeper: Bell, start: Start) -> Self {
        let Start { segment, end, synced, next_sequence, offsets } = start;
        let partitions = shared.meta.partitions.len();
        Self {
            keeper,
            active: Active { segment, end, synced },
            spare: Spare::new(shared.config.spare_bytes, shared.config.segment_bytes, end),
            next_sequence,
            ahead: (next_sequence, offsets.clone()),
            round: Round::new(partitions, offsets.len()),
            offsets,
            shown: Vec::new(),
            well: true,
            patience: Patience::new(shared.config.answer_patience),
            cached: VecDeque::new(),
            cached_bytes: 0,
            broken: None,
            room: Room::default(),
            roll_retry: None,
            shared,
        }
    }

    /// Writes until the queue is closed and empty.
    /// `None`: the end of the log is not known to be good.
    pub(crate) fn run(mut self) -> Option<End> {
        let shared = Arc::clone(&self.shared);
        let mut items = Vec::new();
        if self.active.segment.header.form != Form::Appended {
            // Its header says how long it is: nothing written behind that would count.
            self.broken = Some(Broken::new("the last segment was written as a whole".into()));
            self.reopen();
        } else if self.active.end == self.active.synced {
            // Recovery has read and synced everything before.
            self.mark();
        }
        loop {
            let deadline = self.broken.as_ref().map(|broken| broken.retry);
            let next = std::mem::take(&mut self.offsets);
            let known = self.well.then_some(&next[..]);
            let taken = shared.queue.take(&mut items, deadline, known, &shared.shelves, || self.events_refused());
            self.offsets = next;
            shared.metrics.full_refusals.inc_by(taken.refused);
            self.shown.extend(taken.shown);
            let more = self.write(&mut items, taken.results);
            shared.queue.done(taken.bytes + more);
            shared.metrics.queue_bytes.set(shared.queue.bytes() as i64);
            if taken.closed {
                self.cut_spare();
                return self.broken.is_none().then_some(End {
                    segment: self.active.segment.header.id,
                    synced: self.active.synced,
                    next_sequence: self.next_sequence,
                });
            }
        }
    }

    /// Whether there is too little room for new events, although there may be some for their results.
    fn events_refused(&mut self) -> Option<LogError> {
        let config = &self.shared.config;
        let bytes = self.shared.segments.bytes();
        if bytes >= config.max_bytes {
            let why = format!("it has {bytes} bytes, the limit is {}; consumers must catch up", config.max_bytes);
            return Some(LogError::Full(why));
        }
        if self.room.checked.is_none_or(|at| at.elapsed() >= SPACE_INTERVAL) || self.room.left == 0 {
            self.room.checked = Some(Instant::now());
            // When it cannot be asked, the write will tell.
            (self.room.left, self.room.low) = self.shared.disk.space().map_or((u64::MAX, None), |space| {
                let left = space.free.saturating_sub(config.reserve_bytes.min(space.capacity / 10));
                let low = (left == 0).then(|| format!("the file system has {} bytes left", space.free));
                (left, low)
            });
        }
        self.room.low.clone().map(LogError::Full)
    }

    /// Writes these, and what is answered to them at once; returns how many bytes that took of the queue.
    fn write(&mut self, items: &mut Vec<Item>, results: u64) -> usize {
        if self.broken.as_ref().is_some_and(|broken| broken.retry <= Instant::now()) {
            self.reopen();
        }
        self.round.gather(items.drain(..));
        let wanted = self.shared.roll_wanted.swap(false, Ordering::Relaxed);
        if self.broken.is_none() && (wanted || self.active.end >= self.shared.config.segment_bytes) {
            self.roll();
        }
        self.ahead.0 = self.next_sequence;
        self.ahead.1.copy_from_slice(&self.offsets);
        self.lay_out();
        if let Some(broken) = &self.broken {
            let error = LogError::Unavailable(broken.why.clone());
            self.give_up(&error, &error);
            return 0;
        }
        if self.round.bytes().is_empty() {
            // Only barriers: everything before them is durable already.
            self.publish(self.active.end);
            return 0;
        }
        let more = self.take_answers(items, results);
        self.write_round();
        more
    }

    fn lay_out(&mut self) {
        let (sequence, offsets) = (&mut self.ahead.0, &mut self.ahead.1[..]);
        self.round.lay_out(sequence, offsets, self.active.synced, self.shared.salt);
    }

    /// Shows the events of the round to who can begin with them, and takes what is answered in good time into the round. Returns
    /// how many bytes that took of the queue. `items` is empty, before and after. So many `results` are in the round already:
    /// answers to its events, if there are any that were shown when they were enqueued.
    fn take_answers(&mut self, items: &mut Vec<Item>, results: u64) -> usize {
        if !self.well {
            return 0;
        }
        let answered = if self.shown.is_empty() { 0 } else { results };
        let (decision, fate) = Fate::undecided();
        let shown = self.round.show_events(&self.shared.shelves, &fate);
        if shown == 0 {
            return 0;
        }
        self.shown.push(decision);
        self.shared.metrics.early_events.inc_by(shown);
        if answered >= shown {
            return 0;
        }
        let Some(patience) = self.patience.begin() else { return 0 };
        let shared = Arc::clone(&self.shared);
        let (missing, deadline) = (shown - answered, Instant::now() + patience);
        let full = || self.events_refused();
        let (taken, came) = shared.queue.take_results(items, missing, deadline, &shared.shelves, full);
        shared.metrics.full_refusals.inc_by(taken.refused);
        debug_assert!(taken.shown.is_none(), "it does not rest");
        if !came {
            shared.metrics.vain_waits.inc();
        }
        self.patience.end(came);
        self.round.gather(items.drain(..));
        self.lay_out();
        taken.bytes
    }

    /// Writes what is laid out, makes it durable, and shows it.
    fn write_round(&mut self) {
        let at = self.active.end;
        if let Err(error) = self.active.segment.file.write_at(self.round.bytes(), at) {
            self.write_failed(&error);
            return;
        }
        let written = self.round.bytes().len();
        let file = &*self.active.segment.file;
        let ahead = self.spare.renew(file, at + written as u64, written, self.room.left);
        self.room.left = self.room.left.saturating_sub(written as u64 + ahead);
        let begun = Instant::now();
        let synced = self.active.segment.file.sync();
        self.shared.metrics.sync_seconds.observe(begun.elapsed().as_secs_f64());
        if let Err(error) = synced {
            self.failed(&error);
            return;
        }
        self.well = true;
        self.active.synced = at + written as u64;
        self.active.end = self.active.synced;
        self.next_sequence = self.ahead.0;
        self.offsets.copy_from_slice(&self.ahead.1);
        if self.shared.queue.is_urgent() {
            // The next write follows at once, and its frames vouch for these.
            self.shared.segments.grown(&self.active.segment, self.active.end);
        } else {
            self.mark();
        }
        self.publish(at);
    }

    /// Vouches for what was synced, in case the process is killed: a few bytes that need no fsync of their own.
    fn mark(&mut self) {
        let mark = Header::mark(self.next_sequence, self.active.synced).encode(self.shared.salt);
        // Without it everything is just as durable; only a later damage of the last frames would pass for a torn tail. So
        // a failure needs no answer: the next write begins where this mark should be.
        if self.active.segment.file.write_at(&mark, self.active.end).is_ok() {
            self.active.end += HEADER_BYTES as u64;
        }
        self.shared.segments.grown(&self.active.segment, self.active.end);
    }

    fn publish(&mut self, at: u64) {
        let Self { round, shared, cached, cached_bytes, active, .. } = self;
        let metrics = &shared.metrics;
        let mut records = 0;
        round.publish(&shared.shelves, active.segment.header.id, at, |published| {
            let topic = published.strand.topic.index();
            metrics.appended_records[topic].inc_by(published.count.into());
            metrics.appended_bytes[topic].inc_by(published.bytes as u64);
            records += published.count;
            cached.push_back((published.strand, published.weight));
            *cached_bytes += published.weight;
        });
        if records > 0 {
            metrics.write_records.observe(records.into());
        }
        while *cached_bytes > shared.config.tail_cache_bytes
            && let Some((strand, weight)) = cached.pop_front()
        {
            *cached_bytes -= weight;
            shared.shelves.evict(strand);
        }
        metrics.log_bytes.set(shared.segments.bytes() as i64);
        // Last: whoever waits for it may commit what it has read, and it must be seen to be durable.
        self.shown.drain(..).for_each(Decision::durable);
    }

    fn give_up(&mut self, failed: &LogError, unwritten: &LogError) {
        self.well = false;
        // Nobody gets to see the events any more, and their fate is decided, before those who have seen them are cut off:
        // whoever takes a new appender after that cannot begin with them.
        let (replies, notes) = self.round.give_up(&self.shared.shelves);
        let taken_back = !self.shown.is_empty();
        self.shown.clear();
        self.shared.queue.fail(replies.into_iter(), failed, notes, unwritten, taken_back);
    }

    fn write_failed(&mut self, error: &io::Error) {
        if is_full(error) && self.cut_back().is_ok() {
            self.shared.metrics.full_refusals.inc();
            let full = LogError::Full(format!("the disk is full: {error}"));
            self.give_up(&full, &full);
        } else {
            self.failed(error);
        }
    }

    /// A write or an fsync failed in a way that leaves the end of the file unknown.
    fn failed(&mut self, error: &io::Error) {
        self.shared.metrics.sync_failures.inc();
        tracing::error!(error = %error, segment = self.active.segment.header.id, "a write to the log failed");
        let why = error.to_string();
        self.broken = Some(Broken::new(why.clone()));
        self.reopen();
        self.give_up(&LogError::Ambiguous(why.clone()), &LogError::Unavailable(why));
    }

    /// Removes what was written since the last fsync, durably, so that nothing of it can come back.
    fn cut_back(&mut self) -> io::Result<()> {
        self.active.segment.file.set_len(self.active.end)?;
        self.spare.begin(self.active.end);
        self.active.segment.file.sync()
    }

    /// Gives back what was written ahead in a file that will not grow any more.
    fn cut_spare(&self) {
        if let Err(error) = self.active.segment.file.set_len(self.active.end) {
            tracing::debug!(error = %error, "zeros ahead of the log stay where they are");
        }
    }

    /// Tries to leave the broken file behind.
    fn reopen(&mut self) {
        let Some(mut broken) = self.broken.take() else { return };
        match self.next_segment() {
            Ok(()) => tracing::warn!(segment = self.active.segment.header.id, "the log goes on in a new segment"),
            Err(error) => {
                tracing::error!(error = %error, "the log cannot be written; it will be tried again");
                broken.why = error.to_string();
                broken.retry = Instant::now() + broken.wait;
                broken.wait = (broken.wait * 2).min(REOPEN_MAX);
                self.broken = Some(broken);
            }
        }
    }

    /// Begins a new segment because the active one is large or old enough. When that fails the active one simply grows.
    fn roll(&mut self) {
        if self.roll_retry.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.roll_retry = None;
        let Err(error) = self.next_segment() else { return };
        self.roll_retry = Some(Instant::now() + REOPEN_MAX);
        let path = segment::path(self.active.segment.header.id + 1);
        // The header of a next segment fences this one. Should it be there after all, nothing more may be written here.
        let gone = match self.shared.disk.remove(&path) {
            Ok(()) => self.shared.disk.sync_dir(segment::DIR).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if gone && self.active.end < LARGEST_SEGMENT {
            tracing::warn!(error = %error, "a new segment cannot be made; the present one goes on");
        } else {
            tracing::error!(error = %error, "a new segment cannot be made; the log waits for it");
            self.broken = Some(Broken::new(error.to_string()));
        }
    }

    fn next_segment(&mut self) -> io::Result<()> {
        let header = SegmentHeader {
            id: self.active.segment.header.id + 1,
            log: self.shared.meta.log,
            previous_valid: self.active.synced,
            created: self.shared.clock.now(),
            first_sequence: self.next_sequence,
            form: Form::Appended,
            from: self.active.segment.header.id + 1,
            offsets: self.offsets.clone(),
        };
        let file = header.create(&*self.shared.disk)?;
        let end = SegmentHeader::bytes(self.shared.meta.partitions) as u64;
        let segment = Segment::new(header, file, end);
        self.shared.segments.insert(Arc::clone(&segment));
        self.cut_spare();
        self.spare.begin(end);
        self.active = Active { segment, end, synced: end };
        self.keeper.ring(Duty::Snapshot);
        Ok(())
    }
}
